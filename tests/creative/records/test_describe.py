from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError, ResourceError
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import read_ads
from adwright.creative.records.describe import Describer, SeenCache, describe_table
from adwright.creative.records.media import SeeingSettings
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


def looking(parts: list[str], *, cache: Path | None = None, **more: Any) -> Describer:
    """A describer that looks for these parts."""
    return Describer(cache=cache, settings=SeeingSettings(parts=tuple(parts), **more))


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


def test_what_is_not_asked_for_is_absent_and_empty() -> None:
    made = looking(["faces"]).describe(BANNER)
    assert made.scenes == (Scene(faces=0),)
    assert {part for part, reason in made.absent if "not asked" in reason} == {
        "colours",
        "words",
        "tags",
    }
    assert looking([]).describe(BANNER).scenes == (Scene(),)
    with pytest.raises(ConfigError, match="color"):
        looking(["color"])


def test_without_a_package_the_rest_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    monkeypatch.setitem(sys.modules, "scenedetect", None)
    made = looking(["words", "colours"]).describe(FILM)
    assert "adwright[creative]" in why(made, "words")
    assert "adwright[creative]" in why(made, "pace")
    assert "adwright[creative]" in why(made, "scenes")
    assert len(made.scenes) == 1
    assert made.scenes[0].words == ()
    assert made.scenes[0].background


def test_without_what_opens_it_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="extra video"):
        looking([]).describe(FILM)


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
    looking(["colours"], cache=tmp_path).describe(FILM)
    whole = looking(["colours", "faces"], cache=tmp_path).describe(FILM)
    assert whole == looking(["colours", "faces"]).describe(FILM)
    for path in tmp_path.glob("faces-*/*/*.json"):
        path.write_text("{")
    assert looking(["colours", "faces"], cache=tmp_path).describe(FILM) == whole


def test_what_could_not_look_is_not_kept(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "rapidocr", None)
        assert why(looking(["words"], cache=tmp_path).describe(BANNER), "words")
    assert looking(["words"], cache=tmp_path).describe(BANNER).scenes[0].words == ("Two for $3",)


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
    usual = looking(["colours"], cache=tmp_path).describe(FILM)
    made = looking(["colours"], cache=tmp_path, **settings).describe(FILM)
    new = dict(made.absent).keys() - dict(usual.absent).keys()
    assert new == said
    assert made.seconds == pytest.approx(usual.seconds, abs=0.05)
    if "most_seconds" in settings:
        assert [one.seconds for one in made.scenes] == [None] * len(made.scenes)
    elif "most_scenes" in settings:
        assert [bool(one.background) for one in made.scenes] == [True, True, False]


@pytest.mark.parametrize("size", [(1, 1), (2, 900), (1500, 3)])
def test_odd_sizes_are_described(describer: Describer, size: tuple[int, int]) -> None:
    made = describer.describe(saved(Image.new("RGB", size, "red")))
    assert made.scenes[0].foreground == ("red",)
    assert made.scenes[0].words == ()


def test_a_real_photograph(describer: Describer) -> None:
    made = describer.describe(saved(photograph("astronaut.png"), "JPEG"))
    assert made.scenes[0].faces == 1
    assert made.orientation == "square"


KEY = "9f" + "0" * 62
PLAIN = st.recursive(
    st.booleans() | st.integers(-(10**9), 10**9) | st.floats(-1e6, 1e6) | st.text(),
    lambda one: st.lists(one, max_size=4) | st.dictionaries(st.text(), one, max_size=4),
    max_leaves=8,
)


