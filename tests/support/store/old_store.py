"""A store as an earlier adwright would have left it."""

from __future__ import annotations

from sqlalchemy import text

from adwright.campaigns.store.database import Database


def back_to_the_second_revision(url: str) -> None:
    """Take the third revision's columns and tables out; stops keep their rows."""
    opened = Database.open(url)
    with opened.write() as connection:
        for statement in (
            "DROP TABLE actions",
            "DROP TABLE replicas",
            "ALTER TABLE api_keys DROP COLUMN scopes",
            "ALTER TABLE tenants DROP COLUMN two_keys",
            "UPDATE alembic_version SET version_num = '0002'",
        ):
            connection.execute(text(statement))
    opened.close()
