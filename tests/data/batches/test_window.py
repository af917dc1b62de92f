from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.window import LEADING, Piece, encode_rows, plain
from adwright.data.features import Feature, FeatureSpec, ItemTable

SPEC = FeatureSpec(
    (
        Feature("history", "sequence", "user"),
        Feature("user_id", "categorical", "user", vocabulary=("u1", "u0")),
        Feature("price", "numeric", "context", mean=1.0),
        Feature("tags", "multi", "context", vocabulary=("a", "b")),
    )
)
IDS = [f"i{n}" for n in range(6)]
ITEMS = ItemTable(tuple(IDS), {}, {}, np.zeros((7, 0), np.float32))
PEOPLE = st.lists(
    st.tuples(
        st.lists(st.integers(0, 7), max_size=6),  # events
        st.lists(st.floats(0, 1), min_size=1, max_size=7),  # rows: share of the history seen
    ),
    min_size=1,
    max_size=4,
)
People = list[tuple[list[int], list[float]]]


def tables(people: People, *, encoded: bool) -> tuple[pa.Table, pa.Table]:
    """Rows and events of users u0, u1, ...; items above i5 are unknown."""
    rows, events = [], []
    for u, (history, shares) in enumerate(people):
        events += [{"user_id": f"u{u}", "item_id": f"i{item}"} for item in history]
        for r, share in enumerate(sorted(shares)):
            rows.append(
                {
                    "user_id": f"u{u}",
                    "item_id": f"i{(u + r) % 7}",
                    "visible": round(share * len(history)),
                    "label": r % 2,
                    "price": float(r),
                    "tags": ["a", "b", "c"][: r % 4],
                }
            )
    schema = pa.schema([("user_id", pa.string()), ("item_id", pa.string())])
    table, log = pa.Table.from_pylist(rows), pa.Table.from_pylist(events, schema)
    if encoded:
        return tuple(
            t.set_column(0, "user_id", t["user_id"].dictionary_encode()) for t in (table, log)
        )
    return table, log


def encode(people: People, *, encoded: bool = True, most: int = 3, history: int = 0) -> Piece:
    table, log = tables(people, encoded=encoded)
    return encode_rows(
        table,
        log,
        np.arange(table.num_rows) + 1000,
        spec=SPEC,
        items=ITEMS,
        rows_per_group=most,
        max_history=history,
    )


@given(PEOPLE, st.booleans(), st.integers(1, 8), st.integers(0, 4))
def test_groups_equal_a_literal_cut(people: People, encoded: bool, most: int, history: int) -> None:
    piece = encode(people, encoded=encoded, most=most, history=history)
    expected = []
    for u, (log, shares) in enumerate(people):
        ends = [round(share * len(log)) for share in sorted(shares)]
        for start in range(0, len(ends), most):
            expected.append((u, range(start, min(start + most, len(ends))), ends, log))
    assert len(piece) == len(expected)
    first_row = np.cumsum([0, *(len(shares) for _, shares in people)])
    for number, (u, rows, ends, log) in enumerate(expected):
        _, taken, events = piece.group(number)
        assert range(taken.start, taken.stop) == range(
            first_row[u] + rows.start, first_row[u] + rows.stop
        )
        seen = piece.events[events].tolist()
        item, begin, end, label, user = piece.codes[:, taken].tolist()
        for k, r in enumerate(rows):
            visible = log[max(ends[r] - history, 0) if history else 0 : ends[r]]
            assert seen[begin[k] : end[k]] == [i + 1 if i < 6 else 0 for i in visible]
            assert item[k] == ((u + r) % 7 + 1 if (u + r) % 7 < 6 else 0)
            assert label[k] == r % 2
            assert user[k] == {0: 2, 1: 1}.get(u, 0)
            assert piece.numeric[taken][k].tolist() == [r - 1.0]
            codes, offsets = piece.multi["tags"]
            place = taken.start + k
            assert codes[offsets[place] : offsets[place + 1]].tolist() == [1, 2, 3][: r % 4][:2]
        # Nothing is held that no row of the group sees.
        assert begin[0] == 0
        assert end[-1] == len(seen)
    assert piece.row.tolist() == list(range(1000, 1000 + len(piece.row)))


def test_codes_begin_with_the_leading_rows() -> None:
    assert LEADING == ("item", "begin", "end", "label")
    piece = encode([([1], [1.0])])
    assert piece.codes.dtype == np.int32
    assert piece.codes.shape == (5, 1)


def test_rows_without_labels_are_negative() -> None:
    table, log = tables([([1, 2], [0.0, 1.0])], encoded=True)
    piece = encode_rows(
        table.drop_columns("label"), log, np.arange(2), spec=SPEC, items=ITEMS, rows_per_group=9
    )
    assert piece.codes[3].tolist() == [0, 0]


def test_no_rows_make_no_groups() -> None:
    table, log = tables([([1], [1.0])], encoded=True)
    piece = encode_rows(table[:0], log, np.arange(0), spec=SPEC, items=ITEMS, rows_per_group=9)
    assert len(piece) == 0


def test_a_row_that_sees_too_much_is_refused() -> None:
    table, log = tables([([1, 2], [1.0]), ([3], [1.0])], encoded=True)
    for short in (log[:2], log[1:]):
        with pytest.raises(ValueInvalidError, match="more events than its person has"):
            encode_rows(table, short, np.arange(2), spec=SPEC, items=ITEMS, rows_per_group=9)


def test_plain_takes_integers_and_booleans() -> None:
    assert plain(pa.chunked_array([[1, 2], [3]])).tolist() == [1, 2, 3]
    assert plain(pa.array([True, False])).tolist() == [1, 0]


def test_bounds_fit_together() -> None:
    piece = encode([([1, 2], [0.5, 1.0, 1.0, 1.0]), ([], [0.0])], most=2)
    assert piece.row_bounds == [0, 2, 4, 5]
    assert all(a < b for a, b in pairwise(piece.row_bounds))
    assert piece.event_bounds == [0, 2, 0, 2, 2, 2]
