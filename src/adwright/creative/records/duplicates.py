"""Near-duplicates among creatives: images that look the same, texts that read the same.

    looks = {one.image_hash: perceptual_hash(path) for one, path in images}
    groups = near_duplicates(creatives, looks)       # creative_id, representative, size

A perceptual hash has 64 bits, of which a new size, another compression or a small edit changes
few. Images are near where at most `radius` bits differ (the default 8 of 64). The pairs are
exact: each half of a multi-index (Norouzi, Punjani and Fleet, "Fast search in Hamming space with
multi-index hashing", CVPR 2012) is a sorted column of pieces of the hash. With m pieces, two hashes
within the radius r agree in one of them up to r // m bits, so only such pairs are counted out.
100,000 hashes take some seconds, and no loop of Python over them.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, FileUnreadableError, MissingExtraError
from adwright.data.creatives import SLOTS

#: What near-duplicates share: the look of their image, their text, or both.
Likeness = Literal["image", "text", "both"]

Words = NDArray[np.uint64]
Ints = NDArray[np.int64]

_BITS, _BLOCK = 64, 1 << 21
_ONE = np.uint64(1)


def perceptual_hash(image: str | Path | bytes) -> int:
    """The 64 bits of an image's look (pHash: signs of the low frequencies of its brightness).

    image: a file, or its bytes. Equal looks give equal bits, and like ones differ in few.
    Raises MissingExtraError without ImageHash, FileUnreadableError for what is no image.
    """
    library, images = _libraries()
    name = "" if isinstance(image, bytes) else str(image)
    try:
        with images.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            bits = np.asarray(library.phash(opened).hash, bool).reshape(-1)
    # A bomb is an image of more pixels than any screen; its class is no OSError.
    except (OSError, ValueError, SyntaxError, images.DecompressionBombError) as error:
        raise FileUnreadableError(
            f"this is no image that can be read: {error}",
            file=name,
            hint="pass a PNG, JPEG, GIF or WebP file",
        ) from error
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def normal_text(text: str) -> str:
    """Text without what does not change how it reads: case, accents of width, signs and blanks.

    >>> normal_text("Fresh BREAD -  today!"), normal_text("ｆｒｅｓｈ bread, today")
    ('fresh bread today', 'fresh bread today')
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    words = "".join(sign if sign.isalnum() or _is_mark(sign) else " " for sign in folded)
    return " ".join(words.split())


def near_pairs(hashes: Words, radius: int) -> Ints:
    """All pairs of hashes of which at most `radius` bits differ.

    hashes: uint64 [N], all different or not. radius: from 0 to 63.
    Returns int64 [P, 2], places in `hashes`, the smaller first, sorted; each pair once.
    Where many hashes are equal there are as many pairs as pairs of them: group those first.
    """
    found = [pairs for pairs in _blocks_of_pairs(np.asarray(hashes, np.uint64), radius)]
    if not found:
        return np.empty((0, 2), np.int64)
    return np.unique(np.concatenate(found), axis=0)


def group_pairs(count: int, pairs: Ints) -> Ints:
    """The least member of the group of each of `count` things, where pairs share a group.

    pairs: int64 [P, 2]. Returns int64 [count]. Groups are closed: of a ~ b and b ~ c all three are
    in one, however far a is from c.
    """
    root = np.arange(count)
    _join(root, np.asarray(pairs, np.int64).reshape(-1, 2))
    return root


