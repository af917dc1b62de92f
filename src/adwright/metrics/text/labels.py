"""Measures of closed tasks: an answer that cannot be read counts as wrong, never as absent.

    right_per_text(["shirts", None, "shoes"], ["shirts", "shoes", "shoes"])   # [1, 0, 1]
    label_score(given, wanted)                                                # with n_invalid
    pair_counts(given_pairs, wanted_pairs)                                    # of attributes

`None` stands for an answer that is not one of the choices. It stays in every denominator: a model
that answers rarely but well must not beat one that always answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError

__all__ = [
    "LabelScore",
    "label_score",
    "pair_counts",
    "pair_f1",
    "pair_f1_per_text",
    "right_per_text",
]

Pairs = Collection[tuple[str, str]]


@dataclass(frozen=True)
class LabelScore:
    """accuracy: right / all. macro_f1: the mean F1 over the labels that are wanted somewhere.
    n_invalid: answers that are None. n: rows."""

    accuracy: float
    macro_f1: float
    n_invalid: int
    n: int


def right_per_text(given: Sequence[str | None], wanted: Sequence[str]) -> npt.NDArray[np.float64]:
    """1 where the label is the wanted one, else 0: [N]. Raises DataError for unequal lengths."""
    _require_as_many(given, wanted)
    return np.array([one == other for one, other in zip(given, wanted, strict=True)], np.float64)


def label_score(given: Sequence[str | None], wanted: Sequence[str]) -> LabelScore:
    """Accuracy and macro-F1.

    F1 of label c is 2 TP / (answers c + rows that want c); an invalid answer is a missed row of
    its label and an answer of none. A label that is given but nowhere wanted is no class of its
    own: its rows count against the labels they should have had (our choice).
    Raises DataError for unequal lengths or no row.
    """
    right = right_per_text(given, wanted)
    if not len(right):
        raise DataError("there is no row to score", column="wanted")
    hits = Counter(one for one, good in zip(wanted, right, strict=True) if good)
    answers, wants = Counter(given), Counter(wanted)
    f1 = [2 * hits[label] / (answers[label] + wants[label]) for label in wants]
    return LabelScore(float(right.mean()), float(np.mean(f1)), answers[None], len(right))


def pair_counts(given: Sequence[Pairs | None], wanted: Sequence[Pairs]) -> npt.NDArray[np.int64]:
    """Counts of each row: [N, 3] right, given and wanted pairs (name, value).

    A pair is right where name and value are the same but for case and outer white space; given
    twice it counts once. The F1 over all rows is 2 sum(right) / sum(given + wanted), a ratio that
    `two_level_ratio` puts an interval on. Raises DataError for unequal lengths or a row that is no
    collection of pairs.
    """
    _require_as_many(given, wanted)
    counts = np.zeros((len(wanted), 3), np.int64)
    for row, (one, other) in enumerate(zip(given, wanted, strict=True)):
        mine, theirs = _folded(one, row, "given"), _folded(other, row, "wanted")
        counts[row] = (len(mine & theirs), len(mine), len(theirs))
    return counts


def pair_f1_per_text(
    given: Sequence[Pairs | None], wanted: Sequence[Pairs]
) -> npt.NDArray[np.float64]:
    """Exact F1 of the pairs of each row: [N]; 1 where none is wanted and a valid answer gives none.

    Raises as `pair_counts`.
    """
    counts = pair_counts(given, wanted)
    both = counts[:, 1] + counts[:, 2]
    f1: npt.NDArray[np.float64] = 2 * counts[:, 0] / np.maximum(both, 1)
    f1[both == 0] = [float(given[int(row)] is not None) for row in np.flatnonzero(both == 0)]
    return f1


def pair_f1(given: Sequence[Pairs | None], wanted: Sequence[Pairs]) -> float:
    """Exact F1 of the pairs of all rows together, NaN where there is none at all.

    Raises as `pair_counts`.
    """
    right, mine, theirs = pair_counts(given, wanted).sum(axis=0)
    return float(2 * right / (mine + theirs)) if mine + theirs else float("nan")


def _folded(pairs: Pairs | None, row: int, name: str) -> set[tuple[str, str]]:
    try:
        return {(key.strip().casefold(), value.strip().casefold()) for key, value in pairs or ()}
    except (TypeError, ValueError, AttributeError) as error:
        raise DataError(
            "a row holds no pairs of name and value", row=row, column=name, value=pairs
        ) from error


def _require_as_many(given: Sequence[object], wanted: Sequence[object]) -> None:
    if len(given) != len(wanted):
        raise DataError(
            f"there are {len(given)} answers and {len(wanted)} wanted ones",
            column="wanted",
            hint="give one of each a row",
        )
