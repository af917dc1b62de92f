"""Many rows at once, each database in its own fastest way.

SQLite takes some rows a statement. PostgreSQL takes ids as arrays in one statement, and rows as a
COPY stream, which costs the sender a tenth of what INSERT does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Table

from adwright.campaigns.store.queries import portions

__all__ = ["Recorded", "append", "claim"]

#: Of one statement; each has at most 14 values, and old builds of SQLite take 999.
_ROWS = 50


@dataclass(frozen=True)
class Recorded:
    """What became of a batch.

    accepted: rows that are new, and now durable. duplicates: rows whose id was known already,
    or stood earlier in the batch; what was known is kept. conflicting: those of the duplicates
    that differ from what is kept, which a sender should look into. repeated: places of the
    duplicate events in the batch, from 0. stops: of a batch with stops, the number of the last stop
    in the store, which a process must have seen to obey all of them; else 0.
    """

    accepted: int
    duplicates: int
    conflicting: int = 0
    repeated: frozenset[int] = field(default=frozenset(), compare=False, repr=False)
    stops: int = field(default=0, compare=False)


def claim(connection: Connection, table: Table, ids: Mapping[bytes, int]) -> dict[bytes, int]:
    """Insert the ids that are new, and return the others with the content that is kept.

    table: two columns, id and content. connection: in a transaction that may write.
    Two transactions that claim the same new id at once cannot both get it: the later one waits
    for the earlier one to end.
    """
    # In one order everywhere, so that two batches never wait for each other.
    rows = sorted(ids.items())
    if connection.dialect.name == "sqlite":
        # This transaction holds the only right to write: nobody can come between.
        known = _kept_in_sqlite(connection, table, list(ids))
        new = [row for row in rows if row[0] not in known]
        _insert_in_sqlite(connection, table, "id, content", new)
        return known
    statement = (
        f"INSERT INTO {table.name} (id, content) "
        "SELECT * FROM unnest(%s::bytea[], %s::bigint[]) ON CONFLICT DO NOTHING RETURNING id"
    )
    arrays = ([key for key, _ in rows], [content for _, content in rows])
    mine = {key for (key,) in connection.exec_driver_sql(statement, arrays)}
    if len(mine) == len(rows):
        return {}
    others = [key for key, _ in rows if key not in mine]
    statement = f"SELECT id, content FROM {table.name} WHERE id = ANY(%s)"
    return {key: content for key, content in connection.exec_driver_sql(statement, (others,))}


def append(
    connection: Connection, table: Table, columns: Sequence[str], rows: Sequence[tuple[object, ...]]
) -> None:
    """Insert rows that are known to be new; each has the values of `columns` in their order."""
    if not rows:
        return
    names = ", ".join(columns)
    if connection.dialect.name == "sqlite":
        _insert_in_sqlite(connection, table, names, rows)
        return
    driver: Any = connection.connection.driver_connection
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row(row)


def _insert_in_sqlite(
    connection: Connection, table: Table, names: str, rows: Sequence[tuple[object, ...]]
) -> None:
    # `executemany` would let go of the interpreter at each row, and ask busy threads for it again.
    for at in range(0, len(rows), _ROWS):
        some = rows[at : at + _ROWS]
        places = ", ".join([f"({', '.join('?' * len(some[0]))})"] * len(some))
        statement = f"INSERT INTO {table.name} ({names}) VALUES {places}"
        connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))


def _kept_in_sqlite(connection: Connection, table: Table, ids: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for some in portions(ids):
        places = ", ".join("?" * len(some))
        statement = f"SELECT id, content FROM {table.name} WHERE id IN ({places})"
        rows = connection.exec_driver_sql(statement, tuple(some))
        found.update((key, content) for key, content in rows)
    return found
