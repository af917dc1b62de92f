"""The simple rules of what a user takes next, with one interface: histories in, scores of the
whole catalogue out.

    popularity   how often training events were of an item
    lately       the same, an event of d days before the last training event counting
                 1/2^(d / half-life)
    frequency    how often the user had the item
    again        what the user had, the latest first
    category     popularity within the categories of the user's latest items, by the share of these
                 that a category has
    item-item    by what the user's latest items are usually taken with: `item_item`

What a rule says nothing of stands after all that it speaks of, by popularity; of two items of
one popularity the one of the higher code stands first, so that no two items share a rank.

The first items of each rule, without a score for the whole catalogue.

A rule speaks of few items: those that a user had, the neighbours of these, the popular ones of
some categories. These are ordered first, and the places that are left go to popular items. The
lists are those that `NextRules.scores` orders the catalogue by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.data.ranges import ranges
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.item_item import ItemItem

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
T = TypeVar("T")
NextRule = Literal["popularity", "lately", "frequency", "again", "category", "item-item"]
#: The rules as a table names them, in its order.
TITLES: Mapping[NextRule, str] = {
    "popularity": "Popularity",
    "lately": "Popularity lately",
    "category": "Popularity by category",
    "frequency": "Personal frequency",
    "again": "Last items again",
    "item-item": "Item-item",
}
#: The latest moments whose items say which categories a user looks at.
LATEST = 5


@dataclass(frozen=True, eq=False)
class NextRules:
    """The rules of one log. N items.

    item_item: fitted. lately: float64 [N + 1], decayed counts of each item; None where the log has
    no times. category: int64 [N + 1], a code per item, 0 for none; None where the log knows none.
    repeats: whether an item is taken again; without it "again" and "frequency" speak of nothing but
    items that may not be shown. half_life: of lately, in days.
    """

    item_item: ItemItem
    lately: Floats | None = None
    category: Ints | None = None
    repeats: bool = True
    half_life: float | None = None

    @cached_property
    def known(self) -> tuple[NextRule, ...]:
        """The rules that this log allows, in the order of TITLES."""
        lacking = {
            "lately": self.lately is None,
            "category": self.category is None,
            "frequency": not self.repeats,
            "again": not self.repeats,
        }
        return tuple(rule for rule in TITLES if not lacking.get(rule, False))

    def scores(self, rule: NextRule, pasts: Pasts) -> Floats:
        """Scores of all items: float64 [B, N + 1], distinct within a history but for what `rule`
        itself scores alike; what a rule says nothing of is below 0. Column 0 is of no item.

        rule: one of `known`.
        """
        match rule:
            case "popularity":
                return np.tile(self.places, (len(pasts), 1))
            case "lately":
                return np.tile(_places(needed(self.lately, rule)), (len(pasts), 1))
            case "category":
                return self._by_category(pasts)
            case "frequency":
                return self._after(self._counts(pasts, np.ones(len(pasts.item))))
            case "again":
                return self._after(self._again(pasts))
            case "item-item":
                return self._after(self.item_item.scores(pasts))

    @cached_property
    def places(self) -> Floats:
        """Popularity as distinct values in [0, 1): float64 [N + 1]."""
        return _places(self.item_item.count)

    def order(self, rule: NextRule) -> Ints:
        """Item codes [N] in which items stand that `rule` says nothing of, the first one first."""
        places = _places(needed(self.lately, rule)) if rule == "lately" else self.places
        return 1 + np.argsort(-places[1:])

    def _after(self, scores: Floats) -> Floats:
        """The scores, those of 0 replaced by places in [-1, 0); ties of others by popularity."""
        step = 1e-9 * np.maximum(scores, 0)
        return np.where(scores > 0, scores + step * self.places, self.places - 1)

    def _counts(self, pasts: Pasts, weight: Floats) -> Floats:
        width = self.item_item.items + 1
        cells = pasts.owner * width + pasts.item
        found: Floats = np.bincount(cells, weight, minlength=len(pasts) * width).astype(np.float64)
        return found.reshape(len(pasts), width)

    def _again(self, pasts: Pasts) -> Floats:
        found = np.zeros((len(pasts), self.item_item.items + 1))
        np.maximum.at(found, (pasts.owner, pasts.item), 1 / (1.0 + pasts.back))
        return found

    def _by_category(self, pasts: Pasts) -> Floats:
        category = needed(self.category, "category")
        latest = pasts.until(LATEST)
        size = int(category.max(initial=0)) + 1
        mine = np.zeros((len(pasts), size))
        np.add.at(mine, (latest.owner, category[latest.item]), 1.0)
        mine[:, 0] = 0
        mine /= np.maximum(mine.sum(1, keepdims=True), 1)
        count = self.item_item.count.astype(np.float64)
        whole = np.bincount(category, count, minlength=size)
        share = count / np.maximum(whole[category], 1)
        return self._after(mine[:, category] * share)


def needed(values: T | None, rule: NextRule) -> T:
    """The values that a rule goes by. Raises ValueInvalidError where the log has none."""
    if values is None:
        raise ValueInvalidError(
            "this log does not allow the rule", value=rule, hint="ask for one of `known`"
        )
    return values


def _places(count: NDArray[Any]) -> Floats:
    """Popularity as distinct values in [0, 1)."""
    places = np.empty(len(count))
    places[np.argsort(count, kind="stable")] = np.arange(len(count)) / len(count)
    return places


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