@given(value=PLAIN)
def test_what_is_kept_comes_back(value: object, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = SeenCache(tmp_path_factory.getbasetemp() / "kept")
    cache.put("words", "1", KEY, value)
    assert cache.get("words", "1", KEY) == value


def test_another_part_version_or_content_finds_nothing(tmp_path: Path) -> None:
    cache = SeenCache(tmp_path / "new")
    assert cache.get("words", "1", KEY) is None
    cache.put("words", "1", KEY, ["Fresh bread"])
    assert cache.get("faces", "1", KEY) is None
    assert cache.get("words", "2", KEY) is None
    assert cache.get("words", "1", "00" + KEY[2:]) is None
    assert SeenCache(tmp_path / "new").get("words", "1", KEY) == ["Fresh bread"]


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def changed(path: Path) -> None:
    path.write_text(path.read_text().replace("bread", "bears"))


def binary(path: Path) -> None:
    path.write_bytes(b"\xff\x00" * 99)


def nested(path: Path) -> None:
    path.write_text("[" * 100_000)


def another(path: Path) -> None:
    path.write_text("[1, 2]")


def linked(path: Path) -> None:
    path.rename(path.with_suffix(".moved"))
    path.symlink_to(path.with_suffix(".moved"))


def piped(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("harm", [emptied, cut, changed, binary, nested, another, linked, piped])
def test_a_damaged_file_counts_as_missing_and_is_written_anew(
    tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    cache = SeenCache(tmp_path)
    cache.put("words", "1", KEY, ["Fresh bread"])
    (path,) = tmp_path.rglob("*.json")
    harm(path)
    assert cache.get("words", "1", KEY) is None
    cache.put("words", "1", KEY, ["Fresh bread"])
    assert cache.get("words", "1", KEY) == ["Fresh bread"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="file"):
        SeenCache(tmp_path / "file" / "seen").put("words", "1", KEY, [])


def _write(folder: str, value: int) -> None:
    cache = SeenCache(folder)
    for _ in range(20):
        cache.put("words", "1", KEY, [value] * 500)
        found = cache.get("words", "1", KEY)
        if found not in ([0] * 500, [1] * 500):
            raise SystemExit(1)


def test_processes_that_write_the_same_never_read_half(tmp_path: Path) -> None:
    context = get_context("fork")
    workers = [context.Process(target=_write, args=(str(tmp_path), at)) for at in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]


def test_what_the_table_says_stays(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    said = "The ad is an image. The ad is shot in portrait orientation."
    rows = [
        "id,text,brand,image",
        f"a,{said},Mill Lane,red.png",
        "b,,Mill Lane,broken.png",
        "c,,Mill Lane,",
        "d,,Mill Lane,red.png",
    ]
    (tmp_path / "ads.csv").write_text("\n".join(rows) + "\n", "utf-8")
    table = read_ads(tmp_path / "ads.csv")
    found = describe_table(table, looking(["colours"]))
    assert (found.looked, list(found.unread)) == (2, [1])
    assert isinstance(found.unread[1], FileUnreadableError)
    assert found.unread[1].file.endswith("broken.png")
    assert "3 ads" in capsys.readouterr().err
    told, broken, plain, seen = found.records
    assert (told.orientation, seen.orientation) == ("portrait", "landscape")
    assert told.scenes[0].foreground == seen.scenes[0].foreground != ()
    assert {record.brand for record in found.records} == {"Mill Lane"}
    assert broken.absent[-1][0] == "media"
    assert plain == table.records[2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("parts", ("colors",)),
        ("parts", ("faces", "faces")),
        ("word_confidence", 0.0),
        ("face_score", 1.5),
        ("tag_probability", -1.0),
        ("tag_probability", float("nan")),
        ("pictures_a_scene", 0),
        ("most_scenes", 0),
        ("samples", -3),
        ("threads", 0),
        ("most_seconds", 0.0),
        ("most_seconds", float("inf")),
        ("offline", "yes"),
    ],
)
def test_what_is_out_of_range_is_refused_by_name(name: str, value: Any) -> None:
    assert name in {one.name for one in fields(SeeingSettings)}
    with pytest.raises(ConfigError, match=name):
        SeeingSettings(**{name: value})
