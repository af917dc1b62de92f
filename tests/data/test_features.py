"""What is promised of these, and what is refused."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, SchemaError
from adwright.data.features import Feature, FeatureSpec, ItemTable, Vocabulary, fit_spec

# Codes of test_hashed_codes_are_pinned_forever: a saved model depends on them.
PINNED = [959, 179, 0, 156, 959, 553]
EIGHTHS = st.integers(-4000, 4000).map(lambda n: n / 8)
FLOATS = st.none() | EIGHTHS | st.sampled_from([math.nan, math.inf, -math.inf])


def fit(feature: Feature, values: list[Any], dtype: Any = None) -> Feature:
    """The feature fitted to a column of the training rows."""
    rows = pl.DataFrame({feature.name: pl.Series(values, dtype=dtype)}).lazy()
    (fitted,) = fit_spec([feature], rows, pl.LazyFrame({"item_id": ["i"]})).features
    return fitted


def test_a_vocabulary_holds_frequent_values_first() -> None:
    values = ["b", "a", "c", "b", None, "a", "d", "b"]
    fitted = fit(Feature("x", "categorical", "context"), values)
    assert fitted.vocabulary == ("b", "a", "c", "d")
    assert fitted.cardinality == 5
    assert fitted.codes(pa.array(["d", "b", "zzz", None, ""])).tolist() == [4, 1, 0, 0, 0]


def test_numbers_and_categories_are_known_by_their_text() -> None:
    feature = Feature("x", "categorical", "context", vocabulary=("7", "8"))
    assert feature.codes(pa.array([8, 7, None, 9])).tolist() == [2, 1, 0, 0]
    encoded = pa.array(["8", "7", None, "9"]).dictionary_encode()
    assert feature.codes(encoded).tolist() == [2, 1, 0, 0]
    assert feature.codes(pa.chunked_array([encoded, encoded])).tolist() == [2, 1, 0, 0] * 2
    assert fit(replace(feature, vocabulary=()), [7, 8, 8]).vocabulary == ("8", "7")


def test_hashed_codes_are_pinned_forever() -> None:
    feature = Feature("x", "hashed", "context", buckets=1000)
    column = pa.array(["tea", "rice", None, "", "tea", "42"])
    assert feature.codes(column).tolist() == PINNED
    assert feature.codes(column.dictionary_encode()).tolist() == PINNED
    assert feature.codes(pa.array([42])).tolist() == PINNED[-1:]
    assert replace(feature, name="other").codes(column).tolist() == PINNED
    assert feature.cardinality == 1001
    assert fit(feature, ["tea"]) == feature


@given(st.lists(FLOATS, max_size=40))
def test_buckets_equal_counting_the_edges(values: list[float | None]) -> None:
    fitted = fit(Feature("x", "bucketised", "context"), values, pl.Float64)
    known = sorted(v for v in values if v is not None and math.isfinite(v))
    assert list(fitted.edges) == sorted(set(fitted.edges))
    assert len(fitted.edges) <= 15
    assert all(known[0] <= edge <= known[-1] for edge in fitted.edges)
    assert fitted.cardinality == len(fitted.edges) + 2
    codes = fitted.codes(pa.array(values, pa.float64()))
    expected = [
        0 if v is None or math.isnan(v) else 1 + sum(edge <= v for edge in fitted.edges)
        for v in values
    ]
    assert codes.tolist() == expected
    assert all(0 <= code < fitted.cardinality for code in expected)


def test_bucket_edges_are_sixteenths_of_the_training_values() -> None:
    fitted = fit(Feature("x", "bucketised", "context"), list(range(161)))
    assert fitted.edges == tuple(float(10 * n) for n in range(1, 16))
    assert fitted.codes(pa.array([9, 10, 11, 150, -5, 9999])).tolist() == [1, 2, 2, 16, 1, 16]


@given(st.lists(FLOATS, max_size=30), st.booleans())
def test_numbers_are_standardised_and_missing_ones_are_the_mean(
    values: list[float | None], log: bool
) -> None:
    def squash(value: float) -> float:
        return math.copysign(math.log1p(abs(value)), value) if log else value

    fitted = fit(Feature("x", "numeric", "context", log=log), values, pl.Float64)
    known = [squash(v) for v in values if v is not None and math.isfinite(v)]
    if len(set(known)) > 1:
        assert fitted.mean == pytest.approx(sum(known) / len(known), rel=1e-9, abs=1e-9)
        deviation = math.sqrt(sum((v - fitted.mean) ** 2 for v in known) / (len(known) - 1))
        assert fitted.scale == pytest.approx(deviation)
    else:
        assert fitted.mean == pytest.approx(known[0] if known else 0.0)
        assert fitted.scale == 1.0
    assert fitted.cardinality == 0
    got = fitted.numbers(pa.array(values, pa.float64()))
    assert got.dtype == np.float32
    expected = [
        (squash(v) - fitted.mean) / fitted.scale if v is not None and math.isfinite(v) else 0.0
        for v in values
    ]
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def test_long_columns_of_every_type_are_numbers_too() -> None:
    feature = Feature("x", "numeric", "context", mean=2.0, scale=4.0)
    values = np.arange(50_000) % 7
    expected = (values - 2) / 4
    for dtype in (pa.int8(), pa.int64(), pa.float32(), pa.float64()):
        column = pa.chunked_array([pa.array(values, dtype), pa.array([None], dtype)])
        np.testing.assert_array_equal(feature.numbers(column), [*expected, 0.0])
    assert feature.numbers(pa.array([True, False])).tolist() == [-0.25, -0.5]


@given(
    st.lists(st.none() | st.lists(st.sampled_from(["a", "b", "c", "new"]), max_size=4), max_size=12)
)
def test_lists_keep_known_values_in_order(lists: list[list[str] | None]) -> None:
    feature = Feature("x", "multi", "context", vocabulary=("c", "a", "b"))
    codes, offsets = feature.lists(pa.array(lists, pa.list_(pa.string())))
    expected = [["cab".index(v) + 1 for v in one or [] if v != "new"] for one in lists]
    assert [codes[a:b].tolist() for a, b in pairwise(offsets)] == expected
    assert offsets.dtype == codes.dtype == np.int64


def test_a_sliced_list_column_gives_its_own_rows() -> None:
    feature = Feature("x", "multi", "context", vocabulary=("a", "b"))
    column = pa.array([["a", "a"], ["b"], [], ["a", "b"]], pa.list_(pa.string())).slice(1)
    codes, offsets = feature.lists(column)
    assert codes.tolist() == [2, 1, 2]
    assert offsets.tolist() == [0, 1, 1, 3]


def test_a_list_vocabulary_counts_values() -> None:
    rows = [["a", "b"], None, [], ["b", "c", "b"]]
    fitted = fit(Feature("x", "multi", "context"), rows, pl.List(pl.String))
    counts = Counter(value for row in rows for value in row or [])
    assert fitted.vocabulary == tuple(sorted(counts, key=lambda v: (-counts[v], v)))
    assert fit(
        Feature("x", "multi", "context", min_count=2), rows, pl.List(pl.String)
    ).vocabulary == ("b",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"kind": "hashed"}, "needs buckets"),
        ({"kind": "categorical", "min_count": 0}, "min_count must be at least 1"),
        ({"kind": "categorical", "log": True}, "only a numeric feature"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Feature("x", of="context", **changes)


def test_a_missing_column_is_named() -> None:
    rows, items = pl.LazyFrame({"y": [1]}), pl.LazyFrame({"item_id": ["i"]})
    for owner in ("context", "item"):
        with pytest.raises(SchemaError, match="column x") as caught:
            fit_spec([Feature("x", "categorical", owner)], rows, items)
        assert "the table has" in caught.value.hint
    with pytest.raises(SchemaError, match="column x"):
        FeatureSpec((Feature("x", "categorical", "item"),)).encode_items(items.collect())


def test_items_are_fitted_on_the_catalogue_but_for_their_own_id() -> None:
    rows = pl.LazyFrame({"item_id": ["b", "b", "c"], "type": ["row", "row", "row"]})
    items = pl.LazyFrame({"item_id": ["a", "b", "c"], "type": ["t1", "t2", "t2"]})
    features = [Feature("item_id", "categorical", "item"), Feature("type", "categorical", "item")]
    spec = fit_spec(features, rows, items)
    assert [f.vocabulary for f in spec.features] == [("b", "c"), ("t2", "t1")]
    table = spec.encode_items(items.collect())
    assert table.categorical["item_id"].tolist() == [0, 0, 1, 2]
    assert table.categorical["type"].tolist() == [0, 2, 1, 1]
    assert table.rows(pa.array(["c", "a", "unheard of", None])).tolist() == [3, 1, 0, 0]


def test_the_catalogue_in_codes() -> None:
    items = pl.DataFrame(
        {"item_id": [10, 20], "tags": [["x", "y"], []], "weight": [1.0, None], "size": [5, 1]}
    )
    spec = FeatureSpec(
        (
            Feature("tags", "multi", "item", vocabulary=("y", "x")),
            Feature("weight", "numeric", "item", mean=0.5),
            Feature("size", "bucketised", "item", edges=(3.0,)),
        )
    )
    table = spec.encode_items(items)
    assert isinstance(table, ItemTable)
    assert len(table) == 3
    assert table.ids == ("10", "20")
    codes, offsets = table.multi["tags"]
    assert codes.tolist() == [2, 1]
    assert offsets.tolist() == [0, 0, 2, 2]
    assert table.numeric.tolist() == [[0.0], [0.5], [0.0]]
    assert table.categorical["size"].tolist() == [0, 2, 1]


def test_a_spec_survives_json() -> None:
    spec = FeatureSpec(
        (
            Feature("history", "sequence", "user"),
            Feature("a", "categorical", "user", vocabulary=("é", "b"), min_count=3),
            Feature("b", "hashed", "context", buckets=9),
            Feature("c", "bucketised", "item", edges=(-0.1, 1e-300)),
            Feature("d", "numeric", "context", log=True, mean=1 / 3, scale=1e17),
            Feature("e", "multi", "item", vocabulary=("x",)),
        )
    )
    text = json.dumps(to_jsonable(spec))
    assert from_jsonable(FeatureSpec, json.loads(text)) == spec


def test_features_are_grouped_by_owner_and_kind() -> None:
    spec = FeatureSpec(
        (
            Feature("item", "categorical", "item"),
            Feature("user", "categorical", "user"),
            Feature("store", "hashed", "context", buckets=2),
            Feature("age", "numeric", "user"),
            Feature("tags", "multi", "context"),
        )
    )
    assert [f.name for f in spec.coded_rows] == ["user", "store"]
    assert [f.name for f in spec.numeric_rows] == ["age"]
    assert [f.name for f in spec.multi_rows] == ["tags"]
    assert [f.name for f in spec.of("item", kinds=("categorical",))] == ["item"]


WORDS = st.text(alphabet="abcé ", max_size=3)


@given(st.lists(WORDS, unique=True, max_size=20), st.lists(st.none() | WORDS, max_size=20))
def test_codes_equal_a_dictionary_by_either_way(known: list[str], asked: list[str | None]) -> None:
    expected = [known.index(value) + 1 if value in known else 0 for value in asked]
    column = pa.array(asked, pa.string())
    assert Vocabulary(known).codes(column).tolist() == expected
    repeated = pa.concat_arrays([column] * 300)
    assert Vocabulary(known).codes(repeated).tolist() == expected * 300
