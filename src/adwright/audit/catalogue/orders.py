"""The orders in which a catalogue is shown: seeded permutations.

    chosen = draw_orders(10, 20, seed=0, purpose="choose")
    fresh = draw_orders(10, 20, seed=0, purpose="score", avoid=chosen)

Where a product stands in the prompt moves its rank more than most texts do, so a text is tried in
many orders; and what was chosen on some orders is scored on others, which `purpose` and `avoid`
see to.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, get_args

import numpy as np

from adwright.core.errors import ConfigError

#: Rows of a catalogue, in the order in which they are shown.
Order = tuple[int, ...]
#: choose: to find or choose a text on. score: to measure it on. average: for what averages over
#: orders by itself.
OrderPurpose = Literal["choose", "score", "average"]
_FEW = 20  # of so few products the orders can be counted


def draw_orders(
    n: int,
    count: int,
    *,
    seed: int,
    purpose: OrderPurpose = "score",
    balanced: bool = False,
    avoid: Iterable[Sequence[int]] = (),
) -> tuple[Order, ...]:
    """`count` orders of n products, each different from the others and from those of `avoid`.

    The same arguments give the same orders; each purpose draws from a stream of its own. balanced:
    in each run of n orders every product stands in every place once (a cyclic Latin square of a
    random order), which spreads the places evenly.

    Raises ConfigError for fewer than two products, no orders, an unknown purpose, and where there
    are not so many orders.
    """
    if purpose not in get_args(OrderPurpose):
        raise ConfigError(
            f"unknown purpose {purpose!r}",
            where="purpose",
            hint=f"use one of {', '.join(get_args(OrderPurpose))}",
        )
    if n < 2 or count < 1:
        raise ConfigError(
            "orders need at least two products, and at least one order is drawn",
            where=f"{n} products, {count} orders",
            hint="correct the numbers",
        )
    taken = {tuple(one) for one in avoid}
    if n <= _FEW and count > math.factorial(n) - sum(len(one) == n for one in taken):
        raise ConfigError(
            f"{n} products do not have {count} orders more",
            where="count",
            hint=f"they have {math.factorial(n)} in all",
        )
    rng = np.random.default_rng([seed, get_args(OrderPurpose).index(purpose), n])
    found: list[Order] = []
    while len(found) < count:
        base = rng.permutation(n)
        for turn in range(n if balanced else 1):
            order = tuple(int(one) for one in np.roll(base, turn))
            if order not in taken and len(found) < count:
                taken.add(order)
                found.append(order)
    return tuple(found)
