"""Near-duplicates among creatives: images that look the same, texts that read the same.

    looks = {one.image_hash: perceptual_hash(path) for one, path in images}
    groups = near_duplicates(creatives, looks)       # creative_id, representative, size

A perceptual hash has 64 bits, of which a new size, another compression or a small edit changes
few. Images are near where at most `radius` bits differ (the default 8 of 64). The pairs are
exact: of radius + 1 pieces of two such hashes one is the same (Norouzi, Punjani and Fleet, "Fast
search in Hamming space with multi-index hashing", CVPR 2012), so only hashes that share a piece are
compared. 100,000 hashes take some seconds.
"""

from __future__ import annotations

import io
import unicodedata
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, FileUnreadableError, needing
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
    with needing("perceptual hashes of images", "creative"):
        import imagehash
        from PIL import Image
    name = "" if isinstance(image, bytes) else str(image)
    try:
        with Image.open(io.BytesIO(image) if isinstance(image, bytes) else image) as opened:
            bits = np.asarray(imagehash.phash(opened).hash, bool).reshape(-1)
    # A bomb is an image of more pixels than any screen; its class is no OSError.
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
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
    # Marks belong to the letter before them, as vowels of many scripts do.
    marks = {sign for sign in folded if unicodedata.category(sign).startswith("M")}
    words = "".join(sign if sign.isalnum() or sign in marks else " " for sign in folded)
    return " ".join(words.split())


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
    look: list[int | None] = [None] * len(ids)
    if "image_hash" in creatives.columns and looks:
        look = [looks.get(one) if one else None for one in creatives["image_hash"].to_list()]
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
    # What is equal in look and key is one, so that no pairs are made of it.
    both = np.stack([words[places], key[places].astype(np.uint64)], axis=1)
    _, first, which = np.unique(both, axis=0, return_index=True, return_inverse=True)
    root[places] = places[first[which.reshape(-1)]]
    kept = places[first]
    for low, high in pairwise(np.linspace(0, _BITS, radius + 2).astype(int).tolist()):
        piece = (words[kept] << np.uint64(_BITS - high)) >> np.uint64(_BITS - high + low)
        order = np.lexsort((piece, key[kept]))
        ends = np.flatnonzero(np.diff(piece[order]) | np.diff(key[kept][order]).astype(bool)) + 1
        for some in np.split(kept[order], ends):
            for part in np.array_split(some, 1 + len(some) ** 2 // _BLOCK) if len(some) > 1 else ():
                near = _count_bits(words[part, None] ^ words[some]) <= radius
                left, right = np.nonzero(near)
                _join(root, np.stack([part[left], some[right]], axis=1))
    return np.asarray(root[root])


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


def _count_bits(words: Words) -> NDArray[Any]:
    """How many bits of each word are set."""
    if hasattr(np, "bitwise_count"):  # numpy 2
        return np.asarray(np.bitwise_count(words))
    bits = words - ((words >> _ONE) & np.uint64(0x5555555555555555))
    pairs = np.uint64(0x3333333333333333)
    bits = (bits & pairs) + ((bits >> np.uint64(2)) & pairs)
    bits = (bits + (bits >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.asarray((bits * np.uint64(0x0101010101010101)) >> np.uint64(56))


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
