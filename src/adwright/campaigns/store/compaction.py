"""Move settled events out of the store into Parquet files by day, each event exactly once.

    folder/date=2024-05-01/part-00000007-1f0c....parquet      in EVENT_SCHEMA

A part is made in three steps, each of them whole or not at all:

    1  the name of the file to come is committed to the table compactions, as "writing"
    2  the file is written under that name, synced to the disk
    3  in one transaction its events are deleted, those that name a creative are added to
       creative_counts, and it becomes "done"

A process that is killed after 1 or 2 leaves its events in the store and a name in the table. The
next compaction first makes such parts "abandoned", after which nobody can take their step 3,
and then removes their files. So at every moment an event is in exactly one place: in the store,
or in a file that is "done". Who reads the folder alone may, while step 3 is due, see the events
of one file that are still in the store; `done_parts` tells which files count.

Events that come late, for a day that was compacted already, get another part.
"""

from __future__ import annotations

import io
import secrets
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
from sqlalchemy import Connection, delete, func, insert, select, update

from adwright.campaigns.store.database import Database, is_full
from adwright.campaigns.store.events import select_events, to_frame
from adwright.campaigns.store.tables import (
    COMPACTIONS,
    CREATIVE_COUNTS,
    EPOCH,
    EVENTS,
    from_micros,
    insert_of,
    of_tenant,
    portions,
    to_micros,
)
from adwright.core.atomic import atomic_write_bytes, locked, sync_folder
from adwright.core.clock import Clock
from adwright.core.errors import ConfigError, ResourceError
from adwright.data.schema import EVENT_SCHEMA

#: Enough for a file that reads well, few enough that the deletion holds no writer up for long.
EVENTS_A_PART = 100_000
#: Below this, a compaction that finds the disk of the database full gives up.
FEWEST = 100
_DAY = timedelta(days=1)


