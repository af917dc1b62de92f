"""The first items of each rule, without a score for the whole catalogue.

A rule speaks of few items: those that a user had, the neighbours of these, the popular ones of
some categories. These are ordered first, and the places that are left go to popular items. The
lists are those that `NextRules.scores` orders the catalogue by.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adwright.data.ranges import ranges
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.rules import LATEST, NextRule, NextRules, needed

__all__ = ["fill_places", "rule_lists"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class _Said(NamedTuple):
    """What a rule says: score float64 [E], above 0, of item int64 [E] in row int64 [E]; an item
    once a row."""

    row: Ints
    item: Ints
    score: Floats


def rule_lists(
    rules: NextRules, rule: NextRule, pasts: Pasts, k: int, *, unseen: bool = False
) -> Ints:
    """The first k items of each history: int64 [B, k], best first, 0 where there are no more.

    rule: one of `rules.known`. unseen: items of the history are left out.
    """
    width = rules.item_item.items + 1
    had = np.unique(pasts.owner * width + pasts.item)
    said = _said(rules, rule, pasts, k, unseen=unseen)
    if unseen:
        kept = ~np.isin(said.row * width + said.item, had)
        said = _Said(said.row[kept], said.item[kept], said.score[kept])
    # Ties stand by popularity.
    order = np.lexsort((-rules.places[said.item], -said.score, said.row))
    row, item = said.row[order], said.item[order]
    place = np.arange(len(row)) - np.searchsorted(row, np.arange(len(pasts)))[row]
    row, item, place = (part[place < k] for part in (row, item, place))
    found = np.zeros((len(pasts), k), np.int64)
    found[row, place] = item
    taken = row * width + item
    if unseen:
        taken = np.union1d(taken, had)
    fill_places(found, rules.order(rule), taken, width)
    return found


def fill_places(found: Ints, popular: Ints, taken: Ints, width: int) -> None:
    """Put popular items in the places of `found` that are 0, in their order.

    found: int64 [B, k], in each row the places that are 0 come last. popular: int64 [N]. taken:
    row * width + item, int64, of the items that a row has or may not have. width: N + 1.
    """
    lacking = (found == 0).sum(1)
    rows = np.flatnonzero(lacking)
    if not len(rows):
        return
    per_row = np.bincount(taken // width, minlength=len(found))
    first = popular[: int(found.shape[1] + per_row[rows].max())]
    free = ~np.isin(rows[:, None] * width + first, taken)
    place = np.cumsum(free, axis=1) - 1
    chosen = free & (place < lacking[rows, None])
    at, which = np.nonzero(chosen)
    row = rows[at]
    found[row, found.shape[1] - lacking[row] + place[at, which]] = first[which]


def _said(rules: NextRules, rule: NextRule, pasts: Pasts, k: int, *, unseen: bool) -> _Said:
    width = rules.item_item.items + 1
    match rule:
        case "popularity" | "lately":
            none = np.zeros(0, np.int64)
            return _Said(none, none, np.zeros(0))
        case "frequency":
            keys, number = np.unique(pasts.owner * width + pasts.item, return_counts=True)
            return _known(keys, number.astype(np.float64), width)
        case "again":
            keys, which = np.unique(pasts.owner * width + pasts.item, return_inverse=True)
            back = np.full(len(keys), np.iinfo(np.int64).max)
            np.minimum.at(back, which, pasts.back)
            return _known(keys, 1 / (1.0 + back), width)
        case "category":
            return _by_category(rules, pasts, k)
        case "item-item":
            codes, score = rules.item_item.best(pasts, k, unseen=unseen)
            row, place = np.nonzero(codes)
            return _Said(row, codes[row, place], score[row, place].astype(np.float64))


def _known(keys: Ints, score: Floats, width: int) -> _Said:
    known = keys % width > 0
    return _Said(keys[known] // width, keys[known] % width, score[known])


def _by_category(rules: NextRules, pasts: Pasts, k: int) -> _Said:
    """Of each category among the latest items the most popular ones, by its share."""
    category = needed(rules.category, "category")
    latest = pasts.until(LATEST)
    of = category[latest.item]
    size = int(category.max(initial=0)) + 1
    owner = latest.owner[of > 0]
    pairs, number = np.unique(owner * size + of[of > 0], return_counts=True)
    row, kind = pairs // size, pairs % size
    share = number / np.bincount(owner, minlength=len(pasts))[row]
    count = rules.item_item.count
    order = np.lexsort((-rules.places, category))
    starts = np.searchsorted(category[order], np.arange(size + 1))
    # As many as a list has places and its user may have had.
    most = k + int(np.diff(pasts.offsets).max(initial=0))
    lengths = np.minimum(np.diff(starts), most)[kind]
    place, _ = ranges(starts[kind], lengths)
    item = order[place]
    whole = np.bincount(category, count.astype(np.float64), minlength=size)
    score = np.repeat(share, lengths) * count[item] / np.maximum(whole[category[item]], 1)
    some = score > 0
    return _Said(np.repeat(row, lengths)[some], item[some], score[some])
