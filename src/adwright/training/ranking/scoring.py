"""Score a file of any length: Parquet or CSV in, Parquet out, in the order of its rows.

What a row needs to know and does not say is counted from the events: the user's history, and where
the ranker's `popularity` is that of earlier days, that too. New items come with a table of their
features.

Rows are read in chunks, and with each only the events of its users, so memory follows the chunk and
its histories, not the files. It is fast where the rows of a user lie together: event row groups
without a user of the chunk are not read.
"""

from __future__ import annotations

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
    ResourceError,
    SchemaError,
)
from adwright.core.progress import progress
from adwright.data.sources.tables import read_items
from adwright.data.tasks.day_popularity import with_popularity
from adwright.training.ranking.event_file import (
    EventFile,
    naming,
    open_events,
    open_table,
    polars_of,
    types_of,
)
from adwright.training.ranking.frames import check_rows, check_types
from adwright.training.ranking.ranker import Ranker

__all__ = ["counts_popularity", "score_file"]

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
