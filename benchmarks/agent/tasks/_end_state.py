"""Whether a database is as a task wants it: what must have changed, and that nothing else has.

    before = rows_by_table(database)
    ...
    goal = EndState(changes=(Changed("voucher_voucher", {"name": "Welcome"}, {"usage": ...}),))
    goal.why_not(before, rows_by_table(database))     # "" where it holds, else what is wrong

The rows are read from the SQLite file, a way that no agent takes. Each difference must be one that
the goal names: a task that is done, and something else with it, has failed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, TypeAlias

Row: TypeAlias = Mapping[str, Any]
Tables: TypeAlias = Mapping[str, Mapping[int, Row]]
#: Columns that any change of a row may touch.
_CLOCKS = frozenset(("date_updated", "date_created", "last_login", "date_joined"))
#: Counters of SQLite, and what Oscar counts of all that is looked at.
_COUNTERS = frozenset(("sqlite_sequence", "analytics_productrecord", "analytics_userrecord"))


@dataclass(frozen=True)
class Changed:
    """One row, the one with the values `where`, has the values `to`; its other columns do not
    change, but those in `also`."""

    table: str
    where: Row
    to: Row
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Added:
    """One row more, with these values."""

    table: str
    values: Row


@dataclass(frozen=True)
class Gone:
    """The row, or rows, with these values are no longer there."""

    table: str
    where: Row


@dataclass(frozen=True)
class EndState:
    """What must be so. besides: changes that may come with it. free: tables in which anything may
    happen, since the app keeps something about the change there. answer: what must have been said;
    None where nothing is asked."""

    changes: tuple[Changed | Added | Gone, ...] = ()
    besides: tuple[Changed, ...] = ()
    free: tuple[str, ...] = ()
    answer: str | None = None

    def why_not(self, before: Tables, after: Tables, answers: tuple[str, ...] = ()) -> str:
        """What is wrong, in a few words; empty where all is as it must be."""
        left = {
            table: _differences(before.get(table, {}), after.get(table, {}))
            for table in before.keys() | after.keys()
            if table not in _COUNTERS
        }
        for one in self.changes:
            found = _taken(one, before.get(one.table, {}), left.get(one.table, {}))
            if not found:
                return f"missing: {one}"
        for one in self.besides:
            _taken(one, before.get(one.table, {}), left.get(one.table, {}))
        for table, rows in left.items():
            if rows and table not in self.free:
                key, (old, new) = next(iter(rows.items()))
                columns = sorted(_columns(old, new)) if old and new else "a row"
                return f"something else changed: {table} {key}, {columns}"
        if self.answer is not None and not any(_same(one, self.answer) for one in answers[-1:]):
            return f"the answer is {answers[-1:]}, not {self.answer!r}"
        return ""

    def rows_beyond(self, before: Tables, after: Tables) -> int:
        """How many rows differ of which it says nothing, whether or not the rest of it holds."""
        left = {
            table: _differences(before.get(table, {}), after.get(table, {}))
            for table in before.keys() | after.keys()
            if table not in _COUNTERS and table not in self.free
        }
        for one in (*self.changes, *self.besides):
            _taken(one, before.get(one.table, {}), left.get(one.table, {}))
        return sum(map(len, left.values()))


def rows_by_table(database: Path) -> Tables:
    """All rows, by table and by SQLite's own number of the row."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as opened:
        opened.row_factory = sqlite3.Row
        names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        found: dict[str, dict[int, Row]] = {}
        for (name,) in names:
            try:
                rows = opened.execute(f'SELECT rowid AS "_row", * FROM "{name}"').fetchall()
                found[name] = {one["_row"]: dict(one) for one in rows}
            except sqlite3.OperationalError:  # a table without numbers of rows
                rows = opened.execute(f'SELECT * FROM "{name}"').fetchall()
                found[name] = {hash(tuple(one)): dict(one) for one in rows}
        return found


def _differences(
    before: Mapping[int, Row], after: Mapping[int, Row]
) -> dict[int, tuple[Row | None, Row | None]]:
    found: dict[int, tuple[Row | None, Row | None]] = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key), after.get(key)
        if old is None or new is None or _columns(old, new):
            found[key] = (old, new)
    return found


def _columns(old: Row | None, new: Row | None) -> set[str]:
    """The columns in which a row has changed."""
    if old is None or new is None:
        return set()
    return {one for one in old if old[one] != new.get(one)} - _CLOCKS


def _taken(
    goal: Changed | Added | Gone,
    before: Mapping[int, Row],
    left: dict[int, tuple[Row | None, Row | None]],
) -> bool:
    """Take what a goal names out of the differences; false where it is not there."""
    match goal:
        case Changed():
            keys = [key for key, row in before.items() if _fits(row, goal.where)]
            if len(keys) != 1 or keys[0] not in left:
                return False
            old, new = left[keys[0]]
            others = _columns(old, new) - {*goal.to, *goal.also}
            if new is None or others or not _fits(new, goal.to):
                return False
            del left[keys[0]]
            return True
        case Added():
            keys = [
                key
                for key, (old, new) in left.items()
                if old is None and new is not None and _fits(new, goal.values)
            ]
            if not keys:
                return False
            del left[keys[0]]
            return True
        case Gone():
            keys = [key for key, row in before.items() if _fits(row, goal.where)]
            if not keys or any(key not in left or left[key][1] is not None for key in keys):
                return False
            for key in keys:
                del left[key]
            return True


def _fits(row: Row, wanted: Row) -> bool:
    return all(_same(row.get(name), value) for name, value in wanted.items())


def _same(found: object, wanted: object) -> bool:
    """Whether two values are one: numbers by their value, texts without blanks around them and the
    signs around an amount."""
    if found is None or wanted is None:
        return found is wanted
    first, second = (
        " ".join(str(one).split()).strip(" .:£%").casefold() for one in (found, wanted)
    )
    numbers = [_number(first), _number(second)]
    if None not in numbers:
        return numbers[0] == numbers[1]
    return first == second


def _number(text: str) -> Decimal | None:
    try:
        return Decimal(text.replace(",", ""))
    except InvalidOperation:
        return None
