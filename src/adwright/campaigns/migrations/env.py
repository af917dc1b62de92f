"""What Alembic runs around the revisions; the connection and its transaction are given to it."""

from __future__ import annotations

from alembic import context

from adwright.campaigns.store.tables import METADATA


def migrate() -> None:
    """Run the revisions that Alembic chose on the connection in its configuration."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=METADATA,
        # SQLite's changes of tables are transactional too, once a transaction is begun.
        transactional_ddl=True,
    )
    context.run_migrations()


# Alembic loads this file in order to migrate, and for nothing else.
migrate()
