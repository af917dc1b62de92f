"""The events of some users out of a file of any length, and its counts of days.

    with open_events("log.parquet", kinds=("purchase",)) as events:
        events.of(pl.Series(["u1", "u2"]))

Parquet is read a row group at a time. A file of another kind, or with other names, is read as any
log is (`open_log`) and written beside first, sorted by user.
"""

from __future__ import annotations

import csv
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.core.errors import FileUnreadableError, SchemaError, ValueInvalidError
from adwright.data.checks import in_file
from adwright.data.history_kinds import check_history, events_file, kinds_of, only_history
from adwright.data.schema import RESPONSE_KINDS
from adwright.data.sources.csvfile import parse_columns, scan_csv
from adwright.data.sources.log import open_log
from adwright.data.sources.tables import write_table
from adwright.data.tasks.day_popularity import daily_counts, popularity_of_days
from adwright.training.ranking.frames import check_ids

__all__ = [
    "EventFile",
    "events_of",
    "naming",
    "open_events",
    "open_table",
    "polars_of",
    "types_of",
]

_EVENTS = ("user_id", "item_id", "time")
#: Bytes of a CSV file in which its header is looked for.
_HEADER = 1 << 16


@contextmanager
def open_events(events: str | Path, kinds: Sequence[str] = RESPONSE_KINDS) -> Iterator[EventFile]:
    """The events of a file that `open_log` reads, or of the folder of an imported log.

    kinds: those that count, where the events have one.
    Raises as `open_log`, and ValueInvalidError where no event is of a kind that counts.
    """
    path = events_file(events)
    with tempfile.TemporaryDirectory(prefix="adwright-events-") as scratch:
        if _is_ours(path):
            source = open_table(path, _EVENTS, (), Path(scratch))
        else:
            log = open_log(path)
            with_kinds = log.mapping is None or "kind" in log.mapping.columns
            columns = [*_EVENTS, *(["kind"] if with_kinds else [])]
            plain = Path(scratch) / "events.parquet"
            write_table(plain, log.events.select(columns).sort("user_id", maintain_order=True))
            source = pq.ParquetFile(plain)
        with source:
            yield EventFile(source, path, kinds)


def events_of(
    events: str | Path, user_id: str, *, kinds: Sequence[str] = RESPONSE_KINDS
) -> pl.DataFrame:
    """Read user_id, item_id, time of one user's events in a file that `open_log` reads, or in the
    folder of an imported log.

    kinds: those that count, where there is a column `kind`.
    Raises FileUnreadableError and SchemaError for the file, ValueInvalidError where it holds
    no event of that user, or none of these kinds.
    """
    with open_events(events, kinds) as source:
        found = source.of(pl.Series([user_id], dtype=pl.String))
    if not found.height:
        raise ValueInvalidError(
            f"the file holds no {source.what} of this user",
            file=str(source.path),
            column="user_id",
            value=user_id,
            hint="check the id",
        )
    return found