def near_duplicates(
    creatives: pl.DataFrame,
    looks: Mapping[str, int] | None = None,
    *,
    by: Likeness = "both",
    radius: int = 8,
) -> pl.DataFrame:
    """The groups of creatives that are near-duplicates; those that are like no other are left out.

    creatives: creative_id, image_hash and text slots, as in CREATIVES; slots may be absent.
    looks: image_hash -> `perceptual_hash` of the image. by: "image" needs looks within the radius,
    "text" equal texts after `normal_text`, "both" the two at once; creatives without an image are
    then like each other by their text alone. A creative with neither is like none.
    Returns creative_id, representative (the creative_id of the group that comes first), size.
    """
    if by not in ("image", "text", "both"):
        raise ConfigError(f"{by!r} is no likeness", where="by", hint="use image, text or both")
    if not 0 <= radius < _BITS:
        raise ConfigError(
            f"{radius} is no number of bits", where="radius", hint=f"use 0 to {_BITS - 1}"
        )
    ids = creatives["creative_id"].to_list()
    look = _looks_of(creatives, looks or {})
    text, silent = _texts_of(creatives)
    has_look = np.array([one is not None for one in look], bool)
    words = np.array([one or 0 for one in look], np.uint64)
    match by:
        case "text":
            roots = _group_by_key(text, ~silent)
        case "image":
            roots = _group_by_look(words, np.zeros(len(ids), np.int64), has_look, radius)
        case "both":
            roots = _group_by_look(words, text, has_look, radius)
            plain = _group_by_key(text, ~silent & ~has_look)
            roots = np.where(has_look, roots, plain)
    groups = pl.DataFrame(
        {"creative_id": ids, "representative": [ids[root] for root in roots.tolist()]},
        schema={"creative_id": pl.String, "representative": pl.String},
    )
    return groups.with_columns(size=pl.len().over("representative")).filter(pl.col("size") > 1)


def _group_by_look(words: Words, key: Ints, there: NDArray[np.bool_], radius: int) -> Ints:
    """Groups of those that are `there`, have one key and looks within the radius."""
    root = np.arange(len(words))
    places = np.flatnonzero(there)
    if not len(places):
        return root
    # What is equal in look and key is one, so that no pairs are made of it.
    both = np.stack([words[places], key[places].astype(np.uint64)], axis=1)
    _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    first, which = first[order], rank[which.reshape(-1)]
    kept = places[first]
    small = np.arange(len(kept))
    # Bits that differ are counted between looks alone; of those with another key nothing is made.
    distinct, where = np.unique(words[kept], return_inverse=True)
    for pairs in _blocks_of_pairs(distinct, radius):
        _join_keys(small, pairs, where.reshape(-1), key[kept])
    _join_keys(small, np.stack([np.arange(len(distinct))] * 2, 1), where.reshape(-1), key[kept])
    root[places] = kept[small[which]]
    return root