class Compactor:
    """Compacts one tenant's events into one folder.

    part: events a file at most.
    """

    def __init__(
        self,
        database: Database,
        tenant: str,
        folder: Path,
        clock: Clock,
        *,
        part: int = EVENTS_A_PART,
    ) -> None:
        self._database = database
        self._tenant = tenant
        self._folder = folder.resolve()
        self._clock = clock
        self._part = part

    def run(self, before: datetime) -> list[Path]:
        """Compact all days that were over at `before`, a time in UTC; the files written.

        Where the disk of the database is full, smaller parts are tried: deleting takes room too.
        Raises ConfigError where the folder holds another tenant's events, ResourceError where
        a disk is full or another compaction of these events interferes. Whatever was not
        compacted is still in the store, and the next run continues.
        """
        limit = _day_of(to_micros(before))
        # A courtesy that saves work: that events are moved once does not depend on it.
        with locked(self._folder / ".compaction.lock"):
            self._check_own()
            self._clean_up()
            written = []
            while (day := self._oldest_day()) is not None and day < limit:
                try:
                    written.append(self._compact_part(day))
                except ResourceError as error:
                    # On a disk that is all but full, there is room to delete a few at a time.
                    if not is_full(error) or self._part <= FEWEST:
                        raise
                    self._part = max(FEWEST, self._part // 10)
                    self._clean_up()
            return written

    def _check_own(self) -> None:
        query = select(COMPACTIONS.c.tenant).where(
            COMPACTIONS.c.folder == str(self._folder), COMPACTIONS.c.tenant != self._tenant
        )
        with self._database.read(long=True) as connection:
            if connection.execute(query.limit(1)).first() is not None:
                raise ConfigError(
                    "the folder holds the events of another tenant",
                    where=str(self._folder),
                    hint="give each tenant a folder of its own",
                )

    def _clean_up(self) -> None:
        """Remove what killed compactions of this tenant have left."""
        mine = COMPACTIONS.c.tenant == self._tenant
        with self._database.write(long=True) as connection:
            connection.execute(
                update(COMPACTIONS)
                .where(mine, COMPACTIONS.c.state == "writing")
                .values(state="abandoned", finished=to_micros(self._clock.now()))
            )
        # All that were ever abandoned: a process that was only stopped may have written since.
        query = select(COMPACTIONS.c.folder, COMPACTIONS.c.file).where(
            mine, COMPACTIONS.c.state == "abandoned"
        )
        with self._database.read(long=True) as connection:
            left = connection.execute(query).all()
        for folder, file in left:
            path = Path(folder) / file
            for leftover in (path, *path.parent.glob(f".{path.name}.*.tmp")):
                with suppress(FileNotFoundError):
                    leftover.unlink()

    def _oldest_day(self) -> date | None:
        query = select(func.min(EVENTS.c.time)).where(EVENTS.c.tenant == self._tenant)
        with self._database.read(long=True) as connection:
            oldest = connection.execute(query).scalar_one()
        return None if oldest is None else _day_of(oldest)

    def _compact_part(self, day: date) -> Path:
        events, numbers = self._choose(day)
        number, path = self._announce(day, len(numbers))
        _write(path, events)
        self._settle(number, numbers)
        return path

    def _choose(self, day: date) -> tuple[pl.DataFrame, list[int]]:
        """The oldest events of the day, and their numbers in the store."""
        start = EPOCH + _DAY * (day - EPOCH.date()).days
        query = select_events(self._tenant, since=start, until=_next_day(start)).limit(self._part)
        with self._database.read(long=True) as connection:
            rows = connection.execute(query.add_columns(EVENTS.c.seq)).all()
        return to_frame([row[:-1] for row in rows]), [row[-1] for row in rows]

    def _announce(self, day: date, rows: int) -> tuple[int, Path]:
        """Step 1: the number and the path of the part to come."""
        row = {
            "tenant": self._tenant,
            "day": day,
            "folder": str(self._folder),
            "file": "",
            "state": "writing",
            "rows": rows,
            "started": to_micros(self._clock.now()),
        }
        with self._database.write(long=True) as connection:
            statement = insert(COMPACTIONS).values(row).returning(COMPACTIONS.c.number)
            number: int = connection.execute(statement).scalar_one()
            # Random, so that two stores that share a folder by mistake never share a file.
            name = f"part-{number:08d}-{secrets.token_hex(8)}.parquet"
            file = f"date={day.isoformat()}/{name}"
            this = COMPACTIONS.c.number == number
            connection.execute(update(COMPACTIONS).where(this).values(file=file))
        return number, self._folder / file

    def _settle(self, number: int, numbers: list[int]) -> None:
        """Step 3: delete the events, if they are all there and the part is still ours."""
        now = to_micros(self._clock.now())
        with self._database.write(long=True) as connection:
            done = connection.execute(
                update(COMPACTIONS)
                .where(COMPACTIONS.c.number == number, COMPACTIONS.c.state == "writing")
                .values(state="done", finished=now)
            )
            _count(connection, self._tenant, numbers)
            if done.rowcount != 1 or _delete(connection, numbers) != len(numbers):
                raise ResourceError(
                    "another compaction of the same events is at work",
                    where=str(self._folder),
                    hint="let one process compact; what this one wrote is removed by the next run",
                )


def done_parts(connection: Connection, tenant: str, folder: Path) -> list[Path]:
    """The files below `folder` that hold the tenant's compacted events, by day and number."""
    query = (
        select(COMPACTIONS.c.file)
        .where(COMPACTIONS.c.tenant == tenant, COMPACTIONS.c.state == "done")
        .order_by(COMPACTIONS.c.day, COMPACTIONS.c.number)
    )
    return [folder / file for file in connection.execute(query).scalars()]


#: creative_id -> kind -> events.
CreativeEvents = Mapping[str, Mapping[str, int]]


def compacted_counts(connection: Connection, tenant: str) -> CreativeEvents:
    """How many of the tenant's compacted events name each creative, by kind."""
    columns = CREATIVE_COUNTS.c
    query = select(columns.creative_id, columns.kind, columns.events)
    found: dict[str, dict[str, int]] = {}
    for creative, kind, events in connection.execute(
        query.where(*of_tenant(CREATIVE_COUNTS, tenant))
    ):
        found.setdefault(creative, {})[kind] = int(events)
    return found


def _count(connection: Connection, tenant: str, numbers: list[int]) -> None:
    """Add events that are about to be deleted to the counts of creatives."""
    counts = Counter[tuple[str, str]]()
    query = select(EVENTS.c.creative_id, EVENTS.c.kind, func.count())
    query = query.where(EVENTS.c.creative_id.is_not(None), EVENTS.c.kind != "stop")
    for some in portions(numbers):
        mine = query.where(EVENTS.c.seq.in_(some)).group_by(EVENTS.c.creative_id, EVENTS.c.kind)
        for creative, kind, events in connection.execute(mine):
            counts[creative, kind] += int(events)
    if counts:
        # In one order, so that two transactions never wait for each other.
        rows = [
            {"tenant": tenant, "creative_id": creative, "kind": kind, "events": events}
            for (creative, kind), events in sorted(counts.items())
        ]
        statement = insert_of(connection, CREATIVE_COUNTS)
        more = CREATIVE_COUNTS.c.events + statement.excluded["events"]
        key = ["tenant", "creative_id", "kind"]
        statement = statement.on_conflict_do_update(index_elements=key, set_={"events": more})
        connection.execute(statement, rows)


def _delete(connection: Connection, numbers: list[int]) -> int:
    statements = (delete(EVENTS).where(EVENTS.c.seq.in_(some)) for some in portions(numbers))
    return sum(connection.execute(statement).rowcount for statement in statements)


def _write(path: Path, events: pl.DataFrame) -> None:
    """Step 2: the file, whole, and synced together with the folders that lead to it."""
    stream = io.BytesIO()
    pq.write_table(events.to_arrow().cast(EVENT_SCHEMA), stream, compression="zstd")
    atomic_write_bytes(path, stream.getvalue())
    sync_folder(path.parent.parent)


def _day_of(micros: int) -> date:
    return from_micros(micros).date()


def _next_day(start: datetime) -> datetime | None:
    try:
        return start + _DAY
    except OverflowError:
        return None  # the last day that there is
