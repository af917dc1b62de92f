"""Item sequences of any next-basket task."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.hashing import content_hash
from adwright.data.ranges import run_starts
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_SECOND

Ints = NDArray[np.int64]
VERSION = 1
PROTOCOL = (
    "the last event of a person tests, the one before it validates; candidates are all "
    "{items:,} items less those that the person had. No sampled negatives."
)


def sequences_of_task(
    task: NextBasket, *, split: Literal["last", "task"] = "last"
) -> ItemSequences:
    """The events of a next-basket task; item codes are the task's.

    Events of one instant keep the task's hashed order, and no target sees an event of its own
    instant. Times are whole seconds. split: "last", the last event of a user tests; "task",
    the visits of the task's own splits are held out, and each training event predicts one of
    the next visit's.
    """
    owner = np.repeat(np.arange(len(task.users)), np.diff(task.user_offsets))
    starts = run_starts(owner, task.time)
    size = len(task.items) - 1
    rule = f"{PROTOCOL.format(items=size)} No event of the target's instant is in its history."
    return ItemSequences(
        name=task.name,
        protocol=f"{task.name}: {rule}" if split == "last" else task.protocol,
        data_hash=content_hash(
            {"task": task.data_hash, "code": VERSION}
            | ({} if split == "last" else {"split": split})
        ),
        train_ends=None if split == "last" else (_ends(task, 1), _ends(task, 2)),
        users=task.users,
        ids=tuple(str(one) for one in task.items.ids),
        item=task.item.astype(np.int64),
        offsets=task.user_offsets,
        time=task.time // MICROSECONDS_PER_SECOND,
        moment=np.repeat(starts[:-1], np.diff(starts)),
    )


def _ends(task: NextBasket, split: int) -> Ints:
    """int64 [U], where each user's first visit of the splits from `split` on begins."""
    end = task.user_offsets[1:].copy()
    later = task.split >= split
    np.minimum.at(end, task.visit_user[later], task.visit_end[later])
    return end
