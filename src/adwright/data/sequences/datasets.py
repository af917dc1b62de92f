"""Item sequences of any next-basket task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.hashing import content_hash
from adwright.data.ranges import ranges, run_starts
from adwright.data.sequences.item_sequences import Held, ItemSequences
from adwright.data.sequences.pasts import Pasts, moment_numbers
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.tasks.split import SPLITS
from adwright.data.time import MICROSECONDS_PER_SECOND, SECONDS_PER_DAY

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


# --------------------------------------------------------------------------------------------------
# A log as the rules of the next item read it: events by moment, and what is asked of them.
#
# Both of the tasks that ask for the next item become one: a next-basket task, whose visits are
# asked, and item sequences, of which one event per user is.

#: Where a position stands for the day, a time lies in these first years after 1970.
_POSITIONS = 3_650 * SECONDS_PER_DAY


@dataclass(frozen=True, eq=False)
class NextQuestions:
    """Q questions: what did this user take next? first, end: int64 [Q], the history are these
    events of the log. user: int64 [Q]. targets: int64, item codes, those of question q lie from
    offsets[q] to offsets[q + 1]."""

    first: Ints
    end: Ints
    user: Ints
    targets: Ints
    offsets: Ints

    def __len__(self) -> int:
        return len(self.first)

    def some(self, chosen: Ints) -> NextQuestions:
        """The questions `chosen`, in that order."""
        start = self.offsets[chosen]
        place, offsets = ranges(start, self.offsets[chosen + 1] - start)
        return NextQuestions(
            self.first[chosen], self.end[chosen], self.user[chosen], self.targets[place], offsets
        )


@dataclass(frozen=True, eq=False)
class NextLog:
    """E events of U users over N items, oldest first, a user's events together.

    ids, users: what the codes 1 to N, and the users, stand for. item: int64 [E]; moment: int64
    [E], see `moment_numbers`; time: int64 [E], seconds, or None where positions stand for it.
    user u has the events offsets[u] to offsets[u + 1], those before train_end[u] train.
    categories: name -> code of each item, int64 [N + 1], 0 for none. valid, test: what is asked.
    """

    ids: tuple[str, ...]
    users: tuple[str, ...]
    item: Ints
    moment: Ints
    offsets: Ints
    train_end: Ints
    time: Ints | None
    categories: Mapping[str, Ints]
    valid: NextQuestions
    test: NextQuestions

    @property
    def items(self) -> int:
        """N."""
        return len(self.ids)

    @cached_property
    def training(self) -> tuple[Ints, Ints]:
        """(places of the training events, offsets int64 [U + 1] of the users in them)."""
        return ranges(self.offsets[:-1], self.train_end - self.offsets[:-1])

    @cached_property
    def whole(self) -> NextLog:
        """The same log, all events of which train: for what is served."""
        return replace(self, train_end=self.offsets[1:])

    @cached_property
    def before_test(self) -> NextLog:
        """What there was before the test, all of which trains: for what the test is to judge. Its
        questions are those of the whole log, and are not asked of it."""
        end = self.offsets[1:].copy()
        np.minimum.at(end, self.test.user, self.test.end)
        place, offsets = ranges(self.offsets[:-1], end - self.offsets[:-1])
        return replace(
            self,
            item=self.item[place],
            moment=self.moment[place],
            offsets=offsets,
            train_end=offsets[1:],
            time=None if self.time is None else self.time[place],
        )

    @cached_property
    def count(self) -> Ints:
        """int64 [N + 1], training events of each item."""
        return np.bincount(self.item[self.training[0]], minlength=self.items + 1)

    def pasts(self, asked: NextQuestions) -> Pasts:
        """The histories of some questions."""
        return Pasts.between(self.item, self.moment, asked.first, asked.end)


def log_of_task(task: NextBasket) -> NextLog:
    """The visits of a task's validation and test, and its categorical item features."""
    sequences = sequences_of_task(task, split="task")
    valid, test = (_visits(task, task.visits(split)) for split in SPLITS[1:])
    return _log(sequences, item_categories(task), valid, test)


def item_categories(task: NextBasket) -> dict[str, Ints]:
    """The item features of a task that sort items: name -> code of each, int64 [N + 1]."""
    known = task.items.categorical
    return {name: codes for name, codes in known.items() if name != "item_id"}


def log_of_sequences(
    sequences: ItemSequences, categories: Mapping[str, Ints] | None = None
) -> NextLog:
    """The held events of sequences that are not split by time.

    categories: as in `NextLog`. Raises ValueInvalidError for a split by time.
    """
    return _log(sequences, categories or {}, _held(sequences, "valid"), _held(sequences, "test"))


def _log(
    sequences: ItemSequences,
    categories: Mapping[str, Ints],
    valid: NextQuestions,
    test: NextQuestions,
) -> NextLog:
    time = sequences.time
    if time is not None and time.max(initial=0) < _POSITIONS:
        time = None
    return NextLog(
        ids=sequences.ids,
        users=sequences.users,
        item=sequences.item,
        moment=moment_numbers(sequences.offsets, sequences.moment),
        offsets=sequences.offsets,
        train_end=sequences.training_end(),
        time=time,
        categories=categories,
        valid=valid,
        test=test,
    )


def _visits(task: NextBasket, visits: Ints) -> NextQuestions:
    user, start = task.visit_user[visits], task.target_offsets[visits]
    place, offsets = ranges(start, task.target_offsets[visits + 1] - start)
    end = task.visit_end[visits]
    return NextQuestions(task.user_offsets[user], end, user, task.targets[place], offsets)


def _held(sequences: ItemSequences, split: Held) -> NextQuestions:
    people = sequences.people(split)
    target, end = sequences.held(split)
    return NextQuestions(
        sequences.offsets[people],
        end[people],
        people,
        sequences.item[target[people]],
        np.arange(len(people) + 1),
    )
