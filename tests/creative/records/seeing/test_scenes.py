from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from PIL import Image

from adwright.creative.records.seeing.opening.frames import Clip, Frame
from adwright.creative.records.seeing.scenes import Watched, motion_level, pace_level, watch
from adwright.creative.records.seeing.settings import SeeingSettings
from tests.support.creative.drawn_ads import photograph

RATE = 20
RED, BLUE, GREEN = (Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "green"))


@dataclass
class Reel:
    """A clip of images, each with its second."""

    images: list[tuple[float, Image.Image]]
    seconds: float | None = None
    watched: bool = True
    width: int = 64
    height: int = 48
    notes: list[str] = field(default_factory=list)

    def frames(self) -> Iterator[Frame]:
        for at, image in self.images:
            yield Frame(at, np.asarray(image), lambda image=image: image)


def reel(*shots: tuple[Image.Image, float]) -> Reel:
    """Each image for so many seconds."""
    images, start = [], 0.0
    for image, seconds in shots:
        images += [(start + at / RATE, image) for at in range(round(seconds * RATE))]
        start += seconds
    return Reel(images, start)


def colours(clip: Clip, **settings: Any) -> Watched[list[str]]:
    """The clip, and of each scene's pictures the strongest channel."""

    def see(images: tuple[Image.Image, ...]) -> list[str]:
        return ["RGB"[int(np.asarray(one)[0, 0].argmax())] for one in images]

    return watch(clip, SeeingSettings(**settings), see)


def test_cuts_come_back_where_they_are() -> None:
    found = colours(reel((RED, 1.5), (BLUE, 0.8), (GREEN, 2.2), (RED, 1.0)))
    assert [one.start for one in found.scenes] == pytest.approx([0, 1.5, 2.3, 4.5], abs=0.001)
    assert [one.seconds for one in found.scenes] == pytest.approx([1.5, 0.8, 2.2, 1.0], abs=0.001)
    assert [one.seen for one in found.scenes] == [["R"], ["B"], ["G"], ["R"]]
    assert found.cuts_a_minute == pytest.approx(3 / 5.5 * 60)
    assert found.pace == "medium"
    assert found.change == 0
    assert found.motion == "low"


def test_flashes_make_no_scenes() -> None:
    found = colours(reel((RED, 1.0), (BLUE, 0.15), (RED, 1.0)))
    assert len(found.scenes) < 3


def test_frames_that_are_held_for_long_are_cut_too() -> None:
    found = colours(Reel([(0.0, RED), (2.0, BLUE), (4.0, GREEN)], 6.0))
    assert [one.start for one in found.scenes] == [0.0, 2.0, 4.0]
    assert [one.seen for one in found.scenes] == [["R"], ["B"], ["G"]]
    assert (found.motion, found.change) == ("low", 0)
    slow = colours(Reel([(0.0, RED), (0.25, BLUE)], 0.5))
    still = colours(Reel([(0.0, RED), (0.25, BLUE)], 9.0))
    assert slow.change is not None
    assert still.change is not None
    assert 0 < still.change < 0.1 * slow.change


@pytest.mark.parametrize("pictures", [1, 3])
def test_pictures_are_spread_over_the_scene(pictures: int) -> None:
    shades = [(at / RATE, Image.new("RGB", (8, 8), (at // 2, 0, 0))) for at in range(400)]
    made = watch(
        Reel(shades, 20.0),
        SeeingSettings(pictures_a_scene=pictures),
        lambda images: [np.asarray(one)[0, 0, 0] / 10 for one in images],
    )
    wanted = [20 * (at + 0.5) / pictures for at in range(pictures)]
    assert made.scenes[0].seen == pytest.approx(wanted, abs=1.5)


def test_a_scene_of_one_frame_has_one_picture() -> None:
    found = colours(Reel([(0.0, RED)], 0.04), pictures_a_scene=3)
    assert [one.seen for one in found.scenes] == [["R"]]
    assert (found.motion, found.change) == ("", None)
    assert found.pace == "low"


def test_only_so_many_scenes_are_looked_at_and_all_are_told() -> None:
    found = colours(reel(*[((RED, BLUE)[at % 2], 1.0) for at in range(6)]), most_scenes=2)
    assert [one.seen for one in found.scenes] == [["R"], ["B"], None, None, None, None]
    assert found.pace == "high"


def test_what_moves_counts_within_scenes_and_cuts_do_not() -> None:
    photo = np.asarray(photograph("coffee.png").resize((120, 80)))

    def panned(step: int) -> Reel:
        images = [
            (at / RATE, Image.fromarray(np.roll(photo, step * at, axis=1))) for at in range(60)
        ]
        return Reel(images, 3.0)

    still, slow, fast = (colours(panned(step)) for step in (0, 1, 5))
    assert still.change == 0
    assert slow.change is not None
    assert fast.change is not None
    assert 0 < slow.change < fast.change
    assert (still.motion, fast.motion) == ("low", "high")
    assert colours(reel((RED, 1.0), (GREEN, 1.0), (BLUE, 1.0))).change == 0


def test_a_clip_that_changes_its_size_is_watched_through() -> None:
    other = BLUE.resize((32, 40))
    found = colours(reel((RED, 1.0), (other, 1.0)))
    assert [one.seen for one in found.scenes] == [["R"], ["B"]]


def test_of_a_long_clip_each_picture_is_a_scene_without_a_length() -> None:
    found = colours(Reel([(100.0, RED), (900.0, BLUE)], 1000.0, watched=False))
    assert [(one.start, one.seconds) for one in found.scenes] == [(100.0, None), (900.0, None)]
    assert (found.pace, found.motion, found.cuts_a_minute) == ("", "", None)
    assert "longer than 600 s: 2 pictures" in found.without


def test_without_the_package_it_is_one_scene(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    found = colours(reel((RED, 1.0), (BLUE, 1.0)))
    assert len(found.scenes) == 1
    assert found.pace == ""
    assert "adwright[creative]" in found.without
    assert found.motion == "high"


def test_levels() -> None:
    assert [pace_level(rate) for rate in (0, 14.4, 14.5, 39.9, 40)] == [
        "low",
        "low",
        "medium",
        "medium",
        "high",
    ]
    assert [motion_level(change) for change in (0, 0.01, 0.06)] == ["low", "medium", "high"]
