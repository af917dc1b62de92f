from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import ConfigError, DataError
from benchmarks.common.text_measures import bert_score, bert_scores


def test_it_is_the_formula() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(size=(5, 8)), rng.normal(size=(3, 8))
    weights, more = rng.random(5), rng.random(3)

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))

    r = sum(w * max(cosine(x, y) for y in one) for w, x in zip(more, other, strict=True))
    p = sum(w * max(cosine(x, y) for x in other) for w, y in zip(weights, one, strict=True))
    r, p = r / more.sum(), p / weights.sum()
    found = bert_score(one, other, output_weights=weights, reference_weights=more)
    assert (found.precision, found.recall) == pytest.approx((p, r))
    assert found.f1 == pytest.approx(2 * p * r / (p + r))
    plain = bert_score(one, other)
    assert plain != found
    raised = bert_score(one, other, baseline=0.2)
    assert raised.recall == pytest.approx((plain.recall - 0.2) / 0.8)


def test_a_text_is_like_itself_at_any_length_of_vectors() -> None:
    one = np.random.default_rng(2).normal(size=(4, 6))
    found = bert_scores([one, [], one], [3 * one, one, -one])
    assert found[:2] == pytest.approx(np.array([[1, 1, 1], [0, 0, 0]]))
    assert found[2, 2] <= 1


@pytest.mark.parametrize(
    ("output", "reference", "what"),
    [
        ([[0.0, 0.0]], [[1.0, 0.0]], "zero or not finite"),
        ([[1.0, np.nan]], [[1.0, 0.0]], "zero or not finite"),
        ([1.0], [[1.0]], r"\[tokens, width\]"),
        ([[1.0]], [[1.0, 2.0]], "of 1 and of 2"),
        ([["a"]], [[1.0]], "no table"),
    ],
)
def test_bad_vectors(output: object, reference: object, what: str) -> None:
    with pytest.raises(DataError, match=what):
        bert_score(output, reference)  # type: ignore[arg-type]


def test_bad_arguments() -> None:
    one = [[1.0, 0.0]]
    with pytest.raises(DataError, match="one weight a token"):
        bert_score(one, one, output_weights=[1, 2])
    with pytest.raises(DataError, match="not all zero"):
        bert_score(one, one, reference_weights=[0])
    with pytest.raises(ConfigError, match="baseline 1"):
        bert_score(one, one, baseline=1)
    with pytest.raises(DataError, match="1 outputs and 0"):
        bert_scores([one], [])
