"""Bootstrap intervals over users: how much a measure would move with other users.

Rows of one user depend on each other, so users are resampled, never rows. A measure that
is a ratio of sums over users needs only two numbers per user; a draw is then a vector of
multinomial counts (how often each user was drawn) times a small matrix. Pooled AUC is not
such a ratio; see `auc_draws`.

Letters: U users, S sums per user, R draws. Intervals are percentile intervals
(Efron and Tibshirani 1993, chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError, ValueInvalidError
from adwright.metrics.arrays import (
    Array,
    as_codes,
    as_labels,
    as_scores,
    check_positive_integer,
    check_same_length,
    refuse,
)
from adwright.metrics.calibration import mass_bins
from adwright.metrics.classification import auc

_CHUNK_CELLS = 2_000_000  # counts held at once, 16 MB


@dataclass(frozen=True)
class Interval:
    """A measured value with its interval, in the unit of the measure."""

    value: float
    low: float
    high: float

    def text(self, form: str = ".4f", *, brackets: bool = False) -> str:
        """`value (low to high)`, or `value [low, high]`, each number in the format `form`."""
        value, low, high = (format(x, form) for x in (self.value, self.low, self.high))
        return f"{value} [{low}, {high}]" if brackets else f"{value} ({low} to {high})"

    @property
    def width(self) -> float:
        """high - low."""
        return self.high - self.low

    def excludes(self, point: float) -> bool:
        """Whether `point` lies outside: for a difference and 0, whether it is significant."""
        return not self.low <= point <= self.high


def draw_counts(
    users: int, draws: int, rng: np.random.Generator
) -> Iterator[npt.NDArray[np.float64]]:
    """Multinomial counts in chunks [r, U] that add up to `draws` rows.

    Row sums are U: each row says how often each user occurs in one resample of U users.
    The chunks depend on the generator, users and draws alone, so two statistics computed
    from generators in the same state are paired.
    """
    check_positive_integer(draws, "draws")
    if users == 0:
        raise DataError("there is nobody to resample", hint="check the filter before it")
    chunk = max(1, _CHUNK_CELLS // users)
    for start in range(0, draws, chunk):
        rows = min(chunk, draws - start)
        drawn = rng.integers(0, users, size=(rows, users))
        drawn += users * np.arange(rows)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=rows * users)
        yield counts.reshape(rows, users).astype(np.float64)


def bootstrap_sums(
    sums: Array,
    statistic: Callable[[Array], Array],
    rng: np.random.Generator,
    *,
    draws: int = 1000,
    confidence: float = 0.95,
) -> Interval:
    """Interval of any measure that depends on sums over users.

    sums: [U, S], the user's share of each sum. statistic: maps totals [R, S] to [R].
    Draws whose statistic is not finite (nobody drawn had a response, say) are left out;
    DataError when that leaves none.
    """
    totals = np.concatenate([counts @ sums for counts in draw_counts(len(sums), draws, rng)])
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float(statistic(sums.sum(0, keepdims=True))[0])
        drawn = statistic(totals)
    return interval_of(value, drawn, confidence=confidence)


def bootstrap_ratio(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    confidence: float = 0.95,
) -> Interval:
    """Interval of sum(numerators) / sum(denominators) over users.

    numerators, denominators: [U], for example n_i AUC_i and n_i for group AUC, the hit of a
    user and 1 for hit rate, summed loss and rows for log loss. Users with 0 and 0 are
    part of the resample. rng: seeded generator; the same state gives the same interval.
    """
    sums = _columns(numerators=numerators, denominators=denominators)
    return bootstrap_sums(sums, _ratio, rng, draws=draws, confidence=confidence)


def bootstrap_difference(
    numerators_a: npt.ArrayLike,
    numerators_b: npt.ArrayLike,
    denominators: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    denominators_b: npt.ArrayLike | None = None,
    confidence: float = 0.95,
) -> Interval:
    """Paired interval of ratio A - ratio B, both measured on the same users, [U] each.

    Every draw takes the same users for both, so what makes a user easy or hard cancels
    out. denominators_b: where B has denominators of its own; by default those of A.
    """
    second = denominators if denominators_b is None else denominators_b
    sums = _columns(
        numerators_a=numerators_a,
        denominators=denominators,
        numerators_b=numerators_b,
        denominators_b=second,
    )

    def difference(totals: Array) -> Array:
        return _ratio(totals[:, :2]) - _ratio(totals[:, 2:])

    return bootstrap_sums(sums, difference, rng, draws=draws, confidence=confidence)


def auc_draws(
    labels: npt.ArrayLike,
    scores: npt.ArrayLike,
    users: npt.ArrayLike,
    rng: np.random.Generator,
    draws: int = 1000,
    *,
    bins: int = 512,
    blocks: int = 4096,
) -> npt.NDArray[np.float64]:
    """Pooled AUC of `draws` resamples of users, [R], without touching the rows again.

    Scores are put into `bins` bins of equal mass, responses and the rest counting one half
    of the mass each; a user becomes two histograms, so a draw is a matrix product. The
    binned AUC takes pairs within a bin as ties. The error of that on the full data is known
    exactly and taken off every draw; what remains is far below the width of the interval
    (the tests compare with exact resampling). More than `blocks` users are first dealt at
    random into that many blocks, which are resampled instead: sums over equally many users
    drawn at random are themselves exchangeable, and the cost stays bounded.
    Two models on generators in the same state get paired draws.
    """
    y = as_labels(labels)
    s = as_scores(scores)
    check_same_length(len(y), {"scores": s})
    exact = auc(y, s)
    block, count = user_blocks(users, len(y), rng, blocks)

    responses = int(y.sum())
    share = 1.0 / np.where(y == 1, responses, len(y) - responses)
    cell = (block * 2 + y) * bins + mass_bins(s, share, bins)
    histograms = np.bincount(cell, minlength=count * 2 * bins).reshape(count, 2 * bins)
    correction = exact - _binned_auc(histograms.sum(0, keepdims=True), bins)[0]
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = np.concatenate(
            [_binned_auc(counts @ histograms, bins) for counts in draw_counts(count, draws, rng)]
        )
    areas: npt.NDArray[np.float64] = drawn + correction
    return areas


def user_blocks(
    users: npt.ArrayLike, rows: int, rng: np.random.Generator, blocks: int
) -> tuple[npt.NDArray[np.int64], int]:
    """Block of each row [N] and the number of blocks; one block per user where they fit."""
    codes = as_codes(users, rows)
    present = np.bincount(codes.codes, minlength=codes.span) > 0
    people = int(present.sum())
    if people <= blocks:
        of_code = np.cumsum(present) - 1
        return of_code[codes.codes], people
    of_code = np.zeros(codes.span, np.int64)
    of_code[present] = rng.permutation(people) % blocks
    return of_code[codes.codes], blocks


def interval_of(value: float, drawn: Array, *, confidence: float = 0.95) -> Interval:
    """Percentile interval of the finite draws [R] around a value measured on all users."""
    if not 0 < confidence < 1:
        raise ValueInvalidError("confidence must lie strictly between 0 and 1", value=confidence)
    finite = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(finite) == 0:
        raise DataError(
            "the measure is undefined on these people",
            value=value,
            hint="check that rows of both classes are present and denominators are not all 0",
        )
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return Interval(value, float(low), float(high))


def _binned_auc(totals: Array, bins: int) -> npt.NDArray[np.float64]:
    """AUC [R] of histograms [R, 2 bins]: first the rows without response, then those with."""
    rest, responses = totals[:, :bins], totals[:, bins:]
    below = np.cumsum(rest, axis=1) - rest / 2
    pairs = rest.sum(1) * responses.sum(1)
    area: npt.NDArray[np.float64] = (responses * below).sum(1) / pairs
    return area


def _ratio(totals: Array) -> Array:
    ratio: Array = totals[:, 0] / totals[:, 1]
    return ratio


def _columns(**columns: npt.ArrayLike) -> npt.NDArray[np.float64]:
    arrays = {name: np.asarray(column, np.float64) for name, column in columns.items()}
    users = len(next(iter(arrays.values())))
    check_same_length(users, arrays)
    for name, array in arrays.items():
        hint = "leave people without the measure out, or give them 0 and 0"
        refuse(~np.isfinite(array), "a person's sum is not finite", name, array, hint)
    return np.stack(list(arrays.values()), axis=1)
