"""An app that may be broken: what a user implements so that solutions can be tried on it.

    class MyApp:
        name = "my-admin"

        def start(self) -> str:                      # a fresh copy, the same each time
            shutil.copy("clean.sqlite3", "try.sqlite3")
            self._server = serve("try.sqlite3")
            return self._server.origin

        def open(self, gate: RequestGate) -> ScreenDriver:      # a screen that is signed in
            return signed_in(self._browser, self._server.origin, gate)

        def snapshot(self) -> StoredState:           # all that is stored
            return sqlite_state("try.sqlite3")

        def stop(self) -> None:
            self._server.stop()

What a run has changed is the difference of two snapshots, less what changes without any task, such
as sessions: see `state_changes` and `noise_of`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from adwright.agent.drivers.protocol import RequestGate, ScreenDriver
from adwright.core.config import settings
from adwright.core.errors import FileUnreadableError

#: What is stored: by table, then by key, the fields of a row, all as texts.
StoredState: TypeAlias = Mapping[str, Mapping[str, Mapping[str, str]]]


class DisposableApp(Protocol):
    """An app of which copies can be made and thrown away."""

    @property
    def name(self) -> str:
        """What rows call it."""
        ...

    def start(self) -> str:
        """Start a copy that nobody has changed; the origin at which it lives."""
        ...

    def open(self, gate: RequestGate) -> ScreenDriver:
        """A screen, signed in where the app asks for that, whose requests `gate` decides on."""
        ...

    def snapshot(self) -> StoredState:
        """What the copy stores now."""
        ...

    def stop(self) -> None:
        """Throw the copy away; any number of times."""
        ...


@settings
class RowChange:
    """A row that came, went, or changed. old, new: its fields before and after; empty of a row that
    was not there."""

    kind: Literal["added", "removed", "changed"]
    table: str
    old: Mapping[str, str]
    new: Mapping[str, str]

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields that differ, sorted."""
        names = self.old.keys() | self.new.keys()
        return tuple(sorted(one for one in names if self.old.get(one) != self.new.get(one)))


def state_changes(
    before: StoredState, after: StoredState, noise: Iterable[str] = ()
) -> tuple[RowChange, ...]:
    """What is different after a run, in the order of tables and keys.

    A row that went and came again under another key, as links between tables do when a form is
    saved, has not changed. noise: what is left out, as `noise_of` names it: "TABLE" for rows that
    come and go, "TABLE.FIELD" for fields that change.
    """
    quiet = frozenset(noise)
    found: list[RowChange] = []
    for table in sorted(before.keys() | after.keys()):
        found += _of_table(table, before.get(table, {}), after.get(table, {}), quiet)
    return tuple(found)


def noise_of(before: StoredState, after: StoredState) -> frozenset[str]:
    """What changed while nothing was done: the tables in which rows came or went, and the fields
    that changed."""
    names: set[str] = set()
    for one in state_changes(before, after):
        if one.kind == "changed":
            names |= {f"{one.table}.{field}" for field in one.fields}
        else:
            names.add(one.table)
    return frozenset(names)


def sqlite_state(path: str | Path) -> StoredState:
    """All rows of a SQLite database, read without a write; views and SQLite's own tables are left
    out. Raises FileUnreadableError where it is none."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
            return {name: dict(_rows(opened, name)) for name in _tables(opened)}
    except sqlite3.Error as error:
        raise FileUnreadableError(
            f"the database cannot be read: {error}", file=str(path), hint="check the path"
        ) from error


def _of_table(
    table: str,
    before: Mapping[str, Mapping[str, str]],
    after: Mapping[str, Mapping[str, str]],
    quiet: frozenset[str],
) -> Iterator[RowChange]:
    for key in sorted(before.keys() & after.keys()):
        old = {k: v for k, v in before[key].items() if f"{table}.{k}" not in quiet}
        new = {k: v for k, v in after[key].items() if f"{table}.{k}" not in quiet}
        if old != new:
            yield RowChange("changed", table, old, new)
    if table in quiet:
        return
    gone = {key: before[key] for key in sorted(before.keys() - after.keys())}
    come = {key: after[key] for key in sorted(after.keys() - before.keys())}
    for key, row in list(gone.items()):
        twin = next((k for k, v in come.items() if _bare(k, v) == _bare(key, row)), None)
        if twin is not None:
            del gone[key], come[twin]
    yield from (RowChange("removed", table, row, {}) for row in gone.values())
    yield from (RowChange("added", table, {}, row) for row in come.values())


def _bare(key: str, row: Mapping[str, str]) -> dict[str, str]:
    """A row without its key."""
    return {name: value for name, value in row.items() if value != key}


def _tables(opened: sqlite3.Connection) -> list[str]:
    asked = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
    return sorted(str(name) for (name,) in opened.execute(asked))


def _rows(opened: sqlite3.Connection, table: str) -> Iterator[tuple[str, dict[str, str]]]:
    name = table.replace('"', '""')
    try:
        cursor = opened.execute(f'SELECT rowid, * FROM "{name}"')
    except sqlite3.OperationalError:  # a table without row ids: its first field stands for them
        cursor = opened.execute(f'SELECT *, * FROM "{name}"')
        width = len(cursor.description) // 2
        for row in cursor:
            fields = [one[0] for one in cursor.description[width:]]
            yield (
                "|".join(map(_text, row[:width])),
                dict(zip(fields, map(_text, row[width:]), strict=True)),
            )
        return
    fields = [one[0] for one in cursor.description[1:]]
    for key, *values in cursor:
        yield str(key), dict(zip(fields, map(_text, values), strict=True))


def _text(value: object) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)
