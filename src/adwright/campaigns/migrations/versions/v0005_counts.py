"""Counts of compacted events by creative and kind.

What was compacted before is in files that this database does not have, and not counted.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
depends_on = None


def upgrade() -> None:
    """Add the table; nothing that is there changes."""
    op.create_table(
        "creative_counts",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("creative_id", sa.Text, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "creative_id", "kind", name="pk_creative_counts"),
    )
