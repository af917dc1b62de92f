"""Turn scores that rank well into calibrated probabilities.

Three calibrators, fitted on held-out rows (never on training rows, where a model is
overconfident) and saved with the model as plain numbers:

    temperature  sigmoid(logit(p) / T)        one number; keeps the ranking and 1/2
    platt        sigmoid(a logit(p) + b)      two numbers; also mends a wrong base rate
    isotonic     the best rising step shape   any monotone shape; needs much data, makes ties

A fourth reads the scores of a list, of whatever scale, as chances that each of its items is taken
(`ListCalibrator`): what a policy that explores needs.

Where training dropped negatives, apply `undo_negative_sampling` first. No torch here: a
calibrator runs on the arrays that come out of any model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import (
    AdwrightError,
    ArtifactError,
    ConfigError,
    DataError,
    ValueInvalidError,
)
from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from adwright.data.features import Feature, FeatureSpec, ItemTable
from adwright.metrics.arrays import (
    Array,
    as_codes,
    as_labels,
    as_probabilities,
    as_weights,
    check_same_length,
    run_starts,
)

Method = Literal["platt", "isotonic", "temperature", "none"]

_EDGE = 1e-15  # probabilities are kept this far from 0 and 1 before the logit
_SMALLEST, _LARGEST = 1e-2, 1e2  # temperatures looked at
_BEST, _FAR = 10, 4.0  # places that tell a list's scale, and deviations beyond which all is far
POOLING_ROUNDS = 64  # vectorised pooling rounds before the sequential finish


class _Saved:
    """A calibrator, a frozen dataclass of numbers, as values of an artifact."""

    method: ClassVar[Method]

    def to_jsonable(self) -> dict[str, Any]:
        """Plain values for the artifact; `calibrator_from_jsonable` reads them."""
        return {"method": self.method, **to_jsonable(self)}


@dataclass(frozen=True)
class IdentityCalibrator(_Saved):
    """Leaves probabilities as they are: method "none"."""

    method: ClassVar[Method] = "none"

    def __call__(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities [N] in 0..1 -> the same, as float64."""
        return as_probabilities(probabilities).astype(np.float64)


