"""Both tasks of the next item as one log."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from adwright.core.errors import ValueInvalidError
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.next_log import item_categories, log_of_sequences, log_of_task
from tests.support.data.small_next_basket import small_task
from tests.support.data.small_sequences import small_sequences

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


def test_events_of_one_instant_are_one_moment() -> None:
    log = log_of_sequences(sequences_of_task(TASK))
    days = {(u, t) for u, t in zip(np.repeat(range(10), np.diff(log.offsets)), TASK.time)}  # noqa: B905
    assert log.moment.max() == len(days) - 1


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
