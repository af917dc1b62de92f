"""Policies: which candidates fill the places, with the exact probability of each choice.

A slate is filled from the best place down. At each place the rule of the policy turns the items
that may still be shown into chances (see `rules`), one item is drawn from them, and its
chance is logged. So the propensity of a place, given the items above it, is the number that the
draw was made with, and the product over the places is the probability of the slate: for softmax
that of Plackett-Luce, for Thompson sampling that of draws made anew for every place.

Frequency caps, budget pacing and diversity are adjustments. They act before the draw: each
changes utilities, or rules items out with -inf, as a function of the request, of what was
recorded earlier and of the items already placed above; never of chance. The chances of a place
are those of the rule on the adjusted utilities, so propensities stay exact with any of them.
Prices and diversity weights are in the unit of the utility.

Letters: C candidates, k places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Decision, Policy, Request
from adwright.delivery.experiments import Split
from adwright.delivery.policy.rules import (
    Exploration,
    ItemCounts,
    PolicyConfig,
    Rule,
    ThompsonConfig,
    build_rule,
    log_odds,
)

Floats = NDArray[np.float64]


class Running(Protocol):
    """An adjustment on its way down one slate."""

    def adjust(self, utility: Floats) -> Floats:
        """The utilities [C] for the next place; -inf for an item that may not stand there."""

    def place(self, row: int) -> None:
        """Take note that candidate `row` stands at the place that was just filled."""


class Adjustment(Protocol):
    """Changes utilities before the choice: a cap, a price, variety.

    It may depend on the request and on anything recorded before it, not on chance.
    """

    @property
    def name(self) -> str:
        """What the reasons of a slate call it."""

    def begin(self, request: Request, candidates: Candidates) -> Running:
        """Start down the slate of a request."""


@dataclass(frozen=True, eq=False)
class SlatePolicy:
    """Fills slates by a rule of one place; made by `build_policy`."""

    policy_id: str
    rule: Rule
    adjustments: tuple[Adjustment, ...] = ()

    def decide(
        self, request: Request, candidates: Candidates, rng: np.random.Generator
    ) -> Decision:
        """The slate of min(k, items that may be shown) places.

        Takes one uniform number from rng for each place, so equal generators decide equally.
        """
        slate = _Slate(self, request, candidates)
        rows: list[int] = []
        propensity: list[float] = []
        reasons: list[str] = []
        while len(rows) < request.k:
            chances = slate.chances()
            if not chances.any():
                break
            ladder = chances.cumsum()
            row = int(np.searchsorted(ladder, rng.random() * ladder[-1], side="right"))
            row = min(row, int(np.flatnonzero(chances)[-1]))
            reasons.append(slate.reason(row))
            slate.place(row)
            rows.append(row)
            propensity.append(min(1.0, float(chances[row])))
        return Decision(
            request=request,
            policy_id=self.policy_id,
            item_ids=tuple(candidates.item_ids[row] for row in rows),
            propensity=np.array(propensity, np.float64),
            score=candidates.score[rows] if rows else np.empty(0),
            reasons=tuple(reasons),
            stage=candidates.stage,
        )

    def propensity(
        self, request: Request, candidates: Candidates, item_ids: Sequence[str]
    ) -> Floats:
        """[len(item_ids)]: with which probability this policy would have shown each item at its
        place, given the items above it; 0 from the first item on that is not a candidate.

        What off-policy evaluation asks of a policy about another's slates. Depends on the
        adjustments' records as `decide` does.
        """
        at = {item_id: row for row, item_id in enumerate(candidates.item_ids)}
        chances = self.chances(request, candidates, item_ids)
        found = [0.0 if one not in at else chances[k, at[one]] for k, one in enumerate(item_ids)]
        return np.minimum(np.array(found, np.float64), 1.0)

    def chances(self, request: Request, candidates: Candidates, item_ids: Sequence[str]) -> Floats:
        """[len(item_ids), C]: with which probability each candidate would have come at each place
        below the items that stand above it; 0 below the first of these that is no candidate."""
        slate = _Slate(self, request, candidates)
        at = {item_id: row for row, item_id in enumerate(candidates.item_ids)}
        found = np.zeros((len(item_ids), len(candidates)))
        for place, item_id in enumerate(item_ids):
            found[place] = slate.chances()
            row = at.pop(item_id, None)
            if row is None:
                break
            slate.place(row)
        return found


def build_policy(
    config: PolicyConfig | Exploration,
    *,
    policy_id: str = "",
    adjustments: Sequence[Adjustment] = (),
    evidence: ItemCounts | None = None,
) -> SlatePolicy:
    """A policy from its config.

    policy_id: its name in the log; by default the kind and its main setting, for example
    "softmax-1.0". adjustments: applied in this order. evidence: what was seen of the items
    since the scores were learned; Thompson sampling only, None for nothing.
    Raises ConfigError where evidence is given to a policy that has no use for it.
    """
    if evidence is not None and not isinstance(config, ThompsonConfig):
        raise ConfigError(
            "only Thompson sampling learns from evidence",
            where=f"policy {config.kind}",
            hint="leave evidence out, or use ThompsonConfig",
        )
    rule = build_rule(config, evidence=evidence)
    return SlatePolicy(policy_id or rule.name, rule, tuple(adjustments))


class _Slate:
    """One slate being filled."""

    def __init__(self, policy: SlatePolicy, request: Request, candidates: Candidates) -> None:
        self._drawn = policy.rule.drawn
        self._choice = policy.rule.begin(candidates, request.k)
        self._running = [
            (each.name, each.begin(request, candidates)) for each in policy.adjustments
        ]
        ids = candidates.item_ids
        only = None if request.candidates is None else frozenset(request.candidates)
        self._free = np.array(
            [item not in request.exclude and (only is None or item in only) for item in ids],
            np.bool_,
        )
        self._adjusted = self._choice.utility
        self._moved: dict[str, NDArray[np.bool_]] = {}

    def chances(self) -> Floats:
        """[C], of each candidate at the next place; all 0 where none may be shown."""
        utility = np.where(self._free, self._choice.utility, -np.inf)
        for name, running in self._running:
            adjusted = running.adjust(utility)
            self._moved[name] = adjusted != utility
            utility = adjusted
        if np.isnan(utility).any() or (utility == np.inf).any():
            row = int(np.argmax(np.isnan(utility) | (utility == np.inf)))
            raise ValueInvalidError(
                "an adjustment gave a utility that is no number",
                row=row,
                column="utility",
                value=float(utility[row]),
                hint="adjust to finite numbers, or to -inf to rule an item out",
            )
        self._adjusted = utility
        chances = np.zeros(len(utility))
        rows = np.flatnonzero(utility > -np.inf)
        if len(rows):
            chances[rows] = self._choice.chances(utility[rows], rows)
        return chances

    def reason(self, row: int) -> str:
        """Why candidate `row` stands at the place for which chances were last asked."""
        best = self._adjusted[row] == self._adjusted.max()
        reason = "best of those left" if best else self._drawn
        moved = [name for name, rows in self._moved.items() if rows[row]]
        return f"{reason}, moved by {' and '.join(moved)}" if moved else reason

    def place(self, row: int) -> None:
        self._free[row] = False
        for _, running in self._running:
            running.place(row)


# --------------------------------------------------------------------------------------------------
# Several policies side by side: each user meets one of them, always the same.
#
# The arm is a hash of a salt and the user's id, so that every process, the service and whoever
# reads its log agree on it without a table. Another salt assigns users anew, which keeps two
# experiments independent. The log names the arm's own policy, and propensities are
# those of that policy.

Arm = Literal["A", "B"]


@settings
class ABSplit:
    """A split in two. salt: names the experiment. share: of B, in [0, 1]."""

    salt: str = "a/b"
    share: Annotated[float, Ge(0), Le(1)] = 0.5

    def arm(self, user_id: str) -> Arm:
        """The arm of a user, as `Split` has it."""
        split = Split(self.salt, (("B", self.share), ("A", 1 - self.share)))
        return "B" if split.arm(user_id) == "B" else "A"


class SplitPolicy:
    """A Policy that passes each request to `a` or `b`, by the user.

    Raises ConfigError where the two have one id: their decisions could not be told apart.
    """

    def __init__(self, a: Policy, b: Policy, split: ABSplit | None = None) -> None:
        if a.policy_id == b.policy_id:
            raise ConfigError(
                "both policies have the same id",
                where=f"policy {a.policy_id}",
                hint="give each its own policy_id, also to compare a policy with itself",
            )
        self.a, self.b = a, b
        self.split = ABSplit() if split is None else split

    @property
    def policy_id(self) -> str:
        """Id of the pair; decisions carry the id of the arm's policy."""
        return f"split({self.a.policy_id}, {self.b.policy_id})"

    def of(self, user_id: str) -> Policy:
        """The policy of this user's arm."""
        return self.b if self.split.arm(user_id) == "B" else self.a

    def decide(
        self, request: Request, candidates: Candidates, rng: np.random.Generator
    ) -> Decision:
        """The decision of the policy of the user's arm."""
        return self.of(request.user_id).decide(request, candidates, rng)


