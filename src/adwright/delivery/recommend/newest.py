"""What users did after an instant, as questions to any model: which items come next?

A question is a moment in which a user did something, with everything before it. Asked is only what
came after the instant until which a model was fitted, so that no answer was learned by heart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from adwright.data.history_kinds import REPEAT_SHARE, final_kinds, learn_again
from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.item_item import item_table
from adwright.delivery.recommend.models import TopItems
from adwright.delivery.recommend.people import Moments, People, moments_after, people_of_log
from adwright.delivery.stages.histories import Histories
from adwright.delivery.training_log import HistoryLog
from adwright.metrics.ranking import Ranks

__all__ = ["FEWEST", "NewestVisits", "held_visits", "moment_text", "newest_visits", "ranks_of"]

Ints = NDArray[np.int64]
#: The fewest users of whom a comparison says something.
FEWEST = 30
#: Questions at most, and of one user: one who does much says little of others.
_MOST, _EACH = 5_000, 5
#: Length of a list in which a target is looked for.
DEPTH = 50


@dataclass(frozen=True, eq=False)
class NewestVisits:
    """Q questions. ids: the items, in whose codes people and targets are. people: whose question
    each is, as they were before; user: int64 [Q], the same user the same number. targets: int64
    [T], those of question q from offsets[q] to offsets[q + 1]. unseen: items had before are no
    targets, and are not recommended. about: who was asked, in words."""

    ids: tuple[str, ...]
    people: People
    user: Ints
    targets: Ints
    offsets: Ints
    unseen: bool
    about: str

    @property
    def users(self) -> int:
        """How many users are asked."""
        return len(np.unique(self.user))


def moment_text(moment: int) -> str:
    """Microseconds since 1970 to the second, for a reader."""
    return f"{datetime.fromtimestamp(moment // 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def newest_visits(
    log: HistoryLog,
    ids: Sequence[str],
    after: int,
    *,
    until: int | None = None,
    unseen: bool | None = None,
    most: int = _MOST,
    seed: int = 0,
) -> NewestVisits:
    """What users did after an instant, and until another, in microseconds since 1970.

    log: what users did. ids: of its catalogue. unseen: None lets the log decide. most: questions,
    drawn by `seed`, at most five of a user; none where nobody did anything.
    """
    told = "kind" in log.events.columns
    final = final_kinds(learn_again(log.events)) if told else None
    people = people_of_log(log, item_table(ids), final=final)
    if unseen is None:
        unseen = bool(final) if told else people.repeats < REPEAT_SHARE
    found = moments_after(people, after, lambda user: _drawn(user, most, seed), until)
    return _asked(found, ids, after, unseen)


def held_visits(
    task: NextBasket, after: int, *, unseen: bool, most: int = _MOST, seed: int = 0
) -> NewestVisits:
    """The test visits of a task after an instant, which a model that was trained on the task has
    not seen. The rest as in `newest_visits`."""
    visits = task.visits("test")
    visits = visits[task.visit_time[visits] > after]
    visits = visits[_drawn(task.visit_user[visits], most, seed)]
    user = task.visit_user[visits]
    first, end = task.user_offsets[user], task.visit_end[visits]
    place, bounds = ranges(first, end - first)
    start = task.target_offsets[visits]
    kept, offsets = ranges(start, task.target_offsets[visits + 1] - start)
    people = People(
        pl.Series("user_id", task.users, pl.String).gather(user),
        task.item[place],
        task.time[place],
        bounds,
        task.visit_time[visits],
        Histories.of_task(task).profiles[user],
    )
    found = Moments(people, user, task.targets[kept], offsets)
    return _asked(found, task.items.ids, after, unseen)


def ranks_of(top: TopItems, visits: NewestVisits) -> Ranks:
    """Ranks from 1 of the targets in the 50 best items of a model; infinity for one that is not
    among them, or that the model does not know."""
    ours = item_table(visits.ids)
    theirs = np.append(0, top.items.rows(pa.array(visits.ids, pa.string())))
    people = replace(visits.people, item=theirs[visits.people.item])
    found = top.best(people, DEPTH).codes
    back = np.append(0, ours.rows(pa.array(top.items.ids, pa.string())))
    listed = np.where(found > 0, back[np.maximum(found, 0)], 0)
    owner = np.repeat(np.arange(len(people)), np.diff(visits.offsets))
    hits = listed[owner] == visits.targets[:, None]
    place = np.where(hits.any(1), hits.argmax(1) + 1.0, np.inf)
    order = np.lexsort((place, owner))
    return Ranks(place[order], visits.offsets, np.zeros(len(place), np.bool_), "hash")


def _drawn(user: Ints, most: int, seed: int) -> Ints:
    """At most so many places of `user` [M], ascending, and of one user no more than five."""
    order = np.random.default_rng(seed).permutation(len(user))
    order = order[np.argsort(user[order], kind="stable")]
    nth = np.arange(len(order)) - np.searchsorted(user[order], user[order])
    few = order[nth < _EACH]
    return np.sort(np.random.default_rng(seed).permutation(few)[:most])


def _asked(found: Moments, ids: Sequence[str], after: int, unseen: bool) -> NewestVisits:
    found = _with_targets(found, unseen=unseen)
    number, users = len(found.people), len(np.unique(found.user))
    about = f"{number:,} moments of {users:,} users after {moment_text(after)}"
    return NewestVisits(
        tuple(ids), found.people, found.user, found.targets, found.offsets, unseen, about
    )


def _with_targets(found: Moments, *, unseen: bool) -> Moments:
    """Without targets that their user had before, where these do not count, and without moments
    that have none."""
    people, owner = found.people, np.repeat(np.arange(len(found.people)), np.diff(found.offsets))
    kept = found.targets > 0
    if unseen:
        width = int(max(people.item.max(initial=0), found.targets.max(initial=0))) + 1
        pairs = people.owner * width + people.item
        kept &= ~np.isin(
            owner * width + found.targets, pairs if people.had is None else pairs[people.had]
        )
    left = np.bincount(owner[kept], minlength=len(people))
    offsets = np.concatenate(([0], np.cumsum(left)))
    return _some(Moments(people, found.user, found.targets[kept], offsets), np.flatnonzero(left))


def _some(found: Moments, chosen: Ints) -> Moments:
    """The questions `chosen` [Q], ascending."""
    people = found.people
    place, bounds = ranges(people.offsets[chosen], people.lengths[chosen])
    kept, offsets = ranges(found.offsets[chosen], np.diff(found.offsets)[chosen])
    some = People(
        people.users.gather(chosen),
        people.item[place],
        people.time[place],
        bounds,
        people.at[chosen],
        None if people.profiles is None else people.profiles[chosen],
        None if people.had is None else people.had[place],
    )
    return Moments(some, found.user[chosen], found.targets[kept], offsets)
