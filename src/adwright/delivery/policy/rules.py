"""The rules of one place: what each policy makes of the items that are left.

    greedy          1 for the highest utility, 0 for the rest
    epsilon-greedy  (1 - e) [highest] + e / R
    softmax         exp(u_a / T) / sum_b exp(u_b / T)
    Thompson        P(a's draw is the highest), by quadrature; see below

A utility is a score, or the log-odds of it where scores are probabilities (`scale`). A rule that
reads scores as probabilities refuses others: what it drew from them would be no exploration.

Letters: C candidates, R of them left.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import Ge, Le, Positive, settings
from adwright.core.errors import ValueInvalidError
from adwright.delivery.decision import Candidates

# --------------------------------------------------------------------------------------------------
# Impressions and responses per item since training.
#
# The scores of a model are as old as its training data. Between two trainings these counts keep
# a bandit up to date: they are the only thing that it learns online.


class ItemCounts:
    """Counts in memory, fed with events in any order.

    Responses are counted up to the impressions of their item: a response without an impression
    (it came first, or was shown by someone else) waits until one arrives.
    """

    def __init__(self, *, response: str = "click", since: datetime | None = None) -> None:
        """response: the kind of event that counts as one, for example "click". since: the scores
        know what happened before; None counts every event."""
        self.response, self.since = response, since
        self._shown: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    def record(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Add events in the columns of the EventLog; kinds other than impression and the
        response are skipped. Not idempotent: pass each event once.

        Raises ValueInvalidError for an event without an item.
        """
        for row, event in enumerate(events):
            kind = event["kind"]
            if kind not in ("impression", self.response):
                continue
            if self.since is not None and event["time"] < self.since:
                continue
            item_id = event["item_id"]
            if not item_id:
                raise ValueInvalidError("item_id is empty", row=row, column="item_id")
            counts = self._shown if kind == "impression" else self._answered
            counts[item_id] = counts.get(item_id, 0) + 1

    def counts(self, item_ids: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Impressions [C] and responses [C] of these items; zeros for the unknown."""
        shown = np.array([self._shown.get(item, 0) for item in item_ids], np.float64)
        answered = np.array([self._answered.get(item, 0) for item in item_ids], np.float64)
        return shown, np.minimum(answered, shown)


# --------------------------------------------------------------------------------------------------
# Thompson sampling without sampling: the exact chance that each item is drawn best.
#
# Thompson sampling draws a value for each item from what is believed about it and shows the item
# with the highest draw (Thompson, Biometrika 1933). With independent beliefs of density f_a and
# distribution function F_a, item a is shown with probability
#
#     P_a = integral f_a(x) prod_{b != a} F_b(x) dx
#
# and an item drawn from P is distributed as the winner of the draws. So the policy computes P by
# quadrature and draws once from it: the logged propensity is the very number that the choice was
# made with. (Monte Carlo propensities, the usual way, are off by 1/sqrt(draws), and are 0 for
# an item that was shown but won no draw.)
#
# Quadrature: one even grid for all items, from where some F_b still vanishes to where every
# density has died out. The integrand dies out at both ends, so the trapezoid rule converges
# geometrically; the F_b are cumulative trapezoids corrected by the slopes at both ends of each
# step, error h^4/720 f'''. With eight steps to the smallest spread the chances are exact to
# about 1e-6; tails below 1e-12 count as 0.
#
# Letters: C items, X points of the grid. Cost: C X evaluations of a density.

Floats = NDArray[np.float64]

#: Beta beliefs with less are spread over more log-odds than a grid can hold.
LEAST_COUNT = 0.05

_STEPS = 8.0  # steps of the grid to the smallest spread
_POINTS = 8192  # of the grid at most; beyond, the narrowest beliefs are read as a bit wider
_REACH = 7.1  # spreads beyond which a normal belief holds less than 1e-12
_TAIL = 28.0  # -log 1e-12


def normal_chances(mean: Floats, spread: Floats) -> Floats:
    """P_a of beliefs N(mean_a, spread_a^2), each [C], finite, spreads above 0; sums to 1.

    Where the spreads are further apart than the grid resolves (a factor of about 70), the
    narrowest beliefs are read as a thousandth of the range that matters.
    """
    return _chances(_Normals(mean, spread))


def beta_chances(successes: Floats, failures: Floats, shift: Floats) -> Floats:
    """P_a of beliefs Beta(successes_a, failures_a) about a probability; sums to 1.

    successes, failures: [C], at least LEAST_COUNT. shift: [C], finite, added to the log-odds of
    each draw before they are compared; zeros for plain Thompson sampling.

    Works on log-odds t, where the density is exp(a t - (a + b) log(1 + e^t)) / B(a, b), smooth
    and without ends, also for a below 1. Beliefs too narrow for the grid are read as beliefs
    from fewer observations with the same share.
    """
    return _chances(_Betas(successes, failures, shift))


@dataclass(frozen=True, eq=False)
class _Normals:
    mean: Floats
    spread: Floats

    def ends(self) -> tuple[Floats, Floats]:
        """Where the tails count as 0, [C] each."""
        return self.mean - _REACH * self.spread, self.mean + _REACH * self.spread

    def at_least(self, spread: float) -> _Normals:
        return _Normals(self.mean, np.maximum(self.spread, spread))

    def take(self, rows: NDArray[np.intp]) -> _Normals:
        return _Normals(self.mean[rows], self.spread[rows])

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """Densities and their slopes, [C, X] each."""
        width = self.spread[:, None]
        z = (x - self.mean[:, None]) / width
        height = np.exp(-0.5 * z * z) / (width * math.sqrt(2 * math.pi))
        return height, -height * z / width


@dataclass(frozen=True, eq=False)
class _Betas:
    """On log-odds, moved by shift."""

    successes: Floats
    failures: Floats
    shift: Floats

    @property
    def spread(self) -> Floats:
        """Spread of the normal that touches the density at its mode."""
        return np.sqrt(1 / self.successes + 1 / self.failures)

    def ends(self) -> tuple[Floats, Floats]:
        """Wide enough for the exponential tails of few observations."""
        centre = np.log(self.successes) - np.log(self.failures) + self.shift
        reach = _REACH * self.spread
        return centre - reach - _TAIL / self.successes, centre + reach + _TAIL / self.failures

    def at_least(self, spread: float) -> _Betas:
        share = np.minimum(1.0, (self.spread / spread) ** 2)
        return _Betas(share * self.successes, share * self.failures, self.shift)

    def take(self, rows: NDArray[np.intp]) -> _Betas:
        return _Betas(self.successes[rows], self.failures[rows], self.shift[rows])

    def density(self, x: Floats) -> tuple[Floats, Floats]:
        """Densities and their slopes, [C, X] each."""
        a, b = self.successes[:, None], self.failures[:, None]
        pairs = zip(self.successes.tolist(), self.failures.tolist(), strict=True)
        norm = [math.lgamma(p) + math.lgamma(q) - math.lgamma(p + q) for p, q in pairs]
        t = x - self.shift[:, None]
        growth = np.logaddexp(0.0, t)
        height = np.exp(a * t - (a + b) * growth - np.array(norm)[:, None])
        return height, height * (a - (a + b) * np.exp(t - growth))


_Beliefs = _Normals | _Betas


def _chances(beliefs: _Beliefs) -> Floats:
    # Below the highest low end its item has no mass, so nobody wins there; items that end
    # below it never win.
    low, high = beliefs.ends()
    rows = np.flatnonzero(high > low.max())
    chances = np.zeros(len(low))
    beliefs = beliefs.take(rows)
    start, end = _range(beliefs)
    least = float(beliefs.spread.min())
    if least < (end - start) * _STEPS / _POINTS:
        least = (end - start) * _STEPS / _POINTS
        beliefs = beliefs.at_least(least)
        start, end = _range(beliefs)
    x = np.linspace(start, end, 1 + math.ceil((end - start) * _STEPS / least))
    step = x[1] - x[0]
    height, slope = beliefs.density(x)
    piece = step / 2 * (height[:, :-1] + height[:, 1:])
    piece += step**2 / 12 * (slope[:, :-1] - slope[:, 1:])
    above = np.zeros_like(height)
    above[:, :-1] = piece[:, ::-1].cumsum(1)[:, ::-1]
    logs = np.log(np.clip(1.0 - above, 1e-300, 1.0))
    won = (height * np.exp(logs.sum(0) - logs)).sum(1)
    chances[rows] = won / won.sum()
    return chances


def _range(beliefs: _Beliefs) -> tuple[float, float]:
    low, high = beliefs.ends()
    return float(low.max()), float(high.max())


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

    temperature: above 0, in units of the utility; greedy is the limit of 0. scale: "log_odds" reads
    scores as probabilities, so that temperature 1 shows an item of double odds twice as often;
    "score" takes them as they are, whatever their unit.
    """

    drawn: ClassVar[str] = "drawn by softmax"
    named_by: ClassVar[tuple[str, ...]] = ("temperature",)
    kind: Literal["softmax"] = "softmax"
    temperature: Positive = 1.0
    scale: Scale = "log_odds"


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
    strength: Positive = 100.0
    spread: Positive = 0.1


PolicyConfig = GreedyConfig | EpsilonGreedyConfig | SoftmaxConfig | ThompsonConfig


@dataclass(frozen=True)
class Exploration:
    """Softmax on log-odds at the temperature that gives up a stated share of the expected value.

    share: above 0 and below 1. temperatures: of slates of 1, 2, ... places, found by
    `slate_policy`; longer ones take the last.
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
    evidence: ItemCounts

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


def build_rule(config: PolicyConfig | Exploration, *, evidence: ItemCounts | None = None) -> Rule:
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
