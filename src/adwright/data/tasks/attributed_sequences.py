"""Item sequences with attributes (Beauty, LastFM), out of a folder.

It holds `sequences.txt`, a user and then that user's items in time order on each line, and
`item_attributes.json`, attribute ids of each item. There are no times: the position stands for
the time.
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from adwright.core.errors import FileUnreadableError, ValueInvalidError


def read_sequences(source: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The folder's tables as they are: events (user_id, item_id, time, the position from 0,
    and left, the positions to the end from 0) and items (item_id, attribute, the first of them,
    and attributes). Raises FileUnreadableError for a missing or unreadable file, ValueInvalidError
    for a line without items and for a user twice."""
    sequences, attributes = sequence_files(source)
    events = _read_sequences(sequences)
    return events, _read_attributes(attributes, events["item_id"].unique().sort())


def sequence_files(source: Path) -> tuple[Path, Path]:
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
