"""The rules of one place: what each policy makes of the items that are left.

    greedy          1 for the highest utility, 0 for the rest
    epsilon-greedy  (1 - e) [highest] + e / R
    softmax         exp(u_a / T) / sum_b exp(u_b / T)
    Thompson        P(a's draw is the highest), by quadrature; see `delivery.thompson`

A utility is a score, or the log-odds of it where scores are probabilities (`scale`).

Letters: C candidates, R of them left.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError
from adwright.delivery.decision import Candidates
from adwright.delivery.policy.evidence import Evidence, ItemCounts
from adwright.delivery.policy.thompson import LEAST_COUNT, beta_chances, normal_chances

__all__ = [
    "Choice",
    "EpsilonGreedyConfig",
    "GreedyConfig",
    "PolicyConfig",
    "Rule",
    "Scale",
    "SoftmaxConfig",
    "ThompsonConfig",
    "build_rule",
]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

Scale = Literal["score", "log_odds"]

_EDGE = 1e-9  # probabilities are kept this far from 0 and 1, where log-odds have no end


@dataclass(frozen=True)
class GreedyConfig:
    """Always the highest utility. Nothing can be learned from its log about other items.

    scale: "score", or "log_odds" where scores are probabilities; matters to adjustments only.
    """

    kind: Literal["greedy"] = "greedy"
    scale: Scale = "score"

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class EpsilonGreedyConfig:
    """The highest utility, but at each place with probability epsilon any item left.

    epsilon: 0 to 1. scale: as in GreedyConfig.
    """

    kind: Literal["epsilon_greedy"] = "epsilon_greedy"
    epsilon: float = 0.1
    scale: Scale = "score"

    def __post_init__(self) -> None:
        check_literals(self)
        if not 0 <= self.epsilon <= 1:
            raise ConfigError("epsilon lies between 0 and 1", where=f"epsilon {self.epsilon}")


@dataclass(frozen=True)
class SoftmaxConfig:
    """In proportion to exp(utility / temperature).

    temperature: above 0, in units of the utility. scale: "log_odds" reads scores that are
    probabilities as log-odds, so that temperature 1 shows an item of double odds twice as
    often; "score" takes them as they are. Scores that are no probabilities are taken as they
    are either way.
    """

    kind: Literal["softmax"] = "softmax"
    temperature: float = 1.0
    scale: Scale = "log_odds"

    def __post_init__(self) -> None:
        check_literals(self)
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ConfigError(
                "the temperature must be above 0 and finite",
                where=f"temperature {self.temperature}",
                hint="greedy is the limit of 0",
            )


@dataclass(frozen=True)
class ThompsonConfig:
    """In proportion to the belief that an item is the best.

    family: what is believed of an item whose score is s and which was shown n times with c
        responses since (the evidence; strength s and strength (1 - s) count 0.05 at least):
        "beta"    Beta(strength s + c, strength (1 - s) + n - c) about its probability, which
                  adjustments move on log-odds. Scores must be probabilities; a slate of others
                  (a fallback order) is filled greedily.
        "normal"  N(s, spread^2 / (1 + n / strength)) about its score.
    strength: above 0, how many impressions the score is worth.
    spread: above 0, doubt about the score of an item never shown; family "normal" only.
    """

    kind: Literal["thompson"] = "thompson"
    family: Literal["beta", "normal"] = "beta"
    strength: float = 100.0
    spread: float = 0.1

    def __post_init__(self) -> None:
        check_literals(self)
        for name, value in (("strength", self.strength), ("spread", self.spread)):
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be above 0 and finite", where=f"{name} {value}")


PolicyConfig = GreedyConfig | EpsilonGreedyConfig | SoftmaxConfig | ThompsonConfig


class Choice(Protocol):
    """The rule of one place, for the candidates of one request."""

    @property
    def utility(self) -> Floats:
        """[C], before adjustments."""
        ...

    def chances(self, utility: Floats, rows: Rows) -> Floats:
        """[R] chances, summing to 1, of candidates `rows` with adjusted utilities [R]."""
        ...


class Rule(Protocol):
    """Fills one place."""

    @property
    def name(self) -> str:
        """The kind and its main setting, for example "softmax-1.0"."""
        ...

    @property
    def drawn(self) -> str:
        """Why an item other than the best stands at a place, in words."""
        ...

    def begin(self, candidates: Candidates) -> Choice:
        """The rule for the candidates of one request."""
        ...


def build_rule(config: PolicyConfig, *, evidence: Evidence | None = None) -> Rule:
    """The rule of a config. evidence: for Thompson sampling, None for none seen."""
    match config:
        case GreedyConfig():
            return _Greedy(config)
        case EpsilonGreedyConfig():
            return _EpsilonGreedy(config)
        case SoftmaxConfig():
            return _Softmax(config)
        case ThompsonConfig():
            return _Thompson(config, evidence or ItemCounts())


def _utility(candidates: Candidates, scale: Scale) -> Floats:
    if scale == "score" or not candidates.probability:
        return candidates.score
    p = np.clip(candidates.score, _EDGE, 1 - _EDGE)
    log_odds: Floats = np.log(p) - np.log1p(-p)
    return log_odds


def _best(utility: Floats) -> Floats:
    """1 for the highest, the first of equals, as candidates come best first."""
    chances = np.zeros(len(utility))
    chances[np.argmax(utility)] = 1.0
    return chances


@dataclass(frozen=True, eq=False)
class _GreedyChoice:
    utility: Floats

    def chances(self, utility: Floats, rows: Rows) -> Floats:
        return _best(utility)


@dataclass(frozen=True)
class _Greedy:
    config: GreedyConfig
    drawn = "drawn"

    @property
    def name(self) -> str:
        return self.config.kind

    def begin(self, candidates: Candidates) -> Choice:
        return _GreedyChoice(_utility(candidates, self.config.scale))


@dataclass(frozen=True, eq=False)
class _EpsilonChoice:
    utility: Floats
    epsilon: float

    def chances(self, utility: Floats, rows: Rows) -> Floats:
        return (1 - self.epsilon) * _best(utility) + self.epsilon / len(rows)


@dataclass(frozen=True)
class _EpsilonGreedy:
    config: EpsilonGreedyConfig
    drawn = "explored at random"

    @property
    def name(self) -> str:
        return f"{self.config.kind}-{self.config.epsilon}"

    def begin(self, candidates: Candidates) -> Choice:
        return _EpsilonChoice(_utility(candidates, self.config.scale), self.config.epsilon)


@dataclass(frozen=True, eq=False)
class _SoftmaxChoice:
    utility: Floats
    temperature: float

    def chances(self, utility: Floats, rows: Rows) -> Floats:
        odds = np.exp((utility - utility.max()) / self.temperature)
        chances: Floats = odds / odds.sum()
        return chances


@dataclass(frozen=True)
class _Softmax:
    config: SoftmaxConfig
    drawn = "drawn by softmax"

    @property
    def name(self) -> str:
        return f"{self.config.kind}-{self.config.temperature}"

    def begin(self, candidates: Candidates) -> Choice:
        return _SoftmaxChoice(_utility(candidates, self.config.scale), self.config.temperature)


@dataclass(frozen=True, eq=False)
class _BetaChoice:
    """Choice by draws from Beta beliefs; what adjustments add to the log-odds moves the draws."""

    utility: Floats
    successes: Floats
    failures: Floats

    def chances(self, utility: Floats, rows: Rows) -> Floats:
        shift = utility - self.utility[rows]
        return beta_chances(self.successes[rows], self.failures[rows], shift)


@dataclass(frozen=True, eq=False)
class _NormalChoice:
    utility: Floats
    spread: Floats

    def chances(self, utility: Floats, rows: Rows) -> Floats:
        return normal_chances(utility, self.spread[rows])


@dataclass(frozen=True)
class _Thompson:
    config: ThompsonConfig
    evidence: Evidence
    drawn = "drawn by Thompson sampling"

    @property
    def name(self) -> str:
        return f"{self.config.kind}-{self.config.family}-{self.config.strength}"

    def begin(self, candidates: Candidates) -> Choice:
        strength = self.config.strength
        if self.config.family == "normal":
            shown, _ = self.evidence.counts(candidates.item_ids)
            spread = self.config.spread / np.sqrt(1 + shown / strength)
            return _NormalChoice(candidates.score, spread)
        utility = _utility(candidates, "log_odds")
        if not candidates.probability:
            return _GreedyChoice(utility)
        shown, responses = self.evidence.counts(candidates.item_ids)
        p = candidates.score
        successes = np.maximum(strength * p, LEAST_COUNT) + responses
        failures = np.maximum(strength * (1 - p), LEAST_COUNT) + shown - responses
        return _BetaChoice(utility, successes, failures)
