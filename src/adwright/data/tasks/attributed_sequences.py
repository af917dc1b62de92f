"""Item sequences with attributes (Beauty, LastFM) as a ranking task.

The folder holds `sequences.txt`, a user and then that user's items in time order on each
line, and `item_attributes.json`, attribute ids of each item. Each position but the first is a
row with label 1 and, beside it, one item that the user never has, drawn uniformly, with label
0. The last position of a user is for test, the one before it for validation. There are no
times: the position stands for the time.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl

from adwright.core.errors import FileUnreadableError, ValueInvalidError
from adwright.core.hashing import content_hash, sha256_file
from adwright.data.features import Feature
from adwright.data.tasks.split import split_last
from adwright.data.tasks.task import Task, cached_task, write_task

VERSION = 1
SEQUENCE_FEATURES = (
    Feature("history", "sequence", "user"),
    Feature("user_id", "categorical", "user"),
    Feature("item_id", "categorical", "item"),
    Feature("attribute", "categorical", "item"),
    Feature("attributes", "multi", "item"),
)


def build_sequences_task(source: str | Path, cache: str | Path, *, seed: int = 0) -> Task:
    """The task of the folder `source`, in a folder under `cache`, built on first use.

    seed: of the drawn negatives. Raises FileUnreadableError for a missing or unreadable file,
    ValueInvalidError for a line without items, a user twice, or one who has every item.
    """
    source = Path(source)
    hashes = [sha256_file(path) for path in _files(source)]
    key = content_hash({"data": hashes, "seed": seed, "code": VERSION})
    folder = Path(cache) / f"{source.name}-{key[:16]}"

    def build() -> Task:
        events, items = read_sequences(source)
        return write_task(
            folder,
            name=source.name,
            protocol=f"{source.name}: each position of a person's sequence but the first, with "
            "one item the person never has, drawn uniformly; the last position tests, the one "
            "before it validates.",
            data_hash=key,
            rows=_rows(events, np.random.default_rng(seed)),
            events=events.select("user_id", "item_id", "time"),
            items=items,
            features=SEQUENCE_FEATURES,
        )

    return cached_task(folder, build)


def read_sequences(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The folder's tables as they are: events (user_id, item_id, time, the position from 0,
    and left, the positions to the end from 0) and items (item_id, attribute, the first of them,
    and attributes). Raises as `build_sequences_task`."""
    sequences, attributes = _files(source)
    events = _read_sequences(sequences)
    return events, _read_attributes(attributes, events["item_id"].unique().sort())


def _files(source: Path) -> tuple[Path, Path]:
    sequences, attributes = source / "sequences.txt", source / "item_attributes.json"
    for path in (sequences, attributes):
        if not path.is_file():
            raise FileUnreadableError("the file does not exist", file=str(path))
    return sequences, attributes


def _read_sequences(path: Path) -> pl.DataFrame:
    """user_id, item_id, time (the position, from 0), left (positions to the end, from 0)."""
    people: dict[str, list[str]] = {}
    for number, line in enumerate(_text(path).splitlines()):
        words = line.split()
        if len(words) < 2:
            raise ValueInvalidError(
                "a line needs a person and at least one item",
                file=str(path),
                row=number,
                value=line,
                hint="write a person and then that person's items in order of time",
            )
        if words[0] in people:
            raise ValueInvalidError(
                "a person has two lines",
                file=str(path),
                row=number,
                value=words[0],
                hint="put all of a person's items on one line",
            )
        people[words[0]] = words[1:]
    lengths = [len(items) for items in people.values()]
    return pl.DataFrame(
        {
            "user_id": [user for user, items in people.items() for _ in items],
            "item_id": [item for items in people.values() for item in items],
            "time": [place for length in lengths for place in range(length)],
            "left": [place for length in lengths for place in range(length - 1, -1, -1)],
        },
        schema_overrides={"user_id": pl.String, "item_id": pl.String},
    )


def _read_attributes(path: Path, ids: pl.Series) -> pl.DataFrame:
    hint = "write an object of item to list of attribute ids"
    try:
        known = json.loads(_text(path))
    except ValueError as error:
        raise FileUnreadableError(f"not a JSON file: {error}", file=str(path), hint=hint) from error
    if not isinstance(known, dict) or not all(isinstance(v, list) for v in known.values()):
        raise FileUnreadableError("not an object of lists", file=str(path), hint=hint)
    lists = [[str(value) for value in known.get(item, [])] for item in ids]
    first = [values[0] if values else None for values in lists]
    return pl.DataFrame(
        {"item_id": ids, "attribute": first, "attributes": lists},
        schema_overrides={"attribute": pl.String, "attributes": pl.List(pl.String)},
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise FileUnreadableError(
            "the file is not UTF-8", file=str(path), hint="convert it, for example with iconv"
        ) from error


def _rows(events: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """The positives and, for each, a negative; order and draws depend on the seed alone."""
    positives = events.filter(pl.col("time") > 0).select(
        "user_id",
        "item_id",
        "time",
        request_id=pl.concat_str(pl.col("user_id"), pl.lit("-"), pl.col("time")),
        label=pl.lit(1, pl.Int8),
        split=split_last(pl.col("left")),
    )
    catalogue = events["item_id"].unique().sort()
    owned = events.select("user_id", "item_id").unique()
    negatives, open_rows = [], positives
    full = owned.group_by("user_id").len().filter(pl.col("len") == len(catalogue))
    if full.height:
        raise ValueInvalidError(
            "a person has every item there is, so there is no negative to draw",
            column="user_id",
            value=full["user_id"].min(),
            hint="leave this person out",
        )
    # Draw, keep what the user never has, and draw again for the rest.
    while open_rows.height:
        drawn = catalogue.gather(rng.integers(0, len(catalogue), open_rows.height))
        tried = open_rows.with_columns(drawn.alias("item_id"), label=pl.lit(0, pl.Int8))
        found = tried.join(owned, on=["user_id", "item_id"], how="anti", maintain_order="left")
        negatives.append(found)
        open_rows = open_rows.join(
            found.select("request_id"), on="request_id", how="anti", maintain_order="left"
        )
    return pl.concat([positives, *negatives])
