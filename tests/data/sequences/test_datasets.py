"""The sequences of a next-basket task."""

from __future__ import annotations

import numpy as np

from adwright.data.sequences.datasets import sequences_of_task
from tests.support.data.small_next_basket import small_task


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