# --------------------------------------------------------------------------------------------------
# Exploration stated in what it costs: a share of the expected value, and what is learned for it.
#
# The value of a slate is what is expected to be taken from it, the sum of the probabilities of its
# items; that of the best slate is what the greedy policy gets. Plackett-Luce on log-odds gives up
# more of it the higher its temperature. `solve_exploration` finds the temperature at which a sample
# of requests gives up a stated share; `kept_by` lets a policy decide for the sample and says what
# it keeps.
#
# Letters: S lists, D draws of each, C candidates at most, K places.

#: Slates that are drawn to find a temperature, the temperatures between which it is sought, and the
#: halvings of what lies between them.
_SLATES = 16_384
_COLDEST, _HOTTEST, _HALVINGS = 1e-3, 1e2, 12


def solve_exploration(share: float, sample: Mapping[int, Sequence[Candidates]]) -> Exploration:
    """The temperatures at which slates of 1, 2, ... places give up `share` of their value.

    sample: of some numbers of places, the candidates of requests for so many such as will come,
    their scores probabilities; slates of a number between two are drawn at a temperature between
    theirs. Deterministic. Raises ConfigError where even the shortest slate drawn blindly gives up
    less.
    """
    found: dict[int, float] = {}
    for places, lists in sorted(sample.items()):
        temperature, most = _solve(share, places, lists)
        if temperature is None and not found:
            raise ConfigError(
                "slates drawn blindly from what the model offers give up less: "
                f"{most:.1%} of the expected value",
                where=f"explore {share:g}",
                hint="state a smaller share; 0.0% is of a model that tells no item from another",
            )
        # Of slates that hold nearly all there is, less can be given up.
        found[places] = temperature or list(found.values())[-1]
    lengths = np.log(list(found)), np.log(list(found.values()))
    all_ = np.exp(np.interp(np.log(np.arange(1, max(found) + 1)), *lengths))
    return Exploration(share, tuple(all_.tolist()))


