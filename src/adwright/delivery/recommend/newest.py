"""What users did last, as questions to any model: which items come next?

Users are asked about the last moment in which each did something, with everything before it. Where
enough of them did it after an instant, such as the start of a service, only these are asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.errors import ValueInvalidError
from adwright.data.history_kinds import REPEAT_SHARE
from adwright.data.ranges import ranges
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.item_item import item_table
from adwright.delivery.recommend.models import TopItems
from adwright.delivery.recommend.people import LastVisit, People, last_visits, people_of_log
from adwright.delivery.stages.histories import Histories, microseconds
from adwright.delivery.training_log import HistoryLog
from adwright.metrics.ranks import Ranks

__all__ = ["FEWEST", "NewestVisits", "held_visits", "newest_visits", "ranks_of"]

Ints = NDArray[np.int64]
#: The fewest users of whom a comparison says something.
FEWEST = 30
_MOST = 5_000
#: Length of a list in which a target is looked for.
DEPTH = 50


@dataclass(frozen=True, eq=False)
class NewestVisits:
    """ids: the items, in whose codes people and targets are. targets: int64 [T], those of user u
    from offsets[u] to offsets[u + 1]. unseen: items had before are no targets, and are not
    recommended. late: whether all of it happened after the instant that was asked for. about: who
    was asked, in words."""

    ids: tuple[str, ...]
    people: People
    targets: Ints
    offsets: Ints
    unseen: bool
    late: bool
    about: str


def newest_visits(
    log: HistoryLog,
    ids: Sequence[str],
    since: datetime,
    *,
    unseen: bool | None = None,
    most: int = _MOST,
    seed: int = 0,
) -> NewestVisits:
    """The last visits of users, those after `since` where at least 30 users have one.

    log: what users did. ids: of the catalogue. unseen: None lets the log decide. most: users that
    are asked, drawn by `seed`. Raises ValueInvalidError where nobody did two things.
    """
    people = people_of_log(log, item_table(ids))
    if unseen is None:
        unseen = people.repeats < REPEAT_SHARE
    return _asked(last_visits(people), ids, since, unseen, "the whole log", most, seed)


def held_visits(
    task: NextBasket, since: datetime, *, unseen: bool, most: int = _MOST, seed: int = 0
) -> NewestVisits:
    """The last visit of each user among the test visits of a task, which a model that was trained
    on the task has not seen. The rest as in `newest_visits`."""
    visits = task.visits("test")
    user = task.visit_user[visits]
    visits = visits[np.append(user[1:] != user[:-1], np.ones(min(len(user), 1), np.bool_))]
    first, end = task.user_offsets[task.visit_user[visits]], task.visit_end[visits]
    visits, first, end = (part[end > first] for part in (visits, first, end))
    user = task.visit_user[visits]
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
    found = LastVisit(people, task.targets[kept], offsets)
    return _asked(found, task.items.ids, since, unseen, "the test", most, seed)


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


def _asked(
    found: LastVisit,
    ids: Sequence[str],
    since: datetime,
    unseen: bool,
    whole: str,
    most: int,
    seed: int,
) -> NewestVisits:
    if unseen:
        found = _new_items(found)
    late = np.flatnonzero(found.people.at >= microseconds(since))
    chosen = late if len(late) >= FEWEST else np.arange(len(found.people))
    if not len(chosen):
        raise ValueInvalidError(
            "nobody did something twice, so no model can be asked what comes next",
            column="user_id",
            hint="compare the models when the service has run for longer",
        )
    about = f"what {len(chosen):,} users did last"
    about += f", after {since:%Y-%m-%d %H:%M} UTC" if chosen is late else f" in {whole}"
    kept = chosen
    if len(chosen) > most:
        about += f", {most:,} of them drawn"
        kept = np.sort(np.random.default_rng(seed).choice(chosen, most, replace=False))
    some = _some(found, kept)
    return NewestVisits(
        tuple(ids), some.people, some.targets, some.offsets, unseen, chosen is late, about
    )


def _new_items(found: LastVisit) -> LastVisit:
    """Without the targets that their user had before; users that lose all of theirs are left
    out."""
    people, owner = found.people, np.repeat(np.arange(len(found.people)), np.diff(found.offsets))
    width = int(max(people.item.max(initial=0), found.targets.max(initial=0))) + 1
    had = np.isin(owner * width + found.targets, people.owner * width + people.item)
    left = np.bincount(owner[~had], minlength=len(people))
    offsets = np.concatenate(([0], np.cumsum(left)))
    return _some(LastVisit(people, found.targets[~had], offsets), np.flatnonzero(left))


def _some(found: LastVisit, chosen: Ints) -> LastVisit:
    """The users `chosen` [V], ascending."""
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
    )
    return LastVisit(some, found.targets[kept], offsets)
