"""What every audited ranker can do, whatever runs it: rank listings for a request.

    rankings = target.rank([Ask(catalogue.listings, catalogue.request, order) for order in orders])
    rankings[0].rank_of(3, of=len(catalogue))

A target's `name` names the model and the rule: a finding of a small model says little of a large
one, so whatever is reported carries it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import ShopListing, draw_orders
from adwright.core.config import require_count
from adwright.core.errors import AdwrightError, ConfigError, DataError


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
                hint="use adwright.audit.catalogue",
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


# --------------------------------------------------------------------------------------------------
# Rank over several orders at once: what stands first in the prompt then no longer wins by that.
#
#     target = AveragedTarget(LikelihoodTarget(model), orders=5, seed=0)
#
# Each question is asked in `orders` orders, drawn by the seed and the order of the question, itself
# the first of them. Where every answer has scores, the mean score ranks, and else the mean rank
# (Borda's rule); of equals the one that the question shows first comes first. The costs add up.


class AveragedTarget:
    """A target behind a mean over orders. It closes the target with itself.

    balanced: the first n orders turn the question's own round, which puts every listing in every
    place once. Raises ConfigError for fewer than one order.
    """

    def __init__(
        self, target: Target, orders: int = 5, *, seed: int = 0, balanced: bool = False
    ) -> None:
        require_count("orders", orders)
        self._target = target
        self._orders = orders
        self._seed = seed
        self._balanced = balanced

    @property
    def name(self) -> str:
        """The target, and over how many orders."""
        return f"{self._target.name}, mean of {self._orders} orders"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question; all orders of all questions are asked together."""
        every = [one for ask in asks for one in self._asks(ask)]
        found = self._target.rank(every)
        step = self._orders
        return [_mean(found[at * step : (at + 1) * step], ask) for at, ask in enumerate(asks)]

    def close(self) -> None:
        """Close the target."""
        self._target.close()

    def _asks(self, ask: Ask) -> list[Ask]:
        own, n = tuple(ask.order), len(ask.order)
        turns = min(n, self._orders) if self._balanced else 1
        # Relative to the order of the question, so that other questions get other orders.
        places = [tuple(range(turn, n)) + tuple(range(turn)) for turn in range(turns)]
        left = self._orders - turns
        if left:
            places += draw_orders(n, left, seed=self._seed, purpose="average", avoid=places)
        return [Ask(ask.listings, ask.request, [own[at] for at in one]) for one in places]


def _mean(found: Sequence[Ranking], ask: Ask) -> Ranking:
    n = len(ask.listings)
    cost = sum((one.cost for one in found), RankingCost())
    note = next((one.note for one in found if one.note), "")
    scored = [one.scores for one in found if one.scores is not None]
    if len(scored) == len(found):
        scores = np.mean(scored, axis=0)
        rules = set.intersection(*(set(one.also) for one in found))
        also = {
            rule: tuple(np.mean([one.also[rule] for one in found], axis=0).tolist())
            for rule in sorted(rules)
        }
        order = best_first(scores.tolist(), ask.order)
        return Ranking(order, tuple(scores.tolist()), cost, note, also)
    ranks = np.mean([one.ranks(n) for one in found], axis=0)
    named = {row for one in found for row in one.order}
    scores = -ranks
    order = tuple(row for row in best_first(scores.tolist(), ask.order) if row in named)
    return Ranking(order, tuple(scores.tolist()), cost, note)


# --------------------------------------------------------------------------------------------------
# A target behind a defence: what the seller wrote is cleaned before the target reads it.
#
#     target = DefendedTarget(LikelihoodTarget(model), defence)
#
# What a defence does to a listing depends on that listing alone, so each is cleaned once and
# remembered by what it shows.

_REMEMBERED = 10_000


