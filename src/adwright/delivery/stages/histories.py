"""The histories of all users in memory, to answer requests from.

A user's history is three arrays, item codes, times and kinds, oldest first: 13 bytes per event.
They grow by doubling, so after many appends at most 26 bytes per event, and a user takes some 400
bytes beside that: Complete Journey's 1.47 million events of 2,469 users are 20 MB. Reading
takes no lock: an append puts a new record of the user in place of the old one in a single
step, and nothing that a reader holds is written to again.

Which events take their item off the user's list is learned from the log, by kind: where nobody buys
a thing twice, a purchase does, and a click does not. A return takes its purchase back.

Users who come up later, with ids that nobody has checked, are bounded in number: of these the one
whose latest event was told longest ago is forgotten first, and is a new user when it comes back.
Those of the log and of the profiles stay.

    histories = Histories.from_events(events, items, profiles=profiles)
    histories.append("17", ["825123"], [datetime.now(UTC)])
    histories.batch(requests)          # the history of each request, before its time
"""

from __future__ import annotations

import io
import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, SchemaError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.data.features import ItemTable
from adwright.data.history_kinds import BOUGHT, Again, final_kinds, learn_again
from adwright.data.popularity import Personal, personal
from adwright.data.ranges import ranges, run_starts
from adwright.data.schema import KINDS
from adwright.data.tasks.next_basket import NextBasket
from adwright.data.time import MICROSECONDS_PER_HOUR
from adwright.delivery.decision import Request

# --------------------------------------------------------------------------------------------------
# What a stage is asked: requests, each with the history before it.

Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """U requests with the histories before each request's time.

    user: int64 [U], numbers of the users from 1, 0 for an unknown one. at: int64 [U], the
    request's time in microseconds since 1970. item: int64 [E] codes; time: int64 [E]
    microseconds; request u has the events offsets[u] to offsets[u + 1], oldest first.
    version: int64 [U]; an equal user, version and number of events mean an equal history. had: bool
    [E], the events that take their item off the user's list, where a model leaves out what was had.
    leaves: whether any kind of event does.
    """

    requests: tuple[Request, ...]
    user: Ints
    at: Ints
    item: Ints
    time: Ints
    offsets: Ints
    version: Ints
    had: NDArray[np.bool_]
    leaves: bool = True

    def __len__(self) -> int:
        return len(self.requests)

    @property
    def lengths(self) -> Ints:
        """int64 [U], events of each request."""
        return np.diff(self.offsets)

    def items(self) -> list[Ints]:
        """The item codes of each request's history, oldest first."""
        return [self.item[a:b] for a, b in pairwise(self.offsets.tolist())]

    def barred(self) -> list[Ints]:
        """The item codes that are off each request's list."""
        return [self.item[a:b][self.had[a:b]] for a, b in pairwise(self.offsets.tolist())]

    def keys(self, more: Sequence[Hashable]) -> list[Hashable]:
        """Of each request, what of its user equals only where the history does, with `more`."""
        return list(zip(self.version.tolist(), self.lengths.tolist(), more, strict=True))

    @property
    def hour(self) -> Ints:
        """int64 [U], hours since 1970."""
        return self.at // MICROSECONDS_PER_HOUR

    def hourly(self) -> RequestBatch:
        """The same histories, asked at the beginning of the hour: what reads the moment says the
        same for an hour then."""
        return replace(self, at=self.hour * MICROSECONDS_PER_HOUR)

    def some(self, rows: Sequence[int]) -> RequestBatch:
        """The requests `rows`, in that order."""
        chosen = np.asarray(rows, dtype=np.int64)
        place, offsets = ranges(self.offsets[chosen], self.lengths[chosen])
        return RequestBatch(
            tuple(self.requests[row] for row in rows),
            self.user[chosen],
            self.at[chosen],
            self.item[place],
            self.time[place],
            offsets,
            self.version[chosen],
            self.had[place],
            self.leaves,
        )

    def latest(self, most: int) -> tuple[Ints, Ints]:
        """Places of the latest `most` events of each request, int64 [E'], and their offsets
        int64 [U + 1]."""
        kept = np.minimum(self.lengths, most)
        return ranges(self.offsets[1:] - kept, kept)

    def counts(self, owner: Ints, asked: Ints) -> Personal:
        """What the users `owner` (int64 [C], places in the batch) had of the items `asked`
        (int64 [C] codes) until their request."""
        return personal(
            self.item,
            self.time,
            self.offsets,
            owner=owner,
            asked=asked,
            end=self.offsets[owner + 1],
            at=self.at[owner],
        )


