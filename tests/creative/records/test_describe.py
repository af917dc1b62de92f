"""?"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as PIL_Image

from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError, ResourceError
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import read_ads
from adwright.creative.records.describe import Describer, SeenCache, describe_table
from adwright.creative.records.duplicates import near_duplicates, normal_text, perceptual_hash
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
    made = describer.describe(saved(PIL_Image.new("RGB", size, "red")))
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
    PIL_Image.new("RGB", (64, 48), "red").save(tmp_path / "red.png")
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


def test_a_part_is_named_once() -> None:
    with pytest.raises(ConfigError, match="parts"):
        SeeingSettings(parts=("faces", "faces"))


Image = pytest.importorskip("PIL.Image")


def draw(seed: int, *, size: int = 96) -> object:
    """A picture of a few soft patches."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (6, 6, 3), np.uint8)
    return Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)


def packed(picture: object, kind: str, **how: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)  # type: ignore[attr-defined]
    return out.getvalue()


def bits_apart(one: int, other: int) -> int:
    return (one ^ other).bit_count()


def test_what_looks_the_same_has_near_hashes(tmp_path: Path) -> None:
    first = perceptual_hash(packed(draw(1), "PNG"))
    assert 0 <= first < 2**64
    assert bits_apart(first, perceptual_hash(packed(draw(1), "JPEG", quality=40))) <= 8
    assert bits_apart(first, perceptual_hash(packed(draw(1, size=200), "PNG"))) <= 8
    assert bits_apart(first, perceptual_hash(packed(draw(2), "PNG"))) > 8
    (tmp_path / "a.png").write_bytes(packed(draw(1), "PNG"))
    assert perceptual_hash(tmp_path / "a.png") == first


@pytest.mark.parametrize("data", [b"", b"no image", packed(draw(1), "PNG")[:60]])
def test_what_is_no_image_is_refused(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(FileUnreadableError, match="no image"):
        perceptual_hash(data)
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(FileUnreadableError, match=r"a\.png"):
        perceptual_hash(tmp_path / "a.png")


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "imagehash", None)
    with pytest.raises(MissingExtraError, match="creative"):
        perceptual_hash(b"")


def by_counting(hashes: np.ndarray, radius: int) -> set[tuple[int, int]]:
    """Every pair, bit by bit."""
    some = [int(one) for one in hashes]
    return {
        (i, j)
        for i in range(len(some))
        for j in range(i + 1, len(some))
        if bits_apart(some[i], some[j]) <= radius
    }


def clustered(count: int, seed: int) -> np.ndarray:
    """Hashes of which many are few bits apart; some are equal, some nearly empty."""
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**64, 1 + count // 6, np.uint64)
    hashes = rng.choice(centres, count)
    for _ in range(10):
        flip = np.uint64(1) << rng.integers(0, 64, count, np.uint64)
        hashes = np.where(rng.random(count) < 0.5, hashes ^ flip, hashes)
    hashes[: count // 20] = np.uint64(0)
    hashes[count // 20 : count // 10] &= np.uint64(0b1011)
    return hashes


def duplicates_looking(hashes: np.ndarray, texts: np.ndarray, **how: object) -> dict[str, str]:
    """Of each creative of a group its representative."""
    ids = [f"c{n}" for n in range(len(hashes))]
    bodies = [f"text {n}" for n in texts]
    frame = pl.DataFrame({"creative_id": ids, "image_hash": ids, "body": bodies})
    looks = {one: int(look) for one, look in zip(ids, hashes, strict=True)}
    found = near_duplicates(frame, looks, **how)  # type: ignore[arg-type]
    return dict(found.select("creative_id", "representative").iter_rows())


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8, 11, 16, 63])
@pytest.mark.parametrize("by", ["image", "both"])
def test_groups_are_those_of_counting(radius: int, by: str) -> None:
    hashes, texts = clustered(120, radius), np.random.default_rng(8).integers(0, 3, 120)
    pairs = by_counting(hashes, radius)
    pairs = {(i, j) for i, j in pairs if by == "image" or texts[i] == texts[j]}
    # Literally: paint neighbours until nothing changes.
    colour, before = list(range(120)), []
    while colour != before:
        before = list(colour)
        for one, other in pairs:
            colour[one] = colour[other] = min(colour[one], colour[other])
    expected = {f"c{n}": f"c{root}" for n, root in enumerate(colour) if colour.count(root) > 1}
    assert duplicates_looking(hashes, texts, by=by, radius=radius) == expected


