"""BERTScore from the vectors of tokens, which an encoder of one's choice has made.

    found = bert_score(vectors_of_output, vectors_of_reference)
    found.f1

Zhang et al., "BERTScore: evaluating text generation with BERT", 2020, section 3. Each token of one
text is matched greedily with the nearest token of the other. With unit vectors x of the reference,
y of the output, and weights w of tokens (all 1, or inverse document frequencies):

    R = sum_i w_i max_j x_i . y_j / sum_i w_i      P = sum_j w_j max_i x_i . y_j / sum_j w_j
    F1 = 2 P R / (P + R)

A baseline b rescales each: (s - b) / (1 - b), section 5. Name the encoder and its layer beside any
figure: with another encoder it is another measure.

Letters: N texts, T tokens of an output, S tokens of its reference, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.errors import ConfigError, DataError

__all__ = ["TokenSimilarity", "bert_score", "bert_scores"]

Vectors = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TokenSimilarity:
    """Precision, recall and F1 of a text, each at most 1; 0 where a text is empty."""

    precision: float
    recall: float
    f1: float


def bert_score(
    output: npt.ArrayLike,
    reference: npt.ArrayLike,
    *,
    output_weights: npt.ArrayLike | None = None,
    reference_weights: npt.ArrayLike | None = None,
    baseline: float = 0.0,
) -> TokenSimilarity:
    """BERTScore of one output.

    output: [T, D] vectors, of any length but zero. reference: [S, D]. output_weights: [T], not
    negative, with a sum above 0; None: all alike. reference_weights: [S]. baseline: below 1.
    Raises DataError for other shapes, vectors that are not finite or zero, or wrong weights;
    ConfigError for another baseline.
    """
    if not baseline < 1:
        raise ConfigError("the baseline must be below 1", where=f"baseline {baseline}")
    mine, theirs = _units(output, "output"), _units(reference, "reference")
    mine_weights = _weights(output_weights, len(mine), "output_weights")
    their_weights = _weights(reference_weights, len(theirs), "reference_weights")
    if not len(mine) or not len(theirs):
        return TokenSimilarity(0.0, 0.0, 0.0)
    if mine.shape[1] != theirs.shape[1]:
        raise DataError(
            f"vectors of {mine.shape[1]} and of {theirs.shape[1]} numbers cannot be compared",
            column="reference",
            hint="take both from one encoder",
        )
    near = theirs @ mine.T  # [S, T]
    recall = float(their_weights @ near.max(axis=1))
    precision = float(mine_weights @ near.max(axis=0))
    recall, precision = ((one - baseline) / (1 - baseline) for one in (recall, precision))
    both = precision + recall
    # With a sum of 0 or less the harmonic mean means nothing.
    f1 = 2 * precision * recall / both if both > 0 else 0.0
    return TokenSimilarity(precision, recall, f1)


def bert_scores(
    outputs: Sequence[npt.ArrayLike],
    references: Sequence[npt.ArrayLike],
    *,
    baseline: float = 0.0,
) -> npt.NDArray[np.float64]:
    """Precision, recall and F1 of each of N texts: [N, 3], see `bert_score`."""
    if len(outputs) != len(references):
        raise DataError(
            f"there are {len(outputs)} outputs and {len(references)} references",
            column="references",
            hint="give one reference a row",
        )
    scores = np.zeros((len(outputs), 3))
    for row, (output, reference) in enumerate(zip(outputs, references, strict=True)):
        found = bert_score(output, reference, baseline=baseline)
        scores[row] = (found.precision, found.recall, found.f1)
    return scores


def _units(vectors: npt.ArrayLike, name: str) -> Vectors:
    """The vectors with length 1 each."""
    try:
        array = np.asarray(vectors, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"the vectors are no table of numbers: {error}", column=name) from error
    if array.size == 0:
        return np.zeros((0, 0))
    if array.ndim != 2:
        raise DataError(
            "the vectors of a text are a table [tokens, width]", column=name, value=array.shape
        )
    length = np.linalg.norm(array, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(length) & (length > 0)))
    if wrong.size:
        raise DataError(
            "the vector of a token is zero or not finite", row=int(wrong[0]), column=name
        )
    unit: Vectors = array / length
    return unit


def _weights(weights: npt.ArrayLike | None, count: int, name: str) -> Vectors:
    """Weights [count] that add up to 1."""
    if weights is None:
        return np.full(count, 1 / max(count, 1))
    array = np.asarray(weights, np.float64)
    if array.shape != (count,):
        raise DataError("give one weight a token", column=name, value=array.shape)
    if count and not (np.all(array >= 0) and np.isfinite(array).all() and array.sum() > 0):
        raise DataError(
            "weights must be finite, not negative, and not all zero", column=name, value=weights
        )
    return array / array.sum() if count else array
