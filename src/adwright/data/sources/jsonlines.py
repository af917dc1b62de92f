"""Read JSON lines strictly: UTF-8, one object a line, no deeper and no longer than the bounds.

A first streamed pass over the bytes looks for what no table can hold; polars then reads the file.
Only a file that it refuses is gone through object by object, to name the line.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
from pydantic_core import from_json

from adwright.core.errors import FileUnreadableError, SchemaError
from adwright.data.sources.bounds import (
    ReadBounds,
    check_memory,
    check_names,
    check_sparse,
    reading,
)

_HINT = "write one JSON object a line; `jq -c '.[]' FILE` makes that of a list"


def read_json_lines(path: Path, bounds: ReadBounds) -> pl.DataFrame:
    """The table of a file of JSON objects, one a line; a key that an object lacks is null.

    Numbers, texts, truth values, lists and objects keep their types; a column of numbers and texts
    becomes text. Blank lines are passed over and are not counted as rows.
    Raises FileUnreadableError naming the line (from 1): not UTF-8, no JSON object, longer or deeper
    than `bounds`; SchemaError for columns beyond them or of types that do not go together.
    """
    check_memory(path, None, bounds)
    _check_lines(path, bounds)
    try:
        frame = pl.read_ndjson(path, infer_schema_length=None)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        _diagnose(path, bounds)
        raise FileUnreadableError(
            "the lines cannot be read as one table", file=str(path), hint=_HINT
        ) from error
    check_names(frame.columns, bounds, file=str(path))
    return reading(path, lambda: frame)


def _check_lines(path: Path, bounds: ReadBounds) -> None:
    """Raise FileUnreadableError for a line that is too long, or that may be too deep and is;
    SchemaError for more names than a table may have, or names that too few lines have."""
    # Names of one column, and of the lists that hold other rows than the table: how many those are.
    names, inner, rows = set[str](), set[tuple[str, str]](), Counter[str]()
    full = 0
    for number, line in _lines(path, bounds):
        objects = line.count(b"{")
        if objects + line.count(b"[") > bounds.depth:
            _check_object(path, number, line, bounds)
        elif not line.lstrip().startswith(b"{"):
            raise _no_object(path, number, line)
        try:
            value = from_json(line)
        except ValueError:
            value = _check_object(path, number, line, bounds)
        rows[""] += 1
        full += len(value)
        names.update(value)
        if len(names) > bounds.columns:
            check_names(sorted(names), bounds, file=str(path))
        if objects > 1:
            full += _note_inner(value, inner, rows)
        if len(inner) > bounds.columns:
            raise SchemaError(
                f"line {number}: objects inside rows have more than {bounds.columns:,} names",
                file=str(path),
                hint="keep what is needed, put one-hot columns into one list, or raise "
                "ReadBounds.columns in Python",
            )
    if not rows:
        raise FileUnreadableError("the file is empty", file=str(path), hint=_HINT)
    cells = rows[""] * len(names) + sum(rows[table] for table, _ in inner)
    check_sparse(cells, full, bounds, file=str(path))


def _note_inner(value: dict[str, object], inner: set[tuple[str, str]], rows: Counter[str]) -> int:
    """Note the names of objects inside a row, and the rows that lists of them make; return how many
    values they have."""
    full, left = 0, [("", "", value)]
    while left:
        table, path, one = left.pop()
        for name, part in one.items():
            own = f"{path}\x1f{name}"
            if path:
                inner.add((table, own))
            if isinstance(part, dict):
                full += len(part)
                left.append((table, own, part))
            elif isinstance(part, list):
                elements = list(_elements(part))
                rows[own] += len(elements)
                found = [each for each in elements if isinstance(each, dict)]
                full += sum(map(len, found))
                left.extend((own, own, each) for each in found)
    return full


def _elements(part: list[object]) -> Iterator[object]:
    """What the lists inside each other hold."""
    for one in part:
        yield from _elements(one) if isinstance(one, list) else (one,)


def _diagnose(path: Path, bounds: ReadBounds) -> None:
    """Go through the file object by object and raise the error that names the first bad line."""
    types: dict[str, tuple[str, int]] = {}
    for number, line in _lines(path, bounds):
        for name, value in _check_object(path, number, line, bounds).items():
            kind = "a list" if isinstance(value, list) else "an object"
            kind = kind if isinstance(value, list | dict) else "a single value"
            known, before = types.setdefault(name, (kind, number))
            if value is not None and known != kind:
                raise SchemaError(
                    f"line {number} has {kind} where line {before} has {known}",
                    file=str(path),
                    column=name,
                    hint="write one kind of value a key",
                )


def _check_object(path: Path, number: int, line: bytes, bounds: ReadBounds) -> dict[str, object]:
    try:
        value = json.loads(line)
    except RecursionError:
        value = {"": _too_deep(bounds)}
    except ValueError as error:
        raise _no_object(path, number, line) from error
    if not isinstance(value, dict):
        raise _no_object(path, number, line)
    # The object itself is the row.
    if _depth(value) > bounds.depth + 1:
        raise SchemaError(
            f"line {number}: lists and objects lie more than {bounds.depth} deep",
            file=str(path),
            hint="flatten them, or raise ReadBounds.depth in Python",
        )
    return value


def _too_deep(bounds: ReadBounds) -> object:
    value: object = None
    for _ in range(bounds.depth + 2):
        value = [value]
    return value


def _depth(value: object) -> int:
    """How many lists and objects lie inside each other, level by level: recursion has an end."""
    depth, level = 0, [value]
    while level := [one for one in level if isinstance(one, list | dict)]:
        depth += 1
        level = [
            inner for one in level for inner in (one.values() if isinstance(one, dict) else one)
        ]
    return depth


def _no_object(path: Path, number: int, line: bytes) -> FileUnreadableError:
    return FileUnreadableError(
        f"line {number} is no JSON object", file=str(path), value=line[:60], hint=_HINT
    )


def _lines(path: Path, bounds: ReadBounds) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, counted from 1."""
    limit = 2 * bounds.cell_bytes
    with path.open("rb") as stream:
        for number, line in enumerate(iter(lambda: stream.readline(limit + 1), b""), start=1):
            if len(line) > limit:
                raise FileUnreadableError(
                    f"line {number} has more than {limit:,} bytes",
                    file=str(path),
                    hint="keep objects short, or raise ReadBounds.cell_bytes in Python",
                )
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise FileUnreadableError(
                    f"line {number} is not UTF-8",
                    file=str(path),
                    value=line[max(0, error.start - 20) : error.end + 20],
                    hint="convert the file, for example: iconv -f latin1 -t utf-8",
                ) from error
            if line.strip():
                yield number, line
