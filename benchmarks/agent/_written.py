"""How many rows of a SQLite database differ from before, table by table: the proof of no write."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

Rows = dict[str, Counter[str]]


def rows_of(database: Path) -> Rows:
    """A hash of each row, by table."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as opened:
        names = opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        return {
            name: Counter(
                hashlib.sha256(repr(row).encode()).hexdigest()
                for row in opened.execute(f'SELECT * FROM "{name}"')
            )
            for (name,) in names
        }


def rows_written(before: Rows, after: Rows) -> int:
    """Rows that came, went or changed; a changed one counts once."""
    total = 0
    for name in before.keys() | after.keys():
        old, new = before.get(name, Counter()), after.get(name, Counter())
        total += max((new - old).total(), (old - new).total())
    return total
