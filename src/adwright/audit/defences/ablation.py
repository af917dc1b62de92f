"""The ablation monitor: which text moved which rank? Each is left out in turn.

    for effect in moved_ranks(target, shop.listings, shop.request, orders):
        print(effect.in_words())

    effect = rank without the text - rank with it

averaged over the orders, so that 3 means: the text brings its product three ranks up. It finds what
a guard cannot: texts that read well and do steer. What it finds is no proof of an attack, as an
honest text informs a ranker too; those that move a rank far are worth a look. It costs one ranking
more for each text and order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.target import Ask, RankingCost, Target
from adwright.core.errors import ConfigError

__all__ = ["TextEffect", "moved_ranks"]


@dataclass(frozen=True)
class TextEffect:
    """row, name, field: whose text. with_text, without: mean rank of its product. others: mean
    absolute change of the other products' ranks, which a text that speaks of them raises.
    cost: of the rankings without it."""

    row: int
    name: str
    field: str
    with_text: float
    without: float
    others: float
    cost: RankingCost

    @property
    def gain(self) -> float:
        """Ranks that the text brings its product up."""
        return self.without - self.with_text

    def in_words(self) -> str:
        """One sentence."""
        way = "up" if self.gain > 0 else "down"
        moved = f"moves it {abs(self.gain):.1f} ranks {way}" if self.gain else "moves it nowhere"
        return (
            f"{self.name}, {self.field}: the text {moved} (from {self.without:.1f} to "
            f"{self.with_text:.1f}), and the others {self.others:.1f} ranks on average"
        )


def moved_ranks(
    target: Target,
    listings: Sequence[ShopListing],
    request: str,
    orders: Sequence[Sequence[int]],
    *,
    rows: Sequence[int] | None = None,
) -> list[TextEffect]:
    """The effect of each text that is not empty, the largest gain first.

    orders: in which the products are shown (`audit.catalogue.orders`). rows: only texts of these
    listings. Raises ConfigError without an order.
    """
    if not orders:
        raise ConfigError("there is no order to show the products in", hint="use draw_orders")
    rows = range(len(listings)) if rows is None else rows
    texts = [
        (row, field) for row in rows for field, text in listings[row].texts.items() if text.strip()
    ]
    asks = [Ask(listings, request, order) for order in orders]
    for row, field in texts:
        changed = list(listings)
        changed[row] = listings[row].with_text(field, "")
        asks += [Ask(changed, request, order) for order in orders]
    answers = target.rank(asks)
    count, step = len(listings), len(orders)
    ranks = np.array([one.ranks(count) for one in answers], np.float64).reshape(-1, step, count)
    found = []
    for at, (row, field) in enumerate(texts, start=1):
        change = np.abs(ranks[at] - ranks[0])
        other = np.delete(change, row, axis=1)
        cost = sum((one.cost for one in answers[at * step : (at + 1) * step]), RankingCost())
        found.append(
            TextEffect(
                row,
                listings[row].name,
                field,
                float(ranks[0][:, row].mean()),
                float(ranks[at][:, row].mean()),
                float(other.mean()) if other.size else 0.0,
                cost,
            )
        )
    return sorted(found, key=lambda one: (-one.gain, one.row, one.field))