def _solve(share: float, places: int, lists: Sequence[Candidates]) -> tuple[float | None, float]:
    """The temperature at which slates of so many places give up `share`, None where none does; and
    what they give up at most."""
    width = max((len(one) for one in lists), default=0)
    p = np.zeros((len(lists), width))
    for row, one in enumerate(lists):
        p[row, : len(one)] = one.score
    best = float(p[:, :places].sum())
    if best <= 0:
        raise ConfigError(
            "there is nothing to explore: the model expects nothing to be taken",
            where=f"explore {share:g}",
        )
    utility = np.where(p > 0, log_odds(p), -np.inf)
    draws = max(1, _SLATES // max(len(lists), 1) // max(1, width // 30))
    noise = np.random.default_rng(0).gumbel(size=(draws, *p.shape))

    def lost(temperature: float) -> float:
        # Gumbel noise on utilities, best first, is a draw of Plackett-Luce (Yellott 1977).
        drawn = utility / temperature + noise
        if places < width:
            least = np.partition(drawn, width - places, axis=2)[:, :, width - places, None]
            return max(0.0, 1 - float((p * (drawn >= least)).sum() / (draws * best)))
        return 0.0

    most = lost(_HOTTEST)
    if most < share:
        return None, most
    low, high = np.log((_COLDEST, _HOTTEST))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if lost(float(np.exp(middle))) < share else (low, middle)
    return float(np.exp(high)), most


@dataclass(frozen=True)
class Kept:
    """What a policy keeps of the greedy slates of a sample. requests: of the sample. places: of a
    slate. value: share of the expected value. best: share of the best items, as many as there are
    places. first: share of slates whose first item is the best. effective: how many decisions as
    good as 1,000 of these are, for judging a challenger that puts the second item first."""

    requests: int
    places: int
    value: float
    best: float
    first: float
    effective: float

    def text(self) -> str:
        """In a sentence."""
        return (
            f"keeps {self.value:.1%} of the expected value and {self.best:.0%} of the "
            f"{self.places} best items; the best one comes first in {self.first:.0%} of slates. "
            f"Of 1,000 decisions {self.effective:,.0f} count for judging a challenger that puts "
            f"the second item first ({self.requests:,} requests asked)"
        )


def kept_by(
    policy: SlatePolicy,
    requests: Sequence[Request],
    sample: Sequence[Candidates],
    rng: np.random.Generator,
) -> Kept:
    """Let a policy decide for requests with their candidates, whose scores are probabilities."""
    value = greedy = 0.0
    best, first, places, weight = [], [], [], []
    for request, candidates in zip(requests, sample, strict=True):
        decision = policy.decide(request, candidates, rng)
        k = len(decision.item_ids)
        top = candidates.item_ids[:k]
        value += float(decision.score.sum())
        greedy += float(candidates.score[:k].sum())
        places.append(k)
        best.append(len(set(top) & set(decision.item_ids)) / max(k, 1))
        first.append(decision.item_ids[:1] == top[:1])
        if len(candidates) > 1:
            chance = policy.propensity(request, candidates, candidates.item_ids[1:2])[0]
            weight.append(1 / chance if chance > 0 else np.inf)
    needed = float(np.mean(weight)) if weight else np.inf
    return Kept(
        len(sample),
        max(places, default=0),
        value / greedy if greedy > 0 else 1.0,
        float(np.mean(best)),
        float(np.mean(first)),
        1_000 / needed,
    )
