"""Recommend to everybody: a table, or a Parquet file that is written part by part.

    recs = recommend_all("runs/hstu/model", k=10)
    recommend_file("runs/hstu/model", "recs.parquet")

While it is under way, the parts of OUT lie in .OUT.parts beside it, whole or not at all, with
what was asked for; a run that was cut off goes on after the last of them.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResourceError, ResumeError, SchemaError
from adwright.core.hashing import content_hash
from adwright.core.progress import Progress, progress
from adwright.data.history_kinds import REPEAT_SHARE, final_kinds, learn_again
from adwright.data.ranges import ranges
from adwright.data.sources.tables import write_table
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.counted import item_table
from adwright.delivery.recommend.models import Opened, TopItems, Wanted, open_model
from adwright.delivery.recommend.on_ray import parts_on_ray, require_workers
from adwright.delivery.recommend.people import Moments, People, moments_after, people_of_log
from adwright.delivery.stages.histories import Histories
from adwright.delivery.training_log import HistoryLog
from adwright.metrics.ranking import Ranks

_log = logging.getLogger("adwright")
_SCHEMA = {"user_id": pl.String, "rank": pl.Int32, "item_id": pl.String, "score": pl.Float32}


@dataclass(frozen=True)
class Recommended:
    """What was written: users, those of them without a known event, rows; out: the file. kind: of
    the model. source: of the histories. unseen: whether what a user had was left out. stopped: how
    many items were left out because the log stopped them."""

    users: int
    unknown: int
    rows: int
    out: Path
    kind: str
    source: str
    unseen: bool
    stopped: int = 0


def recommend_all(model: str | Path, wanted: Wanted | None = None, *, k: int = 10) -> pl.DataFrame:
    """The k best items of each user: user_id, rank (from 1), item_id, score, by user and rank.

    model: the folder of a cascade, a ranker, HSTU, SASRec, two towers, HCN, item-item or
    popularity, or of the run that made it. Scores compare items of one user; their scale is the
    model's own.
    Raises as `open_model`, and ConfigError for a k below 1.
    """
    _check_k(k)
    opened = open_model(model, wanted or Wanted())
    return _table(opened.top, opened.people, k)


def recommend_file(
    model: str | Path,
    out: str | Path,
    wanted: Wanted | None = None,
    *,
    k: int = 10,
    chunk: int = 20_000,
    resume: bool = False,
    overwrite: bool = False,
    ray_workers: int = 0,
) -> Recommended:
    """As `recommend_all`, into a Parquet file.

    chunk: users of one part. resume: go on with the parts of a run that was cut off. overwrite:
    replace `out`, and parts that are there. ray_workers: processes of Ray that share the parts;
    model, log and `out` must be where all nodes see them.
    Raises ResourceError where `out` or parts of it are there, ResumeError where the parts are of
    another model, log or question, and as `recommend_all`.
    """
    _check_k(k)
    if chunk < 1:
        raise ConfigError("chunk must be at least 1", where=f"chunk {chunk}")
    if ray_workers:
        require_workers(ray_workers)
    out = Path(out)
    if out.suffix.lower() not in (".parquet", ".pq"):
        raise SchemaError(
            "recommendations are written as Parquet", file=str(out), hint="name it .parquet"
        )
    if out.is_dir():
        raise ResourceError("this is a folder, not a file", where=str(out), hint="name a file")
    if out.exists() and not overwrite:
        raise ResourceError(
            "the file for the recommendations exists already",
            where=str(out),
            hint="name another, or allow it to be replaced",
        )
    writer = PartWriter(str(model), out.resolve(), wanted or Wanted(), k, chunk)
    opened = writer.opened
    writer.begin(resume=resume, overwrite=overwrite)
    todo = [part for part in range(writer.parts) if not writer.path(part).exists()]
    users = len(opened.people)
    with progress(users, "recommend", "users") as bar:
        bar.advance(users - sum(writer.users(part) for part in todo))
        _run(writer, todo, bar, ray_workers)
    table = pl.scan_parquet([writer.path(part) for part in range(writer.parts)])
    write_table(out, table)
    rows = int(table.select(pl.len()).collect().item())
    shutil.rmtree(writer.folder, ignore_errors=True)
    unknown = int((opened.people.lengths == 0).sum())
    said = opened.kind, opened.source, opened.unseen, len(opened.stopped)
    return Recommended(users, unknown, rows, out, *said)


def read_users(path: str | Path) -> tuple[str, ...]:
    """The users that a file names: the column user_id of a Parquet or CSV file, each once, or the
    lines of any other text file.

    Raises SchemaError where there is no such column, ConfigError where the file cannot be read or
    names nobody.
    """
    path = Path(path)
    try:
        match path.suffix.lower():
            case ".parquet" | ".pq":
                table = pl.read_parquet(path)
            case ".csv":
                table = pl.read_csv(path, infer_schema=False)
            case _:
                lines = path.read_text("utf-8").splitlines()
                table = pl.DataFrame({"user_id": [line.strip() for line in lines if line.strip()]})
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        raise ConfigError(
            f"the file of users cannot be read: {str(error).splitlines()[0]}",
            where=str(path),
            hint="write ids as lines of a text file, or as the column user_id of a table",
        ) from error
    if "user_id" not in table.columns:
        raise SchemaError(
            "the table of users lacks a column",
            file=str(path),
            column="user_id",
            hint=f"it has {', '.join(table.columns)}",
        )
    ids = table["user_id"].cast(pl.String).drop_nulls().unique(maintain_order=True)
    if not len(ids):
        raise ConfigError(
            "the file names no user", where=str(path), hint="write an id a line, or leave --users"
        )
    return tuple(ids.to_list())


class PartWriter:
    """Writes the parts of one file; made anew, from the same values, in each process that does.

    model: its folder. out: the file, absolute. parts: how many there are.
    """

    def __init__(self, model: str, out: Path, wanted: Wanted, k: int, chunk: int) -> None:
        self.settings = model, out, wanted, k, chunk
        self.folder = out.with_name(f".{out.name}.parts")
        self.opened: Opened = open_model(model, wanted)
        self._k, self._chunk = k, chunk
        self.parts = max(1, -(-len(self.opened.people) // chunk))
        self._asked = content_hash(
            {
                "model": self.opened.identity,
                "wanted": to_jsonable(replace(wanted, users=None)),
                "users": content_hash(self.opened.people.users.to_list()),
                "events": [len(self.opened.people.item), int(self.opened.people.time.sum())],
                "k": k,
                "chunk": chunk,
                **({"stopped": sorted(self.opened.stopped)} if self.opened.stopped else {}),
            }
        )

    def path(self, part: int) -> Path:
        """The file of a part."""
        return self.folder / f"part-{part:06d}.parquet"

    def users(self, part: int) -> int:
        """Users of a part."""
        start = part * self._chunk
        return min(start + self._chunk, len(self.opened.people)) - start

    def begin(self, *, resume: bool, overwrite: bool) -> None:
        """Make the folder of the parts, or see that those which are there are of the same run.

        Raises ResourceError where there are some (without `resume`), ResumeError where they are of
        another run.
        """
        about = self.folder / "asked.json"
        if not resume and overwrite:
            shutil.rmtree(self.folder, ignore_errors=True)
        if not self.folder.exists():
            if resume:
                _log.warning("there is nothing to resume in %s: a new run begins", self.folder)
            atomic_write_text(about, json.dumps({"asked": self._asked}) + "\n")
            return
        if not resume:
            raise ResourceError(
                "parts of a run that was cut off are there",
                where=str(self.folder),
                hint="go on with --resume, or begin anew with --force",
            )
        try:
            before = json.loads(about.read_text("utf-8"))["asked"]
        except (OSError, ValueError, KeyError, TypeError):
            before = None
        if before != self._asked:
            raise ResumeError(
                "the parts are of another model, log, list of users, k or chunk",
                where=str(self.folder),
                hint="resume with what the run was started with, or begin anew with --force",
            )

    def write(self, part: int) -> int:
        """Write a part, whole or not at all; its users."""
        start, users = part * self._chunk, self.users(part)
        people = self.opened.people.some(start, start + users)
        write_table(self.path(part), _table(self.opened.top, people, self._k))
        return users


def _run(writer: PartWriter, todo: list[int], bar: Progress, workers: int) -> None:
    done: Iterable[int] = map(writer.write, todo)
    if workers:
        done = parts_on_ray(PartWriter, writer.settings, todo, workers)
    for users in done:
        bar.advance(users)


def _table(top: TopItems, people: People, k: int) -> pl.DataFrame:
    found = top.best(people, k)
    names = pl.Series("item_id", top.items.ids, pl.String)
    users, places = (found.codes > 0).nonzero()
    return pl.DataFrame(
        {
            "user_id": people.users.gather(users),
            "rank": places + 1,
            "item_id": names.gather(found.codes[users, places] - 1),
            "score": found.scores[users, places],
        },
        schema=_SCHEMA,
    )


def _check_k(k: int) -> None:
    if k < 1:
        raise ConfigError("k must be at least 1", where=f"k {k}")


# --------------------------------------------------------------------------------------------------
# What users did after an instant, as questions to any model: which items come next?
#
# A question is a moment in which a user did something, with everything before it. Asked is only
# what came after the instant until which a model was fitted, so that no answer was learned by
# heart.

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
    return Ranks(place[order], visits.offsets, np.zeros(len(place), np.bool_))


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
    kept, offsets = ranges(found.offsets[chosen], np.diff(found.offsets)[chosen])
    some = people.before(chosen, people.offsets[chosen + 1], people.at[chosen])
    return Moments(some, found.user[chosen], found.targets[kept], offsets)