class EventFile:
    """Reads the events of some users from a Parquet file, without loading all of it.

    kinds: those that count, where the file has a column `kind`. what: such events in words.
    """

    def __init__(
        self, source: pq.ParquetFile, path: Path, kinds: Sequence[str] = RESPONSE_KINDS
    ) -> None:
        types = types_of(source)
        check_ids(types, "events", file=str(path))
        #: Whether the events have times that days can be told by.
        self.timed = isinstance(types["time"], pl.Datetime)
        self._source, self.path, self._kinds = source, path, kinds
        self._columns, self.what = list(_EVENTS), "event"
        if "kind" in source.schema_arrow.names:
            self._columns.append("kind")
            self.what = " or ".join(kinds)
            self._check_kinds()

    def of(self, people: pl.Series) -> pl.DataFrame:
        """Read user_id, item_id, time of these users (text ids)."""
        wanted = people.unique()
        parts = []
        for group in range(self._source.num_row_groups):
            if not self.may_hold(group, wanted):
                continue
            with naming(self.path):
                part = polars_of(self._source.read_row_group(group, columns=self._columns))
            part = only_history(part, self._kinds).select(_EVENTS)
            parts.append(part.filter(pl.col("user_id").cast(pl.String).is_in(wanted.implode())))
        return pl.concat(parts) if parts else polars_of(self._source.schema_arrow.empty_table())

    def popularity(self, kinds: Sequence[str]) -> pl.DataFrame:
        """Count the events of `kinds` of all users, as `popularity_by_day`; a row group at a time.

        Without a column `kind` every event counts.
        """
        parts = []
        for group in range(self._source.num_row_groups):
            with naming(self.path):
                part = polars_of(self._source.read_row_group(group, columns=self._columns))
            taken = only_history(part, kinds).select(pl.col("item_id").cast(pl.String), "time")
            parts.append(daily_counts(taken.lazy()).collect())
        return popularity_of_days(pl.concat(parts))

    def _check_kinds(self) -> None:
        """Raise ValueInvalidError where no event of the file counts; reads as far as the first
        row group in which one does."""
        found: set[str] = set()
        for group in range(self._source.num_row_groups):
            with naming(self.path):
                part = polars_of(self._source.read_row_group(group, columns=["kind"]))
            found |= kinds_of(part)
            if not found.isdisjoint(self._kinds):
                return
        if self._source.metadata.num_rows:
            check_history(found, self._kinds, file=str(self.path))

    def may_hold(self, group: int, wanted: pl.Series) -> bool:
        """Whether a row group may hold events of these users, by its statistics."""
        metadata = self._source.metadata.row_group(group)
        columns = (metadata.column(i) for i in range(metadata.num_columns))
        found = next(c.statistics for c in columns if c.path_in_schema == "user_id")
        if found is None or not found.has_min_max or not isinstance(found.min, str):
            return True
        return bool(((wanted >= found.min) & (wanted <= found.max)).any())


def open_table(
    path: Path, ids: Sequence[str], numbers: Sequence[str], scratch: Path
) -> pq.ParquetFile:
    """A file with the columns `ids` as Parquet; CSV is streamed into `scratch` first.

    numbers: columns of a CSV file that are numbers. Raises FileUnreadableError for another file.
    """
    if path.suffix.lower() == ".csv":
        if not path.is_file():
            raise FileUnreadableError(
                "there is no such file", file=str(path), hint="check the path"
            )
        frame = scan_csv(path, needed=ids, text=None)
        types = dict.fromkeys(numbers, pl.Float64())
        frame = parse_columns(frame, ["time"], types, in_file(str(path)))
        path = scratch / f"{len(list(scratch.iterdir()))}.parquet"
        write_table(path, frame)
    try:
        return pq.ParquetFile(path)
    except (OSError, pa.ArrowException) as error:
        raise FileUnreadableError(
            f"not a readable Parquet file: {error}",
            file=str(path),
            hint="check the path; files end in .parquet or .csv",
        ) from error


def types_of(source: pq.ParquetFile) -> pl.Schema:
    """Names and types of the columns."""
    return polars_of(source.schema_arrow.empty_table()).schema


def polars_of(table: pa.Table) -> pl.DataFrame:
    """The table as one of polars. Raises SchemaError for one without columns."""
    frame = pl.from_arrow(table)
    if not isinstance(frame, pl.DataFrame):
        raise SchemaError("the file has no columns", hint="write one with a header")
    return frame


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Turn Arrow's error about a damaged file into one that names it."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise FileUnreadableError(
            f"the file is damaged: {error}", file=str(path), hint="copy or write it again"
        ) from error


def _is_ours(path: Path) -> bool:
    """Whether the file has the columns of events under our names, or is not there."""
    if path.suffix.lower() not in (".csv", ".parquet", ".pq"):
        return False
    if not path.is_file():
        return not path.exists()
    if path.suffix.lower() == ".csv":
        with path.open("rb") as stream:
            head = stream.read(_HEADER).decode("utf-8-sig", errors="replace")
        names = next(csv.reader(head.splitlines()[:1]), [])
    else:
        with naming(path):
            names = pq.read_schema(path).names
    return set(_EVENTS) <= {name.strip() for name in names}
