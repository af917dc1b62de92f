"""Training: it learns which words are clicked, repeats itself, resumes, and says how good it is."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ConfigError,
    DataError,
    ResourceError,
    ResumeError,
)
from adwright.creative.judging import AdJudge, ablate
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.response import fit
from adwright.creative.response.fit import (
    KIND,
    ClickRateConfig,
    FittedClickRate,
    fit_click_rate,
    train_clicks,
)
from adwright.creative.response.inputs import encoded_texts
from adwright.creative.response.models import AutoIntConfig, LinearConfig
from adwright.creative.response.outcomes import read_outcomes
from benchmarks.creative._upworthy import UPWORTHY
from tests.support.data.small_creatives import small_creatives

TEXTS = encoded_texts("hashed")
OUTCOMES = small_creatives()
CONFIG = ClickRateConfig(
    network=AutoIntConfig(width=4, layers=1),
    linear=LinearConfig(penalties=(1.0, 10.0)),
    epochs=2,
    batch=30,
    min_count=3,
)
ADS = [
    AdRecord(title="bread soap you no 99", words="bread and more"),
    AdRecord(title="bread soap quarterly no 99", words="bread and more"),
]


@pytest.fixture(scope="module")
def model() -> FittedClickRate:
    return fit_click_rate(OUTCOMES, CONFIG, texts=TEXTS)


def test_it_learns_which_words_are_clicked(model: FittedClickRate) -> None:
    found = model.judge(ADS)
    assert found.value[0] > 1.5 * found.value[1]
    assert model.measures["model"]["pairs"] > 0.75
    assert set(model.measures) == {"model", "linear part", "simple rule"}


def test_it_repeats_itself_and_the_seed_matters(model: FittedClickRate) -> None:
    again = fit_click_rate(OUTCOMES, CONFIG, texts=TEXTS)
    np.testing.assert_array_equal(again.judge(ADS).value, model.judge(ADS).value)
    other = fit_click_rate(OUTCOMES, replace(CONFIG, seed=1), texts=TEXTS)
    assert (other.judge(ADS).low != model.judge(ADS).low).any()


def test_a_run_that_was_killed_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, learning_rate=0.05, patience=5)
    whole = fit_click_rate(OUTCOMES, config, texts=TEXTS, out=tmp_path / "whole")

    def killed(*scores: Any, **asked: Any) -> Any:
        calls.append(1)  # five of an epoch's steps, four of its validation
        return 1 / 0 if len(calls) > 10 else loss(*scores, **asked)

    out, calls, loss = tmp_path / "killed", list[int](), fit.click_rate_loss
    with monkeypatch.context() as patch:
        patch.setattr(fit, "click_rate_loss", killed)
        with pytest.raises(ZeroDivisionError):
            fit_click_rate(OUTCOMES, config, texts=TEXTS, out=out)
    with pytest.raises(ConfigError):
        fit_click_rate(OUTCOMES, config, texts=TEXTS, out=out)
    with pytest.raises(ResumeError):
        fit_click_rate(OUTCOMES, replace(config, batch=31), texts=TEXTS, out=out, resume=True)
    resumed = fit_click_rate(OUTCOMES, config, texts=TEXTS, out=out, resume=True)
    np.testing.assert_array_equal(resumed.judge(ADS).value, whole.judge(ADS).value)
    assert resumed.records == whole.records
    assert resumed.share == whole.share


def test_the_linear_part_stands_alone_where_that_is_asked_for() -> None:
    found = fit_click_rate(OUTCOMES, replace(CONFIG, network=None), texts=TEXTS)
    assert (found.network, found.share, found.records) == (None, 0.0, ())
    assert found.measures["model"] == found.measures["linear part"]


def test_images_are_learnt_from() -> None:
    rates = np.log((OUTCOMES.clicks + 1) / OUTCOMES.impressions)
    means = np.array([rates[OUTCOMES.tests == test].mean() for test in OUTCOMES.tests])
    images = np.c_[rates - means, np.ones(len(rates))].astype(np.float32)
    found = fit_click_rate(OUTCOMES, CONFIG, texts=TEXTS, vectors={"image": images})
    seen = found.judge(ADS, {"image": np.array([[-1.0, 1.0], [1.0, 1.0]], np.float32)}).value
    assert seen[1] > seen[0]


def test_what_is_too_little_is_refused() -> None:
    with pytest.raises(DataError, match="folds take"):
        fit_click_rate(small_creatives(4), CONFIG, texts=TEXTS)
    none = small_creatives(20)
    none = replace(none, clicks=np.zeros(len(none), np.int64))
    with pytest.raises(DataError, match="0 or 1 alone"):
        fit_click_rate(none, CONFIG, texts=TEXTS)
    for bad in ({"folds": 0}, {"learning_rate": 0.0}, {"batch": 0}, {"regression": -1.0}):
        with pytest.raises(ConfigError):
            ClickRateConfig(**bad)
    with pytest.raises(DataError, match="2 folds at least"):
        fit_click_rate(OUTCOMES, replace(CONFIG, folds=1), texts=TEXTS)


OUTCOMES_FITTED = small_creatives(films=True)
CONFIG_FITTED = ClickRateConfig(
    network=AutoIntConfig(width=4, layers=1),
    linear=LinearConfig(penalties=(1.0, 10.0)),
    epochs=3,
    batch=30,
    learning_rate=0.02,
    min_count=3,
)
ADS_FITTED = small_creatives(10, seed=9, films=True).records


@pytest.fixture(scope="module")
def model_fitted() -> FittedClickRate:
    made = fit_click_rate(OUTCOMES_FITTED, CONFIG_FITTED, texts=TEXTS)
    if made.network is None:
        # Whatever validation says, an artifact with a network is to be tested.
        from adwright.creative.response.models import AutoInt

        made = replace(made, network=AutoInt(AutoIntConfig(width=4), made.features), share=0.5)
        made.network.out.weight.data.fill_(0.01)
    return made


def test_it_is_a_judge(model_fitted: FittedClickRate) -> None:
    assert isinstance(model_fitted, AdJudge)
    found = model_fitted.judge(ADS_FITTED)
    assert model_fitted.name == KIND
    assert len(found) == 30
    assert found.coverage == 0.9
    assert (found.value > 0).all()
    assert (found.high <= 1).all()
    order = np.argsort(found.value, kind="stable")
    assert (np.diff(found.low[order]) > -1e-5).all()
    assert len(model_fitted.judge([])) == 0


def test_an_ad_from_elsewhere_is_unlike(model_fitted: FittedClickRate) -> None:
    odd = AdRecord(title="Приходите к нам завтра, мы вас ждём!", words="Ω" * 400, seconds=9000)
    found = model_fitted.judge([*ADS_FITTED, odd]).unlike
    assert found[-1]
    assert found[:-1].mean() < 0.3


def test_the_nearest_ads_are_told_with_their_rates(model_fitted: FittedClickRate) -> None:
    (own,) = model_fitted.nearest(OUTCOMES_FITTED.records[:1], 2)
    assert own[0].id == "c0"
    assert own[0].distance < 0.05
    assert own[0].value == pytest.approx(OUTCOMES_FITTED.rate[0])
    assert own[1].distance > own[0].distance


def test_a_part_that_is_left_out_changes_the_answer(model_fitted: FittedClickRate) -> None:
    effects = {one.part: one for one in ablate(model_fitted, ADS_FITTED[0])}
    assert effects["title"].change != 0
    assert effects["title"].value == pytest.approx(
        float(model_fitted.judge(ADS_FITTED[:1]).value[0])
    )


def test_it_is_loaded_with_the_same_bits(model_fitted: FittedClickRate, tmp_path: Path) -> None:
    identity = model_fitted.save(tmp_path / "model", clock=FixedClock())
    again = FittedClickRate.load(tmp_path / "model")
    one, other = model_fitted.judge(ADS_FITTED), again.judge(ADS_FITTED)
    for name in ("value", "low", "high", "unlike"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("config", "measures", "epoch", "data_hash", "seed", "prior", "features", "share"):
        assert getattr(again, name) == getattr(model_fitted, name), name
    assert again.nearest(ADS_FITTED[:1]) == model_fitted.nearest(ADS_FITTED[:1])
    assert again.save(tmp_path / "twice", clock=FixedClock()) == identity
    with pytest.raises(ResourceError):
        model_fitted.save(tmp_path / "twice")
    assert model_fitted.save(tmp_path / "twice", overwrite=True, clock=FixedClock()) == identity
    assert repr(again) == repr(model_fitted)
    artifact = load_artifact(tmp_path / "model")
    assert FittedClickRate.load(artifact, texts=TEXTS).texts is TEXTS


def test_the_linear_part_alone_is_saved_too(tmp_path: Path) -> None:
    made = fit_click_rate(OUTCOMES_FITTED, replace(CONFIG_FITTED, network=None), texts=TEXTS)
    made.save(tmp_path / "model")
    again = FittedClickRate.load(tmp_path / "model", texts=TEXTS)
    assert again.network is None
    np.testing.assert_array_equal(again.judge(ADS_FITTED).value, made.judge(ADS_FITTED).value)


def test_what_was_changed_or_is_something_else_is_refused(
    model_fitted: FittedClickRate, tmp_path: Path
) -> None:
    model_fitted.save(tmp_path / "model")
    (tmp_path / "model" / "reference.json").write_text("{}")
    with pytest.raises(ArtifactCorruptError):
        FittedClickRate.load(tmp_path / "model")
    save_artifact(tmp_path / "other", kind="lifetime", config={})
    with pytest.raises(ArtifactError, match="kind"):
        FittedClickRate.load(tmp_path / "other")
    save_artifact(tmp_path / "empty", kind=KIND, config={})
    with pytest.raises(ArtifactError, match="does not fit"):
        FittedClickRate.load(tmp_path / "empty", texts=TEXTS)


def test_a_run_says_what_simpler_rules_reach(tmp_path: Path, shared_data: Path) -> None:
    frame = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet")
    tests = frame["clickability_test_id"].unique(maintain_order=True).head(40).to_list()
    outcomes = read_outcomes(frame.filter(pl.col("clickability_test_id").is_in(tests)), UPWORTHY)
    config = replace(ClickRateConfig(), epochs=1)
    texts = encoded_texts(folder=tmp_path / "kept")
    run = train_clicks(outcomes, tmp_path / "run", config, texts=texts)
    said = "\n".join(run.sentences())
    assert "n-grams alone" in said
    assert "90%" in said
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["creatives"] == len(outcomes)
    with pytest.raises(ResourceError):
        train_clicks(outcomes, tmp_path / "run", config, texts=texts)
    train_clicks(outcomes, tmp_path / "run", config, texts=texts, overwrite=True)
