from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError
from adwright.creative.records.seeing.describe import Describer
from adwright.creative.records.seeing.settings import SeeingSettings
from adwright.creative.records.verbal.record import AdRecord, Scene
from tests.support.creative.drawn_ads import Shot, drawn, film, photograph, portrait, saved

SHOTS = [
    Shot("ivory", words="Fresh bread", frames=24),
    Shot("darkblue", "orange", frames=30),
    Shot("white", pasted=portrait(110), frames=26),
]
FILM = film(SHOTS, (360, 240))
BANNER = saved(drawn(Shot("darkblue", "orange", "Two for $3"), (400, 240)))


@pytest.fixture(scope="module")
def describer() -> Describer:
    return Describer()


def why(record: AdRecord, part: str) -> str:
    return dict(record.absent)[part]


def test_a_text_is_its_own_record(describer: Describer) -> None:
    made = describer.describe(brand="Mill Lane", title="Fresh bread", words="Baked at six.")
    assert made == AdRecord(brand="Mill Lane", title="Fresh bread", words="Baked at six.")


def test_a_picture_comes_back_as_it_was_drawn(describer: Describer) -> None:
    made = describer.describe(BANNER, brand="Mill Lane")
    assert (made.kind, made.brand, made.orientation) == ("image", "Mill Lane", "landscape")
    (scene,) = made.scenes
    assert scene.foreground == ("orange",)
    assert scene.background == ("dark blue",)
    assert scene.words == ("Two for $3",)
    assert (scene.faces, scene.tags, scene.complexity) == (0, (), "low")
    assert dict(made.absent).keys() == {"caption", "style", "emotions"}


def test_a_film_comes_back_scene_by_scene(describer: Describer) -> None:
    made = describer.describe(FILM, title="Fresh bread")
    assert (made.kind, made.title) == ("video", "Fresh bread")
    assert made.seconds == pytest.approx(4.0, abs=0.05)
    assert [one.start for one in made.scenes] == pytest.approx([0, 1.2, 2.7], abs=0.051)
    assert [one.faces for one in made.scenes] == [0, 0, 1]
    assert [one.words for one in made.scenes] == [("Fresh bread",), (), ()]
    assert [one.background[0] for one in made.scenes] == ["off white", "dark blue", "white"]
    assert (made.pace, made.motion) == ("medium", "low")
    assert dict(made.absent).keys() == {"caption", "style", "emotions", "speech"}


def test_an_animation_is_a_film() -> None:
    frames = [drawn(Shot(ground)) for ground in ("red", "darkblue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=1500)
    made = Describer(["colours"]).describe(data)
    assert (made.kind, made.seconds) == ("video", 3.0)
    assert [one.background for one in made.scenes] == [("red",), ("dark blue",)]
    assert [one.start for one in made.scenes] == [0.0, 1.5]


def test_what_is_not_asked_for_is_absent_and_empty() -> None:
    made = Describer(["faces"]).describe(BANNER)
    assert made.scenes == (Scene(faces=0),)
    assert {part for part, reason in made.absent if "not asked" in reason} == {
        "colours",
        "words",
        "tags",
    }
    assert Describer([]).describe(BANNER).scenes == (Scene(),)
    with pytest.raises(ConfigError, match="color"):
        Describer(["color"])  # type: ignore[list-item]


def test_without_a_package_the_rest_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    made = Describer(["words", "colours"]).describe(FILM)
    assert "adwright[creative]" in why(made, "words")
    assert "adwright[creative]" in why(made, "pace")
    assert "adwright[creative]" in why(made, "scenes")
    assert len(made.scenes) == 1
    assert made.scenes[0].words == ()
    assert made.scenes[0].background


def test_without_what_opens_it_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="extra video"):
        Describer([]).describe(FILM)


def test_a_second_look_costs_a_hash_whatever_the_name(tmp_path: Path) -> None:
    first = Describer(cache=tmp_path / "seen")
    files = {"a.png": BANNER, "b.mp4": FILM}
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    made = [first.describe(tmp_path / name) for name in files]
    again = Describer(cache=tmp_path / "seen")
    start = time.process_time()
    assert [again.describe(data, name="another") for data in files.values()] == made
    assert time.process_time() - start < 0.1
    assert [again.describe(tmp_path / name, brand="Mill Lane") for name in files] == [
        replace(one, brand="Mill Lane") for one in made
    ]


def test_what_the_cache_lacks_is_looked_for(tmp_path: Path) -> None:
    Describer(["colours"], cache=tmp_path).describe(FILM)
    whole = Describer(["colours", "faces"], cache=tmp_path).describe(FILM)
    assert whole == Describer(["colours", "faces"]).describe(FILM)
    for path in tmp_path.glob("faces-*/*/*.json"):
        path.write_text("{")
    assert Describer(["colours", "faces"], cache=tmp_path).describe(FILM) == whole


def test_what_could_not_look_is_not_kept(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "rapidocr", None)
        assert why(Describer(["words"], cache=tmp_path).describe(BANNER), "words")
    assert Describer(["words"], cache=tmp_path).describe(BANNER).scenes[0].words == ("Two for $3",)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"most_seconds": 2.0, "samples": 3}, {"pace", "motion", "scenes"}),
        ({"most_scenes": 2}, {"scenes"}),
        ({"pictures_a_scene": 2}, set()),
        ({"threads": 2}, set()),
    ],
)
def test_bounds_are_kept_and_said(settings: dict[str, Any], said: set[str], tmp_path: Path) -> None:
    usual = Describer(["colours"], cache=tmp_path).describe(FILM)
    made = Describer(["colours"], cache=tmp_path, settings=SeeingSettings(**settings)).describe(
        FILM
    )
    new = dict(made.absent).keys() - dict(usual.absent).keys()
    assert new == said
    assert made.seconds == pytest.approx(usual.seconds, abs=0.05)
    if "most_seconds" in settings:
        assert [one.seconds for one in made.scenes] == [None] * len(made.scenes)
    elif "most_scenes" in settings:
        assert [bool(one.background) for one in made.scenes] == [True, True, False]


def test_a_damaged_film_is_described_as_far_as_it_goes() -> None:
    data = film([Shot("red", "gold", frames=100, moves=2)], container="matroska")
    made = Describer(["colours"]).describe(data[: len(data) // 2])
    assert "ends after" in why(made, "frames")
    assert made.scenes[0].foreground


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (1500, 3)])
def test_odd_sizes_are_described(describer: Describer, size: tuple[int, int]) -> None:
    made = describer.describe(saved(Image.new("RGB", size, "red")))
    assert made.scenes[0].foreground == ("red",)
    assert made.scenes[0].words == ()


def test_what_is_neither_is_refused_by_its_name(describer: Describer) -> None:
    with pytest.raises(FileUnreadableError, match="it is text") as caught:
        describer.describe(b"Fresh bread", name="spring.png")
    assert caught.value.file == "spring.png"


def test_a_real_photograph(describer: Describer) -> None:
    made = describer.describe(saved(photograph("astronaut.png"), "JPEG"))
    assert made.scenes[0].faces == 1
    assert made.orientation == "square"
