"""All layers as one defence, each of which can be switched off, with what each did and cost.

    stack = DefenceStack(StackConfig(), guard=guard)
    stack.clean(listing)                           # as DefendedTarget asks for it
    for one in stack.inspect(shop.listings): print(one.in_words())
    target = stack.target(model_target, facts=rule_target)

In this order: what is certain, and normalisation; the guard, which leaves out what alarms; typed
extraction; then, for a target, each listing by itself, the bounded term, and the
mean over orders. All that cleans looks at
one listing alone, so nothing that a seller writes reaches how another's text is read, and the
bounded term keeps its certificate.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import ShopListing
from adwright.audit.certificate.certificate import BoundedScores, require_eps, usual_eps
from adwright.audit.defences.certain import certainties
from adwright.audit.defences.guard.guard import TextGuard, TextVerdict, guard_texts
from adwright.audit.defences.normalise import (
    ExtractionCleaner,
    FactSchema,
    NormaliseCleaner,
    Normalised,
    normalised,
)
from adwright.audit.targets.target import (
    Ask,
    AveragedTarget,
    DefendedTarget,
    ListingCleaner,
    Ranking,
    RankingCost,
    Target,
    best_first,
)
from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError

# --------------------------------------------------------------------------------------------------
# Each listing scored by itself, so that no text can steer how another one is read.
#
#     alone = IsolatedTarget(LikelihoodTarget(model))
#     alone.rank([ask])                              # by the scores of one-product prompts
#     alone.text_terms(listings, request)            # t_i: with the texts less without
#
# In a prompt with all products, one text speaks to the model about all of them. Here each is read
# in a prompt of its own, and the ranking is by score. What a text adds to its own product is the
# difference between the score with it and the score of the facts alone,
#
#     t_i = s(listing i) - s(listing i without texts),
#
# which is what `bounded` clips. It costs one call a listing instead of one a list; the scores
# depend on nothing else, so each is remembered.

Floats = npt.NDArray[np.float64]

_REMEMBERED = 100_000


class IsolatedTarget:
    """A target that has scores, asked for one listing at a time. It closes that with itself."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._known: OrderedDict[tuple[str, str, str], float] = OrderedDict()

    @property
    def name(self) -> str:
        """The target, and that it scores one at a time."""
        return f"{self._target.name}, each listing by itself"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises ConfigError where the target has no scores."""
        found = []
        for ask in asks:
            scores, cost = self.scored(ask.listings, ask.request)
            scores = np.where(np.isnan(scores), -np.inf, scores)
            order = best_first(scores.tolist(), ask.order)
            found.append(Ranking(order, tuple(scores.tolist()), cost))
        return found

    def scored(self, listings: Sequence[ShopListing], request: str) -> tuple[Floats, RankingCost]:
        """[C] the score of each listing, NaN where the target cannot read it, such as a text that
        is longer than its context; and what those cost that were not known."""
        scores, cost = np.full(len(listings), np.nan), RankingCost()
        for row, one in enumerate(listings):
            key = (one.name, one.digest(), request)
            if key not in self._known:
                # By itself, so that not a bit of it depends on what else is scored.
                try:
                    (answer,) = self._target.rank([Ask((one,), request, (0,))])
                except DataError:
                    self._known[key] = float("nan")
                else:
                    self._known[key] = self._score(answer)
                    cost += answer.cost
            scores[row] = self._known[key]
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return scores, cost

    def text_terms(
        self, listings: Sequence[ShopListing], request: str
    ) -> tuple[Floats, RankingCost]:
        """[C] what the texts of each listing add to its own score, and the cost."""
        bare = [one.without_texts() for one in listings]
        scores, cost = self.scored([*listings, *bare], request)
        return scores[: len(listings)] - scores[len(listings) :], cost

    def usual_eps(self, listings: Sequence[ShopListing], request: str) -> float:
        """The bound where nobody gives one, see `usual_eps`."""
        return usual_eps(self.scored([one.without_texts() for one in listings], request)[0])

    def close(self) -> None:
        """Close the target."""
        self._target.close()

    def _score(self, answer: Ranking) -> float:
        if answer.scores is None:
            raise ConfigError(
                "this target gives an order and no scores, so that one listing has none",
                where=self._target.name,
                hint="take one with scores, such as the likelihood of names",
            )
        return answer.scores[0]


# --------------------------------------------------------------------------------------------------
# The bounded term: facts decide, and a text can add or take eps at most.
#
#     target = BoundedTarget(facts, IsolatedTarget(model), eps=0.5)
#     target.rank([ask])
#     rank_bounds(target.scores(listings, request))      # what any texts can do to it
#
#     s_i = a_i + clip(t_i, -eps, eps)
#
# a_i is the score of the facts of product i, and t_i what its texts add, each by itself.
# So a seller moves one number, by eps at most; another product, a removed one or another order of
# the rows moves none; and `audit.certificate` says exactly how far that reaches. Products of equal
# score stand in the order in which they are shown.


class BoundedTarget:
    """facts: a target with scores, such as a shop's own rule, which is asked for one product at a
    time. texts: what reads the texts. eps: the bound, in the unit of the scores. It closes both
    with itself. broken: products whose texts could not be read, and count as -eps."""

    def __init__(self, facts: Target, texts: IsolatedTarget, eps: float) -> None:
        require_eps(eps)
        self._facts = facts if isinstance(facts, IsolatedTarget) else IsolatedTarget(facts)
        self._texts = texts
        self.eps = eps
        self.broken: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Both targets, and the bound."""
        facts = self._facts.name.removesuffix(", each listing by itself")
        return f"{facts}, and texts within {self.eps:g} by {self._texts.name}"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question, with scores."""
        found = []
        for ask in asks:
            scores, cost = self._scored(ask.listings, ask.request)
            honest = scores.honest.tolist()
            found.append(Ranking(best_first(honest, ask.order), tuple(honest), cost))
        return found

    def scores(self, listings: Sequence[ShopListing], request: str) -> BoundedScores:
        """The terms of each listing, for a certificate. Raises ConfigError where the target of the
        facts has no scores, ValueInvalidError, naming the product, where its facts have none."""
        return self._scored(listings, request)[0]

    def close(self) -> None:
        """Close both targets."""
        self._facts.close()
        self._texts.close()

    def _scored(
        self, listings: Sequence[ShopListing], request: str
    ) -> tuple[BoundedScores, RankingCost]:
        facts, spent = self._facts.scored([one.without_texts() for one in listings], request)
        for row in np.flatnonzero(~np.isfinite(facts))[:1].tolist():
            raise ValueInvalidError(
                f"the facts of {listings[row].name!r} cannot be scored",
                row=row,
                hint="shorten its facts, or leave the product out",
            )
        terms, cost = self._texts.text_terms(listings, request)
        # A text that breaks the scorer must not gain by it, nor stop the others.
        readable = np.isfinite(terms)
        self.broken = tuple(
            one.name for one, fine in zip(listings, readable, strict=True) if not fine
        )
        terms = np.where(readable, terms, -self.eps)
        return BoundedScores(facts, terms, self.eps), spent + cost


# --------------------------------------------------------------------------------------------------
# What is certain, and the guard, as defences: such a text is left out before the ranker reads it.
#
#     GuardCleaner(guard).clean(CertainCleaner().clean(listing))
#
# The facts of the product stay, so that a false alarm costs a seller the text and not the place in
# the list. Whether a text alarms depends on it and on the guard alone, never on the other sellers'
# texts: so what is bounded by a certificate stays so. For that the guard is fixed beforehand.


@dataclass(frozen=True)
class CertainCleaner:
    """The defence of `certain`. What style hides is left to normalising, unless it instructs."""

    @property
    def name(self) -> str:
        """Of the defence."""
        return "certainties"

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing with every text empty in which something is certain."""
        for field, text in listing.texts.items():
            if set(certainties(text)) - {"hidden text"}:
                listing = listing.with_text(field, "")
        return listing


