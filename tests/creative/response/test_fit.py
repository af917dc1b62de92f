"""Training: it learns which words are clicked, repeats itself, resumes, and says how good it is."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ConfigError,
    DataError,
    MissingExtraError,
    ResourceError,
    ResumeError,
)
from adwright.creative.judging import AdJudge
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.response import fit
from adwright.creative.response.autoint import AutoInt, AutoIntConfig
from adwright.creative.response.fit import (
    KIND,
    ClickRateConfig,
    FittedClickRate,
    fit_click_rate,
    train_clicks,
)
from adwright.creative.response.inputs import (
    BAGS,
    CATEGORIES,
    FORM_WIDTH,
    NUMBERS,
    SLOTS,
    AdFeatures,
    AdInputs,
    EncodedTexts,
    bags_of,
    categories_of,
    encoded_texts,
    form_of,
    numbers_of,
    texts_of,
)
from adwright.creative.response.models import LinearConfig
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


FILMS = small_creatives(20, films=True).records


@pytest.fixture(scope="module")
def features() -> AdFeatures:
    return AdFeatures.fit(FILMS, TEXTS, min_count=3)


def test_fields_are_those_that_differ(features: AdFeatures) -> None:
    names = [one.name for one in features.vectors]
    assert "title" in names
    assert "title form" in names
    assert "headline grams" in names
    assert "speech" not in names
    assert features.numbers == ("seconds", "scenes a minute")
    assert [one.name for one in features.categories] == ["pace"]
    assert {one.name: one.values for one in features.bags}["tags"] == ("shop", "street")


def test_no_vector_of_training_ads_outweighs_the_others(features: AdFeatures) -> None:
    inputs = features.encode(FILMS, TEXTS)
    for field, vector in zip(features.vectors, inputs.vectors, strict=True):
        length = float((torch.nan_to_num(vector) ** 2).sum(1).mean())
        # How a text is written differs in some places only.
        assert 0 < length < 1.01 if field.mean else length == pytest.approx(1, abs=0.01)
    assert abs(float(inputs.numbers.mean())) < 1e-5


def test_missing_and_unknown_are_told_apart(features: AdFeatures) -> None:
    ads = [AdRecord(), AdRecord(pace="medium"), AdRecord(pace="low", scenes=(Scene(),))]
    inputs = features.encode(ads, TEXTS)
    assert inputs.codes[:, 0].tolist() == [0, 1, 3]
    title = [one.name for one in features.vectors].index("title")
    assert inputs.vectors[title].isnan().all()
    assert inputs.numbers.isnan().all()
    assert not inputs.flat(features.sizes).isnan().any()
    assert all((bag == 0).all() for bag in inputs.bags)


def test_images_are_a_field_where_they_are_given() -> None:
    images = np.random.default_rng(0).normal(size=(len(FILMS), 6)).astype(np.float32)
    images[0] = np.nan
    made = AdFeatures.fit(FILMS, TEXTS, vectors={"image": images})
    assert made.further == ("image",)
    inputs = made.encode(FILMS, TEXTS, {"image": images, "other": images})
    place = [one.name for one in made.vectors].index("image")
    assert inputs.vectors[place][0].isnan().all()
    assert made.encode(FILMS, TEXTS).vectors[place].isnan().all()
    assert made.without("image").further == ()
    with pytest.raises(DataError, match="as wide"):
        made.encode(FILMS, TEXTS, {"image": images[:, :2]})
    with pytest.raises(DataError, match="expected vectors of"):
        made.encode(FILMS[:3], TEXTS, {"image": images})


def test_it_is_stored_as_plain_values(features: AdFeatures) -> None:
    assert from_jsonable(AdFeatures, to_jsonable(features)) == features


def test_what_teaches_nothing_and_other_texts_are_refused(features: AdFeatures) -> None:
    with pytest.raises(DataError, match="nothing can be learnt"):
        AdFeatures.fit([AdRecord(title="same")] * 4, TEXTS)

    class Other:
        name = "other"

        def vectors(self, texts: list[str]) -> np.ndarray:
            return np.zeros((len(texts), 2), np.float32)

    with pytest.raises(DataError, match="otherwise than in training"):
        features.encode(FILMS, Other())


FILM = AdRecord(
    kind="video",
    brand="Mill  Lane",
    title="Fresh <b>bread</b>",
    words="<p>Baked at six.</p>\n\nTwo for 3.\nTea &amp; milk.",
    speech="come in",
    seconds=30.0,
    pace="high",
    scenes=(
        Scene(caption="a loaf", foreground=("Red", "red"), tone="warm", faces=2, words=("six",)),
        Scene(caption="a shop", tags=("shop",), words=("open", "now")),
    ),
)


def test_texts_by_slot_without_markup() -> None:
    assert texts_of(FILM) == {
        "title": "Fresh bread",
        "words": "Baked at six.",
        "more": "Two for 3. Tea & milk.",
        "shown": "six open now",
        "speech": "come in",
        "scenes": "a loaf a shop",
    }
    assert set(texts_of(AdRecord())) == set(SLOTS)
    assert not any(texts_of(AdRecord()).values())
    assert texts_of(AdRecord(title="3 < 5 and 7 > 6"))["title"] == "3 < 5 and 7 > 6"


def test_how_a_text_is_written() -> None:
    assert len(form_of("")) == FORM_WIDTH
    plain, asked = form_of("is it so"), form_of("Is it SO?! “5”...")
    assert plain[0] == math.log1p(8)
    assert plain[1] == math.log1p(3)
    assert [plain[place] for place in (7, 8, 9, 11, 12, 18, 19)] == [0] * 7
    assert [asked[place] for place in (7, 8, 9, 11, 12)] == [1] * 5
    assert asked[5] == 3
    assert asked[17] > plain[17] == 0
    assert form_of("")[19] == 1


def test_numbers_levels_and_bags() -> None:
    numbers = dict(zip(NUMBERS, numbers_of(FILM), strict=True))
    assert numbers == {
        "seconds": math.log1p(30),
        "scene count": math.log1p(2),
        "scenes a minute": 4.0,
        "faces": 2.0,
        "share of scenes with faces": 1.0,
    }
    assert all(math.isnan(one) for one in numbers_of(AdRecord()))
    assert categories_of(FILM) == ["video", "mill lane", "", "high", ""]
    assert len(categories_of(FILM)) == len(CATEGORIES)
    bags = dict(zip(BAGS, bags_of(FILM), strict=True))
    assert bags["foreground"] == ("red", "red")
    assert bags["tone"] == ("warm",)
    assert bags["tags"] == ("shop",)
    assert bags["emotions"] == ()


class Counting:
    """Remembers what it was asked for."""

    name, width = "lengths", 2

    def __init__(self) -> None:
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return np.array([[len(text), 1 / 3] for text in texts], np.float32)


def test_equal_texts_are_encoded_once(tmp_path: Path) -> None:
    encoder, again = Counting(), Counting()
    texts = ["a", "", "bb", "a"]
    free = EncodedTexts(encoder).vectors(texts)
    kept = EncodedTexts(again, tmp_path).vectors(texts)
    np.testing.assert_array_equal(free, kept)
    assert encoder.asked == again.asked == ["a", "bb"]
    assert np.isnan(free[1]).all()
    assert free[0, 0] == 1
    EncodedTexts(again, tmp_path).vectors(texts)
    assert len(again.asked) == 2


def test_without_the_extra_n_grams_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    found = encoded_texts()
    assert found.name == encoded_texts("hashed").name
    assert found.vectors(["fresh bread", ""]).shape == (2, 1024)
    with pytest.raises(MissingExtraError):
        encoded_texts("minilm")


NAN = torch.nan
INPUTS = AdInputs(
    (torch.tensor([[1.0, 2.0], [NAN, NAN]]),),
    torch.tensor([[NAN], [3.0]]),
    torch.tensor([[2, 0], [1, 1]]),
    (torch.tensor([[0.5, 0.5], [0.0, 0.0]]),),
)


def test_what_is_missing_has_a_column_of_its_own() -> None:
    flat = INPUTS.flat((3, 2))
    assert flat.tolist() == [
        [1, 2, 0, 0, 1, 0, 0, 1, 1, 0, 0.5, 0.5],
        [0, 0, 1, 3, 0, 0, 1, 0, 0, 1, 0, 0],
    ]


def test_rows_are_taken_in_their_order() -> None:
    assert len(INPUTS) == 2
    turned = INPUTS.take(torch.tensor([1, 0]))
    torch.testing.assert_close(turned.flat((3, 2)), INPUTS.flat((3, 2))[[1, 0]])
    assert len(INPUTS.take(slice(0, 1))) == 1
