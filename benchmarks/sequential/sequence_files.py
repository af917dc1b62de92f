"""Item sequences out of files: MovieLens 1M, MovieLens small, and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_file
from adwright.data.hashing import hash_order
from adwright.data.ranges import run_starts
from adwright.data.schema import need_columns
from adwright.data.sequences.datasets import PROTOCOL, VERSION
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sources.bounds import reading
from adwright.data.sources.frames import as_frame

Ints = NDArray[np.int64]
#: Events of one user and one second: by a hash, or in the order of the file.
Order = Literal["hash", "file"]
#: Half a star to five stars are the action codes 1 to 10; 0 is unknown.
RATING_ACTIONS = 11


def read_movielens_1m(folder: str | Path, *, context: bool = False) -> ItemSequences:
    """All 1,000,209 ratings of MovieLens 1M as sequences of 6,040 users over 3,706 films.

    folder: holds sequences.parquet (user_id, item_id, position; no times). context: read
    gender, age and occupation from users.parquet beside it, as context of three codes.
    Raises FileUnreadableError for a missing or unreadable file, SchemaError for a missing
    column.
    """
    path = Path(folder) / "sequences.parquet"
    table = _columns_of(path, ("user_id", "item_id", "position"))
    hashes = [sha256_file(path)]
    known: Ints | None = None
    sizes: tuple[int, ...] = ()
    table = table.sort("user_id", "position")
    if context:
        people = Path(folder) / "users.parquet"
        hashes.append(sha256_file(people))
        users = table.select(pl.col("user_id").unique(maintain_order=True))
        profile = _columns_of(people, ("userID", "gender", "age", "occupation"))
        profile = profile.rename({"userID": "user_id"})
        known, sizes = _context(users.join(profile, on="user_id", how="left"))
    return sequences_of_table(
        table,
        name="ml-1m",
        data_hash=content_hash({"data": hashes, "code": VERSION}),
        context=known,
        context_sizes=sizes,
    )


def read_movielens_small(
    path: str | Path, *, order: Order = "hash", seed: int = 0
) -> ItemSequences:
    """The 100,836 ratings of MovieLens "latest small" with times, and the stars as actions.

    path: ratings.csv with the columns userId, Id (or movieId), rating and timestamp.
    order: of ratings that a user gave in one second (up to 128 of them, entered on one
    page). The file lists a user's films by number, so that its order says which film comes
    next; "hash" takes that away and is the default, "file" keeps it, for comparisons.
    seed: of the hash. Raises FileUnreadableError, SchemaError, ConfigError for another order.
    """
    if order not in get_args(Order):
        raise ConfigError(f"order cannot be {order!r}", where="order", hint="use hash or file")
    path = Path(path)
    table = read_table(path).rename({"movieId": "Id"}, strict=False)
    _need(table, ("userId", "Id", "rating", "timestamp"), path)
    table = table.select(
        user_id="userId",
        item_id="Id",
        time=pl.col("timestamp").cast(pl.Int64),
        action=(pl.col("rating") * 2).round().cast(pl.Int64),
        row=pl.int_range(pl.len()),
    )
    second = ["row"] if order == "file" else ["hash", "row"]
    table = table.with_columns(hash=hash_order(table, ["user_id", "item_id"], seed))
    return sequences_of_table(
        table.sort("user_id", "time", *second),
        name="ml-latest-small",
        data_hash=content_hash({"data": [sha256_file(path), order, seed], "code": VERSION}),
        actions=RATING_ACTIONS,
    )


def sequences_of_table(
    table: pl.DataFrame,
    *,
    name: str,
    data_hash: str,
    actions: int = 0,
    context: Ints | None = None,
    context_sizes: Sequence[int] = (),
) -> ItemSequences:
    """Events in the order in which they are to stand, a user's events together.

    table: user_id, item_id, and where there are such time (seconds) and action (codes below
    `actions`). Items are coded from 1 in ascending order of their ids.
    context: int64 [U, F] codes below context_sizes, in the order of the users.
    Raises SchemaError for a missing column, ValueInvalidError for a user in two places or a
    null.
    """
    _need(table, ("user_id", "item_id"))
    ids = table["item_id"].unique().sort()
    item = table["item_id"].rank("dense").cast(pl.Int64).to_numpy()
    person = table["user_id"].rle_id().to_numpy()
    if table.height and table["user_id"].n_unique() != person[-1] + 1:
        raise ValueInvalidError(
            "the events of a person must stand together", column="user_id", hint="sort the table"
        )
    for column in ("user_id", "item_id", "time", "action"):
        if column in table.columns and table[column].null_count():
            raise ValueInvalidError("a value is missing", column=column, hint="drop such rows")
    starts = run_starts(person)
    return ItemSequences(
        name=name,
        protocol=f"{name}: {PROTOCOL.format(items=len(ids))}",
        data_hash=data_hash,
        users=tuple(str(one) for one in table["user_id"].gather(starts[:-1])),
        ids=tuple(str(one) for one in ids),
        item=item,
        offsets=starts,
        time=_column(table, "time"),
        action=_column(table, "action") if actions else None,
        actions=actions,
        context=context,
        context_sizes=tuple(context_sizes),
    )


def _context(people: pl.DataFrame) -> tuple[Ints, tuple[int, ...]]:
    """Codes [U, F] of the columns after the first; 0 is unknown."""
    columns = people.columns[1:]
    codes = people.select(
        pl.col(c).rank("dense").cast(pl.Int64).fill_null(0) for c in columns
    ).to_numpy()
    return np.ascontiguousarray(codes), tuple(int(n) + 1 for n in codes.max(0))


def _column(table: pl.DataFrame, name: str) -> Ints | None:
    if name not in table.columns:
        return None
    return table[name].cast(pl.Int64).to_numpy().copy()


def read_table(path: Path) -> pl.DataFrame:
    """Any file that `as_frame` reads; where it is text, the ids stay text."""
    ids = {"user_id", "item_id"}
    table = as_frame(path, text=lambda names: [n for n in names if n in ids], whole=True)
    return reading(path, table.frame.collect)


def _columns_of(path: Path, columns: Sequence[str]) -> pl.DataFrame:
    table = read_table(path)
    _need(table, columns, path)
    return table.select(columns)


def _need(table: pl.DataFrame, columns: Sequence[str], path: Path | None = None) -> None:
    need_columns(table.columns, columns, "the table lacks a column", file=str(path or ""))
