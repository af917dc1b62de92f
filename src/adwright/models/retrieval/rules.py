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
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.pasts import Pasts
from adwright.models.retrieval.item_item import ItemItem

__all__ = ["LATEST", "TITLES", "NextRule", "NextRules", "needed"]

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