KIND = "histories"
_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
_MICROSECOND = timedelta(microseconds=1)
_FIRST = 16
#: Of an event of no kind that is known.
_UNNAMED = 0
_CODES = {kind: np.int8(code) for code, kind in enumerate(KINDS, 1)}
_BOUGHT = [_UNNAMED, *(int(_CODES[kind]) for kind in BOUGHT)]
#: So many users who come up later are kept, or as many as the log has where that is more: 70 MB.
NEWCOMERS = 100_000


class _Record(NamedTuple):
    """One user: the first `length` places of the arrays, which never change."""

    item: NDArray[np.int32]
    time: Ints
    kind: NDArray[np.int8]
    length: int
    version: int


_EMPTY = _Record(np.zeros(0, np.int32), np.zeros(0, np.int64), np.zeros(0, np.int8), 0, 0)


class Histories:
    """The histories of all users.

    items: the catalogue whose codes are kept; an item that it lacks is code 0. profiles: one
    row per user, user_id and text columns named as the user features of the models. kinds: of
    the events that `observe` takes for history. again: what a log says of each kind, see
    `learn_again`; None where none was asked, and then every event takes its item off the list where
    anything does. newcomers: the most users that are kept beyond those of the log and the profiles;
    by default 100,000, or as many as these are.
    """

    def __init__(
        self,
        items: ItemTable,
        *,
        profiles: pl.DataFrame | None = None,
        kinds: Sequence[str] = ("purchase",),
        again: Mapping[str, Again] | None = None,
        newcomers: int | None = None,
    ) -> None:
        self.items, self.kinds, self.again = items, tuple(kinds), again
        self.newcomers = newcomers
        #: int64 [N + 1], events of each item code that anybody ever had here.
        self.count = np.zeros(len(items), np.int64)
        self.profiles = _people(profiles)
        self._number = {user: n for n, user in enumerate(self.profiles["user_id"], start=1)}
        # By number, which is never given twice; number 0 is every unknown user.
        self._records = dict.fromkeys(range(self.profiles.height + 1), _EMPTY)
        self._next = len(self._records)
        self._late = OrderedDict[str, None]()  # the newcomers, by their latest event
        self._lock = threading.Lock()

    @classmethod
    def from_events(
        cls,
        events: pl.DataFrame,
        items: ItemTable,
        *,
        profiles: pl.DataFrame | None = None,
        kinds: Sequence[str] = ("purchase",),
    ) -> Histories:
        """The histories that a log tells.

        events: user_id, item_id, time (a timestamp with a zone, or microseconds) and perhaps kind,
        without which they are purchases, in any order; events of one user and time keep the order
        given. Which kinds of event are a history is the caller's choice: filter before. kinds: of
        later events, for `observe`.
        Raises SchemaError for a missing column.
        """
        for column in ("user_id", "item_id", "time"):
            if column not in events.columns:
                raise SchemaError("the events lack a column", column=column, hint="add it")
        ids = pl.col("user_id", "item_id").cast(pl.String)
        time = events.schema["time"]
        micro = pl.col("time") if time.is_integer() else pl.col("time").dt.epoch("us")
        named = pl.col("kind").cast(pl.String) if "kind" in events.columns else pl.lit("purchase")
        table = events.select(ids, micro.cast(pl.Int64), kind=named).drop_nulls()
        found = cls(items, profiles=profiles, kinds=kinds, again=learn_again(table))
        table = table.sort("user_id", "time", maintain_order=True)
        bounds = run_starts(table["user_id"].rle_id().to_numpy())
        users = table["user_id"].gather(bounds[:-1]).to_list()
        codes = items.rows(table.to_arrow()["item_id"])
        kind = table["kind"].replace_strict(_CODES, return_dtype=pl.Int8, default=_UNNAMED)
        found._fill(users, bounds, codes, table["time"].to_numpy().copy(), kind.to_numpy())
        return found

    @classmethod
    def of_task(cls, task: NextBasket) -> Histories:
        """The histories of a task's users, all splits included: a request sees only what came
        before its time."""
        first = np.searchsorted(task.visit_user, np.arange(len(task.users)))
        columns = {
            f.name: pl.Series([None, *f.vocabulary], dtype=pl.String).gather(
                task.profile[first, place]
            )
            for place, f in enumerate(task.profile_features)
            if f.of == "user"
        }
        profiles = pl.DataFrame({"user_id": list(task.users), **columns})
        found = cls(task.items, profiles=profiles)
        found._fill(task.users, task.user_offsets, task.item, task.time)
        return found

    def require_catalogue(self, ids: Sequence[str], what: str) -> None:
        """Raise ConfigError where the item ids of a model, a `what`, are not the catalogue's."""
        if tuple(ids) != tuple(self.items.ids):
            raise ConfigError(
                f"the {what} and the histories count different items",
                where=f"{len(ids)} and {len(self.items.ids)} items",
                hint="train the stages of a cascade on one catalogue",
            )

    def __len__(self) -> int:
        """Users with a profile or an event."""
        return len(self._number)

    @property
    def events(self) -> int:
        """Events of all users."""
        return sum(record.length for record in self._all())

    @property
    def repeats(self) -> float:
        """The share of the events that are of an item which their user had before."""
        records = self._all()
        first = sum(len(np.unique(r.item[: r.length])) for r in records)
        return 1 - first / max(sum(r.length for r in records), 1) if first else 0.0

    @property
    def latest(self) -> int | None:
        """Time of the latest event of all, in microseconds; None without events."""
        times = [int(r.time[r.length - 1]) for r in self._all() if r.length]
        return max(times, default=None)

    def latest_until(self, instant: datetime) -> int | None:
        """As `latest`, of the events that are not after `instant`."""
        end = microseconds(instant)
        before = [r.time[: np.searchsorted(r.time[: r.length], end, "right")] for r in self._all()]
        return max((int(times[-1]) for times in before if len(times)), default=None)

    @property
    def final(self) -> tuple[str, ...] | None:
        """The kinds of events that take their item off the user's list; None for all."""
        return None if self.again is None else final_kinds(self.again)

    def leave_out(self, *, repeats: bool) -> bool:
        """Whether anything leaves a user's list. repeats: whether users take things again, for
        histories that no log was asked about."""
        return not repeats if self.final is None else bool(self.final)

    def had(self, kind: NDArray[np.int8]) -> NDArray[np.bool_]:
        """Which events, of these kinds (int8 [E]), take their item off the list: [E]."""
        final = self.final
        if final is None:
            return np.ones(len(kind), np.bool_)
        table = np.zeros(len(KINDS) + 1, np.bool_)
        table[[_CODES[one] for one in final]] = True
        table[_UNNAMED] = bool(final)
        return table[kind]

    @property
    def heard(self) -> tuple[str, ...]:
        """The kinds of events that change a history."""
        return (*self.kinds, "return")

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays, spare places included."""
        return sum(r.item.nbytes + r.time.nbytes + r.kind.nbytes for r in self._all())

    def users(self) -> list[str]:
        """Ids of the users, in the order of their numbers from 1."""
        return list(self._number)

    def arrays(self) -> tuple[list[str], NDArray[np.int32], Ints, Ints]:
        """All users at this moment, and what each did: (U ids, item codes int32 [E] and times
        int64 [E] of one user after the other, events of each int64 [U])."""
        users, item, time, _, length = self.arrays_and_kinds()
        return users, item, time, length

    def arrays_and_kinds(
        self,
    ) -> tuple[list[str], NDArray[np.int32], Ints, NDArray[np.int8], Ints]:
        """As `arrays`, with the kinds int8 [E] for `had` before the lengths."""
        with self._lock:
            users = self.users()
            records = [_EMPTY, *(self._record(self._number[user]) for user in users)]
        return (
            users,
            np.concatenate([r.item[: r.length] for r in records]),
            np.concatenate([r.time[: r.length] for r in records]),
            np.concatenate([r.kind[: r.length] for r in records]),
            np.array([r.length for r in records[1:]], np.int64),
        )

    def number_of(self, user_id: str) -> int:
        """The user's number from 1; 0 for unknown users."""
        return self._number.get(user_id, 0)

    def version(self, user_id: str) -> int:
        """Grows with every append to this user's history."""
        return self._record(self.number_of(user_id)).version

    def append(
        self,
        user_id: str,
        item_ids: Sequence[str],
        times: Sequence[datetime],
        kinds: Sequence[str] | None = None,
    ) -> None:
        """Add events of one user; an event that arrives late takes its place by time.

        times: with a zone. kinds: None for events by which the items are had. Raises
        ValueInvalidError where their number is not that of the items or a time has no zone.
        """
        if len(item_ids) != len(times) or len(kinds or item_ids) != len(item_ids):
            raise ValueInvalidError(
                "each event needs an item and a time",
                value=f"{len(item_ids)} items, {len(times)} times",
            )
        if not item_ids:
            return
        codes = self.items.rows(pa.array(item_ids, pa.string())).astype(np.int32)
        instants = np.array([microseconds(time) for time in times], np.int64)
        named = [_CODES.get(kind, _UNNAMED) for kind in kinds or [""] * len(codes)]
        order = np.argsort(instants, kind="stable")
        with self._lock:
            old = self._record(self.number_of(user_id))
            late = user_id not in self._number or user_id in self._late
            more = codes[order], instants[order], np.array(named, np.int8)[order]
            self._put(user_id, _grown(old, *more))
            np.add.at(self.count, codes, 1)
            if late:
                self._came(user_id)

    def observe(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Add what just happened: rows in EVENT_SCHEMA columns, of any users; those of other
        kinds are passed over, and a return takes back its purchase, where there is one. Raises
        ValueInvalidError for a time without a zone."""
        mine: dict[str, tuple[list[str], list[datetime], list[str]]] = {}
        returns = []
        for event in events:
            user, item, kind = event["user_id"], event["item_id"], event["kind"]
            if user and item and kind in self.kinds:
                items, times, kinds = mine.setdefault(user, ([], [], []))
                items.append(item)
                times.append(event["time"])
                kinds.append(kind)
            elif user and item and kind == "return":
                returns.append((user, item, event["time"]))
        for user, (items, times, kinds) in mine.items():
            self.append(user, items, times, kinds)
        for user, item, time in returns:
            self._take_back(user, item, time)

    def _take_back(self, user_id: str, item_id: str, time: datetime) -> None:
        """Remove the user's latest purchase of the item until then."""
        (code,), instant = self.items.rows(pa.array([item_id], pa.string())), microseconds(time)
        with self._lock:
            old = self._record(self.number_of(user_id))
            n = old.length
            bought = (old.item[:n] == code) & (old.time[:n] <= instant)
            places = np.flatnonzero(bought & np.isin(old.kind[:n], _BOUGHT))
            if len(places) and code:
                left = np.delete(np.arange(n), places[-1])
                item, times, kind = old.item[left], old.time[left], old.kind[left]
                self._put(user_id, _Record(item, times, kind, n - 1, old.version + 1))
                self.count[code] -= 1

    def unknown(self, events: pl.DataFrame, *, until: datetime | None = None) -> pl.DataFrame:
        """Those of `events` (in EVENT_SCHEMA columns) that are not in the histories.

        An event is known by its user, item and time, so that one counts that is older than others
        and came later; of equal ones as many are known as there are in the user's history. until:
        the histories are of a log up to then. It lacks what its returns took back, so that a return
        before this instant would take back another purchase: none of these is told.
        """
        if until is not None:
            events = events.filter((pl.col("kind") != "return") | (pl.col("time") >= until))
        users = events["user_id"].unique(maintain_order=True)
        records = [self._record(self.number_of(user)) for user in users]
        key = ["user", "time", "item"]
        asked = events.select(
            user=pl.col("user_id").cast(pl.Enum(users)).to_physical().cast(pl.Int64),
            time=pl.col("time").dt.epoch("us"),
            item=pl.Series(self.items.rows(events.to_arrow()["item_id"]), dtype=pl.Int64),
        )
        had = pl.DataFrame(
            {
                "user": np.repeat(np.arange(len(records)), [r.length for r in records]),
                "time": np.concatenate([_EMPTY.time, *(r.time[: r.length] for r in records)]),
                "item": np.concatenate([_EMPTY.item, *(r.item[: r.length] for r in records)]),
            }
        ).with_columns(pl.col("item").cast(pl.Int64))
        counts = had.group_by(key).len("had")
        nth = asked.select(pl.int_range(pl.len()).over(key)).to_series()
        known = asked.join(counts, on=key, how="left", maintain_order="left")["had"].fill_null(0)
        return events.filter(nth >= known)

    def batch(self, requests: Sequence[Request]) -> RequestBatch:
        """The requests, with what came before each request's time."""
        user = [self.number_of(request.user_id) for request in requests]
        at = [microseconds(request.time) for request in requests]
        records = [self._record(number) for number in user]
        ends = [
            int(np.searchsorted(r.time[: r.length], instant))
            for r, instant in zip(records, at, strict=True)
        ]
        pairs = list(zip(records, ends, strict=True))
        none = np.zeros(0, np.int64)
        return RequestBatch(
            tuple(requests),
            np.asarray(user, np.int64),
            np.asarray(at, np.int64),
            np.concatenate([none, *(r.item[:end] for r, end in pairs)]),
            np.concatenate([none, *(r.time[:end] for r, end in pairs)]),
            np.cumsum([0, *ends], dtype=np.int64),
            np.array([record.version for record in records], np.int64),
            self.had(np.concatenate([_EMPTY.kind, *(r.kind[:end] for r, end in pairs)])),
            self.final != (),
        )

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write all of it as an artifact of kind "histories"; returns its id.

        It holds what users did, under their ids: keep it where the log itself may be kept.
        """
        again = None
        if self.again is not None:
            again = {kind: to_jsonable(one) for kind, one in self.again.items()}
        users, item, time, kind, length = self.arrays_and_kinds()
        buffer = io.BytesIO()
        self.profiles.write_parquet(buffer, compression="zstd")
        return save_artifact(
            folder,
            kind=KIND,
            config={
                "kinds": list(self.kinds),
                "items": content_hash(list(self.items.ids)),
                "again": again,
            },
            tensors={
                "item": item,
                "time": time,
                "kind": kind,
                "length": length,
            },
            files={"users.json": json.dumps(users), "profiles.parquet": buffer.getvalue()},
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact, items: ItemTable) -> Histories:
        """What `save` wrote, of its folder or of the artifact. Raises ArtifactError where it is of
        another catalogue than `items`, and as `load_artifact`."""
        artifact = load_artifact(source, kind=KIND)
        if artifact.config["items"] != content_hash(list(items.ids)):
            raise ArtifactError(
                "the histories are of another catalogue",
                where=str(artifact.folder),
                hint="build them again from the log",
            )
        profiles = pl.read_parquet(io.BytesIO(artifact.files["profiles.parquet"]))
        config, tensors = artifact.config, artifact.tensors
        told = config.get("again")
        again = None if told is None else {k: from_jsonable(Again, v) for k, v in told.items()}
        found = cls(items, profiles=profiles, kinds=config["kinds"], again=again)
        bounds = np.concatenate(([0], np.cumsum(tensors["length"])))
        users = json.loads(artifact.text("users.json"))
        found._fill(users, bounds, tensors["item"], tensors["time"], tensors.get("kind"))
        return found

    def _fill(
        self,
        users: Sequence[str],
        bounds: Ints,
        codes: NDArray[np.integer],
        instants: Ints,
        kinds: NDArray[np.int8] | None = None,
    ) -> None:
        """The first events of these users: stretches of the arrays, sorted by time."""
        item = codes.astype(np.int32)
        kind = np.zeros(len(item), np.int8) if kinds is None else kinds
        self.count += np.bincount(codes, minlength=len(self.count))
        for user, start, end in zip(users, bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            mine = item[start:end], instants[start:end], kind[start:end]
            self._put(user, _Record(*mine, end - start, 1))

    def _put(self, user: str, record: _Record) -> None:
        """Replace the user's record; a reader sees a new user only once there is a record."""
        number = self._number.get(user, self._next)
        self._records[number] = record
        if number == self._next:
            self._next += 1
            self._number[user] = number

    def _came(self, user: str) -> None:
        """Take note that a newcomer did something, and forget who did nothing for longest."""
        self._late[user] = None
        self._late.move_to_end(user)
        most = self.newcomers
        if most is None:
            most = max(NEWCOMERS, len(self._number) - len(self._late))
        while len(self._late) > most:
            forgotten, _ = self._late.popitem(last=False)
            del self._records[self._number.pop(forgotten)]

    def _record(self, number: int) -> _Record:
        """The record; nothing where it was forgotten while somebody asked."""
        return self._records.get(number, _EMPTY)

    def _all(self) -> list[_Record]:
        return list(self._records.values())


class _SavedPart(Protocol):
    def save(self, folder: str | Path, *, clock: Clock | None = None) -> str: ...


def packed(
    parts: Mapping[str, _SavedPart | None], clock: Clock | None = None
) -> tuple[list[str], dict[str, bytes]]:
    """The ids of artifacts that are parts of another one, and their files below a folder of the
    name of each; None is no part."""
    with tempfile.TemporaryDirectory(prefix="adwright-parts-") as scratch:
        root = Path(scratch)
        ids = [one.save(root / name, clock=clock) for name, one in parts.items() if one is not None]
        files = [path for path in sorted(root.rglob("*")) if path.is_file()]
        return ids, {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


def visit_requests(task: NextBasket, visits: Ints, *, k: int = 10) -> list[Request]:
    """The visits of a task (int64 [V]) as requests of its users at their times, k places."""
    return [
        Request(f"visit-{visit}", task.users[user], _EPOCH + time * _MICROSECOND, k=k)
        for visit, user, time in zip(
            visits.tolist(),
            task.visit_user[visits].tolist(),
            task.visit_time[visits].tolist(),
            strict=True,
        )
    ]


def microseconds(time: datetime) -> int:
    """Microseconds since 1970. Raises ValueInvalidError for a time without a zone."""
    if time.tzinfo is None:
        raise ValueInvalidError(
            "a time needs a zone",
            column="time",
            value=time.isoformat(),
            hint="use datetime.now(UTC)",
        )
    return (time - _EPOCH) // _MICROSECOND


def _grown(
    old: _Record, codes: NDArray[np.int32], instants: Ints, kinds: NDArray[np.int8]
) -> _Record:
    """The record with more events, themselves sorted by time."""
    n, length = old.length, old.length + len(codes)
    late = n > 0 and instants[0] < old.time[n - 1]
    item, time, kind = old.item, old.time, old.kind
    if late or length > len(item):
        capacity = max(_FIRST, 2 * n, length)
        item, time = np.zeros(capacity, np.int32), np.zeros(capacity, np.int64)
        kind = np.zeros(capacity, np.int8)
        item[:n], time[:n], kind[:n] = old.item[:n], old.time[:n], old.kind[:n]
    # No record reaches beyond n yet, so no reader looks there.
    item[n:length], time[n:length], kind[n:length] = codes, instants, kinds
    if late:
        order = np.argsort(time[:length], kind="stable")
        for one in (item, time, kind):
            one[:length] = one[:length][order]
    return _Record(item, time, kind, length, old.version + 1)


def _people(profiles: pl.DataFrame | None) -> pl.DataFrame:
    if profiles is None:
        return pl.DataFrame(schema={"user_id": pl.String})
    if "user_id" not in profiles.columns:
        raise SchemaError("the profiles lack a column", column="user_id", hint="add it")
    table = profiles.with_columns(pl.col("user_id").cast(pl.String))
    again = ~table["user_id"].is_first_distinct()
    if again.any():
        row = int(again.arg_max() or 0)
        raise ValueInvalidError(
            "a user has two profiles",
            row=row,
            column="user_id",
            value=table["user_id"][row],
            hint="keep one row per user",
        )
    return table