def _join_keys(root: Ints, pairs: Ints, where: Ints, key: Ints) -> None:
    """Join the members of paired looks that share a key. where: look of each member [K]."""
    order = np.argsort(where, kind="stable")
    starts = np.searchsorted(where[order], np.arange(where.max() + 2))
    sizes = np.diff(starts)
    for part in np.array_split(pairs, max(1, len(pairs) // _BLOCK)):
        one = np.repeat(np.arange(len(part)), sizes[part[:, 0]] * sizes[part[:, 1]])
        if not len(one):
            continue
        ends = np.cumsum(sizes[part[:, 0]] * sizes[part[:, 1]])
        inner = np.arange(len(one)) - (ends - sizes[part[:, 0]] * sizes[part[:, 1]])[one]
        width = sizes[part[:, 1]][one]
        left = order[starts[part[:, 0]][one] + inner // width]
        right = order[starts[part[:, 1]][one] + inner % width]
        same = (key[left] == key[right]) & (left != right)
        _join(root, np.stack([left[same], right[same]], axis=1))


def _group_by_key(key: Ints, there: NDArray[np.bool_]) -> Ints:
    root = np.arange(len(key))
    places = np.flatnonzero(there)
    _, first, which = np.unique(key[places], return_index=True, return_inverse=True)
    root[places] = places[first[which.reshape(-1)]]
    return root


def _join(root: Ints, pairs: Ints) -> None:
    """Let the members of each pair have one root, the least of their groups; in place."""
    left, right = root[pairs[:, 0]], root[pairs[:, 1]]
    while (apart := left != right).any():
        left, right = left[apart], right[apart]
        np.minimum.at(root, np.maximum(left, right), np.minimum(left, right))
        # Roots of roots, until each is its own.
        while not np.array_equal(above := root[root], root):
            root[:] = above
        left, right = root[left], root[right]


def _blocks_of_pairs(hashes: Words, radius: int) -> Iterator[Ints]:
    """The pairs within the radius, in blocks; a pair may come more than once."""
    if not 0 <= radius < _BITS:
        raise ConfigError(
            f"{radius} is no number of bits", where="radius", hint=f"use 0 to {_BITS - 1}"
        )
    # So many pieces that within the radius one differs in one bit at most.
    pieces = radius // 2 + 1
    edges = np.linspace(0, _BITS, pieces + 1).astype(int)
    for low, high in pairwise(edges.tolist()):
        width = high - low
        mask = np.uint64((1 << width) - 1)
        key = (hashes >> np.uint64(low)) & mask
        order = np.argsort(key, kind="stable")
        ordered = key[order]
        ends = np.searchsorted(ordered, ordered, side="right")
        # Equal pieces: each with those behind it.
        after = np.arange(1, len(order) + 1)
        yield from _within(hashes, order, order, after, ends, radius)
        for bit in range(width if radius // pieces else 0):
            # Pieces that differ in this bit: from the side on which it is not set.
            flip = _ONE << np.uint64(bit)
            here = np.flatnonzero((ordered & flip) == 0)
            other = ordered[here] | flip
            first = np.searchsorted(ordered, other, side="left")
            last = np.searchsorted(ordered, other, side="right")
            yield from _within(hashes, order, order[here], first, last, radius)


def _within(
    hashes: Words, order: Ints, ones: Ints, first: Ints, last: Ints, radius: int
) -> Iterator[Ints]:
    """The pairs of `ones` [M] and the members first to last of `order` that are near enough."""
    counts = last - first
    # Blocks of about as many pairs; a single one may have more.
    block = np.cumsum(counts) // _BLOCK
    for part in np.split(np.arange(len(ones)), np.flatnonzero(np.diff(block)) + 1):
        many = counts[part]
        total = int(many.sum())
        if not total:
            continue
        left = np.repeat(ones[part], many)
        inner = np.arange(total) - np.repeat(np.cumsum(many) - many, many)
        right = order[np.repeat(first[part], many) + inner]
        near = _count_bits(hashes[left] ^ hashes[right]) <= radius
        left, right = left[near], right[near]
        yield np.stack([np.minimum(left, right), np.maximum(left, right)], axis=1)


def _count_bits(words: Words) -> NDArray[Any]:
    """How many bits of each word are set."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(words))
    bits = words - ((words >> _ONE) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


def _looks_of(creatives: pl.DataFrame, looks: Mapping[str, int]) -> list[int | None]:
    if "image_hash" not in creatives.columns:
        return [None] * creatives.height
    return [looks.get(one) if one else None for one in creatives["image_hash"].to_list()]


def _texts_of(creatives: pl.DataFrame) -> tuple[Ints, NDArray[np.bool_]]:
    """A number of each text, the same for texts that read alike; and which are empty."""
    slots = [slot for slot in SLOTS if slot in creatives.columns]
    if not slots:
        return np.zeros(creatives.height, np.int64), np.ones(creatives.height, bool)
    # Slots are kept apart: a headline is not a body.
    rows = creatives.select(pl.col(slots).cast(pl.String).fill_null("")).iter_rows()
    numbers: dict[tuple[str, ...], int] = {}
    keys = [tuple(normal_text(part) for part in row) for row in rows]
    found = np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)
    return found, np.array([not any(key) for key in keys], bool)


def _is_mark(sign: str) -> bool:
    """Whether it belongs to the letter before it, as vowels of many scripts do."""
    return unicodedata.category(sign).startswith("M")


def _libraries() -> tuple[Any, Any]:
    try:
        import imagehash
        from PIL import Image
    except ImportError as error:
        raise MissingExtraError("perceptual hashes of images", "creative") from error
    return imagehash, Image
