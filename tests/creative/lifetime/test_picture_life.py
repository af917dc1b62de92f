"""A lifetime model that learned from vectors of images alone, as a judge of ads."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ArtifactError, SchemaError
from adwright.creative.editor.job.ad_judges import AdOnPictures, PictureEyes, sees_pictures
from adwright.creative.judges import open_judge
from adwright.creative.judging.ad_vectors import IMAGE
from adwright.creative.lifetime.hazards.fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.hazards.terms import LifeTerms
from adwright.creative.lifetime.picture_life import PictureLife, mean_life
from adwright.creative.records.verbal.record import AdRecord
from tests.support.data.small_spells import small_spells

TABLE = small_spells(600)
#: Of two numbers, the first of which says that the ad is red, which ends sooner.
SHOWN = np.stack([TABLE.categories[:, 0] == 0, np.arange(600) % 2], 1).astype(np.float32)
CONFIG = LifetimeConfig(
    terms=LifeTerms((0.0, 1.0, 2.0, 4.0, 8.0, 12.0), ()), heads=1, epochs=8, batch=64, min_count=5
)
ADS = [AdRecord(title="red"), AdRecord(title="other")]
BOTH = {IMAGE: np.array([[1, 0], [0, 0]], np.float32)}


@pytest.fixture(scope="module")
def model() -> FittedLifetime:
    return fit_lifetime(TABLE, None, CONFIG, vectors={IMAGE: SHOWN})


def test_what_ended_sooner_is_judged_to_live_shorter(
    model: FittedLifetime, caplog: pytest.LogCaptureFixture
) -> None:
    judge = PictureLife(model)
    with caplog.at_level(logging.WARNING, "adwright"):
        said = judge.judge(ADS, BOTH)
    assert caplog.records == []
    assert said.value[0] < said.value[1]
    assert (said.low <= said.value).all()
    assert (said.high <= 12).all()
    assert not said.unlike.any()
    assert said.coverage == pytest.approx(0.9)
    assert (judge.name, judge.unit) == ("expected_life", "week")
    alone = judge.judge(ADS[1:], {IMAGE: BOTH[IMAGE][1:]})
    np.testing.assert_allclose(alone.value, said.value[1:], rtol=1e-5)


def test_the_mean_is_the_area_below_the_curve(model: FittedLifetime) -> None:
    curves = model.predict(TABLE, {IMAGE: SHOWN}).given(0).take(np.arange(5))
    for at, found in enumerate(mean_life(curves)):
        literal = float(curves.edges[0])
        for bin_ in range(len(curves.edges) - 1):
            wide = float(curves.edges[bin_ + 1] - curves.edges[bin_])
            literal += wide * float(curves.survival[at, bin_] + curves.survival[at, bin_ + 1]) / 2
        assert found == pytest.approx(literal, rel=1e-5)


def test_it_is_opened_as_any_judge(model: FittedLifetime, tmp_path: Path) -> None:
    model.save(tmp_path / "life" / "model")
    judge = open_judge(tmp_path / "life")
    assert isinstance(judge, PictureLife)
    assert sees_pictures(judge, "life") == {"vectors": True, "colours": False}
    assert judge.reads(IMAGE)
    assert not judge.reads("text")
    assert judge.nearest(ADS) == [(), ()]
    np.testing.assert_allclose(
        judge.judge(ADS, BOTH).value, PictureLife(model).judge(ADS, BOTH).value, rtol=1e-6
    )


class Reds:
    """In the place of the encoder: whether a picture is red."""

    def encode_pictures(self, pictures: object, count: int) -> np.ndarray:
        means = [np.asarray(one).mean((0, 1)) for one in pictures]  # type: ignore[attr-defined]
        return np.array([[red > blue, 0] for red, _, blue in means], np.float32).reshape(count, 2)


def test_it_judges_edited_pictures(model: FittedLifetime) -> None:
    pictures = np.zeros((2, 4, 4, 3), np.uint8)
    pictures[0, ..., 0] = pictures[1, ..., 2] = 200
    asked = AdOnPictures("expected_life", PictureLife(model), ADS[0], PictureEyes(Reds()))
    wanted = PictureLife(model).judge(ADS, BOTH).value
    np.testing.assert_allclose(asked.judge(pictures), wanted, rtol=1e-6)
    assert asked.unlike(pictures).tolist() == [False, False]


def test_what_is_no_judge_of_pictures(model: FittedLifetime, tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="by the picture"):
        PictureLife(model).judge(ADS)
    with pytest.raises(SchemaError, match="wide"):
        PictureLife(model).judge(ADS, {IMAGE: np.zeros((2, 3), np.float32)})
    blind = fit_lifetime(TABLE, None, LifetimeConfig(epochs=1, batch=256, min_count=5))
    blind.save(tmp_path / "blind")
    with pytest.raises(ArtifactError, match="reads no pictures"):
        open_judge(tmp_path / "blind")
