"""A run leaves a model that says up to when it knows, goes on where it was cut off, and reads
vectors of all lives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, ResourceError
from adwright.creative.lifetime.hazards.fit import LifetimeConfig
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.retirement.run import open_retirement, train_retirement
from adwright.training.loop.callbacks import Callback
from tests.support.data.small_life_log import SmallLives, small_images

CONFIG = LifetimeConfig(epochs=2, batch=64)


@pytest.fixture(scope="module")
def lives() -> SmallLives:
    return SmallLives(200)


class CutOff(Exception):
    """Stands for the power that went."""


class _Dies(Callback):
    def on_validation(self, *_: object, **__: object) -> None:
        raise CutOff


def test_what_is_trained_is_saved_and_opened(lives: SmallLives, tmp_path: Path) -> None:
    images = {"image": small_images(lives)}
    made = train_retirement(lives, tmp_path / "run", CONFIG, before=16, vectors=images)
    assert made.model.config["before"] == 16
    assert "loss" in made.text()
    assert "C 0." in made.text()
    ran = lives.running(16)
    seen = {"image": images["image"][ran.life]}
    for place in (tmp_path / "run", made.folder):
        opened = open_retirement(place)
        assert opened.id == made.id
        found = opened.model.predict(ran.table, seen).survival
        np.testing.assert_array_equal(found, made.model.predict(ran.table, seen).survival)
    other = {"image": images["image"][ran.life][::-1]}
    assert (made.model.predict(ran.table, other).survival != found).any()
    with pytest.raises(ResourceError):
        train_retirement(lives, tmp_path / "run", CONFIG, before=16)
    again = train_retirement(
        lives, tmp_path / "run", CONFIG, before=16, vectors=images, overwrite=True
    )
    np.testing.assert_array_equal(
        again.model.predict(ran.table, seen).survival, made.model.predict(ran.table, seen).survival
    )


def test_a_run_that_was_cut_off_goes_on(lives: SmallLives, tmp_path: Path) -> None:
    whole = train_retirement(lives, tmp_path / "whole", CONFIG, before=16)
    with pytest.raises(CutOff):
        train_retirement(lives, tmp_path / "cut", CONFIG, before=16, callbacks=[_Dies()])
    assert not (tmp_path / "cut" / "model").exists()
    resumed = train_retirement(lives, tmp_path / "cut", CONFIG, before=16, resume=True)
    table = lives.running(16).table
    np.testing.assert_array_equal(
        resumed.model.predict(table).survival, whole.model.predict(table).survival
    )


def test_a_model_of_another_training_is_refused(
    drawn_model: FittedLifetime, tmp_path: Path
) -> None:
    drawn_model.save(tmp_path / "model")
    with pytest.raises(ArtifactError, match="up to when it was trained"):
        open_retirement(tmp_path)
