"""Item sequences against what a reader of the log would write down."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.data.batches.jagged import Jagged
from adwright.data.sequences.item_sequences import Held, ItemSequences, SequenceBatch
from tests.support.data.small_sequences import small_sequences

# Four people with 5, 2, 1 and 0 events.
FOUR = ItemSequences(
    name="four",
    protocol="by hand",
    data_hash="x",
    users=("a", "b", "c", "d"),
    ids=tuple(f"i{n}" for n in range(9)),
    item=np.array([1, 2, 3, 2, 5, 6, 7, 8]),
    offsets=np.array([0, 5, 7, 8, 8]),
    time=np.array([10, 11, 12, 13, 14, 5, 6, 3]),
    action=np.arange(8),
    actions=8,
    context=np.arange(8).reshape(4, 2),
    context_sizes=(8, 8),
)


def test_the_last_event_tests_and_the_one_before_validates() -> None:
    target, end = FOUR.held("test")
    assert target.tolist() == [4, 6, 7, -1]
    assert end.tolist() == [4, 6, 7, 8]
    target, end = FOUR.held("valid")
    assert target.tolist() == [3, 5, -1, -1]
    assert end.tolist() == [3, 5, 7, 8]
    # A target needs a history; nobody else is asked.
    assert FOUR.people("test").tolist() == [0, 1]
    assert FOUR.people("valid").tolist() == [0]
    assert FOUR.targets(np.array([0, 1]), "test").tolist() == [5, 7]


def test_training_never_reads_a_held_target() -> None:
    for final in (False, True):
        first, end = FOUR.windows(10, final=final)
        batch = FOUR.batch(first, end)
        lists = [[1, 2], [1, 2, 3]][final]
        assert batch.items.to_lists() == [lists]
        assert batch.target.tolist() == [[2, 3], [2, 3, 2]][final]
    assert FOUR.count.tolist() == [0, 1, 1, 1, 0, 0, 0, 0, 0, 0]


def test_a_batch_says_what_came_next_and_when() -> None:
    batch = FOUR.batch(*FOUR.windows(10, final=True))
    assert batch.time is not None
    assert batch.next_time is not None
    assert batch.action is not None
    assert batch.context is not None
    assert batch.time.tolist() == [10, 11, 12]
    assert batch.next_time.tolist() == [11, 12, 13]
    assert batch.action.tolist() == [0, 1, 2]
    assert batch.context.tolist() == [[0, 1]]


def test_a_question_has_one_target_and_the_time_of_the_request() -> None:
    batch = FOUR.questions(np.array([1, 0]), "test", max_length=3)
    assert batch.items.to_lists() == [[6], [2, 3, 2]]
    assert batch.target.tolist() == [7, 0, 0, 5]
    assert batch.next_time is not None
    assert batch.next_time.tolist() == [6, 12, 13, 14]
    assert batch.context is not None
    assert batch.context.tolist() == [[2, 3], [0, 1]]


def test_windows_are_cut_from_the_end() -> None:
    sequences = small_sequences()
    for whole in (False, True):
        first, end = sequences.windows(4, whole=whole)
        assert ((end - first) <= 4).all()
        owner = np.searchsorted(sequences.offsets, first, side="right") - 1
        for u in range(len(sequences)):
            a, b = sequences.offsets[u], sequences.training_end()[u] - 1
            mine = sorted(zip(first[owner == u].tolist(), end[owner == u].tolist(), strict=True))
            covered = [e for f, g in mine for e in range(f, g)]
            assert covered == list(range(a if whole else max(a, b - 4), b))
            # Only the oldest window is short.
            assert all(g - f == 4 for f, g in mine[1:])


def test_seen_is_the_whole_history_once() -> None:
    codes, bounds = FOUR.seen(np.array([0, 1, 3]), "test")
    assert codes.tolist() == [1, 2, 3, 6]
    assert bounds.tolist() == [0, 3, 4, 4]
    assert FOUR.seen(np.array([0]), "valid")[0].tolist() == [1, 2, 3]


def test_no_history_has_an_event_of_its_targets_instant() -> None:
    # Events 3 and 4 of the first person are one basket, and 1 and 2 another.
    moment = np.array([0, 1, 1, 3, 3, 5, 6, 7])
    baskets = replace(FOUR, moment=moment)
    target, end = baskets.held("test")
    assert target.tolist() == [4, 6, 7, -1]
    assert end.tolist() == [3, 6, 7, 8]
    target, end = baskets.held("valid")
    assert target.tolist() == [2, 5, -1, -1]
    assert end.tolist() == [1, 5, 7, 8]
    assert baskets.questions(np.array([0]), "test", max_length=9).items.to_lists() == [[1, 2, 3]]
    assert baskets.batch(*baskets.windows(9, final=True)).target.tolist() == [2, 3]


def test_in_a_split_by_time_an_event_predicts_one_of_the_next_instant() -> None:
    # Baskets (1), (2, 3), (2, 5) of the first person, (6), (7) of the second; each person's last
    # one is the validation's.
    moment = np.array([0, 1, 1, 3, 3, 5, 6, 7])
    split = replace(
        FOUR, moment=moment, train_ends=(np.array([3, 6, 7, 8]), np.array([5, 7, 8, 8]))
    )
    assert split.windows(10)[1].tolist() == [1]
    assert split.windows(10, final=True)[1].tolist() == [3, 6]
    assert split.count.tolist() == [0, 1, 1, 1, 0, 0, 1, 0, 0, 0]
    rng = np.random.default_rng(0)
    drawn = set()
    for _ in range(40):
        batch = split.batch(*split.windows(10, final=True), rng)
        assert batch.items.to_lists() == [[1, 2, 3], [6]]
        drawn.add(tuple(batch.target.tolist()))
    assert drawn == {(a, b, c, 7) for a in (2, 3) for b in (2, 5) for c in (2, 5)}
    with pytest.raises(ValueInvalidError, match="random generator"):
        split.batch(*split.windows(10))
    with pytest.raises(ValueInvalidError, match="split by time"):
        split.held("test")


def test_kept_events_predict_what_truly_followed() -> None:
    batch = FOUR.batch(np.array([0, 5]), np.array([4, 6]))
    some = batch.at(torch.tensor([0, 2, 4]), torch.tensor([0, 2, 3]))
    assert some.items.to_lists() == [[1, 3], [6]]
    assert some.target.tolist() == [2, 2, 7]
    assert some.next_time is not None
    assert some.next_time.tolist() == [11, 13, 6]
    assert some.context is batch.context
    bare = replace(batch, time=None, next_time=None, action=None)
    assert bare.at(torch.tensor([0]), torch.tensor([0, 1, 1])).time is None


def test_serving_knows_when_people_ask() -> None:
    items = Jagged.from_lists([[3, 4], [], [5]], dtype=torch.int64)
    batch = SequenceBatch.serving(
        items, time=torch.tensor([1, 2, 8]), request_time=torch.tensor([7, 0, 9])
    )
    assert batch.next_time is not None
    assert batch.next_time.tolist() == [2, 7, 9]
    assert batch.target.tolist() == [0, 0, 0]
    assert len(batch) == 3
    now = SequenceBatch.serving(items, time=torch.tensor([1, 2, 8])).next_time
    assert now is not None
    assert now.tolist() == [2, 2, 8]


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("target", torch.zeros(3, dtype=torch.int64)),
        ("time", torch.zeros(1, dtype=torch.int64)),
        ("next_time", None),
        ("context", torch.zeros((2, 1), dtype=torch.int64)),
    ],
)
def test_batches_that_do_not_fit_are_refused(name: str, wrong: torch.Tensor | None) -> None:
    batch = FOUR.batch(*FOUR.windows(10))
    with pytest.raises(ValueInvalidError):
        replace(batch, **{name: wrong})


@pytest.mark.parametrize(
    "wrong",
    [
        {"offsets": np.array([0, 5, 7, 8])},
        {"offsets": np.array([0, 5, 7, 8, 9])},
        {"item": np.array([0, 2, 3, 4, 5, 6, 7, 8])},
        {"item": np.array([1, 2, 3, 4, 5, 6, 7, 10])},
        {"time": np.array([10, 9, 12, 13, 14, 5, 6, 3])},
        {"action": np.arange(7)},
        {"moment": np.arange(9)},
    ],
)
def test_sequences_that_do_not_fit_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueInvalidError):
        replace(FOUR, **wrong)  # type: ignore[arg-type]


def test_serving_by_moment_asks_for_the_next_instant() -> None:
    items = Jagged.from_lists([[1, 2, 3, 4], [5]], dtype=torch.int64)
    time, asked = torch.tensor([1, 1, 5, 5, 3]), torch.tensor([9, 8])
    batch = SequenceBatch.serving(items, time=time, request_time=asked, by_moment=True)
    assert batch.next_time is not None
    assert batch.next_time.tolist() == [5, 5, 9, 9, 8]
    plain = SequenceBatch.serving(items, time=time, request_time=asked)
    assert plain.next_time is not None
    assert plain.next_time.tolist() == [1, 5, 5, 9, 8]
    nobody = Jagged.from_lists([], dtype=torch.int64)
    none = SequenceBatch.serving(nobody, time=time[:0], request_time=asked[:0], by_moment=True)
    assert none.next_time is not None
    assert none.next_time.tolist() == []


@pytest.mark.parametrize("split", ["valid", "test"])
def test_questions_equal_a_walk_through_the_log(split: Held) -> None:
    sequences = small_sequences(people=9, seed=5)
    people = sequences.people(split)[::-1].copy()
    batch = sequences.questions(people, split, max_length=5)
    lists = batch.items.to_lists()
    held_back = 1 if split == "test" else 2
    for row, user in enumerate(people.tolist()):
        events = sequences.item[sequences.offsets[user] : sequences.offsets[user + 1]].tolist()
        assert lists[row] == events[:-held_back][-5:]
        ends = int(batch.items.offsets[row + 1]) - 1
        assert int(batch.target[ends]) == events[-held_back]
        codes, _ = sequences.seen(people[row : row + 1], split)
        assert codes.tolist() == sorted(set(events[:-held_back]))
    assert int((batch.target > 0).sum()) == len(people)


def test_counts_are_of_training_events_alone() -> None:
    sequences = small_sequences(people=7, seed=2)
    expected = np.zeros(sequences.items + 1, np.int64)
    for user in range(len(sequences)):
        first, end = sequences.offsets[user], sequences.offsets[user + 1] - 2
        np.add.at(expected, sequences.item[first:end], 1)
    assert sequences.count.tolist() == expected.tolist()


def test_nobody_is_a_set_of_sequences_too() -> None:
    nothing = np.zeros(0, np.int64)
    empty = ItemSequences("n", "p", "h", (), ("i",), nothing, np.zeros(1, np.int64))
    assert len(empty) == 0
    assert empty.people("test").tolist() == []
    assert empty.count.tolist() == [0, 0]
    assert [part.tolist() for part in empty.windows(5)] == [[], []]
