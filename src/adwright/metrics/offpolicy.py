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

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import as_codes, as_labels, check_same_length, normal_quantile, refuse
from adwright.metrics.bootstrap import Interval, bootstrap_ratio

# --------------------------------------------------------------------------------------------------
# Empirical likelihood intervals: for means and ratios of skewed terms, without resampling.
#
# Rewards are rare and importance weights are long-tailed, so a sum of weighted rewards is far
# from normal and its interval should reach further up than down. Empirical likelihood (Owen 1988,
# "Empirical likelihood ratio confidence intervals for a single functional"; 2001, chapter 2)
# takes the shape of the interval from the terms themselves. For a ratio of sums
# mu = sum A_g / sum B_g over G independent groups, let z_g = A_g - mu B_g. Then
#
#     R(mu) = max prod G p_g   over weights p_g >= 0 with sum p_g = 1 and sum p_g z_g = 0
#           = prod 1 / (1 + lambda z_g)   with lambda such that sum z_g / (1 + lambda z_g) = 0
#
# and the interval holds all mu with -2 log R(mu) <= the quantile of chi square with one degree
# of freedom. For off-policy values: Karampatziakis, Langford and Mineiro, "Empirical likelihood
# for contextual bandits", NeurIPS 2020.

_STEPS = 100  # at most; Newton needs about six


def likelihood_interval(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, *, confidence: float = 0.95
) -> Interval:
    """Interval of sum(numerators) / sum(denominators), [G] each.

    Never leaves the range of ratios that the terms can give, so the interval of a mean of
    terms that are not negative stays above 0. Raises DataError where all groups agree: they
    tell nothing about what would happen with others.
    """
    limit = normal_quantile(confidence) ** 2
    top, bottom = _columns(numerators, denominators)
    value = float(top.sum() / bottom.sum())
    spread = top - value * bottom
    scale = float(np.sqrt((spread**2).sum())) / abs(float(bottom.sum()))
    if scale <= 1e-12 * abs(value) or scale == 0:
        raise DataError(
            "all rounds agree, so there is no interval",
            value=value,
            hint="collect rounds until some differ; without any response nothing can be said",
        )

    def inside(point: float) -> bool:
        return _statistic(top - point * bottom) <= limit

    def end(direction: int) -> float:
        near, far = value, value + direction * scale
        while inside(far):
            near, far = far, value + 2 * (far - value)
        while abs(far - near) > 1e-10 * scale:
            middle = (near + far) / 2
            near, far = (middle, far) if inside(middle) else (near, middle)
        return near

    return Interval(value, end(-1), end(1))


