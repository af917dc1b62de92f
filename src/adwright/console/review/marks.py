"""A text in pieces, so that a page can mark what changed and what a check found.

pieces_of("Best tea", changed=((0, 4),), found=((0, 4),))
== (MarkedPiece("Best", changed=True, found=(1,), opens=(1,)), MarkedPiece(" tea"))
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from adwright.console.review.word_diff import Spans

#: Findings that are marked in one text; the list beside it has all.
_MOST = 200


@dataclass(frozen=True)
class MarkedPiece:
    """A part of a text. changed: it is not in the other text. found: the numbers, from 1, of the
    findings that it belongs to; closes: of those that end with it."""

    text: str
    changed: bool = False
    found: tuple[int, ...] = ()
    closes: tuple[int, ...] = ()


def pieces_of(
    text: str, changed: Spans = (), found: Sequence[tuple[int, int]] = ()
) -> tuple[MarkedPiece, ...]:
    """The pieces, which joined are the text.

    changed: places that differ from the other text. found: places of findings, in their order;
    they may lie in each other, and beyond the text, where nothing is marked.
    """
    length = len(text)
    inside = {
        number: (max(0, start), min(length, end))
        for number, (start, end) in enumerate(found[:_MOST], 1)
        if start < min(length, end) and end > 0
    }
    cuts = {0, length}
    for start, end in (*changed, *inside.values()):
        cuts |= {max(0, start), min(length, end)}
    borders = sorted(cuts)
    begins = [start for start, _ in changed]
    pieces = list[MarkedPiece]()
    for start, end in pairwise(borders):
        covering = tuple(n for n, (a, b) in inside.items() if a <= start and end <= b)
        pieces.append(
            MarkedPiece(
                text[start:end],
                (at := bisect_right(begins, start)) > 0 and end <= changed[at - 1][1],
                covering,
                tuple(n for n in covering if inside[n][1] == end),
            )
        )
    return tuple(pieces)
