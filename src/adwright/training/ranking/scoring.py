"""Score a file of any length: Parquet or CSV in, Parquet out, in the order of its rows.

What a row needs to know and does not say is counted from the events: the user's history, and where
the ranker's `popularity` is that of earlier days, that too. New items come with a table of their
features.

Rows are read in chunks, and with each only the events of its users, so memory follows the chunk and
its histories, not the files. It is fast where the rows of a user lie together: event row groups
without a user of the chunk are not read.

The events of some users out of a file of any length, and its counts of days.

    with open_events("log.parquet", kinds=("purchase",)) as events:
        events.of(pl.Series(["u1", "u2"]))

Parquet is read a row group at a time. A file of another kind, or with other names, is read as any
log is (`open_log`) and written beside first, sorted by user.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from adwright.core.atomic import resource_error
from adwright.core.errors import (
    ConfigError,
    DataError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.core.progress import progress
from adwright.data.history_kinds import check_history, events_file, kinds_of, only_history
from adwright.data.popularity import daily_counts, popularity_of_days, with_popularity
from adwright.data.schema import RESPONSE_KINDS, in_file
from adwright.data.sources.csvfile import parse_columns, scan_csv
from adwright.data.sources.log import open_log
from adwright.data.sources.tables import read_items, write_table
from adwright.training.ranking.frames import check_ids, check_rows, check_types
from adwright.training.ranking.ranker import Ranker

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


_KEPT = ("user_id", "request_id", "time", "item_id", "label")
_POPULARITY = "popularity"


def score_file(
    ranker: Ranker,
    rows: str | Path,
    events: str | Path,
    out: str | Path,
    *,
    items: str | Path | None = None,
    chunk: int = 100_000,
    overwrite: bool = False,
) -> int:
    """Score the rows of a file; returns how many.

    rows: .parquet or .csv with the columns of `Ranker.score_rows`. events: a file that
    `open_log` reads, or the folder of an imported log; with a column `kind`, the ranker's
    `history_kinds` count; for popularity the whole log. items: a table of items, of which
    those that the ranker does not know are scored by their features. chunk: rows held at once; more
    is faster where the rows do not lie together by user.
    out: a Parquet file, whole or not at all, one row per row of `rows` in the same order:
    user_id, request_id, time, item_id, label as far as `rows` has them, probability, and
    known_item, false where the catalogue lacks the item and the context alone was scored.

    Raises FileUnreadableError, SchemaError, ValueInvalidError for the input (rows counted from
    the start of the file), and for events of which none is of a kind that counts;
    ResourceError where `out` exists (without `overwrite`) or the disk is full.
    """
    rows, out = Path(rows), Path(out)
    if items is not None:
        ranker = ranker.with_items(read_items(Path(items)))
    if chunk < 1:
        raise ConfigError("chunk must be at least 1", where=f"chunk {chunk}")
    if out.suffix.lower() not in (".parquet", ".pq"):
        raise SchemaError("scores are written as Parquet", file=str(out), hint="name it .parquet")
    if out.exists() and not overwrite:
        raise ResourceError(
            "the file for the scores exists already",
            where=str(out),
            hint="name another, or allow it to be replaced",
        )
    spec = ranker.spec
    numbers = [f.name for f in spec.numeric_rows]
    numbers += [f.name for f in spec.coded_rows if f.kind == "bucketised"]
    with (
        ExitStack() as opened,
        tempfile.TemporaryDirectory(prefix="adwright-score-") as scratch,
    ):
        source = open_table(rows, ("user_id", "item_id"), numbers, Path(scratch))
        names, popularity = list(source.schema_arrow.names), None
        mine = opened.enter_context(open_events(events, ranker.history_kinds))
        if counts_popularity(ranker, names) and mine.timed:
            popularity = mine.popularity(ranker.popularity_kinds or ())
            names.append(_POPULARITY)
        check_rows(names, spec, file=str(rows))
        check_types(types_of(source), spec, file=str(rows))
        with _replacing(out) as temporary:
            _score(ranker, source, mine, temporary, rows, chunk, popularity)
        return int(source.metadata.num_rows)


def counts_popularity(ranker: Ranker, columns: Sequence[str]) -> bool:
    """Whether the feature `popularity` of rows with these columns is counted from the events."""
    wanted = any(feature.name == _POPULARITY for feature in ranker.spec.numeric_rows)
    return wanted and ranker.popularity_kinds is not None and _POPULARITY not in columns


def _score(
    ranker: Ranker,
    source: pq.ParquetFile,
    events: EventFile,
    out: Path,
    rows: Path,
    chunk: int,
    popularity: pl.DataFrame | None,
) -> None:
    kept = [name for name in _KEPT if name in source.schema_arrow.names]
    known = pl.Series("item_id", ranker.items.ids, pl.String)
    schema = (
        polars_of(source.schema_arrow.empty_table())
        .select(kept)
        .with_columns(probability=pl.lit(0.0), known_item=pl.lit(value=True))
        .to_arrow()
        .schema
    )
    done, total = 0, int(source.metadata.num_rows)
    with (
        pq.ParquetWriter(out, schema, compression="zstd") as writer,
        progress(total, f"score {rows.name}") as bar,
    ):
        for part in _chunks(source, rows, chunk):
            mine = events.of(part["user_id"].cast(pl.String))
            known_rows = part
            if popularity is not None:
                ids = part.with_columns(pl.col("item_id").cast(pl.String))
                known_rows = with_popularity(ids, popularity)
            try:
                probability = ranker.score_rows(known_rows, mine)
            except DataError as error:
                raise _placed(error, rows, events.path, done) from error
            scored = part.select(kept).with_columns(
                probability=pl.Series(probability),
                known_item=pl.col("item_id").cast(pl.String).is_in(known.implode()),
            )
            writer.write_table(scored.to_arrow().cast(schema))
            done += part.height
            bar.advance(part.height)


def _chunks(source: pq.ParquetFile, path: Path, chunk: int) -> Iterator[pl.DataFrame]:
    batches = source.iter_batches(batch_size=chunk)
    while True:
        with naming(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield polars_of(pa.Table.from_batches([batch]))


def _placed(error: DataError, rows: Path, events: Path, before: int) -> DataError:
    """The error with its file, and its row counted in the file where it is about the rows."""
    about_events = "the rows" not in error.what and "the events" in error.what
    # Only the events of the chunk's users were read: the row is not the file's.
    row = None if about_events or error.row is None else error.row + before
    file = str(events if about_events else rows)
    return type(error)(error.what, file=file, row=row, column=error.column, hint=error.hint)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary sibling of `path` to write; rename it into place when the block ends."""
    name = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.close(handle)
        yield Path(name)
        mask = os.umask(0o077)
        os.umask(mask)
        os.chmod(name, 0o666 & ~mask)
        os.replace(name, path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not name:
            what, hint = "no folder can be made here", "choose another path"
            raise ResourceError(what, where=str(path), hint=hint) from error
        raise resource_error(error, path) or error from error
    finally:
        if name:
            with suppress(FileNotFoundError):
                os.unlink(name)
