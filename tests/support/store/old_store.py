"""A store as an earlier adwright would have left it."""

from __future__ import annotations

from sqlalchemy import text

from adwright.campaigns.store.database import Database


def back_to_the_third_revision(url: str) -> None:
    """Take the fourth and fifth revision's columns and tables out."""
    terms = ("budget", "price", "per", "cap", "cap_hours", "targeting")
    _undo(
        url,
        *(
            f"DROP TABLE {name}"
            for name in ("creative_moves", "creative_scores", "spend", "creative_counts")
        ),
        *(f"ALTER TABLE campaigns DROP COLUMN {name}" for name in terms),
        "ALTER TABLE creatives DROP COLUMN content",
        "ALTER TABLE tenants DROP COLUMN version",
        "ALTER TABLE tenants DROP COLUMN secret",
        "UPDATE alembic_version SET version_num = '0003'",
    )


def back_to_the_second_revision(url: str) -> None:
    """Take the third revision's columns and tables out, too; stops keep their rows."""
    back_to_the_third_revision(url)
    _undo(
        url,
        "DROP TABLE actions",
        "DROP TABLE replicas",
        "ALTER TABLE api_keys DROP COLUMN scopes",
        "ALTER TABLE tenants DROP COLUMN two_keys",
        "UPDATE alembic_version SET version_num = '0002'",
    )


def _undo(url: str, *statements: str) -> None:
    opened = Database.open(url)
    with opened.write() as connection:
        for statement in statements:
            connection.execute(text(statement))
    opened.close()
