from __future__ import annotations

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, inspect, text

from adwright.campaigns.store.database import Database, migrate
from adwright.campaigns.store.tables import METADATA
from tests.support.store.postgres import Postgres


def shape(connection: Connection) -> dict[str, object]:
    """All that the database knows of our tables, as text where SQLite keeps it."""
    if connection.dialect.name == "sqlite":
        query = "SELECT name, sql FROM sqlite_master WHERE name NOT LIKE '%alembic%'"
        return {name: sql for name, sql in connection.execute(text(query))}
    look = inspect(connection)
    return {
        name: (
            [{**one, "type": str(one["type"])} for one in look.get_columns(name)],
            look.get_pk_constraint(name),
            sorted(look.get_foreign_keys(name), key=str),
            sorted(look.get_indexes(name), key=str),
        )
        for name in look.get_table_names()
        if name != "alembic_version"
    }


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_the_revisions_create_exactly_the_tables(
    kind: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> None:
    if kind == "sqlite":
        folder = tmp_path_factory.mktemp("migrations")
        urls = [f"sqlite:///{folder / name}" for name in ("a.db", "b.db")]
    else:
        server: Postgres = request.getfixturevalue("postgres")
        urls = [server.new_database(), server.new_database()]
    migrated, created = (Database.open(url) for url in urls)
    migrate(migrated)
    with created.write() as connection:
        METADATA.create_all(connection)
        expected = shape(connection)
    with migrated.read() as connection:
        if kind == "postgresql":  # SQLite's own numbering looks like a default to some versions
            options = {"compare_server_default": True}
            context = MigrationContext.configure(connection, opts=options)
            assert compare_metadata(context, METADATA) == []
        found = shape(connection)
    assert found.keys() == expected.keys()
    for name, one in expected.items():
        # Constraints stand in any order in a statement.
        assert sorted(str(found[name]).split()) == sorted(str(one).split()), name
    migrated.close()
    created.close()
