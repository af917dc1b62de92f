"""What every audited ranker can do, whatever runs it: rank listings for a request.

    rankings = target.rank([Ask(catalogue.listings, catalogue.request, order) for order in orders])
    rankings[0].rank_of(3, of=len(catalogue))

A target's `name` names the model and the rule: a finding of a small model says little of a large
one, so whatever is reported carries it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.listing import ShopListing
from adwright.core.errors import ConfigError


@dataclass(frozen=True)
class RankingCost:
    """What a ranking took.

    calls: of the model; one prompt that is answered, or whose continuations are scored together,
    is one. tokens_in: read by it, tokens_out: written by it; of a model behind a server as the
    server says. cpu_seconds: of this process.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cpu_seconds: float = 0.0

    def __add__(self, other: RankingCost) -> RankingCost:
        return RankingCost(
            self.calls + other.calls,
            self.tokens_in + other.tokens_in,
            self.tokens_out + other.tokens_out,
            self.cpu_seconds + other.cpu_seconds,
        )


@dataclass(frozen=True)
class Ask:
    """One question to a target.

    listings: the products. request: what the shopper asks. order: the order in which they are
    shown, rows of `listings`, each once. Raises ConfigError where it is no such order.
    """

    listings: Sequence[ShopListing]
    request: str
    order: Sequence[int]

    def __post_init__(self) -> None:
        if sorted(self.order) != list(range(len(self.listings))):
            raise ConfigError(
                "the order does not name each listing once",
                where=f"{len(self.listings)} listings, order {list(self.order)}"[:80],
                hint="use audit.catalogue.orders",
            )

    @property
    def shown(self) -> tuple[ShopListing, ...]:
        """The listings in the order in which they are shown."""
        return tuple(self.listings[row] for row in self.order)


@dataclass(frozen=True)
class Ranking:
    """What a target said to one `Ask`.

    order: rows of its listings, the best first, those that were mentioned. scores: of each of its
    listings, the higher the better, where the target has scores. cost: what it took. note: what a
    reader has to know of this answer, such as "refused". also: scores by other rules that came
    with the same work, by the name of the rule.
    """

    order: tuple[int, ...]
    scores: tuple[float, ...] | None = None
    cost: RankingCost = RankingCost()
    note: str = ""
    also: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def rank_of(self, row: int, *, of: int) -> int:
        """The rank of a listing among `of`, from 1; one that was not mentioned has rank of + 1."""
        return self.order.index(row) + 1 if row in self.order else of + 1

    def ranks(self, of: int) -> npt.NDArray[np.int64]:
        """The ranks of all `of` listings, from 1; of those that were not mentioned, of + 1."""
        found = np.full(of, of + 1, dtype=np.int64)
        found[list(self.order)] = np.arange(1, len(self.order) + 1)
        return found

    def by(self, rule: str, shown: Sequence[int]) -> Ranking:
        """The ranking by another rule of `also`; `shown`: the order of the question."""
        scores = self.also[rule]
        return Ranking(best_first(scores, shown), scores, self.cost, self.note)


@runtime_checkable
class Target(Protocol):
    """Something that ranks listings. Asking twice gives the same ranking, but where a server
    behind it does not."""

    @property
    def name(self) -> str:
        """Names the model and how it ranks."""

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question, asked together where that is faster."""

    def close(self) -> None:
        """Free what it holds; any number of times."""


def best_first(scores: Sequence[float], shown: Sequence[int]) -> tuple[int, ...]:
    """The rows by falling score; of equal ones, the one that is shown earlier comes first."""
    return tuple(sorted(shown, key=lambda row: -scores[row]))
