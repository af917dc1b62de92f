"""Training: it learns which words are clicked, repeats itself, resumes, and says how good it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, DataError, ResumeError, ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.response.autoint import AutoIntConfig
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.fitted import FittedClickRate
from adwright.creative.response.inputs.texts import encoded_texts
from adwright.creative.response.linear import LinearConfig
from adwright.creative.response.protocol.outcomes import UPWORTHY, read_outcomes
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


def test_a_run_that_was_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    config = replace(CONFIG, learning_rate=0.05, patience=5)
    whole = fit_click_rate(OUTCOMES, config, texts=TEXTS, out=tmp_path / "whole")

    def killed(steps: int) -> None:
        if steps == 3:
            raise RuntimeError("killed")

    out = tmp_path / "killed"
    with pytest.raises(RuntimeError):
        fit_click_rate(OUTCOMES, config, texts=TEXTS, out=out, checkpoint_every=1, on_step=killed)
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


def test_rows_for_choices_may_be_named() -> None:
    valid = np.flatnonzero(OUTCOMES.tests >= 50)
    found = fit_click_rate(OUTCOMES, CONFIG, valid=valid, texts=TEXTS)
    assert found.data_hash != fit_click_rate(OUTCOMES, CONFIG, texts=TEXTS).data_hash
    with pytest.raises(ValueInvalidError, match="both sides"):
        fit_click_rate(OUTCOMES, CONFIG, valid=valid[1:], texts=TEXTS)


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


def test_each_setting_changes_the_answer(model: FittedClickRate) -> None:
    base = model.judge(ADS)
    for change in (
        {"linear": LinearConfig(penalties=(300.0,))},
        {"folds": 3},
        {"coverage": 0.8},
    ):
        found = fit_click_rate(OUTCOMES, replace(CONFIG, **change), texts=TEXTS).judge(ADS)
        assert (found.value != base.value).any() or (found.low != base.low).any(), change


def test_upworthys_headlines_teach_something(shared_data: Path) -> None:
    table = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet").head(800)
    outcomes = read_outcomes(table, UPWORTHY)
    found = fit_click_rate(outcomes, replace(CONFIG, network=None), texts=TEXTS)
    assert found.measures["model"]["rho"] > 0.15
