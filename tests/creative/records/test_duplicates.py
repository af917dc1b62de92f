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
from adwright.creative.records.duplicates import (
    group_pairs,
    near_duplicates,
    near_pairs,
    normal_text,
    perceptual_hash,
)

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


@pytest.mark.parametrize("radius", [0, 1, 2, 3, 5, 8, 11, 16])
def test_pairs_are_those_of_counting(radius: int) -> None:
    hashes = clustered(240, radius)
    pairs = near_pairs(hashes, radius)
    assert pairs.dtype == np.int64
    assert list(map(tuple, pairs.tolist())) == sorted(by_counting(hashes, radius))


def test_few_hashes_and_wrong_bounds() -> None:
    assert near_pairs(np.array([], np.uint64), 8).shape == (0, 2)
    assert near_pairs(np.array([7], np.uint64), 8).shape == (0, 2)
    assert near_pairs(np.array([7, 7], np.uint64), 0).tolist() == [[0, 1]]
    for radius in (-1, 64):
        with pytest.raises(ConfigError, match="bits"):
            near_pairs(np.array([7, 7], np.uint64), radius)
        with pytest.raises(ConfigError, match="bits"):
            near_duplicates(pl.DataFrame({"creative_id": ["a"]}), radius=radius)


def test_a_hundred_thousand_hashes_take_seconds() -> None:
    rng = np.random.default_rng(5)
    hashes = rng.integers(0, 2**64, 100_000, np.uint64)
    near = hashes[:500] ^ (np.uint64(1) << rng.integers(0, 64, 500, np.uint64))
    hashes[50_000:50_500] = near
    began = time.process_time()
    pairs = near_pairs(hashes, 8)
    assert time.process_time() - began < 30
    found = set(map(tuple, pairs.tolist()))
    assert {(i, i + 50_000) for i in range(500)} <= found
    # All of those of the first two hundred, and none that is too far.
    for i in range(200):
        apart = np.bitwise_count(hashes ^ hashes[i])
        close = set(np.flatnonzero(apart <= 8).tolist()) - {i}
        assert close == {a + b - i for a, b in found if i in (a, b)}
    assert all(bits_apart(int(hashes[a]), int(hashes[b])) <= 8 for a, b in found)


def test_groups_are_closed_and_named_by_their_first() -> None:
    rng = np.random.default_rng(3)
    for count in (1, 10, 300):
        pairs = rng.integers(0, count, (count // 2, 2))
        # Literally: paint neighbours until nothing changes.
        colour = list(range(count))
        for _ in range(count):
            for one, other in pairs.tolist():
                colour[one] = colour[other] = min(colour[one], colour[other])
        assert group_pairs(count, pairs).tolist() == colour
    chain = np.array([[n, n + 1] for n in range(999)])
    assert group_pairs(1000, chain[::-1]).tolist() == [0] * 1000


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


def test_groups_of_both_are_those_of_counting() -> None:
    rng = np.random.default_rng(8)
    hashes = clustered(150, 4)
    texts = rng.integers(0, 3, 150)
    frame = pl.DataFrame(
        {
            "creative_id": [f"c{n}" for n in range(150)],
            "image_hash": [f"i{n}" for n in range(150)],
            "body": [f"text {n}" for n in texts],
        }
    )
    looks = {f"i{n}": int(one) for n, one in enumerate(hashes)}
    pairs = [(i, j) for i, j in sorted(by_counting(hashes, 6)) if texts[i] == texts[j]]
    roots = group_pairs(150, np.array(pairs))
    found = near_duplicates(frame, looks, radius=6)
    expected = {f"c{n}": f"c{root}" for n, root in enumerate(roots.tolist())}
    alone = {one for one in expected if list(expected.values()).count(expected[one]) == 1}
    assert dict(found.select("creative_id", "representative").iter_rows()) == {
        one: root for one, root in expected.items() if one not in alone
    }
