"""Sparse words of ads, against scikit-learn's; ridge by gradients, against its formula."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from adwright.core.errors import DataError, ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.response.protocol.ngrams import (
    FIELDS,
    NgramSpace,
    SparseRows,
    ridge,
    words_of,
)

WORD = st.sampled_from(["bread", "tea", "a", "New!", "milk", "é2", "tea"])
RECORDS = st.lists(
    st.builds(
        AdRecord,
        title=st.lists(WORD, max_size=6).map(" ".join),
        words=st.lists(WORD, max_size=6).map(" ".join),
    ),
    min_size=2,
    max_size=12,
)


@settings(max_examples=25)
@given(RECORDS)
def test_each_field_is_scikit_learns_tfidf(records: list[AdRecord]) -> None:
    try:
        space = NgramSpace.fit(records)
    except DataError:
        shared = [
            set(words_of(one.title)) & set(words_of(two.title)) for one, two in pairwise(records)
        ]
        assert not any(shared)
        return
    found = space.rows(records).dense()
    for field in ("title", "words"):
        at = [n for n, entry in enumerate(space.entries) if entry.startswith(f"{field}: ")]
        if not at:
            continue
        peer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
        expected = peer.fit_transform([FIELDS[field](one) for one in records]).toarray()
        names = [f"{field}: {name}" for name in peer.get_feature_names_out()]
        assert [space.entries[n] for n in at] == names
        np.testing.assert_allclose(found[:, at], expected, atol=1e-12)


def test_every_field_has_words_of_its_own() -> None:
    scene = Scene(caption="a loaf", tags=("oven",), words=("Open",))
    record = AdRecord(title="Bread", words="Fresh", brand="Mill", speech="Hear", scenes=(scene,))
    entries = NgramSpace.fit([record, record]).entries
    expected = {"title: bread", "words: fresh", "brand: mill", "speech: hear", "shown: open"}
    assert expected | {"seen: loaf", "seen: oven", "seen: loaf oven"} == set(entries)
    assert len(NgramSpace.fit([record], least=1).entries) == len(entries)
    with pytest.raises(DataError, match="no two words are shared by 2 of 1 ads"):
        NgramSpace.fit([record])
    with pytest.raises(ValueInvalidError, match="least"):
        NgramSpace.fit([record], least=0)


def _sparse(x: np.ndarray) -> SparseRows:
    row, column = np.nonzero(x)
    return SparseRows(row, column, x[row, column], x.shape)


@given(st.integers(0, 1000), st.sampled_from([0.1, 1.0, 10.0]))
def test_ridge_is_its_formula(seed: int, strength: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(12, 7)) * (rng.random((12, 7)) < 0.5)
    y, c = rng.normal(size=12), rng.random(12)
    rows = _sparse(x)
    expected = np.linalg.solve(x.T @ (c[:, None] * x) + strength * np.eye(7), x.T @ (c * y))
    found = ridge(rows, y, strength=strength, weight=c, tolerance=1e-12)
    np.testing.assert_allclose(found, expected, atol=1e-8)
    begun = ridge(rows, y, strength=strength, weight=c, start=expected, steps=0)
    np.testing.assert_allclose(begun, expected)
    np.testing.assert_allclose(rows.take(np.array([3, 1])).dense(), x[[3, 1]])
    np.testing.assert_allclose(rows.times(expected), x @ expected)
    np.testing.assert_allclose(rows.transposed_times(y), x.T @ y)


def test_ridge_refuses_what_has_no_answer() -> None:
    rows = _sparse(np.eye(2))
    with pytest.raises(ValueInvalidError, match="strength above 0"):
        ridge(rows, np.ones(2), strength=0)
    with pytest.raises(DataError, match="expected 2 rows"):
        ridge(rows, np.ones(3), strength=1)
    with pytest.raises(DataError, match="expected 2 rows"):
        ridge(rows, np.ones(2), strength=1, weight=np.ones(1))
    rough = ridge(_sparse(np.arange(1.0, 10).reshape(3, 3)), np.ones(3), strength=1, tolerance=0.5)
    assert np.isfinite(rough).all()
