"""fit_lifetime(): learns, and a run that was cut off ends with the same bits."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    ResourceError,
    ResumeError,
    SchemaError,
)
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import KIND, FittedLifetime
from adwright.creative.lifetime.survival_fit import ClickWeights, LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import (
    BinTargets,
    LifeTerms,
    SurvivalConfig,
    hazard_loss,
    marginal_logits,
)
from adwright.metrics.survival import harrell_c
from adwright.training.loop.trainee import Callback, StepDone
from benchmarks.lifetime._calibration import kaplan_meier
from tests.support.data.small_spells import small_spells

TABLE, VALID = small_spells(400), small_spells(200, seed=1)
TERMS = LifeTerms(short=(0.0, 1.0, 2.0, 3.0), long=(0.0, 3.0, 6.0, 13.0))
NETWORK = SurvivalConfig(hidden=(16,), width=4, word_width=4, number_bins=4)
CONFIG = LifetimeConfig(
    terms=TERMS,
    network=NETWORK,
    epochs=3,
    batch=64,
    learning_rate=0.01,
    min_count=5,
    validations=3,
    patience=3,
)


def _bits(model: FittedLifetime) -> dict[str, torch.Tensor]:
    return dict(model.network.state_dict())


def _same(a: FittedLifetime, b: FittedLifetime) -> bool:
    return all(torch.equal(value, _bits(b)[name]) for name, value in _bits(a).items())


class _Stopped(Exception):
    pass


def test_it_learns_who_ends_soon() -> None:
    model = fit_lifetime(small_spells(1500), VALID, replace(CONFIG, epochs=4, validations=4))
    marginal = [
        hazard_loss(marginal_logits(targets, 3, 1).expand(200, -1, -1), targets).mean()
        for edges in TERMS.heads
        for targets in [BinTargets.of(edges, VALID.entry, VALID.time, VALID.cause)]
    ]
    assert model.valid_loss < 0.93 * float(sum(marginal)) / 2
    left = model.predict(VALID).remaining()
    red, others = VALID.categories[:, 0] == 0, VALID.categories[:, 0] > 0
    assert np.median(left[red]) + 1 < np.median(left[others])
    assert len(model.records) == 4
    assert model.valid_loss == min(line["valid_nll"] for line in model.records)


@pytest.mark.parametrize("cut", [4, 7, 13])
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, cut: int) -> None:
    whole = fit_lifetime(TABLE, VALID, CONFIG)

    class Stop(Callback):
        def on_step(self, step: StepDone) -> None:
            if step.step == cut:
                raise _Stopped

    run = tmp_path / "run"
    with pytest.raises(_Stopped):
        fit_lifetime(TABLE, VALID, CONFIG, out=run, callbacks=(Stop(),))
    again = fit_lifetime(TABLE, VALID, CONFIG, out=run, resume=True)
    assert _same(whole, again)
    assert again.records == whole.records
    assert len((run / "metrics.jsonl").read_text().splitlines()) == 3


def test_the_batch_follows_from_the_number_of_spells() -> None:
    class Steps(Callback):
        def on_step(self, step: StepDone) -> None:
            steps.append(step.step)

    steps: list[int] = []
    many = small_spells(1100)
    fit_lifetime(many, None, replace(CONFIG, batch=None, epochs=1), callbacks=(Steps(),))
    assert steps == [1, 2, 3, 4, 5]  # Batches of 256, the least.


def test_edges_come_from_the_training_spells_and_are_printed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    model = fit_lifetime(TABLE, VALID, replace(CONFIG, terms=None, epochs=1))
    assert model.terms == LifeTerms.of(TABLE.entry, TABLE.time, TABLE.cause)
    said = capsys.readouterr()
    assert f"in weeks: {model.terms}" in said.out + said.err


def test_one_head_joins_the_terms() -> None:
    model = fit_lifetime(TABLE, VALID, replace(CONFIG, heads=1, epochs=1))
    assert model.terms == TERMS.one_head
    assert model.predict(VALID).survival.shape == (200, 6)
    assert "valid_long" not in model.records[0]


def test_the_goal_is_the_weighted_likelihood_of_validation() -> None:
    network = replace(NETWORK, short_weight=0.2)
    model = fit_lifetime(TABLE, VALID, replace(CONFIG, network=network, epochs=1, validations=1))
    (line,) = model.records
    losses = model.network.losses(
        model.network.spec.encode(VALID),
        tuple(BinTargets.of(e, VALID.entry, VALID.time, VALID.cause) for e in TERMS.heads),
    )
    short, long = (float(loss.detach().mean()) for loss in losses)
    assert line["valid_short"] == pytest.approx(short, rel=1e-5)
    assert line["valid_long"] == pytest.approx(long, rel=1e-5)
    assert line["valid_nll"] == pytest.approx(0.2 * short + 0.8 * long, rel=1e-5)


def test_the_goal_may_be_the_order_of_the_validation_spells() -> None:
    model = fit_lifetime(TABLE, VALID, replace(CONFIG, goal="concordance"))
    best = max(model.records, key=lambda line: line["valid_c"])
    assert (model.epoch, model.valid_loss) == (best["epoch"], 1 - best["valid_c"])
    risk = model.predict(VALID).risk()
    found = harrell_c(VALID.time, VALID.ended, risk, entry=VALID.entry)
    assert found.value == pytest.approx(best["valid_c"], abs=1e-12)
    censored = small_spells(50, ended=0.0)
    assert "valid_c" not in fit_lifetime(TABLE, censored, CONFIG).records[0]
    with pytest.raises(DataError, match="no pair"):
        fit_lifetime(TABLE, censored, replace(CONFIG, goal="concordance"))


def test_without_validation_the_last_weights_are_kept() -> None:
    model = fit_lifetime(TABLE, None, CONFIG)
    assert math.isnan(model.valid_loss)
    assert not _same(model, fit_lifetime(TABLE, None, replace(CONFIG, epochs=2)))


def test_patience_ends_a_run_that_gets_no_better() -> None:
    config = replace(CONFIG, epochs=9, validations=9, patience=2, learning_rate=1e-12)
    config = replace(config, schedule="constant", embedding_learning_rate=1e-12)
    model = fit_lifetime(TABLE, VALID, config)
    assert len(model.records) < 9


def _with_a_clock(table: SpellTable) -> SpellTable:
    """The spells in four weeks, the last of which have a number that tells the week."""
    start = np.arange(len(table), dtype=np.int32) % 4
    numbers = table.numbers.copy()
    numbers[:, 1] = start * start
    return replace(table, start=start, numbers=numbers)


def test_numbers_that_tell_the_week_alone_are_left_out(capfd: pytest.CaptureFixture[str]) -> None:
    table = _with_a_clock(TABLE)
    names = [number.name for number in fit_lifetime(table, None, CONFIG).network.spec.numbers]
    assert names == ["price"]
    assert "left out, since they tell the week alone: sales_before" in capfd.readouterr().err
    kept = fit_lifetime(table, None, replace(CONFIG, clocks="keep"))
    assert len(kept.network.spec.numbers) == 2
    fit_lifetime(table, None, replace(CONFIG, leave_out=("sales_before",)))
    assert "left out, since" not in capfd.readouterr().err.rsplit("epoch 3/3", 2)[-1]


def test_one_pass_is_made_over_many_spells_and_several_over_few() -> None:
    config = replace(CONFIG, epochs=None, validations=None, patience=None, batch=4)
    model = fit_lifetime(small_spells(1000), VALID, config)
    assert [line["epoch"] for line in model.records] == [1, 1, 1, 1]
    few = fit_lifetime(small_spells(40), VALID, config)
    assert {line["epoch"] for line in few.records} <= set(range(1, 26))
    assert len(few.records) > 4


def test_weights_are_those_of_the_curve_of_all(tmp_path: Path) -> None:
    """The share of training that ended by an edge, which risks are weighed by, is saved."""
    model = fit_lifetime(TABLE, None, CONFIG)
    curve = kaplan_meier(TABLE.time, TABLE.ended)
    edges = model.predict(VALID).edges
    # Who was lost in the midst of a bin counts in the curve, and not in the hazard of the bin.
    assert model.typical is not None
    np.testing.assert_allclose(np.array(model.typical), 1 - curve.at(edges), atol=0.04)
    model.save(tmp_path / "model")
    assert FittedLifetime.load(tmp_path / "model").typical == model.typical


CHANGES: dict[str, Any] = {
    "terms": LifeTerms(short=(0.0, 2.0), long=(0.0, 2.0, 9.0)),
    "heads": 1,
    "network": replace(NETWORK, number_bins=0),
    "clicks": ClickWeights("ratio"),
    "leave_out": ("price",),
    "min_count": 120,
    "clocks": "keep",
    "common_effects": False,
    "validations": 1,
    "epochs": 2,
    "batch": 32,
    "learning_rate": 0.02,
    "weight_decay": 0.5,
    "embedding_learning_rate": 0.2,
    "schedule": "constant",
    "patience": 1,
    "goal": "concordance",
    "clip_norm": 1e-3,
    "precision": "bf16",
    "seed": 1,
}


@pytest.mark.parametrize("name", [f.name for f in fields(LifetimeConfig)])
def test_every_setting_changes_what_is_learned(name: str) -> None:
    config = CONFIG
    if name == "patience":
        # Gets worse at once, and better later on.
        config = replace(CONFIG, learning_rate=0.3, epochs=6, schedule="constant")
        config = replace(config, validations=6)
    table = _with_a_clock(TABLE) if name in ("clocks", "common_effects") else TABLE
    usual = fit_lifetime(table, VALID, config)
    changed = fit_lifetime(table, VALID, replace(config, **{name: CHANGES[name]}))
    if name in ("patience", "validations"):
        assert len(changed.records) < len(usual.records)
        return
    if name == "goal":
        # Both may keep the same epoch; another test is about that.
        assert changed.valid_loss != usual.valid_loss
        return
    before, now = usual.predict(VALID).risk(), changed.predict(VALID).risk()
    assert not np.array_equal(before, now)


def test_vectors_of_images_are_learned_from() -> None:
    """Nothing but the image tells; where it is missing, the model is unsure."""
    image = np.random.default_rng(3).normal(size=(600, 3)).astype(np.float32)
    table = small_spells(600)
    table = replace(table, time=np.ones(600, np.float32), cause=(image[:, 0] > 0).astype(np.int8))
    image[::5] = np.nan
    config = replace(
        CONFIG,
        terms=LifeTerms((0.0, 1.0), ()),
        epochs=30,
        network=replace(NETWORK, modality_dropout=0.1),
    )
    given = {"image": image}
    model = fit_lifetime(table, table, config, vectors=given, valid_vectors=given)
    hazard = model.predict(table, given).hazard[:, 0, 0]
    seen, ended = np.isfinite(image[:, 0]), table.cause > 0
    assert hazard[seen & ended].mean() > 0.85
    assert hazard[seen & ~ended].mean() < 0.15
    assert abs(hazard[~seen].mean() - 0.5) < 0.15
    blind = model.predict(table).hazard[:, 0, 0]
    assert abs(blind.mean() - 0.5) < 0.15


def test_runs_are_never_mixed_up(tmp_path: Path) -> None:
    run, config = tmp_path / "run", replace(CONFIG, epochs=1)
    with pytest.raises(ResumeError, match="holds no run"):
        fit_lifetime(TABLE, VALID, config, out=run, resume=True)
    fit_lifetime(TABLE, VALID, config, out=run)
    assert json.loads((run / "config.json").read_text())["fit"]["batch"] == 64
    with pytest.raises(ConfigError, match="already holds a run"):
        fit_lifetime(TABLE, VALID, config, out=run)
    with pytest.raises(ResumeError):
        fit_lifetime(TABLE, VALID, replace(config, seed=1), out=run, resume=True)
    with pytest.raises(ResumeError):
        fit_lifetime(VALID, VALID, config, out=run, resume=True)
    closed = fit_lifetime(TABLE, VALID, config, out=run, resume=True, stop_now=True)
    assert closed.epoch == 1


def test_spells_that_teach_nothing_are_refused_or_said(caplog: pytest.LogCaptureFixture) -> None:
    late = replace(CONFIG, terms=LifeTerms((50.0, 60.0), ()))
    with pytest.raises(DataError, match="no spell was at risk"):
        fit_lifetime(TABLE, VALID, late)
    some = replace(CONFIG, terms=LifeTerms((2.0, 4.0), ()), epochs=1)
    with caplog.at_level(logging.WARNING, "adwright"):
        fit_lifetime(TABLE, None, some)
    assert "of 400 spells teach nothing" in caplog.text


def test_validation_spells_of_another_kind_are_refused() -> None:
    for other in (replace(VALID, unit="day"), replace(VALID, causes=("stopped",))):
        with pytest.raises(SchemaError, match="validation spells"):
            fit_lifetime(TABLE, other, CONFIG)


CONFIG_FITTED = LifetimeConfig(
    terms=TERMS,
    network=SurvivalConfig(hidden=(16,), width=4, word_width=4),
    epochs=2,
    batch=64,
    learning_rate=0.01,
)
IMAGE = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)


@pytest.fixture(scope="module", params=[1, 2])
def model(request: pytest.FixtureRequest) -> FittedLifetime:
    """Trained on spells of one or two causes, with images."""
    table = small_spells(300, causes=("ended", "stopped")[: request.param])
    return fit_lifetime(
        table, table, CONFIG_FITTED, vectors={"i": IMAGE}, valid_vectors={"i": IMAGE}
    )


def test_it_is_loaded_with_the_same_bits(model: FittedLifetime, tmp_path: Path) -> None:
    identity = model.save(tmp_path / "model", clock=FixedClock())
    again = FittedLifetime.load(tmp_path / "model")
    table = small_spells(300, seed=5)
    a, b = model.predict(table, {"i": IMAGE}), again.predict(table, {"i": IMAGE})
    np.testing.assert_array_equal(a.survival, b.survival)
    np.testing.assert_array_equal(a.incidence, b.incidence)
    for name in ("causes", "unit", "config", "valid_loss", "epoch", "data_hash", "seed", "terms"):
        assert getattr(again, name) == getattr(model, name), name
    assert again.records == tuple(model.records)
    assert again.save(tmp_path / "twice", clock=FixedClock()) == identity
    with pytest.raises(ResourceError):
        model.save(tmp_path / "twice")
    assert model.save(tmp_path / "twice", overwrite=True, clock=FixedClock()) == identity


def test_what_is_no_such_model_is_refused(model: FittedLifetime, tmp_path: Path) -> None:
    save_artifact(tmp_path / "other", kind="other", config={})
    with pytest.raises(ArtifactError, match="of kind 'other'"):
        FittedLifetime.load(tmp_path / "other")
    save_artifact(tmp_path / "old", kind=KIND, config={"network": {}})
    with pytest.raises(ArtifactError, match="does not fit this version"):
        FittedLifetime.load(tmp_path / "old")
    model.save(tmp_path / "model")
    assert load_artifact(tmp_path / "model").data_hash == model.data_hash


def test_ages_in_another_unit_are_refused(model: FittedLifetime) -> None:
    with pytest.raises(SchemaError, match="another unit"):
        model.predict(replace(small_spells(10), unit="day"))
