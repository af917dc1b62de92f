"""Off-policy evaluation: the value of one policy from the log of another.

A logging policy b showed item a_i in context x_i with probability b_i (the propensity) and the
reward r_i followed. The value of an evaluation policy e is the mean reward it would have
earned. Letters: N rounds, C items, G groups of rounds that depend on each other.

    w_i = e(a_i | x_i) / b_i        importance weight; its mean over rounds is 1 in expectation
    q(x, a)                         a model of the reward; q_i = q(x_i, a_i)
    Q_i = sum_a e(a | x_i) q(x_i, a)    what the model expects of e in context i

Each estimator returns an `Estimate`, which knows its value and three intervals. Which one to
take: `dr` is unbiased like `ips` and varies less where the model has learned something; it is
the default choice. `dm` has no variance problem but the bias of the model, clipping and
switching trade a known bias against variance. All need that the logging policy could have
shown whatever e shows, and propensities that are true.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import as_codes, check_same_length, normal_quantile, refuse
from adwright.metrics.bootstrap import Interval, bootstrap_ratio
from adwright.metrics.likelihood import likelihood_interval

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Rounds:
    """The log of N rounds, and what the evaluation policy and the model say about them.

    reward: [N], finite. propensity: [N], b_i, above 0 and at most 1. target: [N],
    e(a_i | x_i), 0 to 1. predicted: [N], q_i. expected: [N], Q_i; both or neither, and needed
    by dm, dr and switch_dr. group: [N] integers or texts; rounds of one group (a slate, a
    user) are resampled together; None: every round on its own.

    The model must not have been fitted on the round that it predicts (fit on other folds), or
    it explains the noise of that round too.
    Raises ValueInvalidError that names the row and the column.
    """

    reward: Floats
    propensity: Floats
    target: Floats
    predicted: Floats | None = None
    expected: Floats | None = None
    group: npt.NDArray[np.generic] | None = None

    def __post_init__(self) -> None:
        rows = len(self.reward)
        if rows == 0:
            raise DataError("there are no rounds", hint="check the filter before it")
        if (self.predicted is None) != (self.expected is None):
            raise DataError(
                "predicted and expected come together",
                column="predicted" if self.predicted is None else "expected",
                hint="pass what the model says of the shown item, and of the policy's choice",
            )
        columns = {
            "reward": self.reward,
            "propensity": self.propensity,
            "target": self.target,
            "predicted": self.predicted,
            "expected": self.expected,
        }
        for name, column in columns.items():
            if column is not None:
                object.__setattr__(self, name, _checked(name, column, rows))
        if self.group is not None:
            check_same_length(rows, {"group": self.group})

    @classmethod
    def of_tables(
        cls,
        *,
        action: npt.NDArray[np.integer],
        reward: npt.ArrayLike,
        propensity: npt.ArrayLike,
        policy: npt.ArrayLike,
        model: npt.ArrayLike | None = None,
        group: npt.NDArray[np.generic] | None = None,
    ) -> Rounds:
        """Rounds from what the policy and the model say of all C items.

        action: [N], 0 to C - 1, what was shown. policy: [N, C], e(a | x_i), rows sum to 1.
        model: [N, C], q(x_i, a). The rest as in `Rounds`.
        """
        chance = np.asarray(policy, np.float64)
        sums = chance.sum(1)
        what = "the evaluation policy's probabilities do not sum to 1"
        hint = "give every item its probability, those never shown 0"
        refuse(~(np.abs(sums - 1) <= 1e-6), what, "policy", sums, hint)
        rows = np.arange(len(chance))
        check_same_length(len(chance), {"action": action})
        table = None if model is None else np.asarray(model, np.float64)
        return cls(
            reward=np.asarray(reward, np.float64),
            propensity=np.asarray(propensity, np.float64),
            target=chance[rows, action],
            predicted=None if table is None else table[rows, action],
            expected=None if table is None else (chance * table).sum(1),
            group=group,
        )

    def __len__(self) -> int:
        return len(self.reward)

    @property
    def weight(self) -> Floats:
        """[N], the importance weights w_i."""
        return self.target / self.propensity


@dataclass(frozen=True, eq=False)
class Estimate:
    """An estimated value, sum of numerators over sum of denominators, [G] each, over groups.

    Three intervals. `likelihood` and `bootstrap` follow the skew of rare rewards under long
    weights, `normal` does not; with few rewards `likelihood` covers best (see the tests), and
    it needs no chance. All say how much the estimate would move with other rounds, not how
    wrong the model behind `dm` is.
    """

    numerators: Floats
    denominators: Floats

    @property
    def value(self) -> float:
        """The estimated mean reward of a round."""
        return float(self.numerators.sum() / self.denominators.sum())

    @property
    def standard_error(self) -> float:
        """Of the value, by the delta method: sqrt(G/(G-1) sum (A - V B)^2) / sum B."""
        residual = self.numerators - self.value * self.denominators
        groups = len(residual)
        if groups < 2:
            raise DataError("one group has no standard error", hint="pass more rounds")
        total = (residual**2).sum() * groups / (groups - 1)
        return float(np.sqrt(total) / self.denominators.sum())

    def likelihood(self, *, confidence: float = 0.95) -> Interval:
        """Empirical likelihood interval; see `metrics.likelihood`."""
        return likelihood_interval(self.numerators, self.denominators, confidence=confidence)

    def bootstrap(
        self, rng: np.random.Generator, *, draws: int = 1000, confidence: float = 0.95
    ) -> Interval:
        """Percentile interval of resampled groups."""
        return bootstrap_ratio(
            self.numerators, self.denominators, rng, draws, confidence=confidence
        )

    def normal(self, *, confidence: float = 0.95) -> Interval:
        """value -+ z standard errors."""
        reach = normal_quantile(confidence) * self.standard_error
        return Interval(self.value, self.value - reach, self.value + reach)


@dataclass(frozen=True)
class WeightSummary:
    """How far the two policies are apart on this log.

    mean: of the weights; far from 1 means wrong propensities or missing support.
    largest: the largest weight. effective: (sum w)^2 / sum w^2 (Kish 1965), the number of
    rounds of the evaluation policy itself that would tell as much. unseen: share of rounds
    whose item the evaluation policy would never show.
    """

    mean: float
    largest: float
    effective: float
    unseen: float


def summarise_weights(rounds: Rounds) -> WeightSummary:
    """The weights of a log in four numbers; read them before any estimate."""
    weight = rounds.weight
    square = float((weight**2).sum())
    return WeightSummary(
        mean=float(weight.mean()),
        largest=float(weight.max()),
        effective=float(weight.sum() ** 2 / square) if square else 0.0,
        unseen=float((weight == 0).mean()),
    )


def dm(rounds: Rounds) -> Estimate:
    """Direct method: V = 1/N sum Q_i.

    Only as good as the model; its intervals leave the model's error out. Beygelzimer and
    Langford, "The offset tree for learning with partial labels", KDD 2009.
    """
    _, expected = _model_of(rounds, "dm")
    return _estimate(rounds, expected)


def ips(rounds: Rounds) -> Estimate:
    """Inverse propensity score: V = 1/N sum w_i r_i.

    Unbiased; Horvitz and Thompson, JASA 1952; for policies: Strehl, Langford, Li and Kakade,
    "Learning from logged implicit exploration data", NeurIPS 2010.
    """
    return _estimate(rounds, rounds.weight * rounds.reward)


def clipped_ips(rounds: Rounds, *, largest: float) -> Estimate:
    """Clipped IPS: V = 1/N sum min(w_i, largest) r_i.

    Biased towards 0 for rewards above 0, by the reward behind the weight cut off. Ionides,
    "Truncated importance sampling", JCGS 2008; Bottou et al., JMLR 2013. largest: above 0.
    """
    if not largest > 0:
        raise ValueInvalidError("largest must be above 0", value=largest)
    return _estimate(rounds, np.minimum(rounds.weight, largest) * rounds.reward)


def snips(rounds: Rounds) -> Estimate:
    """Self-normalised IPS: V = sum w_i r_i / sum w_i.

    Unchanged when all weights are off by one factor, never outside the range of rewards;
    consistent, with a bias that falls as 1/N. Swaminathan and Joachims, "The self-normalized
    estimator for counterfactual learning", NeurIPS 2015.
    Raises DataError where every weight is 0.
    """
    weight = rounds.weight
    if not weight.any():
        raise DataError(
            "the evaluation policy would have shown none of these items",
            column="target",
            hint="its value cannot be told from this log",
        )
    return _estimate(rounds, weight * rounds.reward, weight)


def dr(rounds: Rounds) -> Estimate:
    """Doubly robust: V = 1/N sum [Q_i + w_i (r_i - q_i)].

    Unbiased where the propensities are true, whatever the model; consistent where the model is
    true, whatever the propensities. Dudik, Langford and Li, "Doubly robust policy evaluation
    and learning", ICML 2011.
    """
    predicted, expected = _model_of(rounds, "dr")
    return _estimate(rounds, expected + rounds.weight * (rounds.reward - predicted))


def switch_dr(rounds: Rounds, *, threshold: float) -> Estimate:
    """Switch-DR: V = 1/N sum [Q_i + 1(w_i <= threshold) w_i (r_i - q_i)].

    Trusts the model alone where weights are large: threshold 0 is `dm`, an infinite one `dr`.
    Wang, Agarwal and Dudik, "Optimal and adaptive off-policy evaluation in contextual
    bandits", ICML 2017. threshold: 0 or above.
    """
    if not threshold >= 0:
        raise ValueInvalidError("the threshold must be 0 or above", value=threshold)
    predicted, expected = _model_of(rounds, "switch_dr")
    weight = np.where(rounds.weight <= threshold, rounds.weight, 0.0)
    return _estimate(rounds, expected + weight * (rounds.reward - predicted))


def _estimate(rounds: Rounds, top: Floats, bottom: Floats | None = None) -> Estimate:
    """Terms of rounds as sums of groups."""
    below = np.ones(len(top)) if bottom is None else bottom
    if rounds.group is None:
        return Estimate(top, below)
    codes = as_codes(rounds.group, len(top))
    present = np.bincount(codes.codes, minlength=codes.span) > 0
    sums = [np.bincount(codes.codes, each, codes.span)[present] for each in (top, below)]
    return Estimate(*(each.astype(np.float64, copy=False) for each in sums))


def _model_of(rounds: Rounds, name: str) -> tuple[Floats, Floats]:
    if rounds.predicted is None or rounds.expected is None:
        raise DataError(
            f"{name} needs a model of the reward",
            column="predicted",
            hint="pass predicted and expected, or use ips, clipped_ips or snips",
        )
    return rounds.predicted, rounds.expected


_RULES = {
    "propensity": (
        "a propensity must be above 0 and at most 1",
        "log the probability with which the item was chosen; drop rounds without one",
    ),
    "target": (
        "a probability of the evaluation policy lies outside 0..1",
        "pass its probability of the item that was shown",
    ),
}


def _checked(name: str, column: npt.ArrayLike, rows: int) -> Floats:
    """One column as float64 [N], in its range."""
    array = np.asarray(column, np.float64)
    if array.shape != (rows,):
        raise DataError(
            f"expected shape ({rows},) and found {array.shape}",
            column=name,
            hint="all columns describe the same rounds",
        )
    wrong = ~np.isfinite(array)
    if name == "propensity":
        wrong |= ~((array > 0) & (array <= 1))
    elif name == "target":
        wrong |= ~((array >= 0) & (array <= 1))
    what, hint = _RULES.get(name, ("a value is not finite", "drop the round or correct it"))
    refuse(wrong, what, name, array, hint)
    return array