@runtime_checkable
class ListingCleaner(Protocol):
    """What a defence does to a listing before a model reads it."""

    @property
    def name(self) -> str:
        """Names the defence and what is switched on in it."""

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing as the model may read it: of the same name, with other texts."""


class DefendedTarget:
    """A target that reads cleaned listings. It closes the target with itself. The time of the
    defence is in the costs."""

    def __init__(
        self,
        target: Target,
        defence: ListingCleaner,
    ) -> None:
        self.target = target
        self.defence = defence
        self._known: OrderedDict[ShopListing, ShopListing] = OrderedDict()

    @property
    def name(self) -> str:
        """The target and the defence."""
        return f"{self.target.name}, defended by {self.defence.name}"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """As the target, of the cleaned listings. Raises ConfigError where the defence gives a
        listing another name."""
        began = time.process_time()
        cleaned = [replace(ask, listings=[self.clean(one) for one in ask.listings]) for ask in asks]
        seconds = (time.process_time() - began) / max(len(asks), 1)
        spent = RankingCost(cpu_seconds=seconds)
        return [replace(one, cost=one.cost + spent) for one in self.target.rank(cleaned)]

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing as the target reads it."""
        known = self._known.get(listing)
        if known is None:
            known = self.defence.clean(listing)
            if known.name != listing.name:
                raise ConfigError(
                    "the defence changed the name of a listing",
                    where=f"{self.defence.name}: {listing.name!r} to {known.name!r}"[:160],
                    hint="a defence changes texts alone",
                )
            self._known[listing] = known
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return known

    def close(self) -> None:
        """Close the target."""
        self.target.close()


# --------------------------------------------------------------------------------------------------
# Rank by a function of one's own, such as a shop's scorer behind its own client.
#
# def by_rating(listings, request):
#     return [float(one.attributes["Rating"]) for one in listings]
#
# target = FunctionTarget(by_rating, name="rating")

#: Takes the listings as they are shown, and the request; gives a score for each, the higher the
#: better, or the names in its order, the best first, those that it would recommend.
RankFunction: TypeAlias = Callable[[Sequence[ShopListing], str], Sequence[float] | Sequence[str]]


class FunctionTarget:
    """A function as a target. name: what it is, for the report."""

    def __init__(
        self,
        function: RankFunction,
        *,
        name: str,
    ) -> None:
        self._function = function
        self._name = name

    @property
    def name(self) -> str:
        """What the function is."""
        return self._name

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises DataError where the function fails, or gives neither
        scores nor names."""
        return [self._one(ask) for ask in asks]

    def close(self) -> None:
        """Nothing to free."""

    def _one(self, ask: Ask) -> Ranking:
        began = time.process_time()
        try:
            found = list(self._function(ask.shown, ask.request))
        except AdwrightError:
            raise
        except Exception as error:
            raise DataError(
                f"the function failed: {type(error).__name__}: {error}"[:300],
                file=self._name,
                hint="see its own traceback, which is the cause of this error",
            ) from error
        cost = RankingCost(1, 0, 0, time.process_time() - began)
        names = [one for one in found if isinstance(one, str)]
        if len(names) == len(found):
            return Ranking(self._of_names(names, ask), None, cost)
        return self._of_scores(found, ask, cost)

    def _of_names(self, names: Sequence[str], ask: Ask) -> tuple[int, ...]:
        rows = {one.name: row for row, one in enumerate(ask.listings)}
        unknown = next((name for name in names if name not in rows), None)
        if unknown is not None:
            raise DataError(
                "the function names a product that it was not shown",
                file=self._name,
                value=unknown,
                hint="give the names as they are, or a score for each listing",
            )
        return tuple(dict.fromkeys(rows[name] for name in names))

    def _of_scores(self, found: Sequence[object], ask: Ask, cost: RankingCost) -> Ranking:
        try:
            values = np.array(found, dtype=np.float64)
        except (TypeError, ValueError):
            values = np.empty(0)
        if values.shape != (len(ask.order),) or not np.isfinite(values).all():
            raise DataError(
                f"the function has to give {len(ask.order)} finite scores, or names",
                file=self._name,
                value=found[:5],
                hint="one score for each listing, in the order in which they are shown",
            )
        scores = [0.0] * len(ask.order)
        for row, value in zip(ask.order, values.tolist(), strict=True):
            scores[row] = value
        return Ranking(best_first(scores, ask.order), tuple(scores), cost)
