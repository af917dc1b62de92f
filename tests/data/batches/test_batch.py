"""What is promised of these, and what is refused."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.batch import Batch, Distinct, QueryBatch, distinct_history
from adwright.data.batches.jagged import Jagged, lengths_to_offsets
from tests.support.data.jagged import jagged


@st.composite
def groups(draw: st.DrawFn) -> list[tuple[list[int], list[int], list[int]]]:
    """Groups of (history, begin, end), begin and end rising from row to row."""
    made = []
    for _ in range(draw(st.integers(0, 5))):
        history = draw(st.lists(st.integers(0, 6), max_size=9))
        ends = sorted(draw(st.lists(st.integers(0, len(history)), max_size=6)))
        most = draw(st.integers(0, 9))
        begins = [max(end - most, 0) if most else 0 for end in ends]
        made.append((history, begins, ends))
    return made


def tensors(made: list[tuple[list[int], list[int], list[int]]]) -> dict[str, Any]:
    return {
        "history": jagged([history for history, _, _ in made]),
        "offsets": lengths_to_offsets(
            torch.tensor([len(end) for _, _, end in made], dtype=torch.int64)
        ),
        "begin": torch.tensor([b for _, begin, _ in made for b in begin], dtype=torch.int64),
        "end": torch.tensor([e for _, _, end in made for e in end], dtype=torch.int64),
    }


def matrix(distinct: Distinct, u: int) -> Tensor:
    """Counts of group u, [V_u, N_u]."""
    start, end = distinct.count_offsets[u : u + 2].tolist()
    first, last = distinct.visit_groups[u : u + 2].tolist()
    return distinct.counts[start:end].reshape(last - first, len(distinct.items.to_lists()[u]))


@given(groups())
def test_counts_equal_those_of_a_loop(made: list[tuple[list[int], list[int], list[int]]]) -> None:
    distinct = distinct_history(**tensors(made))
    rows = 0
    visits = 0
    assert distinct.visit_rows[0] == 0
    for u, (history, begins, ends) in enumerate(made):
        items = distinct.items.to_lists()[u]
        assert items == sorted(set(history))
        first, last = distinct.visit_groups[u : u + 2].tolist()
        assert first == visits
        counts = matrix(distinct, u)
        assert counts.shape == (last - first, len(items))
        assert counts.dtype == torch.float32
        for visit in range(first, last):
            start, stop = distinct.visit_rows[visit : visit + 2].tolist()
            for row in range(start, stop):
                begin, end = begins[row - rows], ends[row - rows]
                seen = Counter(history[begin:end])
                assert counts[visit - first].tolist() == [seen[int(item)] for item in items]
        rows += len(ends)
        visits = last
        assert distinct.visit_rows[visits] == rows


@given(groups())
def test_a_visit_is_a_run_of_rows_that_see_the_same(
    made: list[tuple[list[int], list[int], list[int]]],
) -> None:
    distinct = distinct_history(**tensors(made))
    expected = sum(
        1 + sum(a != b for a, b in pairwise(zip(begins, ends, strict=True)))
        for _, begins, ends in made
        if ends
    )
    assert len(distinct.visit_rows) - 1 == expected
    assert (distinct.visit_rows[1:] > distinct.visit_rows[:-1]).all()


def test_no_group_and_groups_without_rows_or_events() -> None:
    nothing = distinct_history(**tensors([]))
    assert nothing.counts.tolist() == []
    assert nothing.count_offsets.tolist() == [0]
    assert nothing.visit_rows.tolist() == [0]
    odd = distinct_history(**tensors([([], [], []), ([], [0], [0]), ([3, 3], [], [])]))
    assert [tuple(matrix(odd, u).shape) for u in range(3)] == [(0, 0), (1, 0), (0, 1)]


def batch(**changes: Any) -> Batch:
    made = tensors([([4, 4, 5], [0, 0, 1], [1, 3, 3]), ([], [0], [0])])
    rows = len(made["end"])
    return replace(
        Batch(
            **made,
            item=torch.arange(rows),
            categorical={"store": torch.arange(rows) + 10},
            multi={"tags": jagged([[1], [], [2, 3], [4]])},
            numeric=torch.arange(rows * 2.0).reshape(rows, 2),
            label=torch.tensor([1.0, 0.0, 0.0, 1.0]),
            row=torch.arange(rows) + 100,
        ),
        **changes,
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"end": torch.tensor([1, 4, 3, 0])}, "outside its group's history"),
        ({"end": torch.tensor([1, 3, 3, 1])}, "outside its group's history"),
        ({"begin": torch.tensor([-1, 0, 1, 0])}, "outside its group's history"),
        ({"begin": torch.tensor([2, 0, 1, 0])}, "outside its group's history"),
        ({"offsets": torch.tensor([0, 3, 5])}, "offsets that end at its rows"),
        ({"offsets": torch.tensor([0, 1, 3, 4])}, "one history a group"),
    ],
)
def test_rows_that_see_what_is_not_theirs_are_refused(
    changes: dict[str, torch.Tensor], words: str
) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        batch(**changes)


def test_groups_are_taken_whole_and_in_the_order_asked() -> None:
    taken = batch().groups(torch.tensor([1, 0]))
    assert taken.history.to_lists() == [[], [4, 4, 5]]
    assert taken.offsets.tolist() == [0, 1, 4]
    assert taken.item.tolist() == [3, 0, 1, 2]
    assert taken.begin.tolist() == [0, 0, 0, 1]
    assert taken.end.tolist() == [0, 1, 3, 3]
    assert taken.categorical["store"].tolist() == [13, 10, 11, 12]
    assert taken.multi["tags"].to_lists() == [[4], [1], [], [2, 3]]
    assert taken.numeric.tolist() == [[6, 7], [0, 1], [2, 3], [4, 5]]
    assert taken.label.tolist() == [1, 1, 0, 0]
    assert taken.row.tolist() == [103, 100, 101, 102]


def test_large_counts_stay_exact() -> None:
    history = np.zeros(5000, dtype=np.int64)
    distinct = distinct_history(
        Jagged(torch.from_numpy(history), torch.tensor([0, 5000])),
        torch.tensor([0, 2]),
        torch.tensor([0, 1]),
        torch.tensor([4999, 5000]),
    )
    assert matrix(distinct, 0).tolist() == [[4999.0], [4999.0]]


def test_the_offset_of_drawn_rows_goes_where_they_go() -> None:
    made = [([1, 2], [0, 0], [1, 2]), ([3], [0], [1])]
    empty = torch.zeros(3)
    batch = Batch(
        **tensors(made),
        item=torch.arange(3),
        categorical={},
        multi={},
        numeric=torch.zeros(3, 0),
        label=empty,
        row=torch.arange(3),
    )
    logits = torch.tensor([1.0, 2.0, 3.0])
    assert torch.equal(batch.of_rows(logits), logits)
    drawn = replace(batch, offset=torch.tensor([0.5, -1.0, 2.0]))
    assert drawn.of_rows(logits).tolist() == [1.5, 1.0, 5.0]
    assert drawn.groups(torch.tensor([1, 0])).offset.tolist() == [2.0, 0.5, -1.0]  # type: ignore[union-attr]


LISTS = st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=8)


@given(LISTS)
def test_lists_survive_the_way_there_and_back(lists: list[list[int]]) -> None:
    made = jagged(lists)
    assert made.to_lists() == lists
    assert len(made) == len(lists)
    assert made.lengths.tolist() == [len(one) for one in lists]
    assert made.owner().tolist() == [u for u, one in enumerate(lists) for _ in one]


@given(LISTS)
def test_padding_holds_each_value_once_and_the_fill_elsewhere(lists: list[list[int]]) -> None:
    padded, mask = jagged(lists).to_padded(fill=77)
    longest = max([1, *map(len, lists)])
    assert padded.shape == mask.shape == (len(lists), longest)
    for row, seen, one in zip(padded.tolist(), mask.tolist(), lists, strict=True):
        assert row == one + [77] * (longest - len(one))
        assert seen == [True] * len(one) + [False] * (longest - len(one))


@pytest.mark.parametrize(
    ("offsets", "words"),
    [
        (torch.tensor([0, 2, 1, 3]), "without falling"),
        (torch.tensor([1, 2, 3]), "without falling"),
        (torch.tensor([0, 2]), "3 values, offsets to 2"),
        (torch.tensor([0, 4]), "3 values, offsets to 4"),
        (torch.tensor([0.0, 3.0]), "int64"),
        (torch.tensor([0, 3], dtype=torch.int32), "int64"),
        (torch.tensor([[0, 3]]), "one-dimensional"),
        (torch.tensor([], dtype=torch.int64), "at least one element"),
    ],
)
def test_offsets_that_do_not_fit_are_refused(offsets: torch.Tensor, words: str) -> None:
    with pytest.raises(ValueInvalidError, match=words):
        Jagged(torch.zeros(3), offsets)


_HISTORY = jagged([[3, 4], []])
_PROFILE = torch.zeros((2, 1), dtype=torch.int64)


def test_serving_has_no_targets() -> None:
    batch = QueryBatch.serving(_HISTORY, torch.zeros(2), _PROFILE)
    assert len(batch) == 2
    assert batch.targets.to_lists() == [[], []]


def test_one_age_an_event_and_one_profile_a_query() -> None:
    with pytest.raises(ValueInvalidError, match="1 ages, 2 events"):
        QueryBatch.serving(_HISTORY, torch.zeros(1), _PROFILE)
    with pytest.raises(ValueInvalidError, match="2 histories, 1 profiles"):
        QueryBatch.serving(_HISTORY, torch.zeros(2), _PROFILE[:1])


def test_targets_belong_to_their_queries() -> None:
    targets = jagged([[7], [8, 9]])
    batch = QueryBatch(_HISTORY, torch.zeros(2), _PROFILE, targets)
    assert batch.targets.to_lists() == [[7], [8, 9]]
    with pytest.raises(ValueInvalidError, match="2 profiles, 1 lists of targets"):
        QueryBatch(_HISTORY, torch.zeros(2), _PROFILE, targets.select(torch.tensor([0])))


def test_places_count_back_from_the_latest_event() -> None:
    history = jagged([[3, 4, 5], [], [6]])
    batch = QueryBatch.serving(history, torch.zeros(4), torch.zeros((3, 1), dtype=torch.int64))
    assert batch.by_place().age.tolist() == [3, 2, 1, 1]
    assert batch.by_place().age.dtype == torch.float32
    assert batch.by_place().history is history
