"""The sequences of a next-basket task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.datasets import (
    item_categories,
    log_of_sequences,
    log_of_task,
    sequences_of_task,
)
from adwright.data.sequences.item_sequences import Held, ItemSequences, SequenceBatch
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.sequences.stochastic_length import (
    StochasticLength,
    chance_of_cut,
    shorten,
    threshold,
)
from tests.support.data.jagged import jagged
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences


def test_a_next_basket_task_keeps_its_codes_and_its_instants() -> None:
    task = small_task()
    sequences = sequences_of_task(task)
    assert sequences.items == 12
    assert (sequences.item == task.item).all()
    assert sequences.moment is not None
    assert sequences.time is not None
    assert np.diff(np.unique(sequences.time)).tolist() == [86_400] * 7
    # The history of the last event is the task's history of the last basket.
    last = task.visits("test")
    assert (sequences.held("test")[1] == task.visit_end[last]).all()


def test_a_next_basket_task_can_keep_its_own_splits() -> None:
    task = small_task()
    sequences = sequences_of_task(task, split="task")
    assert sequences.by_moment
    assert sequences.data_hash != sequences_of_task(task).data_hash
    assert (sequences.count == task.count).all()
    for final, held in ((False, ("valid", "test")), (True, ("test",))):
        for user, end in enumerate(sequences.training_end(final=final)):
            later = [v for s in held for v in task.visits(s) if task.visit_user[v] == user]
            assert end == min(task.visit_end[later], default=task.user_offsets[user + 1])


TASK = small_task()
WALKS = small_sequences()


def test_a_task_asks_its_visits() -> None:
    log = log_of_task(TASK)
    assert (log.ids, log.users, log.items) == (TASK.items.ids, TASK.users, 12)
    assert np.array_equal(log.count, TASK.count)
    for split, asked in (("valid", log.valid), ("test", log.test)):
        visits = TASK.visits(split)  # type: ignore[arg-type]
        assert np.array_equal(asked.user, TASK.visit_user[visits])
        batch = TASK.batch(visits)
        pasts = log.pasts(asked)
        assert np.array_equal(pasts.item, batch.history.values.numpy())
        assert np.array_equal(asked.targets, batch.targets.values.numpy())
        assert np.array_equal(asked.offsets, batch.targets.offsets.numpy())
        # A day is a moment: the last event is of the latest one.
        assert (pasts.back[pasts.offsets[1:] - 1] == 0).all()
        assert pasts.back.max() == len({*TASK.time[: pasts.offsets[1]].tolist()}) - 1
    assert log.time is not None
    assert np.array_equal(log.time, TASK.time // 1_000_000)


def test_training_events_end_where_validation_begins() -> None:
    log = log_of_task(TASK)
    place, offsets = log.training
    assert len(offsets) == len(TASK.users) + 1
    first = {int(u): int(t) for u, t in zip(log.valid.user, log.valid.end, strict=True)}
    for user in range(len(TASK.users)):
        mine = place[offsets[user] : offsets[user + 1]]
        assert mine.tolist() == list(range(int(TASK.user_offsets[user]), first[user]))


def test_categories_are_those_that_sort_items() -> None:
    known = item_categories(TASK)
    assert set(known) == {"kind", "shade"}
    assert set(log_of_task(TASK).categories) == set(known)
    assert all(codes.shape == (13,) and codes[0] == 0 for codes in known.values())


def test_sequences_ask_the_held_events() -> None:
    log = log_of_sequences(WALKS, {"parity": np.arange(16) % 2})
    assert set(log.categories) == {"parity"}
    target, end = WALKS.held("test")
    assert np.array_equal(log.test.user, WALKS.people("test"))
    assert np.array_equal(log.test.targets, WALKS.item[target[log.test.user]])
    assert np.array_equal(log.test.end, end[log.test.user])
    assert np.array_equal(log.count, WALKS.count)
    # Without instants each event is a moment.
    assert np.array_equal(log.moment, np.arange(len(WALKS.item)))
    with pytest.raises(ValueInvalidError, match="split by time"):
        log_of_sequences(sequences_of_task(TASK, split="task"))


def test_positions_are_no_times() -> None:
    assert log_of_sequences(WALKS).time is not None
    days = replace(WALKS, time=np.arange(len(WALKS.item)) * 86_400)
    assert log_of_sequences(days).time is None
    assert log_of_sequences(small_sequences(times=False)).time is None


def test_some_questions_keep_their_targets() -> None:
    log = log_of_task(TASK)
    chosen = np.array([4, 1])
    some = log.test.some(chosen)
    assert len(some) == 2
    for place, question in enumerate(chosen):
        a, b = log.test.offsets[question : question + 2]
        c, d = some.offsets[place : place + 2]
        assert some.targets[c:d].tolist() == log.test.targets[a:b].tolist()
    assert some.user.tolist() == log.test.user[chosen].tolist()


# Two users: moments of 2, 1 and 2 events, and of 1.
ITEM = np.array([3, 1, 2, 3, 5, 4])
OFFSETS = np.array([0, 5, 6])
INSTANT = np.array([10, 10, 20, 30, 30, 30])


def test_some_and_until_cut_histories_and_events() -> None:
    moment = moment_numbers(OFFSETS, INSTANT)
    whole = Pasts.between(ITEM, moment, np.array([0, 5, 0]), np.array([5, 6, 3]))
    some = whole.some(1, 3)
    assert (some.item.tolist(), some.offsets.tolist()) == ([4, 3, 1, 2], [0, 1, 4])
    turned = whole.take(np.array([2, 1]))
    assert (turned.item.tolist(), turned.offsets.tolist()) == ([3, 1, 2, 4], [0, 3, 4])
    assert turned.back.tolist() == [1, 1, 0, 0]
    latest = whole.until(1)
    assert (latest.item.tolist(), latest.offsets.tolist()) == ([3, 5, 4, 2], [0, 2, 3, 4])
    assert latest.back.tolist() == [0, 0, 0, 0]


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
    items = jagged([[3, 4], [], [5]])
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
    items = jagged([[1, 2, 3, 4], [5]])
    time, asked = torch.tensor([1, 1, 5, 5, 3]), torch.tensor([9, 8])
    batch = SequenceBatch.serving(items, time=time, request_time=asked, by_moment=True)
    assert batch.next_time is not None
    assert batch.next_time.tolist() == [5, 5, 9, 9, 8]
    plain = SequenceBatch.serving(items, time=time, request_time=asked)
    assert plain.next_time is not None
    assert plain.next_time.tolist() == [1, 5, 5, 9, 8]
    nobody = jagged([])
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


LENGTHS = np.array([0, 3, 40, 100, 100, 17])


@pytest.mark.parametrize(
    ("longest", "alpha", "expected"), [(100, 1.0, 10), (100, 2.0, 100), (1000, 1.5, 177), (1, 1, 1)]
)
def test_threshold_and_probability_are_the_papers(
    longest: int, alpha: float, expected: int
) -> None:
    th = threshold(longest, alpha)
    assert th == expected
    lengths = np.arange(longest + 1)
    literal = [0.0 if n <= th else min(max(1 - longest**alpha / n**2, 0), 1) for n in lengths]
    np.testing.assert_allclose(chance_of_cut(lengths, longest, alpha), literal)


@pytest.mark.parametrize("choice", ["recency", "random", "weighted", "steep"])
def test_sequences_are_whole_or_have_the_threshold_and_keep_their_order(choice: str) -> None:
    config = StochasticLength(1.0, choice)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    cut = np.zeros(len(LENGTHS))
    starts = np.cumsum(LENGTHS) - LENGTHS
    for _ in range(400):
        places, offsets = shorten(LENGTHS, 100, config, rng)
        kept = np.diff(offsets)
        assert ((kept == LENGTHS) | (kept == 10)).all()
        assert (np.diff(places) > 0).all()
        for u, start in enumerate(starts):
            mine = places[offsets[u] : offsets[u + 1]]
            assert ((mine >= start) & (mine < start + LENGTHS[u])).all()
        cut += kept < LENGTHS
    np.testing.assert_allclose(cut / 400, chance_of_cut(LENGTHS, 100, 1.0), atol=0.07)


def test_recency_keeps_the_latest_and_the_others_anything() -> None:
    long = np.array([100])
    places, _ = shorten(long, 100, StochasticLength(0.5, "recency"), np.random.default_rng(0))
    assert places.tolist() == [97, 98, 99]
    drawn = [
        shorten(long, 100, StochasticLength(0.5, "random"), np.random.default_rng(n))[0]
        for n in range(300)
    ]
    assert np.concatenate(drawn).mean() == pytest.approx(49.5, abs=4)


def test_weights_fall_with_age() -> None:
    lengths, age = np.array([4]), np.array([60.0, 30.0, 10.0, 0.0])
    config, rng = StochasticLength(1.0, "weighted"), np.random.default_rng(0)
    # A threshold of one event: the share of each is its weight's share of all weights.
    assert threshold(1, 1.0) == 1
    first = np.zeros(4)
    for _ in range(3000):
        places, _ = shorten(lengths, 1, config, rng, age=age)
        if len(places) == 1:
            first[places[0]] += 1
    weights = 1 - age / age.sum()
    np.testing.assert_allclose(first / first.sum(), weights / weights.sum(), atol=0.03)
    # Without ages, places stand for them; with all of one instant, chances are the same.
    counts = np.zeros(4)
    for _ in range(3000):
        counts[shorten(lengths, 1, config, rng, age=np.zeros(4))[0]] += 1
    np.testing.assert_allclose(counts / counts.sum(), 0.25, atol=0.03)
    by_place = np.zeros(4)
    for _ in range(2000):
        by_place[shorten(lengths, 1, config, rng)[0]] += 1
    assert by_place[3] > 1.5 * by_place[0]
