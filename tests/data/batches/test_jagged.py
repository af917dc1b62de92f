from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged, lengths_to_offsets

LISTS = st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=8)


def jagged(lists: list[list[int]]) -> Jagged:
    return Jagged.from_lists(lists, dtype=torch.int64)


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


@given(LISTS.filter(bool), st.data())
def test_select_equals_picking_from_a_list(lists: list[list[int]], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.integers(0, len(lists) - 1), max_size=9))
    picked = jagged(lists).select(torch.tensor(rows, dtype=torch.int64))
    assert picked.to_lists() == [lists[row] for row in rows]


def test_values_may_have_more_dimensions() -> None:
    values = torch.arange(6.0).reshape(3, 2)
    lists = Jagged(values, torch.tensor([0, 1, 1, 3]))
    padded, mask = lists.to_padded()
    assert padded.shape == (3, 2, 2)
    assert padded[mask].equal(values)
    assert lists.select(torch.tensor([2])).values.equal(values[1:])


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


def test_lengths_to_offsets_counts_up() -> None:
    assert lengths_to_offsets(torch.tensor([2, 0, 3])).tolist() == [0, 2, 2, 5]
    assert lengths_to_offsets(torch.tensor([], dtype=torch.int64)).tolist() == [0]