def test_wrong_bounds() -> None:
    for radius in (-1, 64):
        with pytest.raises(ConfigError, match="bits"):
            near_duplicates(pl.DataFrame({"creative_id": ["a"]}), radius=radius)


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 2**64, 100_000, np.uint64)
    hashes[50_000:50_500] = hashes[:500] ^ (np.uint64(1) << rng.integers(0, 64, 500, np.uint64))
    began = time.process_time()
    found = duplicates_looking(hashes, np.zeros(100_000), by="image")
    assert time.process_time() - began < 30
    assert {f"c{n + 50_000}" for n in range(500)} <= set(found)
    assert len(found) < 1100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("Fresh  bread!", "fresh BREAD", True),
        ("Fresh\u00a0bread", "fresh, bread…", True),
        ("\uff26resh bread", "Fresh bread", True),
        ("STRASSE", "straße", True),
        ("50% off", "60% off", False),
        ("हिन्दी", "हनद", False),
        ("Fresh bread", "Freshbread", False),
    ],
)
def test_texts_that_read_alike(one: str, other: str, *, same: bool) -> None:
    assert (normal_text(one) == normal_text(other)) == same


NEAR = 0b1111
CREATIVES = pl.DataFrame(
    {
        "creative_id": ["a", "b", "c", "d", "e", "f", "g", "h"],
        "image_hash": ["x", "y", "z", None, None, "lost", "x", None],
        "headline": ["Bread", "bread!", "Rolls", "Bread", "BREAD", "Bread", "Rolls", None],
    }
)
LOOKS = {"x": 0, "y": NEAR, "z": NEAR << 4}


def groups(**settings: object) -> dict[str, list[str]]:
    found = near_duplicates(CREATIVES, LOOKS, **settings)  # type: ignore[arg-type]
    parts = found.group_by("representative", maintain_order=True).agg("creative_id", "size")
    for members, size in zip(parts["creative_id"], parts["size"], strict=True):
        assert size.to_list() == [len(members)] * len(members)
    return {
        name: ids.to_list()
        for name, ids in zip(parts["representative"], parts["creative_id"], strict=True)
    }


def test_likeness_by_look_text_or_both() -> None:
    assert groups(by="image", radius=4) == {"a": ["a", "b", "c", "g"]}
    assert groups(by="image", radius=3) == {"a": ["a", "g"]}
    # y and z are eight bits apart, and each four from x.
    assert (
        near_duplicates(
            CREATIVES.filter(pl.col("creative_id") != "a").head(2), LOOKS, by="image", radius=7
        ).height
        == 0
    )
    assert groups(by="text") == {"a": ["a", "b", "d", "e", "f"], "c": ["c", "g"]}
    assert groups(by="both", radius=4) == {"a": ["a", "b"], "c": ["c", "g"], "d": ["d", "e", "f"]}
    assert groups(by="both", radius=3) == {"d": ["d", "e", "f"]}
    assert groups(radius=8) == groups(by="both", radius=8)
    with pytest.raises(ConfigError, match="likeness"):
        groups(by="sound")


def test_tables_without_images_or_texts() -> None:
    ids = CREATIVES.select("creative_id")
    assert near_duplicates(ids).height == 0
    assert near_duplicates(CREATIVES.drop("headline"), LOOKS, by="text").height == 0
    assert near_duplicates(CREATIVES.drop("image_hash"), by="image").height == 0
    assert near_duplicates(CREATIVES.drop("image_hash")).height == 7
    assert near_duplicates(CREATIVES.clear()).columns == ["creative_id", "representative", "size"]
