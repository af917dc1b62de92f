"""A trained click rate: a judge of ads, saved and loaded with the same bits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ResourceError
from adwright.creative.judging.ablation import ablate
from adwright.creative.judging.judgement import AdJudge
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.response.autoint import AutoIntConfig
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.fitted import KIND, FittedClickRate, answers_of
from adwright.creative.response.inputs.texts import encoded_texts
from adwright.creative.response.linear import LinearConfig
from tests.support.data.small_creatives import small_creatives

TEXTS = encoded_texts("hashed")
OUTCOMES = small_creatives(films=True)
CONFIG = ClickRateConfig(
    network=AutoIntConfig(width=4, layers=1),
    linear=LinearConfig(penalties=(1.0, 10.0)),
    epochs=3,
    batch=30,
    learning_rate=0.02,
    min_count=3,
)
ADS = small_creatives(10, seed=9, films=True).records


@pytest.fixture(scope="module")
def model() -> FittedClickRate:
    made = fit_click_rate(OUTCOMES, CONFIG, texts=TEXTS)
    if made.network is None:
        # Whatever validation says, an artifact with a network is to be tested.
        from adwright.creative.response.autoint import AutoInt

        made = replace(made, network=AutoInt(AutoIntConfig(width=4), made.features), share=0.5)
        made.network.out.weight.data.fill_(0.01)
    return made


def test_it_is_a_judge(model: FittedClickRate) -> None:
    assert isinstance(model, AdJudge)
    found = model.judge(ADS)
    assert model.name == KIND
    assert len(found) == 30
    assert found.coverage == 0.9
    assert (found.value > 0).all()
    assert (found.high <= 1).all()
    order = np.argsort(found.value, kind="stable")
    rates = model.log_rates(ADS)[order]
    assert (np.diff(rates) > -1e-5).all()
    assert len(model.judge([])) == len(model.log_rates([])) == 0


def test_no_ad_changes_the_answer_on_another(model: FittedClickRate) -> None:
    whole, turned = model.judge(ADS), model.judge(ADS[::-1])
    np.testing.assert_allclose(whole.value, turned.value[::-1], rtol=1e-5)
    np.testing.assert_allclose(whole.value[3], model.judge(ADS[3:4]).value[0], rtol=1e-5)


def test_an_ad_from_elsewhere_is_unlike(model: FittedClickRate) -> None:
    odd = AdRecord(title="Приходите к нам завтра, мы вас ждём!", words="Ω" * 400, seconds=9000)
    found = model.judge([*ADS, odd]).unlike
    assert found[-1]
    assert found[:-1].mean() < 0.3


def test_the_nearest_ads_are_told_with_their_rates(model: FittedClickRate) -> None:
    (own,) = model.nearest(OUTCOMES.records[:1], 2)
    assert own[0].id == "c0"
    assert own[0].distance < 0.05
    assert own[0].value == pytest.approx(OUTCOMES.rate[0])
    assert own[1].distance > own[0].distance


def test_a_part_that_is_left_out_changes_the_answer(model: FittedClickRate) -> None:
    effects = {one.part: one for one in ablate(model, ADS[0])}
    assert effects["title"].change != 0
    assert effects["title"].value == pytest.approx(float(model.judge(ADS[:1]).value[0]))


def test_it_is_loaded_with_the_same_bits(model: FittedClickRate, tmp_path: Path) -> None:
    identity = model.save(tmp_path / "model", clock=FixedClock())
    again = FittedClickRate.load(tmp_path / "model")
    one, other = model.judge(ADS), again.judge(ADS)
    for name in ("value", "low", "high", "unlike"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    for name in ("config", "measures", "epoch", "data_hash", "seed", "prior", "features", "share"):
        assert getattr(again, name) == getattr(model, name), name
    assert again.nearest(ADS[:1]) == model.nearest(ADS[:1])
    assert again.save(tmp_path / "twice", clock=FixedClock()) == identity
    with pytest.raises(ResourceError):
        model.save(tmp_path / "twice")
    assert model.save(tmp_path / "twice", overwrite=True, clock=FixedClock()) == identity
    assert repr(again) == repr(model)
    artifact = load_artifact(tmp_path / "model")
    assert FittedClickRate.load(artifact, texts=TEXTS).texts is TEXTS


def test_the_linear_part_alone_is_saved_too(tmp_path: Path) -> None:
    made = fit_click_rate(OUTCOMES, replace(CONFIG, network=None), texts=TEXTS)
    made.save(tmp_path / "model")
    again = FittedClickRate.load(tmp_path / "model", texts=TEXTS)
    assert again.network is None
    np.testing.assert_array_equal(again.judge(ADS).value, made.judge(ADS).value)


def test_what_was_changed_or_is_something_else_is_refused(
    model: FittedClickRate, tmp_path: Path
) -> None:
    model.save(tmp_path / "model")
    (tmp_path / "model" / "reference.json").write_text("{}")
    with pytest.raises(ArtifactCorruptError):
        FittedClickRate.load(tmp_path / "model")
    save_artifact(tmp_path / "other", kind="lifetime", config={})
    with pytest.raises(ArtifactError, match="kind"):
        FittedClickRate.load(tmp_path / "other")
    save_artifact(tmp_path / "empty", kind=KIND, config={})
    with pytest.raises(ArtifactError, match="does not fit"):
        FittedClickRate.load(tmp_path / "empty", texts=TEXTS)


def test_answers_of_many_ads_are_those_of_few(model: FittedClickRate) -> None:
    assert model.network is not None
    inputs = model.features.encode(ADS, TEXTS)
    found = answers_of(model.network, inputs)
    few = answers_of(model.network, inputs.take(slice(0, 2)))
    np.testing.assert_allclose(found[:2], few, rtol=1e-5)
    assert not model.network.training
