"""Bring a database to the newest revision of the store's tables, whoever comes first."""

from __future__ import annotations

import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, text

from adwright.campaigns.store.database import Database
from adwright.core.errors import ConfigError

__all__ = ["migrate"]

MIGRATIONS = Path(__file__).parents[1] / "migrations"

# Any number that no other program is likely to lock.
_POSTGRESQL_LOCK = 0x6164777269676874
# Alembic hands its context to the revisions through a module, so one thread at a time.
_ONE_AT_A_TIME = threading.Lock()


def migrate(database: Database, *, create: bool = True) -> bool:
    """Run the revisions that the database lacks, all or none, in one transaction; whether there
    was no store in it before.

    Several processes may do so at once: one migrates, the others wait and find it done.
    create: make a store where there is none.
    Raises ConfigError where the database is of a newer adwright, or holds no store and none is
    to be made, ResourceError where it cannot be used.
    """
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    newest = ScriptDirectory.from_config(config).get_current_head()
    with database.read() as connection:
        before = _revision(connection)
    if before == newest:
        return False
    if before is None and not create:
        raise ConfigError(
            "there is no store in this database",
            where=database.url,
            hint="check the URL; `adwright key` and `adwright serve` make a new store",
        )
    with _ONE_AT_A_TIME, database.write(long=True) as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:n)"), {"n": _POSTGRESQL_LOCK})
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as error:
            raise ConfigError(
                f"the store's tables are of revision {_revision(connection)}, "
                "which this version does not know",
                where=database.url,
                hint="install the adwright that wrote it, or a newer one",
            ) from error
    return before is None


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