@dataclass(frozen=True)
class PlattCalibrator(_Saved):
    """sigmoid(slope * logit(p) + intercept) (Platt 1999).

    Raises ValueInvalidError where a coefficient is not finite.
    """

    method: ClassVar[Method] = "platt"
    slope: float
    intercept: float

    def __post_init__(self) -> None:
        _check_finite(slope=self.slope, intercept=self.intercept)

    def __call__(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities [N] in 0..1 -> calibrated probabilities [N]."""
        return _sigmoid(self.slope * _logit(as_probabilities(probabilities)) + self.intercept)


@dataclass(frozen=True)
class TemperatureCalibrator(_Saved):
    """sigmoid(logit(p) / temperature) (Guo et al. 2017): above 1 it tempers confidence.

    Raises ValueInvalidError unless the temperature is finite and positive.
    """

    method: ClassVar[Method] = "temperature"
    temperature: float

    def __post_init__(self) -> None:
        _check_finite(temperature=self.temperature)
        if self.temperature <= 0:
            raise ValueInvalidError("a temperature must be positive", value=self.temperature)

    def __call__(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities [N] in 0..1 -> calibrated probabilities [N]."""
        return _sigmoid(_logit(as_probabilities(probabilities)) / self.temperature)


@dataclass(frozen=True)
class IsotonicCalibrator(_Saved):
    """A rising line through (knots, levels), flat outside them (Zadrozny and Elkan 2002).

    knots: ascending predictions, the first and last of each pooled block.
    levels: response rate at each knot, never falling.
    Raises ValueInvalidError where knots do not rise, levels fall or leave 0..1.
    """

    method: ClassVar[Method] = "isotonic"
    knots: tuple[float, ...]
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        knots, levels = np.asarray(self.knots), np.asarray(self.levels)
        _check_finite(knots=self.knots, levels=self.levels)
        if len(knots) == 0 or len(knots) != len(levels):
            raise ValueInvalidError(
                "an isotonic calibrator needs as many levels as knots, and at least one",
                value=(len(knots), len(levels)),
            )
        if (np.diff(knots) <= 0).any() or (np.diff(levels) < 0).any():
            raise ValueInvalidError("knots must rise and levels must not fall")
        if levels[0] < 0 or levels[-1] > 1:
            raise ValueInvalidError("levels must lie in 0..1", value=(levels[0], levels[-1]))

    def __call__(self, probabilities: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Probabilities [N] in 0..1 -> calibrated probabilities [N], with ties."""
        p = as_probabilities(probabilities)
        return np.interp(p, self.knots, self.levels)


Calibrator: TypeAlias = (
    IdentityCalibrator | PlattCalibrator | TemperatureCalibrator | IsotonicCalibrator
)


@dataclass(frozen=True)
class ListCalibrator:
    """What a list's scores say of the chance that an item is taken, if the list is shown:

        logit p = base - by_place log(place) + by_score z

    place counts from 1; z is the score in standard deviations of the ten best, less their mean,
    at most 4 away from it. So the unit of the scores does not matter, counts may grow, and the
    order stays: neither weight is negative. Raises ValueInvalidError where one is, or is not
    finite.
    """

    base: float
    by_place: float
    by_score: float

    def __post_init__(self) -> None:
        _check_finite(base=self.base, by_place=self.by_place, by_score=self.by_score)
        if min(self.by_place, self.by_score) < 0:
            raise ValueInvalidError(
                "a list calibrator keeps the order", value=(self.by_place, self.by_score)
            )

    def __call__(self, scores: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scores [C], never rising -> probabilities [C], never rising."""
        place, z = _places(scores)
        p = _sigmoid(self.base + self.by_place * place + self.by_score * z)
        found: npt.NDArray[np.float64] = np.minimum.accumulate(p)
        return found


def fit_list_calibrator(
    scores: Sequence[npt.NDArray[np.float64]], taken: Sequence[npt.NDArray[np.bool_]]
) -> ListCalibrator:
    """The calibrator of lists under which what was taken is likeliest.

    scores, taken: of each list, [C] best first. A weight that would turn the order round is 0; as
    much as one row of doubt holds the weights finite. Raises DataError where nothing was taken, or
    everything.
    """
    y = np.concatenate([np.zeros(0, np.bool_), *taken])
    x = np.concatenate([np.zeros((0, 2)), *(np.stack(_places(s), axis=1) for s in scores)])
    if not 0 < y.sum() < len(y):
        raise DataError(
            "the chance of being taken is learned from lists of which something was taken",
            column="taken",
            value=f"{int(y.sum())} of {len(y)}",
            hint="ask more visits",
        )
    found = np.zeros(3)
    for kept in ([0, 1, 2], [0, 1], [0, 2], [0]):
        found = np.zeros(3)
        found[kept] = _fit_logistic(np.column_stack((np.ones(len(y)), x))[:, kept], y)
        if (found[1:] >= 0).all():
            break
    return ListCalibrator(*found.tolist())


def fit_calibrator(
    method: Method,
    labels: npt.ArrayLike,
    probabilities: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
) -> Calibrator:
    """Fit a calibrator on held-out rows.

    labels: [N] 0 or 1. probabilities: [N] in 0..1 as the model gave them.
    weights: [N], rows each row stands for (1 / rate for sampled negatives).

    platt: maximum likelihood by Newton's method with Platt's targets, (N1 + 1)/(N1 + 2) for
    a response and 1/(N0 + 2) for the rest, which keep it finite on separable rows.
    temperature: maximum likelihood over temperatures of 0.01 to 100.
    isotonic: weighted least squares by pooling adjacent violators; levels are kept
    1 / (2 (W + 1)) away from 0 and 1 for a total weight W, since W rows cannot show a rate
    to be exactly 0 and one such row would make a log loss infinite (our choice).

    Raises DataError when there are no rows or only one class.
    """
    y = as_labels(labels)
    p = as_probabilities(probabilities).astype(np.float64, copy=False)
    check_same_length(len(y), {"probabilities": p})
    w = as_weights(weights, len(y))
    if method == "none":
        return IdentityCalibrator()
    mass = np.ones(len(y)) if w is None else w
    responses = float(mass @ y)
    rest = float(mass.sum()) - responses
    if not (responses > 0 and rest > 0):
        raise DataError(
            "a calibrator needs rows of both classes",
            column="labels",
            value=f"weight {responses:g} of ones in {responses + rest:g}",
            hint="widen the validation period or the sample",
        )
    match method:
        case "platt":
            high, low = (responses + 1) / (responses + 2), 1 / (rest + 2)
            return _fit_platt(_logit(p), np.where(y == 1, high, low), mass)
        case "temperature":
            return _fit_temperature(_logit(p), y.astype(np.float64), mass)
        case "isotonic":
            return _fit_isotonic(p, y, mass)
        case _:
            raise ValueInvalidError(
                "unknown calibration method",
                value=method,
                hint="use platt, isotonic, temperature or none",
            )


def user_weights(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, users: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Weights [N] of held-out rows for `fit_calibrator`, where the rows of a user are alike.

    A row of a user with n rows counts 1 / (1 + (n - 1) rho), so that the user counts as many rows
    as say as much (the design effect of Kish, "Survey Sampling", 1965), and a few users with many
    rows do not set the base rate of all. rho, from 0 to 1, is the correlation within users of what
    the model leaves unexplained, label - p, by the analysis of variance (Donner, International
    Statistical Review 54, 1986). Weights of 1 where no user has two rows, or there is but one.
    users: [N] codes.
    """
    y, p = as_labels(labels), as_probabilities(probabilities).astype(np.float64, copy=False)
    check_same_length(len(y), {"probabilities": p})
    codes = as_codes(users, len(y)).codes
    rest, size = y - p, np.bincount(codes)
    number, rows, groups = size[codes], len(y), int((size > 0).sum())
    if not 1 < groups < rows:
        return np.ones(rows)
    sums = np.bincount(codes, rest)
    of_users = float((sums[size > 0] ** 2 / size[size > 0]).sum())
    between = (of_users - float(rest.sum()) ** 2 / rows) / (groups - 1)
    within = (float(rest @ rest) - of_users) / (rows - groups)
    usual = (rows - float((size.astype(np.float64) ** 2).sum()) / rows) / (groups - 1)
    total = between + (usual - 1) * within
    rho = min(max((between - within) / total, 0.0), 1.0) if total > 0 else 0.0
    weights: npt.NDArray[np.float64] = 1 / (1 + (number - 1) * rho)
    return weights


def undo_negative_sampling(probabilities: npt.ArrayLike, rate: float) -> npt.NDArray[np.float64]:
    """Probabilities of the full data from a model trained on sampled negatives.

    p = q / (q + (1 - q) / rate) (He et al. 2014, section 6.3).
    probabilities: q [N], on the scale of the sampled data. rate: share of the negatives that
    was kept, in (0, 1]. Not for models trained with weights 1 / rate: those are unbiased.
    """
    q = as_probabilities(probabilities).astype(np.float64, copy=False)
    if not 0 < rate <= 1:
        raise ValueInvalidError(
            "the sampling rate must lie in (0, 1]",
            value=rate,
            hint="give the share of negatives that was kept",
        )
    corrected: npt.NDArray[np.float64] = q / (q + (1 - q) / rate)
    return corrected


def calibrator_from_jsonable(values: Mapping[str, Any]) -> Calibrator:
    """The calibrator that `to_jsonable` wrote; ArtifactError when the values do not fit."""
    values = dict(values) if isinstance(values, Mapping) else {}
    method, rest = values.get("method"), {k: v for k, v in values.items() if k != "method"}
    for cls in get_args(Calibrator):
        if cls.method == method and {field.name for field in fields(cls)} == set(rest):
            try:
                found: Calibrator = from_jsonable(cls, rest)
            except AdwrightError as error:
                raise ArtifactError(f"the saved calibrator cannot be used: {error}") from error
            return found
    raise ArtifactError(
        "the saved calibrator is of no known form",
        where=", ".join(f"{key}" for key in values),
        hint="fit it again with this version",
    )


def _fit_platt(x: Array, targets: Array, mass: Array) -> PlattCalibrator:
    """Newton's method with halved steps on the weighted cross entropy in (slope, intercept)."""
    # Centred and scaled, the two unknowns hardly interact and the solve is well conditioned.
    centre = float(np.average(x, weights=mass))
    scale = float(np.sqrt(np.average((x - centre) ** 2, weights=mass)))
    base = float(np.average(targets, weights=mass))
    start = np.array([0.0, np.log(base / (1 - base))])
    if scale < 1e-12:  # one single score: only the base rate can be learnt
        return PlattCalibrator(0.0, float(start[1]))
    z = (x - centre) / scale
    total = float(mass.sum())

    def loss(theta: Array) -> float:
        value = theta[0] * z + theta[1]
        return float(mass @ (np.logaddexp(0, value) - targets * value)) / total

    theta, current = start, loss(start)
    for _ in range(100):
        q = _sigmoid(theta[0] * z + theta[1])
        slack, curve = mass * (q - targets), mass * q * (1 - q)
        gradient = np.array([slack @ z, slack.sum()]) / total
        cross = curve @ z
        hessian = np.array([[curve @ (z * z), cross], [cross, curve.sum()]]) / total
        step = np.linalg.solve(hessian, gradient)
        size = 1.0
        while (proposed := loss(theta - size * step)) > current and size > 1e-8:
            size /= 2
        if proposed >= current:
            # Nothing but rounding is left, and how much that is differs between processors.
            break
        theta, current = theta - size * step, proposed
        if gradient @ step < 1e-22:
            break
    return PlattCalibrator(float(theta[0] / scale), float(theta[1] - theta[0] * centre / scale))


def _fit_logistic(x: Array, y: Array) -> Array:
    """Weights [F] of columns [N, F], the first of ones, by Newton's method."""
    doubt = np.eye(x.shape[1])
    doubt[0, 0] = 0.0
    weight = np.zeros(x.shape[1])
    weight[0] = np.log(y.mean() / (1 - y.mean()))
    for _ in range(50):
        p = _sigmoid(x @ weight)
        gradient = x.T @ (p - y) + doubt @ weight
        step = np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + doubt, gradient)
        weight = weight - step * min(1.0, 4 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-9:
            break
    return weight


def _places(scores: Array) -> tuple[Array, Array]:
    """-log(place) and z of scores [C], best first."""
    best = scores[:_BEST]
    spread = float(best.std()) if len(best) else 0.0
    # What rounding makes of equal scores is no spread.
    if spread <= 1e-12 * float(np.abs(best).max(initial=0.0)):
        z = np.zeros(len(scores))
    else:
        z = np.clip((scores - best.mean()) / spread, -_FAR, _FAR)
    return -np.log(np.arange(1.0, len(scores) + 1)), z


def _fit_temperature(x: Array, y: Array, mass: Array) -> TemperatureCalibrator:
    """Root of the derivative in 1/T, which rises: bisection guards Newton's method."""
    low, high = 1 / _LARGEST, 1 / _SMALLEST

    def slope(inverse: float) -> tuple[float, float]:
        q = _sigmoid(inverse * x)
        return float(mass @ ((q - y) * x)), float(mass @ (q * (1 - q) * x * x))

    if slope(low)[0] >= 0:  # no better than chance: the flattest answer is the best
        return TemperatureCalibrator(_LARGEST)
    if slope(high)[0] <= 0:  # separable: the sharpest is
        return TemperatureCalibrator(_SMALLEST)
    inverse = 1.0
    for _ in range(200):
        first, second = slope(inverse)
        low, high = (inverse, high) if first < 0 else (low, inverse)
        proposed = inverse - first / second if second > 0 else low
        if not low < proposed < high:
            proposed = (low + high) / 2
        moved, inverse = abs(proposed - inverse), proposed
        if moved < 1e-14 * inverse:
            break
    return TemperatureCalibrator(1 / inverse)


def _fit_isotonic(p: Array, y: Array, mass: Array) -> IsotonicCalibrator:
    kept = mass > 0
    p, y, mass = p[kept], y[kept], mass[kept]
    order = np.argsort(p)
    p = p[order]
    starts = run_starts(p)  # equal predictions must get one level
    weight = np.add.reduceat(mass[order], starts)
    sums = np.add.reduceat((mass * y)[order], starts)
    values = p[starts]
    blocks = pool_adjacent_violators(sums, weight)
    levels = np.add.reduceat(sums, blocks) / np.add.reduceat(weight, blocks)
    edge = 0.5 / (float(weight.sum()) + 1)
    levels = np.clip(levels, edge, 1 - edge)
    firsts, lasts = blocks, np.append(blocks[1:], len(values)) - 1
    several = lasts > firsts
    knots = np.concatenate((values[firsts], values[lasts[several]]))
    heights = np.concatenate((levels, levels[several]))
    by_knot = np.argsort(knots)
    return IsotonicCalibrator(
        tuple(knots[by_knot].tolist()), tuple(np.maximum.accumulate(heights[by_knot]).tolist())
    )


def pool_adjacent_violators(sums: Array, weight: Array) -> Array:
    """First index of each block of the isotonic fit of means sums / weight, both [M].

    Every round pools all runs of falling means at once: neighbours that fall, or are equal,
    share a block in the solution, so that is safe. A few dozen rounds do for real data; what
    an adversarial order leaves is finished by the classic stack in one pass.
    """
    starts = np.arange(len(sums))
    for _ in range(POOLING_ROUNDS):
        mean = sums / weight
        rises = np.flatnonzero(mean[1:] > mean[:-1]) + 1
        heads = np.concatenate((np.zeros(1, np.int64), rises))
        if len(heads) == len(sums):
            return starts
        starts = starts[heads]
        sums, weight = np.add.reduceat(sums, heads), np.add.reduceat(weight, heads)
    stack: list[tuple[float, float, int]] = []
    for block in zip(sums.tolist(), weight.tolist(), starts.tolist(), strict=True):
        total, mass, start = block
        while stack and stack[-1][0] * mass >= total * stack[-1][1]:
            total, mass, start = total + stack[-1][0], mass + stack[-1][1], stack[-1][2]
            stack.pop()
        stack.append((total, mass, start))
    return np.array([start for _, _, start in stack])


def _logit(probabilities: Array) -> npt.NDArray[np.float64]:
    p = np.clip(probabilities.astype(np.float64, copy=False), _EDGE, 1 - _EDGE)
    odds: npt.NDArray[np.float64] = np.log(p) - np.log1p(-p)
    return odds


def _sigmoid(x: Array) -> npt.NDArray[np.float64]:
    # The half-angle form neither overflows nor loses the small end.
    small = np.exp(-np.abs(x))
    share: npt.NDArray[np.float64] = np.where(x >= 0, 1, small) / (1 + small)
    return share


def _check_finite(**values: float | tuple[float, ...]) -> None:
    for name, value in values.items():
        if not np.isfinite(value).all():
            raise ValueInvalidError("a calibrator's number is not finite", column=name)


# --------------------------------------------------------------------------------------------------
# The rules that every table of results lists: they are hard to beat on repeat buyers.
#
# popularity   how often the item was taken before, by anyone
# frequency    how often this user took it before, log(1 + n)
# logistic     a logistic regression on log(1 + popularity) and log(1 + frequency), and where it is
#              given the log(1 + item-item score), with their squares and products, fitted by
#              Newton's method

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LogisticBaseline:
    """Coefficients [F] of `baseline_features`."""

    coefficients: tuple[float, ...]

    def __call__(
        self, popularity: Floats, frequency: Floats, item_item: Floats | None = None
    ) -> Floats:
        """Counts, and item-item scores where it was fitted on them, [N] each, to probabilities
        [N]."""
        features = baseline_features(popularity, frequency, item_item)
        logits = features @ np.asarray(self.coefficients)
        probabilities: Floats = 1 / (1 + np.exp(-logits))
        return probabilities


def baseline_features(
    popularity: Floats, frequency: Floats, item_item: Floats | None = None
) -> Floats:
    """Counts [N], [N] to features [N, 6]: 1, p, f, p^2, f^2, p f of their log(1 + n); with
    item-item scores [N] to [N, 10]: t, t^2, p t, f t beside them."""
    p, f = np.log1p(popularity) / 10, np.log1p(frequency)
    features = [np.ones_like(p), p, f, p * p, f * f, p * f]
    if item_item is not None:
        t = np.log1p(item_item)
        features += [t, t * t, p * t, f * t]
    return np.stack(features, axis=1)


def fit_logistic(
    popularity: Floats,
    frequency: Floats,
    labels: NDArray[np.int8],
    weights: Floats | None = None,
    *,
    item_item: Floats | None = None,
) -> LogisticBaseline:
    """Maximum likelihood by Newton's method with a ridge of 1e-6 per row.

    popularity, frequency: counts [N]. item_item: scores [N], or None. labels: 0 or 1 [N].
    weights: of the rows [N], 1 if None.
    Raises ValueInvalidError where the labels hold one class only.
    """
    if labels.min() == labels.max():
        raise ValueInvalidError("the labels hold a single class", column="label", value=labels[0])
    x = baseline_features(popularity, frequency, item_item)
    w = np.ones(len(x)) if weights is None else weights
    ridge = 1e-6 * w.sum() * np.eye(x.shape[1])
    beta = np.zeros(x.shape[1])
    for _ in range(50):
        p = 1 / (1 + np.exp(-(x @ beta)))
        gradient = x.T @ (w * (labels - p)) - ridge @ beta
        hessian = (x * (w * p * (1 - p))[:, None]).T @ x + ridge
        step = np.linalg.solve(hessian, gradient)
        beta = beta + step
        if float(np.abs(step).max()) < 1e-10:
            break
    return LogisticBaseline(tuple(float(b) for b in beta))


# --------------------------------------------------------------------------------------------------
# Embedding tables for the coded features of a task, and the items built from them.
#
# An item is the concatenation of the embeddings of its features (id, type, category, ...).
# The catalogue travels with the model as integer buffers, so a batch carries one code per item,
# and an item that occurs many times in a batch is embedded once. Gradients are sparse: a step
# touches
# the rows that occur in the batch and no others.


@settings
class EmbeddingConfig:
    """Width of the embeddings.

    width: of every feature that `widths` does not name. widths: (feature, width) pairs.
    scale: standard deviation of the initial values (our choice; the paper leaves it open).
    """

    width: int = 4
    widths: tuple[tuple[str, int], ...] = (("item_id", 32), ("type", 8), ("user_id", 8))
    scale: float = 0.2

    def __post_init__(self) -> None:
        if self.width < 1 or any(width < 1 for _, width in self.widths):
            raise ConfigError("an embedding is at least 1 wide", where="embedding")

    def of(self, feature: Feature) -> int:
        """Width of the feature's embedding, at most its number of codes."""
        return min(dict(self.widths).get(feature.name, self.width), feature.cardinality)

    def table(self, feature: Feature) -> nn.Embedding:
        """A new table [cardinality, width] with sparse gradients."""
        table = nn.Embedding(feature.cardinality, self.of(feature), sparse=True)
        nn.init.normal_(table.weight, std=self.scale)
        return table


class ItemEmbedding(nn.Module):
    """Item codes to item vectors of width D: the concatenation over the item's features.

    Features of the kinds categorical, hashed, bucketised and multi (the mean of the values'
    embeddings, zero without values); numeric item features are appended as they are.
    """

    def __init__(self, spec: FeatureSpec, items: ItemTable, config: EmbeddingConfig) -> None:
        super().__init__()
        coded = spec.of("item", kinds=("categorical", "hashed", "bucketised"))
        multi = spec.of("item", kinds=("multi",))
        self.names, self.multi_names = [f.name for f in coded], [f.name for f in multi]
        # By position: a feature may have any name, an attribute of a module may not.
        self.tables = nn.ModuleList(config.table(f) for f in (*coded, *multi))
        codes = [items.categorical[name] for name in self.names]
        self._keep("codes", np.stack(codes, 1) if codes else np.zeros((len(items), 0), np.int64))
        self._keep("numeric", items.numeric)
        for name in self.multi_names:
            self._keep(f"{name}_values", items.multi[name][0])
            self._keep(f"{name}_offsets", items.multi[name][1])
        #: Width of each part of `parts`.
        self.widths = [config.of(f) for f in (*coded, *multi)]
        self.width = sum(self.widths) + items.numeric.shape[1]
        #: Expected squared length of an item vector before training.
        self.norm = config.scale**2 * self.width

    def _keep(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(f"item_{name}", torch.from_numpy(np.ascontiguousarray(values)))

    def _kept(self, name: str) -> Tensor:
        return self.get_buffer(f"item_{name}")

    def forward(self, items: Tensor) -> Tensor:
        """items int64 [N], best without repeats, to [N, D]."""
        return torch.cat([*self.parts(items), self._kept("numeric")[items]], 1)

    def parts(self, items: Tensor, *, keep: float = 1.0) -> list[Tensor]:
        """The embedding of each coded feature alone: [N, W_f] in the order of the tables.

        keep: each value of a multi-valued feature is kept with this probability.
        """
        codes = self._kept("codes")[items]
        tables = iter(self.tables)
        parts = [next(tables)(codes[:, i]) for i in range(len(self.names))]
        for name in self.multi_names:
            lists = self._lists(name, items)
            if keep < 1:
                lists = _thinned(lists, keep)
            parts.append(embed_lists(next(tables), lists))
        return parts

    def occurrences(self, items: Tensor, number: Tensor) -> list[tuple[nn.Embedding, Tensor]]:
        """Each table with how often its rows occur [n], where item items[i] occurs number[i]
        times (int64 [N], float [N])."""
        codes = self._kept("codes")[items]
        parts = [(codes[:, i], number) for i in range(len(self.names))]
        for name in self.multi_names:
            lists = self._lists(name, items)
            parts.append((lists.values, number[lists.owner()]))
        return [
            (table, number.new_zeros(table.num_embeddings).index_add_(0, rows, times).float())
            for table, (rows, times) in zip(self._tables(), parts, strict=True)
        ]

    def _tables(self) -> list[nn.Embedding]:
        return [table for table in self.tables if isinstance(table, nn.Embedding)]

    def _lists(self, name: str, items: Tensor) -> Jagged:
        return Jagged(self._kept(f"{name}_values"), self._kept(f"{name}_offsets")).select(items)


def _thinned(lists: Jagged, keep: float) -> Jagged:
    """Keep each value with probability `keep`."""
    kept = torch.rand(lists.values.numel()) < keep
    lengths = torch.zeros(len(lists), dtype=torch.int64).index_add_(
        0, lists.owner(), kept.to(torch.int64)
    )
    return Jagged(lists.values[kept], lengths_to_offsets(lengths))


class RowEmbedding(nn.Module):
    """User and context features of the rows, concatenated: [T, R]."""

    def __init__(self, features: Sequence[Feature], config: EmbeddingConfig) -> None:
        super().__init__()
        self.names = [f.name for f in features]
        self.tables = nn.ModuleList(config.table(f) for f in features)
        self.width = sum(config.of(f) for f in features)

    def forward(self, batch: Batch) -> Tensor:
        """The features of the batch's T rows to [T, R]."""
        categorical, multi = batch.categorical, batch.multi
        parts = []
        for name, table in zip(self.names, self.tables, strict=True):
            if name in multi:
                parts.append(embed_lists(table, multi[name]))
                continue
            # Rows repeat a few codes: embed each once, so its gradient is one row.
            distinct, place = torch.unique(categorical[name], return_inverse=True)
            parts.append(table(distinct)[place])
        return torch.cat(parts, 1) if parts else torch.zeros(len(batch), 0)


def embed_lists(table: nn.Module, lists: Jagged) -> Tensor:
    """Mean of the embeddings of each list's codes [U, W]; zero for an empty list."""
    distinct, place = torch.unique(lists.values, return_inverse=True)
    vectors = table(distinct)[place]
    sums: Tensor = vectors.new_zeros(len(lists), vectors.shape[1]).index_add(
        0, lists.owner(), vectors
    )
    return sums / lists.lengths.clamp(min=1)[:, None]
