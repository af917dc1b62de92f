"""Input checks: what passes, in which type, and which row an error names."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import DataError, SchemaError, ValueInvalidError
from adwright.metrics import arrays
from adwright.metrics import arrays as keys


@pytest.mark.parametrize("dtype", [bool, np.int8, np.int64, np.uint8, np.float32, np.float64])
def test_labels_of_any_numeric_type_become_bytes(dtype: type) -> None:
    labels = arrays.as_labels(np.array([0, 1, 1, 0], dtype))
    assert labels.dtype == np.uint8
    assert labels.tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("wrong", [2, -1, 0.5, float("nan"), float("inf")])
def test_a_label_that_is_neither_0_nor_1_names_its_row(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match=r"neither 0 nor 1.*row 2") as caught:
        arrays.as_labels([0, 1, wrong, 1])
    assert caught.value.row == 2
    assert caught.value.column == "labels"


def test_text_labels_are_refused() -> None:
    with pytest.raises(SchemaError, match="numbers or booleans"):
        arrays.as_labels(["click", "none"])


def test_a_nan_score_names_its_row_and_infinities_pass() -> None:
    with pytest.raises(ValueInvalidError, match=r"NaN.*row 1"):
        arrays.as_scores([0.1, float("nan"), 0.2])
    assert arrays.as_scores([-np.inf, np.inf]).tolist() == [-np.inf, np.inf]


@pytest.mark.parametrize(
    ("given", "kept"),
    [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)],
)
def test_float_scores_keep_a_type_that_holds_them(given: type, kept: type) -> None:
    assert arrays.as_scores(np.array([0.5, 0.25], given)).dtype == kept


def test_integer_scores_pass_while_float64_can_tell_them_apart() -> None:
    assert arrays.as_scores(np.array([2**53, 0])).dtype == np.float64
    with pytest.raises(ValueInvalidError, match="too large"):
        arrays.as_scores(np.array([2**53 + 1, 0]))


def test_text_scores_are_refused() -> None:
    with pytest.raises(SchemaError, match="must be numbers"):
        arrays.as_scores(["a", "b"])


@pytest.mark.parametrize("wrong", [-0.01, 1.01, np.inf])
def test_a_probability_outside_names_its_row(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match=r"outside 0..1.*row 1"):
        arrays.as_probabilities([0.5, wrong])


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf])
def test_a_wrong_weight_names_its_row(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match="row 1"):
        arrays.as_weights([1.0, wrong], 2)


def test_weights_may_be_absent_but_not_all_zero() -> None:
    assert arrays.as_weights(None, 3) is None
    with pytest.raises(ValueInvalidError, match="all weights are zero"):
        arrays.as_weights([0, 0], 2)


@pytest.mark.parametrize("offsets", [[], [1, 3], [0, 2]])
def test_offsets_must_span_the_values(offsets: list[int]) -> None:
    with pytest.raises(DataError, match="from 0 to the number of values, 3"):
        arrays.as_offsets(np.array(offsets, np.int64), 3)


def test_offsets_must_not_fall_and_must_be_integers() -> None:
    with pytest.raises(ValueInvalidError, match=r"offsets fall.*row 2"):
        arrays.as_offsets([0, 2, 1, 3], 3)
    with pytest.raises(SchemaError, match="integers"):
        arrays.as_offsets([0.0, 3.0], 3)


@pytest.mark.parametrize(
    "groups",
    [
        np.array([7, 9, 7, -3]),
        np.array([-128, 127, 0], np.int8),
        np.array([0, 2**64 - 1], np.uint64),
        np.array([2**63 + 5, 2**63], np.uint64),
        np.array([-(2**62), 2**62]),
        np.array(["b", "a", "b"]),
        np.array(["b", "a", "b"], object),
        np.array([True, False]),
        np.array([1.5, 0.5, 1.5]),
    ],
)
def test_codes_keep_groups_apart_in_order_and_give_the_ids_back(groups: np.ndarray) -> None:
    codes = arrays.as_codes(groups, len(groups))
    _, expected = np.unique(groups, return_inverse=True)
    _, found = np.unique(codes.codes, return_inverse=True)
    assert found.tolist() == expected.tolist()
    assert codes.codes.min() >= 0
    assert codes.codes.max() < codes.span <= 2**31
    assert codes.ids_of(codes.codes).tolist() == groups.tolist()


def test_a_nan_group_names_its_row() -> None:
    with pytest.raises(ValueInvalidError, match="row 1"):
        arrays.as_codes([1.0, np.nan], 2)


def test_lengths_and_dimensions_are_checked() -> None:
    with pytest.raises(DataError, match=r"expected 3 rows and found 2.*groups"):
        arrays.as_codes([1, 2], 3)
    with pytest.raises(DataError, match="one dimension"):
        arrays.as_labels([[0, 1]])


@pytest.mark.parametrize("wrong", [0, -1, 1.5, True])
def test_counts_must_be_positive_integers(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match="k must be a whole number"):
        arrays.check_positive_integer(wrong, "k")  # type: ignore[arg-type]


def test_the_first_wrong_row_is_named_with_its_value() -> None:
    wrong, values = np.array([False, True, True]), np.array([0.5, 1.5, 2.5])
    arrays.refuse(np.zeros(3, bool), "no", "x", values)
    with pytest.raises(ValueInvalidError, match=r"too large.*row 1.*column x") as caught:
        arrays.refuse(wrong, "too large", "x", values, "halve it")
    error = caught.value
    assert (error.row, error.column, error.value, error.hint) == (1, "x", 1.5, "halve it")
    with pytest.raises(ValueInvalidError) as caught:
        arrays.refuse(wrong, "too large", "x")
    assert caught.value.value is None
    assert caught.value.row == 1


def test_a_row_of_several_values_is_told_whole() -> None:
    with pytest.raises(ValueInvalidError) as caught:
        arrays.refuse(np.array([False, True]), "no", "x", np.array([[1, 2], [3, 4]]))
    assert caught.value.value == [3, 4]


@pytest.mark.parametrize(
    ("confidence", "expected"), [(0.5, 0.6744898), (0.6826895, 1.0), (0.95, 1.9599640)]
)
def test_the_normal_quantile_is_that_of_the_tables(confidence: float, expected: float) -> None:
    assert arrays.normal_quantile(confidence) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("wrong", [0, 1, -0.5, 95, float("nan")])
def test_a_confidence_is_a_share(wrong: float) -> None:
    with pytest.raises(ValueInvalidError, match="strictly between 0 and 1"):
        arrays.normal_quantile(wrong)


def test_views_are_returned_where_no_change_is_needed() -> None:
    scores = np.array([0.25, 0.5])
    labels = np.array([True, False])
    assert arrays.as_scores(scores) is scores
    assert np.shares_memory(arrays.as_labels(labels), labels)
    codes = arrays.as_codes(np.array([0, 2, 1]), 3)
    assert (codes.span, codes.ids, codes.base) == (3, None, 0)


singles = st.floats(width=32, allow_nan=False)
doubles = st.floats(allow_nan=False)


@given(st.lists(singles, max_size=40))
def test_float_order_agrees_with_comparison(values: list[float]) -> None:
    scores = np.array(values, np.float32)
    order = keys.float_order(scores)
    assert ((order[:, None] < order) == (scores[:, None] < scores)).all()
    assert ((order[:, None] == order) == (scores[:, None] == scores)).all()


@given(st.lists(doubles, max_size=40))
def test_dense_order_is_exact(values: list[float]) -> None:
    scores = np.array(values, np.float64)
    order = keys.dense_order(scores)
    assert order.tolist() == np.unique(scores, return_inverse=True)[1].tolist()


def test_zeros_of_both_signs_are_one_score() -> None:
    order = keys.float_order(np.array([-0.0, 0.0], np.float32))
    assert order[0] == order[1]


def test_lossless_tells_what_float32_holds() -> None:
    assert keys.is_lossless(np.array([0.5, 3.0, np.inf]))
    assert keys.is_lossless(np.array([0.1], np.float32))
    assert not keys.is_lossless(np.array([0.1]))
    assert not keys.is_lossless(np.array([1e300]))


def test_keys_sort_by_group_then_score_then_label() -> None:
    codes = np.array([2**31 - 1, 0, 0, 0])
    order = keys.float_order(np.array([-1.0, 2.0, 1.0, 1.0], np.float32))
    packed = keys.pack(codes, order, np.array([0, 0, 1, 0], np.uint8))
    assert np.argsort(packed).tolist() == [3, 2, 1, 0]


def test_run_starts_of_empty_and_full_arrays() -> None:
    assert keys.run_starts(np.array([])).tolist() == []
    assert keys.run_starts(np.array([4, 4, 5, 7, 7])).tolist() == [0, 2, 3]


def test_hash_order_is_fixed_without_collisions_and_depends_on_the_seed() -> None:
    positions = np.arange(100_000)
    first = keys.hash_order(positions)
    assert len(np.unique(first)) == len(positions)
    assert (first == keys.hash_order(positions)).all()
    assert (first != keys.hash_order(positions, seed=1)).all()
    # Neighbours are in either order about equally often.
    assert abs((np.diff(first.astype(np.float64)) > 0).mean() - 0.5) < 0.01
