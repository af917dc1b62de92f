"""A trained model: saved and loaded with the same bits, and asked of any table."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactError, ConfigError, ResourceError, SchemaError
from adwright.creative.lifetime.hazards.fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.hazards.fitted import KIND, FittedLifetime
from adwright.creative.lifetime.hazards.network import SurvivalConfig
from adwright.creative.lifetime.hazards.terms import LifeTerms
from tests.support.data.small_spells import small_spells

TERMS = LifeTerms(short=(0.0, 1.0, 2.0, 3.0), long=(0.0, 3.0, 6.0, 13.0))
CONFIG = LifetimeConfig(
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
    return fit_lifetime(table, table, CONFIG, vectors={"i": IMAGE}, valid_vectors={"i": IMAGE})


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


def test_it_says_what_it_is(model: FittedLifetime) -> None:
    assert "weeks short 0, 1, 2, 3; long 0, 3, 6, 13" in repr(model)
    assert model.causes[-1] in repr(model)


def test_one_without_a_validation_is_loaded_too(tmp_path: Path) -> None:
    model = fit_lifetime(small_spells(100), None, CONFIG)
    model.save(tmp_path / "model")
    assert math.isnan(FittedLifetime.load(tmp_path / "model").valid_loss)


def test_what_is_no_such_model_is_refused(model: FittedLifetime, tmp_path: Path) -> None:
    save_artifact(tmp_path / "other", kind="other", config={})
    with pytest.raises(ArtifactError, match="of kind 'other'"):
        FittedLifetime.load(tmp_path / "other")
    save_artifact(tmp_path / "old", kind=KIND, config={"network": {}})
    with pytest.raises(ArtifactError, match="does not fit this version"):
        FittedLifetime.load(tmp_path / "old")
    model.save(tmp_path / "model")
    assert load_artifact(tmp_path / "model").data_hash == model.data_hash


def test_what_is_predicted_does_not_depend_on_the_batch(model: FittedLifetime) -> None:
    table = small_spells(300, seed=5)
    whole = model.predict(table, {"i": IMAGE})
    parts = model.predict(table, {"i": IMAGE}, batch=7)
    np.testing.assert_allclose(whole.survival, parts.survival, rtol=1e-5)
    np.testing.assert_allclose(whole.incidence, parts.incidence, atol=1e-6)
    with pytest.raises(ConfigError, match="at least 1"):
        model.predict(table, batch=0)


def test_how_a_spell_ended_is_not_read(model: FittedLifetime) -> None:
    table = small_spells(300, seed=5)
    unknown = replace(table, time=table.time + 50, cause=np.zeros_like(table.cause))
    a, b = model.predict(table, {"i": IMAGE}), model.predict(unknown, {"i": IMAGE})
    np.testing.assert_array_equal(a.survival, b.survival)


def test_curves_begin_at_the_landmark(model: FittedLifetime) -> None:
    curves = model.predict(small_spells(300, seed=5, entry=2.0), {"i": IMAGE})
    assert (curves.survival[:, :3] == 1).all()
    assert (curves.survival[:, 3] < 1).all()


def test_a_table_with_other_values_and_columns_can_be_asked(
    model: FittedLifetime, caplog: pytest.LogCaptureFixture
) -> None:
    table = small_spells(300, seed=5)
    strange = replace(
        table,
        category_values=(("pink", "black", "teal", "sand"),),
        vocabulary=("not", "one", "of", "these", "words"),
        numbers=table.numbers[:, :0],
        number_names=(),
    )
    with caplog.at_level(logging.WARNING, "adwright"):
        curves = model.predict(strange)
    # Nothing is known of them, so all are alike.
    assert np.ptp(curves.survival, axis=0).max() < 1e-6
    assert "defaults stand in" in caplog.text


def test_ages_in_another_unit_are_refused(model: FittedLifetime) -> None:
    with pytest.raises(SchemaError, match="another unit"):
        model.predict(replace(small_spells(10), unit="day"))


def test_no_spells_have_no_curves(model: FittedLifetime) -> None:
    table = small_spells(10).take(np.arange(0))
    assert model.predict(table, {"i": IMAGE[:0]}).survival.shape == (0, 6)
