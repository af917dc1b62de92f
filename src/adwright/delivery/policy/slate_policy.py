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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.evidence import Evidence
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    Exploration,
    GreedyConfig,
    PolicyConfig,
    Rule,
    SoftmaxConfig,
    ThompsonConfig,
    build_rule,
)

__all__ = [
    "Adjustment",
    "EpsilonGreedyConfig",
    "GreedyConfig",
    "PolicyConfig",
    "Running",
    "SlatePolicy",
    "SoftmaxConfig",
    "ThompsonConfig",
    "build_policy",
]

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
        slate = _Slate(self, request, candidates)
        at = {item_id: row for row, item_id in enumerate(candidates.item_ids)}
        found = np.zeros(len(item_ids))
        for place, item_id in enumerate(item_ids):
            row = at.pop(item_id, None)
            if row is None:
                break
            found[place] = slate.chances()[row]
            slate.place(row)
        return np.minimum(found, 1.0)


def build_policy(
    config: PolicyConfig | Exploration,
    *,
    policy_id: str = "",
    adjustments: Sequence[Adjustment] = (),
    evidence: Evidence | None = None,
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
