"""The order in which a rater meets pairs, and the two texts of each.

Both follow from a seed, the rater's name and the pair, so that they are the same when the rater
comes back, and another one's are independent of them. Nobody can tell sources by them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from adwright.console.pairwise.pairs import PairText, ReviewPair


def pair_order(pairs: Sequence[ReviewPair], rater: str, *, seed: int) -> list[int]:
    """The places of the pairs, as a rater meets them."""
    return sorted(range(len(pairs)), key=lambda at: _draw("order", rater, pairs[at].id, seed))


def sides(pair: ReviewPair, rater: str, *, seed: int) -> tuple[PairText, PairText]:
    """The texts that a rater sees on the left and on the right."""
    turned = _draw("side", rater, pair.id, seed)[0] & 1
    return (pair.second, pair.first) if turned else (pair.first, pair.second)


def _draw(what: str, rater: str, pair: str, seed: int) -> bytes:
    parts = "\0".join((what, str(seed), rater, pair))
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).digest()
