"""The rules of one place: what each policy makes of the items that are left.

    greedy          1 for the highest utility, 0 for the rest
    epsilon-greedy  (1 - e) [highest] + e / R
    softmax         exp(u_a / T) / sum_b exp(u_b / T)
    Thompson        P(a's draw is the highest), by quadrature; see `delivery.policy.thompson`

A utility is a score, or the log-odds of it where scores are probabilities (`scale`). A rule that
reads scores as probabilities refuses others: what it drew from them would be no exploration.

Letters: C candidates, R of them left.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.delivery.decision import Candidates
from adwright.delivery.policy.evidence import Evidence, ItemCounts
from adwright.delivery.policy.thompson import LEAST_COUNT, beta_chances, normal_chances

__all__ = [
    "Choice",
    "EpsilonGreedyConfig",
    "Exploration",
    "GreedyConfig",
    "PolicyConfig",
    "Rule",
    "Scale",
    "SoftmaxConfig",
    "ThompsonConfig",
    "build_rule",
    "log_odds",
    "reads_probabilities",
]

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

Scale = Literal["score", "log_odds"]

_EDGE = 1e-9  # probabilities are kept this far from 0 and 1, where log-odds have no end


@settings
class GreedyConfig:
    """Always the highest utility. Nothing can be learned from its log about other items.

    scale: "log_odds", or "score" for scores as they are, as those are taken that are no
    probabilities; matters to adjustments only.
    """

    drawn: ClassVar[str] = "drawn"
    named_by: ClassVar[tuple[str, ...]] = ()
    kind: Literal["greedy"] = "greedy"
    scale: Scale = "log_odds"


@settings
class EpsilonGreedyConfig:
    """The highest utility, but at each place with probability epsilon any item left.

    epsilon: 0 to 1. scale: as in GreedyConfig.
    """

    drawn: ClassVar[str] = "explored at random"
    named_by: ClassVar[tuple[str, ...]] = ("epsilon",)
    kind: Literal["epsilon_greedy"] = "epsilon_greedy"
    epsilon: Annotated[float, Ge(0), Le(1)] = 0.1
    scale: Scale = "log_odds"


@settings
class SoftmaxConfig:
    """In proportion to exp(utility / temperature).

    temperature: above 0, in units of the utility. scale: "log_odds" reads scores as
    probabilities, so that temperature 1 shows an item of double odds twice as often; "score"
    takes them as they are, whatever their unit.
    """

    drawn: ClassVar[str] = "drawn by softmax"
    named_by: ClassVar[tuple[str, ...]] = ("temperature",)
    kind: Literal["softmax"] = "softmax"
    temperature: float = 1.0
    scale: Scale = "log_odds"

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ConfigError(
                "the temperature must be above 0 and finite",
                where=f"temperature {self.temperature}",
                hint="greedy is the limit of 0",
            )


@settings
class ThompsonConfig:
    """In proportion to the belief that an item is the best.

    family: what is believed of an item whose score is s and which was shown n times with c
        responses since (the evidence; strength s and strength (1 - s) count 0.05 at least):
        "beta"    Beta(strength s + c, strength (1 - s) + n - c) about its probability, which
                  adjustments move on log-odds. Scores must be probabilities.
        "normal"  N(s, spread^2 / (1 + n / strength)) about its score.
    strength: above 0, how many impressions the score is worth.
    spread: above 0, doubt about the score of an item never shown; family "normal" only.
    """

    drawn: ClassVar[str] = "drawn by Thompson sampling"
    named_by: ClassVar[tuple[str, ...]] = ("family", "strength")
    kind: Literal["thompson"] = "thompson"
    family: Literal["beta", "normal"] = "beta"
    strength: float = 100.0
    spread: float = 0.1

    def __post_init__(self) -> None:
        for name, value in (("strength", self.strength), ("spread", self.spread)):
            if not (value > 0 and math.isfinite(value)):
                raise ConfigError(f"{name} must be above 0 and finite", where=f"{name} {value}")


PolicyConfig = GreedyConfig | EpsilonGreedyConfig | SoftmaxConfig | ThompsonConfig


@dataclass(frozen=True)
class Exploration:
    """Softmax on log-odds at the temperature that gives up a stated share of the expected value.

    share: above 0 and below 1. temperatures: of slates of 1, 2, ... places, found by
    `delivery.policy.exploration`; longer ones take the last.
    """

    drawn: ClassVar[str] = "explored"
    named_by: ClassVar[tuple[str, ...]] = ("share",)
    kind: ClassVar[str] = "explore"
    share: float
    temperatures: tuple[float, ...]

    def at(self, places: int) -> float:
        """The temperature of slates of so many places."""
        return self.temperatures[min(places, len(self.temperatures)) - 1]


@dataclass(frozen=True, eq=False)
class Choice:
    """The rule of one place, for the candidates of one request.

    utility: [C], before adjustments. chances(utility, rows): [R] chances, summing to 1, of
    candidates `rows` with adjusted utilities [R].
    """

    utility: Floats
    chances: Callable[[Floats, Rows], Floats]


@dataclass(frozen=True, eq=False)
class Rule:
    """Fills one place; made by `build_rule`."""

    config: PolicyConfig | Exploration
    evidence: Evidence

    @property
    def name(self) -> str:
        """The kind and its main setting, for example "softmax-1.0"."""
        settings = (str(getattr(self.config, name)) for name in self.config.named_by)
        return "-".join([self.config.kind, *settings])

    @property
    def drawn(self) -> str:
        """Why an item other than the best stands at a place, in words."""
        return self.config.drawn

    def begin(self, candidates: Candidates, places: int = 1) -> Choice:
        """The rule for the candidates of one request, which fill so many places.

        Raises ValueInvalidError for scores that are no probabilities, where the rule reads them so.
        """
        if reads_probabilities(self.config) and len(candidates) and not candidates.probability:
            raise ValueInvalidError(
                f"{self.name} reads scores as probabilities, and those of this order are none",
                column="probability",
                value=candidates.stage,
                hint="calibrate the model: train it again, or publish it again with its log",
            )
        match self.config:
            case GreedyConfig(scale=scale):
                return Choice(_utility(candidates, scale), _best)
            case EpsilonGreedyConfig(epsilon=epsilon, scale=scale):
                return Choice(
                    _utility(candidates, scale),
                    lambda utility, rows: (
                        (1 - epsilon) * _best(utility, rows) + epsilon / len(rows)
                    ),
                )
            case SoftmaxConfig(temperature=temperature, scale=scale):
                return Choice(
                    _utility(candidates, scale), lambda utility, _: _softmax(utility, temperature)
                )
            case Exploration() as config:
                temperature = config.at(places)
                return Choice(
                    _utility(candidates, "log_odds"),
                    lambda utility, _: _softmax(utility, temperature),
                )
            case ThompsonConfig() as config:
                return self._thompson(config, candidates)

    def _thompson(self, config: ThompsonConfig, candidates: Candidates) -> Choice:
        strength, p = config.strength, candidates.score
        beta = config.family == "beta"
        utility = _utility(candidates, "log_odds" if beta else "score")
        shown, responses = self.evidence.counts(candidates.item_ids)
        if not beta:
            spread = config.spread / np.sqrt(1 + shown / strength)
            return Choice(utility, lambda moved, rows: normal_chances(moved, spread[rows]))
        successes = np.maximum(strength * p, LEAST_COUNT) + responses
        failures = np.maximum(strength * (1 - p), LEAST_COUNT) + shown - responses
        # What adjustments add to the log-odds moves the draws.
        return Choice(
            utility,
            lambda moved, rows: beta_chances(
                successes[rows], failures[rows], moved - utility[rows]
            ),
        )


def reads_probabilities(config: PolicyConfig | Exploration) -> bool:
    """Whether a rule reads scores as probabilities."""
    match config:
        case GreedyConfig() | EpsilonGreedyConfig():
            return False
        case SoftmaxConfig(scale=scale):
            return scale == "log_odds"
        case ThompsonConfig(family=family):
            return family == "beta"
        case Exploration():
            return True


def build_rule(config: PolicyConfig | Exploration, *, evidence: Evidence | None = None) -> Rule:
    """The rule of a config. evidence: for Thompson sampling, None for none seen."""
    return Rule(config, evidence or ItemCounts())


def _utility(candidates: Candidates, scale: Scale) -> Floats:
    if scale == "score" or not candidates.probability:
        return candidates.score
    return log_odds(candidates.score)


def log_odds(probability: Floats) -> Floats:
    """log p / (1 - p), p kept a little from 0 and 1."""
    p = np.clip(probability, _EDGE, 1 - _EDGE)
    found: Floats = np.log(p) - np.log1p(-p)
    return found


def _best(utility: Floats, rows: Rows) -> Floats:
    """1 for the highest, the first of equals, as candidates come best first."""
    chances = np.zeros(len(utility))
    chances[np.argmax(utility)] = 1.0
    return chances


def _softmax(utility: Floats, temperature: float) -> Floats:
    odds = np.exp((utility - utility.max()) / temperature)
    chances: Floats = odds / odds.sum()
    return chances