@dataclass(frozen=True)
class GuardCleaner:
    """guard: what judges. alpha: the share of honest texts that may alarm; the guard's own where it
    is None."""

    guard: TextGuard
    alpha: float | None = None

    @property
    def name(self) -> str:
        """Of the defence."""
        alpha = self.guard.config.alpha if self.alpha is None else self.alpha
        return f"guard at {alpha:.1%} false alarms"

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing with every text that alarms empty."""
        for verdict in self.verdicts(listing):
            if verdict.alarm:
                listing = listing.with_text(verdict.text.field, "")
        return listing

    def verdicts(self, listing: ShopListing) -> list[TextVerdict]:
        """A verdict for each text of the listing, in the order of its texts."""
        return self.guard.look(guard_texts([listing]), alpha=self.alpha)


@settings
class StackConfig:
    """Which layers there are. certain, normalise, guard, extract: on texts. isolated: each listing
    in a prompt of its own. eps: the bound on the term of the texts, None for none; it needs
    `isolated`. orders: over which a ranking is the mean, 1 for none; only where `isolated` is off,
    since listings that are read alone have no order."""

    certain: bool = True
    normalise: bool = True
    guard: bool = True
    extract: bool = False
    isolated: bool = True
    eps: float | None = None
    orders: Count = 1

    def __post_init__(self) -> None:
        if self.eps is not None and not self.isolated:
            raise ConfigError(
                "a bounded term needs each listing by itself",
                where="StackConfig.eps",
                hint="leave isolated on, or set eps to None",
            )
        if self.orders > 1 and self.isolated:
            raise ConfigError(
                "listings that are read alone have no order to average over",
                where="StackConfig.orders",
                hint="set orders to 1, or isolated to False and eps to None",
            )


@dataclass(frozen=True)
class LayerCost:
    """layer: its name. texts: that it changed. cpu_seconds: that it took."""

    layer: str
    texts: int
    cpu_seconds: float


@dataclass(frozen=True)
class Inspection:
    """What the stack says of one text. before, after: the text. seen: what normalising changed.
    certain: what alarms whatever the guard says. verdict: of the guard, None where it is off."""

    name: str
    field: str
    before: str
    after: str
    seen: Normalised
    certain: tuple[str, ...]
    verdict: TextVerdict | None

    @property
    def alarm(self) -> bool:
        """Whether something is certain, or the guard alarmed."""
        return bool(self.certain) or (self.verdict is not None and self.verdict.alarm)

    def in_words(self) -> str:
        """What a person has to know, one line."""
        said = [f"certain: {', '.join(self.certain)}"] if self.certain else []
        if self.seen.changes:
            said.append(f"changed for people's eyes: {', '.join(self.seen.changes)}")
        if self.seen.hidden:
            said.append(f"hidden: {' | '.join(self.seen.hidden)[:200]!r}")
        if self.verdict is not None and self.verdict.alarm:
            said.append(self.verdict.in_words().partition(": ")[2])
        if not said:
            said.append("nothing found")
        return f"{self.name}, {self.field}: {'; '.join(said)}"


class DefenceStack:
    """Layers that clean, in order. `costs` adds up what each took and changed."""

    def __init__(
        self,
        config: StackConfig,
        *,
        guard: TextGuard | None = None,
        schema: FactSchema | None = None,
    ) -> None:
        """Raises ConfigError where a layer that is on lacks its guard or schema."""
        for on, given, what in ((config.guard, guard, "guard"), (config.extract, schema, "schema")):
            if on and given is None:
                raise ConfigError(
                    f"this layer needs a {what}", where=what, hint="give one, or switch it off"
                )
        self.config = config
        self._guard = GuardCleaner(guard) if config.guard and guard is not None else None
        self._layers: list[ListingCleaner] = [CertainCleaner()] if config.certain else []
        self._layers += [NormaliseCleaner()] if config.normalise else []
        if self._guard is not None:
            self._layers.append(self._guard)
        if config.extract and schema is not None:
            self._layers.append(ExtractionCleaner(schema))
        self._costs = {one.name: LayerCost(one.name, 0, 0.0) for one in self._layers}

    @property
    def name(self) -> str:
        """The layers that are on."""
        return ", ".join(one.name for one in self._layers) or "nothing"

    @property
    def costs(self) -> tuple[LayerCost, ...]:
        """What each layer changed and took so far."""
        return tuple(self._costs.values())

    def clean(self, listing: ShopListing) -> ShopListing:
        """The listing as a model may read it."""
        for layer in self._layers:
            began = time.process_time()
            cleaned = layer.clean(listing)
            changed = sum(cleaned.texts[name] != text for name, text in listing.texts.items())
            known = self._costs[layer.name]
            self._costs[layer.name] = LayerCost(
                layer.name, known.texts + changed, known.cpu_seconds + time.process_time() - began
            )
            listing = cleaned
        return listing

    def inspect(self, listings: Sequence[ShopListing]) -> list[Inspection]:
        """What is to be said of each text, listing by listing."""
        found = []
        for one in listings:
            after = self.clean(one)
            verdicts = self._guard.verdicts(one) if self._guard is not None else []
            by_field = {each.text.field: each for each in verdicts}
            for field, text in one.texts.items():
                seen = normalised(text)
                certain = certainties(text, seen) if self.config.certain else ()
                verdict = by_field.get(field)
                found.append(
                    Inspection(one.name, field, text, after.texts[field], seen, certain, verdict)
                )
        return found

    def target(self, target: Target, *, facts: Target | None = None) -> Target:
        """The target behind all layers. facts: what scores the facts under a bounded term, by
        default the target itself, which then reads listings without texts."""
        inner = target
        if self.config.isolated:
            alone = target if isinstance(target, IsolatedTarget) else IsolatedTarget(target)
            inner = alone
            if self.config.eps is not None:
                inner = BoundedTarget(target if facts is None else facts, alone, self.config.eps)
        elif self.config.orders > 1:
            inner = AveragedTarget(target, self.config.orders)
        return DefendedTarget(inner, self) if self._layers else inner
