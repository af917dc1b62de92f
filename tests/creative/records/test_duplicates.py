"""Near-duplicates are found exactly, as by counting the bits of every pair, but in time."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError
from adwright.creative.records.duplicates import near_duplicates, normal_text, perceptual_hash

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


def looking(hashes: np.ndarray, texts: np.ndarray, **how: object) -> dict[str, str]:
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
    assert looking(hashes, texts, by=by, radius=radius) == expected


def test_wrong_bounds() -> None:
    for radius in (-1, 64):
        with pytest.raises(ConfigError, match="bits"):
            near_duplicates(pl.DataFrame({"creative_id": ["a"]}), radius=radius)


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 2**64, 100_000, np.uint64)
    hashes[50_000:50_500] = hashes[:500] ^ (np.uint64(1) << rng.integers(0, 64, 500, np.uint64))
    began = time.process_time()
    found = looking(hashes, np.zeros(100_000), by="image")
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
