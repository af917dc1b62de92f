"""Near-duplicates among millions of short texts by MinHash, in numpy.

    signs = signatures(texts)           # uint32 [N, 64]
    first = first_alike(signs, 0.85)    # int64 [N]: an earlier text that each is like, or itself

A text is the set of its runs of five characters, after case, width and signs are evened out. Its
signature holds the least of 64 hashes over the set; the share of places in which two signatures
agree estimates the Jaccard similarity of the sets, with a standard error of at most 1/16 (Broder,
"On the resemblance and containment of documents", 1997). Candidates share one of 16 bands of four
places, which two texts of similarity s do with probability 1 - (1 - s^4)^16: 0.999 at s = 0.8.

Within a band, a text is compared with the first and with the next earlier one that share it, which
is our choice: all pairs of a thousand equal texts would be half a million.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError

Signatures = npt.NDArray[np.uint32]
Words = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]

_PLACES, _BANDS = 64, 16
_RUN = 5
_BASE = np.uint64(0x9E3779B97F4A7C15)
_MIX = np.uint64(0xBF58476D1CE4E5B9)
#: Characters of a text that count: what follows them tells no more.
_LONGEST = 4000


def signatures(texts: Iterable[str], *, seed: int = 0) -> Signatures:
    """Signatures of texts, uint32 [N, 64]; the same seed gives the same. Texts without a letter or
    digit are all alike."""
    generator = np.random.default_rng([seed, _PLACES])
    # Multiply-shift hashing: odd factors, and the upper half of the product.
    factors = generator.integers(0, 2**63, _PLACES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    added = generator.integers(0, 2**63, _PLACES, dtype=np.uint64)
    powers = _BASE ** np.arange(_RUN, dtype=np.uint64)
    rows = [_signature(text, factors, added, powers) for text in texts]
    return np.array(rows, np.uint32).reshape(-1, _PLACES)


def even_text(text: str) -> str:
    """The text in lower case, without accents of width and signs, with single blanks.

    >>> even_text("Fresh  BREAD-rolls!")
    'fresh bread rolls'
    """
    folded = unicodedata.normalize("NFKC", text[:_LONGEST]).casefold()
    if not folded.isalnum():
        folded = "".join(sign if sign.isalnum() else " " for sign in folded)
    return " ".join(folded.split())


def similarity(signs: Signatures, one: Ints, other: Ints) -> npt.NDArray[np.float64]:
    """Estimated Jaccard similarity of pairs of rows: float64 [P]. one, other: int64 [P]."""
    return np.asarray((signs[one] == signs[other]).mean(axis=1), np.float64)


def first_alike(signs: Signatures, least: float) -> Ints:
    """For each text the least earlier one that it is like, or itself: int64 [N].

    least: estimated similarity from which on two texts are alike, above 0 and at most 1.
    What is like a text that is like an earlier one leads to that one.
    Raises ConfigError where `least` is no such share.
    """
    if not 0 < least <= 1:
        raise ConfigError("a similarity is a share", where=f"least {least}", hint="0.85, say")
    first = np.arange(len(signs), dtype=np.int64)
    if len(signs) < 2:
        return first
    width = _PLACES // _BANDS
    for band in range(_BANDS):
        key = _band_key(signs[:, band * width : (band + 1) * width])
        order = np.argsort(key, kind="stable")
        same = key[order][1:] == key[order][:-1]
        begins = np.flatnonzero(np.concatenate([[True], ~same]))
        head = order[np.repeat(begins, np.diff([*begins, len(order)]))]
        before = np.concatenate([order[:1], np.where(same, order[:-1], order[1:])])
        for earlier in (head, before):
            _join(first, signs, order, earlier, least)
    return _followed(first)


def _join(first: Ints, signs: Signatures, rows: Ints, earlier: Ints, least: float) -> None:
    pairs = np.flatnonzero(earlier < rows)
    if len(pairs):
        near = pairs[similarity(signs, rows[pairs], earlier[pairs]) >= least]
        np.minimum.at(first, rows[near], earlier[near])


def _followed(first: Ints) -> Ints:
    """Each text with the first of the chain that it is in."""
    while True:
        further = first[first]
        if np.array_equal(further, first):
            return first
        first = further


def _band_key(part: Signatures) -> Words:
    key = np.zeros(len(part), np.uint64)
    for column in part.T:
        key = (key ^ column.astype(np.uint64)) * _MIX
        key ^= key >> np.uint64(29)
    return key


def _signature(text: str, factors: Words, added: Words, powers: Words) -> npt.NDArray[np.uint32]:
    codes = _codes(even_text(text))
    if len(codes) < _RUN:
        codes = np.concatenate([codes, np.zeros(_RUN - len(codes), np.uint64)])
    runs = np.lib.stride_tricks.sliding_window_view(codes, _RUN)
    hashes = np.unique((runs * powers).sum(axis=1, dtype=np.uint64) * _MIX)
    spread = hashes[:, None] * factors + added
    return np.asarray((spread >> np.uint64(32)).min(axis=0), np.uint32)


def _codes(text: str) -> Words:
    data = text.encode("utf-32-le", "surrogatepass")
    return np.frombuffer(data, np.uint32).astype(np.uint64)