def _columns(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    top = np.asarray(numerators, np.float64)
    bottom = np.asarray(denominators, np.float64)
    check_same_length(len(top), {"denominators": bottom})
    for name, array in (("numerators", top), ("denominators", bottom)):
        refuse(~np.isfinite(array), "a term is not finite", name, array)
    if not bottom.sum() > 0:
        raise DataError("the denominators sum to nothing", hint="pass at least one round")
    return top, bottom


def _statistic(z: npt.NDArray[np.float64]) -> float:
    """2 sum log(1 + lambda z) at the lambda that solves sum z / (1 + lambda z) = 0."""
    highest, lowest = float(z.max()), float(z.min())
    if highest == 0 == lowest:
        return 0.0
    if highest <= 0 or lowest >= 0:
        return float("inf")
    # The equation falls in lambda between its two poles; a weight is at most 1, which keeps
    # every 1 + lambda z at 1 / G or above (Owen 2001, section 3.14).
    slack = 1 - 1 / len(z)
    low, high = -slack / highest, -slack / lowest
    guess = min(max(float(z.sum() / (z**2).sum()), low), high)
    for _ in range(_STEPS):
        scaled = z / (1 + guess * z)
        gradient = float(scaled.sum())
        if gradient > 0:
            low = guess
        else:
            high = guess
        newton = guess + gradient / float((scaled**2).sum())
        step = newton if low < newton < high else (low + high) / 2
        if abs(step - guess) <= 1e-13 * (abs(guess) + 1e-300):
            break
        guess = step
    return max(0.0, 2 * float(np.log1p(guess * z).sum()))


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

    def model(self, name: str) -> tuple[Floats, Floats]:
        """predicted and expected; DataError where estimator `name` needs them and has none."""
        if self.predicted is None or self.expected is None:
            raise DataError(
                f"{name} needs a model of the reward",
                column="predicted",
                hint="pass predicted and expected, or use ips, clipped_ips or snips",
            )
        return self.predicted, self.expected

    def estimate(self, top: Floats, bottom: Floats | None = None) -> Estimate:
        """Terms [N] of an estimator, over their number where `bottom` is None."""
        return Estimate.of_terms(top, np.ones(len(top)) if bottom is None else bottom, self.group)


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

    @classmethod
    def of_terms(
        cls, top: Floats, bottom: Floats, group: npt.NDArray[np.generic] | None = None
    ) -> Estimate:
        """Terms of N rounds, summed within groups; None: every round is a group."""
        if group is None:
            return cls(top, bottom)
        codes = as_codes(group, len(top))
        present = np.bincount(codes.codes, minlength=codes.span) > 0
        sums = [np.bincount(codes.codes, each, codes.span)[present] for each in (top, bottom)]
        return cls(*(each.astype(np.float64, copy=False) for each in sums))

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
        """Empirical likelihood interval; see `likelihood_interval`."""
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
    _, expected = rounds.model("dm")
    return rounds.estimate(expected)


def ips(rounds: Rounds) -> Estimate:
    """Inverse propensity score: V = 1/N sum w_i r_i.

    Unbiased; Horvitz and Thompson, JASA 1952; for policies: Strehl, Langford, Li and Kakade,
    "Learning from logged implicit exploration data", NeurIPS 2010.
    """
    return rounds.estimate(rounds.weight * rounds.reward)


def clipped_ips(rounds: Rounds, *, largest: float) -> Estimate:
    """Clipped IPS: V = 1/N sum min(w_i, largest) r_i.

    Biased towards 0 for rewards above 0, by the reward behind the weight cut off. Ionides,
    "Truncated importance sampling", JCGS 2008; Bottou et al., JMLR 2013. largest: above 0.
    """
    if not largest > 0:
        raise ValueInvalidError("largest must be above 0", value=largest)
    return rounds.estimate(np.minimum(rounds.weight, largest) * rounds.reward)


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
    return rounds.estimate(weight * rounds.reward, weight)


def dr(rounds: Rounds) -> Estimate:
    """Doubly robust: V = 1/N sum [Q_i + w_i (r_i - q_i)].

    Unbiased where the propensities are true, whatever the model; consistent where the model is
    true, whatever the propensities. Dudik, Langford and Li, "Doubly robust policy evaluation
    and learning", ICML 2011.
    """
    predicted, expected = rounds.model("dr")
    return rounds.estimate(expected + rounds.weight * (rounds.reward - predicted))


def switch_dr(rounds: Rounds, *, threshold: float) -> Estimate:
    """Switch-DR: V = 1/N sum [Q_i + 1(w_i <= threshold) w_i (r_i - q_i)].

    Trusts the model alone where weights are large: threshold 0 is `dm`, an infinite one `dr`.
    Wang, Agarwal and Dudik, "Optimal and adaptive off-policy evaluation in contextual
    bandits", ICML 2017. threshold: 0 or above.
    """
    if not threshold >= 0:
        raise ValueInvalidError("the threshold must be 0 or above", value=threshold)
    predicted, expected = rounds.model("switch_dr")
    weight = np.where(rounds.weight <= threshold, rounds.weight, 0.0)
    return rounds.estimate(expected + weight * (rounds.reward - predicted))


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


# --------------------------------------------------------------------------------------------------
# Two policies on two groups of people: how far apart they are, and whether one may stop yet.
#
# Users are dealt at random to control and treatment; y is what a user brought, x what was
# known of the user before the start (the same measure in a period before, best of all).
#
# CUPED (Deng, Xu, Kohavi and Walker, WSDM 2013) takes what x explains off every outcome:
#
#     y' = y - theta (x - mean x),    theta = (sum over arms of S_xx)^-1 (sum over arms of S_xy)
#
# S are the sums of squares and products within an arm. The difference of the means of y' is then
# the coefficient of the treatment in the regression of y on 1, treatment and x; its expectation
# is that of the plain difference, and its variance is smaller by the factor 1 - R^2 of x within
# arms.
#
# An interval of a fixed sample is wrong as soon as somebody looks twice. The always-valid one is
# the mixture sequential probability ratio test (Robbins 1970; Johari, Koomen, Pekelis and Walsh,
# "Always valid inference", Operations Research 2022) of "no difference" against a difference
# drawn from N(0, t^2). With the difference d of variance V at a look,
#
#     Lambda = sqrt(V / (V + t^2)) exp(t^2 d^2 / (2 V (V + t^2)))
#
# exceeds 1 / alpha at any look, ever, with probability at most alpha where there is no difference;
# the interval is d -+ sqrt(V (V + t^2) / t^2 (2 log(1 / alpha) + log((V + t^2) / V))). With
# estimated variances that holds for large samples (Waudby-Smith, Arbour, Sinha, Kennedy and
# Ramdas, Annals of Statistics 2024), so look for the first time after some hundred users.
#
# Letters: N users, P covariates, L looks.


@dataclass(frozen=True, eq=False)
class ArmComparison:
    """Treatment minus control, per user.

    control, treated: means, adjusted by the covariates where there were any. difference: with
    its interval, for one look. standard_error: of the difference. slope: [P], theta.
    variance_reduction: the share of the plain difference's variance that CUPED removed; 0
    without covariates. people: (control, treated).
    """

    control: float
    treated: float
    difference: Interval
    standard_error: float
    slope: Floats
    variance_reduction: float
    people: tuple[int, int]


@dataclass(frozen=True, eq=False)
class AlwaysValid:
    """What may be said at each of L looks, whenever the looking ends.

    low, high: [L], the interval of the difference at that look, cut to those of earlier looks;
    all of them hold the difference together with the stated confidence. p_value: [L], may be
    read at any look, never rises. stopped: the first look at which the interval left 0 out;
    None where none did.
    """

    low: Floats
    high: Floats
    p_value: Floats
    stopped: int | None


def compare(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    *,
    covariates: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> ArmComparison:
    """Difference of means with a normal interval, Welch's variance s1^2 / n1 + s0^2 / n0.

    outcome: [N], one number per user, finite. treated: [N], 1 or 0. covariates: [N] or [N, P],
    known before the start, finite; give users without a past a 0 and a column of their own
    that says so. Raises DataError where an arm has fewer than two users (P + 2 with
    covariates), ValueInvalidError that names the row of a value that is not finite.
    """
    quantile = normal_quantile(confidence)
    arm = as_labels(treated).astype(np.bool_)
    y = _finite("outcome", np.asarray(outcome, np.float64))
    check_same_length(len(arm), {"outcome": y})
    x = np.empty((len(y), 0)) if covariates is None else _matrix(covariates, len(y))
    people = (int((~arm).sum()), int(arm.sum()))
    if min(people) < x.shape[1] + 2:
        raise DataError(
            "an arm has too few people to compare",
            column="treated",
            value=people,
            hint="wait for more people in both arms",
        )
    slope = _slope(y, x, arm)
    adjusted = y - (x - x.mean(0)) @ slope
    plain, variance = _variance(y, arm), _variance(adjusted, arm)
    means = float(adjusted[~arm].mean()), float(adjusted[arm].mean())
    difference, error = means[1] - means[0], math.sqrt(variance)
    reach = quantile * error
    return ArmComparison(
        control=means[0],
        treated=means[1],
        difference=Interval(difference, difference - reach, difference + reach),
        standard_error=error,
        slope=slope,
        variance_reduction=1 - variance / plain if plain > 0 and x.shape[1] else 0.0,
        people=people,
    )


def always_valid(
    difference: npt.ArrayLike,
    standard_error: npt.ArrayLike,
    *,
    mixture: float,
    confidence: float = 0.95,
) -> AlwaysValid:
    """The sequential test from the difference and its standard error at each look, [L] each.

    mixture: t, above 0, the size of difference that one hopes to see, in its unit; chosen
    before the first look. `best_mixture` gives the one that is tightest at a planned size.
    """
    _check_fractions(confidence, mixture)
    d = _finite("difference", np.asarray(difference, np.float64))
    error = _finite("standard_error", np.asarray(standard_error, np.float64))
    check_same_length(len(d), {"standard_error": error})
    hint = "look for the first time when outcomes differ"
    refuse(~(error > 0), "a standard error must be above 0", "standard_error", error, hint)
    square, variance = mixture**2, error**2
    wide = variance + square
    evidence = 0.5 * np.log(variance / wide) + square * d**2 / (2 * variance * wide)
    budget = -2 * math.log(1 - confidence) + np.log(wide / variance)
    reach = np.sqrt(variance * wide / square * budget)
    low, high = np.maximum.accumulate(d - reach), np.minimum.accumulate(d + reach)
    outside = np.flatnonzero((low > 0) | (high < 0))
    return AlwaysValid(
        low=low,
        high=high,
        p_value=np.minimum.accumulate(np.minimum(1.0, np.exp(-evidence))),
        stopped=int(outside[0]) if len(outside) else None,
    )


def sequential(
    outcome: npt.ArrayLike,
    treated: npt.ArrayLike,
    looks: npt.ArrayLike,
    *,
    mixture: float,
    covariates: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> AlwaysValid:
    """The sequential test of users in their order of arrival, looked at after looks[l] users.

    outcome, treated, covariates: as in `compare`, oldest first; a user's outcome is complete
    when the user is counted. looks: [L], rising, at most N.
    """
    at = np.asarray(looks, np.int64)
    y, arm = np.asarray(outcome, np.float64), np.asarray(treated)
    if at.ndim != 1 or len(at) == 0 or (np.diff(at) <= 0).any() or at[-1] > len(y) or at[0] < 1:
        raise DataError(
            f"looks must rise, from 1 up to the number of people, {len(y)}", column="looks"
        )
    x = None if covariates is None else _matrix(covariates, len(y))
    found = [compare(y[:n], arm[:n], covariates=None if x is None else x[:n]) for n in at.tolist()]
    return always_valid(
        [each.difference.value for each in found],
        [each.standard_error for each in found],
        mixture=mixture,
        confidence=confidence,
    )


def best_mixture(standard_error: float, *, confidence: float = 0.95) -> float:
    """The mixture t whose interval is narrowest at a look with this standard error.

    With u = (V + t^2) / V the width^2 is V u / (u - 1) (2 log(1 / alpha) + log u), least where
    u - log u = 1 + 2 log(1 / alpha). Plan the standard error with `compare` on past data.
    """
    _check_fractions(confidence, standard_error, "standard_error")
    right = 1 - 2 * math.log(1 - confidence)
    u = right
    for _ in range(100):
        u = right + math.log(u)
    return standard_error * math.sqrt(u - 1)


def sample_ratio(treated: npt.ArrayLike, *, share: float = 0.5) -> float:
    """p-value of the users in treatment being what the plan says (share, between 0 and 1).

    Below .001 or so something loses users of one arm, and no difference can be trusted
    (Fabijan et al., KDD 2019). Normal approximation of the binomial; for one look.
    """
    arm = as_labels(treated)
    if not 0 < share < 1 or len(arm) == 0:
        raise ValueInvalidError("the share lies strictly between 0 and 1, of somebody", value=share)
    z = (int(arm.sum()) - len(arm) * share) / math.sqrt(len(arm) * share * (1 - share))
    return math.erfc(abs(z) / math.sqrt(2))


def _slope(y: Floats, x: Floats, arm: npt.NDArray[np.bool_]) -> Floats:
    """theta [P]; the least of those that fit best where covariates repeat each other."""
    centred_x, centred_y = x.copy(), y.copy()
    for rows in (arm, ~arm):
        centred_x[rows] -= x[rows].mean(0)
        centred_y[rows] -= y[rows].mean()
    return np.asarray(np.linalg.lstsq(centred_x, centred_y, rcond=None)[0], np.float64)


def _variance(y: Floats, arm: npt.NDArray[np.bool_]) -> float:
    return sum(float(y[rows].var(ddof=1)) / int(rows.sum()) for rows in (arm, ~arm))


def _matrix(covariates: npt.ArrayLike, rows: int) -> Floats:
    """Covariates as [N, P]."""
    x = np.asarray(covariates, np.float64)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2:
        raise DataError(f"expected [N] or [N, P] and found {x.shape}", column="covariates")
    check_same_length(rows, {"covariates": x})
    return _finite("covariates", x)


def _finite(name: str, values: Floats) -> Floats:
    wrong = ~np.isfinite(values)
    rows = np.asarray(wrong.any(1) if wrong.ndim == 2 else wrong, np.bool_)
    hint = "leave the person out of both arms, or say what is known"
    refuse(rows, "a value is not finite", name, values, hint)
    return values


def _check_fractions(confidence: float, size: float, name: str = "mixture") -> None:
    normal_quantile(confidence)
    if not (size > 0 and math.isfinite(size)):
        raise ValueInvalidError(f"{name} must be above 0 and finite", value=size)
