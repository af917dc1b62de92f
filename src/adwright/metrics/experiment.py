"""Two policies on two groups of people: how far apart they are, and whether one may stop yet.

Users are dealt at random to control and treatment; y is what a user brought, x what was
known of the user before the start (the same measure in a period before, best of all).

CUPED (Deng, Xu, Kohavi and Walker, WSDM 2013) takes what x explains off every outcome:

    y' = y - theta (x - mean x),    theta = (sum over arms of S_xx)^-1 (sum over arms of S_xy)

S are the sums of squares and products within an arm. The difference of the means of y' is then
the coefficient of the treatment in the regression of y on 1, treatment and x; its expectation
is that of the plain difference, and its variance is smaller by the factor 1 - R^2 of x within
arms.

An interval of a fixed sample is wrong as soon as somebody looks twice. The always-valid one is
the mixture sequential probability ratio test (Robbins 1970; Johari, Koomen, Pekelis and Walsh,
"Always valid inference", Operations Research 2022) of "no difference" against a difference
drawn from N(0, t^2). With the difference d of variance V at a look,

    Lambda = sqrt(V / (V + t^2)) exp(t^2 d^2 / (2 V (V + t^2)))

exceeds 1 / alpha at any look, ever, with probability at most alpha where there is no difference;
the interval is d -+ sqrt(V (V + t^2) / t^2 (2 log(1 / alpha) + log((V + t^2) / V))). With
estimated variances that holds for large samples (Waudby-Smith, Arbour, Sinha, Kennedy and
Ramdas, Annals of Statistics 2024), so look for the first time after some hundred users.

Letters: N users, P covariates, L looks.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import as_labels, check_same_length, normal_quantile, refuse
from adwright.metrics.bootstrap import Interval

Floats = npt.NDArray[np.float64]


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
