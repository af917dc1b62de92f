"""Measures of closed tasks: an answer that cannot be read counts as wrong, never as absent.

    right_per_text(["shirts", None, "shoes"], ["shirts", "shoes", "shoes"])   # [1, 0, 1]
    label_score(given, wanted)                                                # with n_invalid
    pair_counts(given_pairs, wanted_pairs)                                    # of attributes

`None` stands for an answer that is not one of the choices. It stays in every denominator: a model
that answers rarely but well must not beat one that always answers.

BERTScore from the vectors of tokens, which an encoder of one's choice has made.

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

chrF: the F-score of character n-grams, which needs no words and so serves all languages.

    chrf_per_text(["a red shirt"], ["red shirts"])

Popović, "chrF: character n-gram F-score for automatic MT evaluation", 2015. With chrP and chrR the
precision and recall of character n-grams, averaged over n = 1 to 6:

    chrF = (1 + beta^2) chrP chrR / (beta^2 chrP + chrR),     beta = 2

White space is left out. A text that is shorter than n has no n-grams: that n is left out of both
averages where either text has none. The paper leaves this open; sacrebleu does it too, whose
figures these are, divided by 100.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from adwright.core.config import require_count
from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.agreement import ngrams, require_texts, rouge_l, singular, words_of

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


def chrf_per_text(
    outputs: Sequence[str], references: Sequence[str], *, order: int = 6, beta: float = 2.0
) -> npt.NDArray[np.float64]:
    """chrF of each output with the reference of its row: [N], 0 to 1.

    order: the longest n-grams. beta: how many times recall counts precision.
    Raises DataError that names the row which is no text, or where there are not as many of both;
    ConfigError for an order below 1 or a beta that is not above 0.
    """
    require_pairs(outputs, references)
    if order < 1 or not beta > 0:
        raise ConfigError(
            "order must be at least 1 and beta above 0", where=f"order {order}, beta {beta}"
        )
    scores = [
        chrf(one, other, order=order, beta=beta)
        for one, other in zip(outputs, references, strict=True)
    ]
    return np.array(scores, np.float64)


def chrf(output: str, reference: str, *, order: int = 6, beta: float = 2.0) -> float:
    """chrF of one output, 0 to 1; 0 where either text is empty."""
    mine, theirs = "".join(output.split()), "".join(reference.split())
    precision = recall = 0.0
    orders = min(order, len(mine), len(theirs))
    for n in range(1, orders + 1):
        found, wanted = _counts(mine, n), _counts(theirs, n)
        if len(found) > len(wanted):
            both = sum(min(count, found[gram]) for gram, count in wanted.items() if gram in found)
        else:
            both = sum(min(count, wanted[gram]) for gram, count in found.items() if gram in wanted)
        precision += both / (len(mine) - n + 1)
        recall += both / (len(theirs) - n + 1)
    if not orders or not precision + recall:
        return 0.0
    precision, recall = precision / orders, recall / orders
    return (1 + beta**2) * precision * recall / (beta**2 * precision + recall)


def _counts(text: str, n: int) -> Counter[str]:
    return Counter(text[at : at + n] for at in range(len(text) - n + 1))


def require_pairs(outputs: Sequence[str], references: Sequence[str]) -> None:
    """Raise DataError unless both are texts, and as many."""
    require_texts(outputs, "outputs")
    require_texts(references, "references")
    if len(outputs) != len(references):
        raise DataError(
            f"there are {len(outputs)} outputs and {len(references)} references",
            column="references",
            hint="give one reference a row",
        )


def rouge_l_per_text(outputs: Sequence[str], references: Sequence[str]) -> npt.NDArray[np.float64]:
    """ROUGE-L F1 of each output with the reference of its row: [N], 0 to 1.

    Raises DataError that names the row which is no text, or where there are not as many of both.
    """
    require_pairs(outputs, references)
    scores = [rouge_l(one, other) for one, other in zip(outputs, references, strict=True)]
    return np.array(scores, np.float64)


def distinct_n_per_text(texts: Sequence[str], n: int) -> npt.NDArray[np.float64]:
    """Different n-grams / n-grams of each text: [N], 0 to 1; NaN where it has no n-gram.

    Raises DataError that names the row which is no text, ConfigError for an n below 1.
    """
    require_texts(texts, "texts")
    require_count("n", n)
    found = [ngrams(words_of(text), n) for text in texts]
    return np.array([len(set(one)) / len(one) if one else np.nan for one in found], np.float64)


_FUNCTION_WORDS = {
    *("a", "an", "and", "at", "by", "for", "from", "in", "into", "of", "on", "or"),
    *("per", "the", "to", "up", "with", "without", "your"),
}


def query_coverage_per_text(
    outputs: Sequence[str], queries: Sequence[str]
) -> npt.NDArray[np.float64]:
    """Coverage of the query of each row: [N], 0 to 1; NaN where a query has no word.

    Raises DataError that names the row which is no text, or where there are not as many of both.
    """
    require_pairs(outputs, queries)
    found = [query_coverage(one, query) for one, query in zip(outputs, queries, strict=True)]
    return np.array(found, np.float64)


def query_coverage(output: str, query: str) -> float:
    """Coverage of one query, 0 to 1; NaN where it has no word."""
    asked = set(words_of(query))
    wanted = {singular(word) for word in asked - _FUNCTION_WORDS or asked}
    if not wanted:
        return float("nan")
    return len(wanted & {singular(word) for word in words_of(output)}) / len(wanted)
