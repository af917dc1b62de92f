"""The life of creatives: their content, states and scores; terms of campaigns, and what they spend.

Creatives of before keep their rows and are in no state. What was shown before a campaign had a
price costs nothing.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add the columns and tables; nothing that is there changes."""
    op.add_column("tenants", sa.Column("version", sa.BigInteger))
    op.add_column("tenants", sa.Column("secret", sa.LargeBinary))
    op.add_column("creatives", sa.Column("content", sa.Text))
    for name, kind in (
        ("budget", sa.Double),
        ("price", sa.Double),
        ("per", sa.Text),
        ("cap", sa.Integer),
        ("cap_hours", sa.Double),
        ("targeting", sa.Text),
    ):
        op.add_column("campaigns", sa.Column(name, kind))
    texts = ("state", "author")
    moves = [sa.Column(name, sa.Text, nullable=False) for name in texts]
    _of_creative("creative_moves", *moves, sa.Column("why", sa.Text))
    op.create_index(
        "ix_creative_moves_tenant_creative_id_seq",
        "creative_moves",
        ["tenant", "creative_id", "seq"],
    )
    numbers = ("value", "low", "high")
    judge = sa.Column("judge", sa.Text, nullable=False)
    scores = [sa.Column(name, sa.Double, nullable=False) for name in numbers]
    _of_creative("creative_scores", judge, *scores)
    op.create_index(
        "ix_creative_scores_tenant_creative_id_judge_seq",
        "creative_scores",
        ["tenant", "creative_id", "judge", "seq"],
    )
    op.create_table(
        "spend",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("campaign_id", sa.Text, nullable=False),
        sa.Column("slot", sa.Integer, nullable=False, autoincrement=False),
        sa.Column("events", sa.BigInteger, nullable=False),
        sa.Column("micros", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", "campaign_id", "slot", name="pk_spend"),
        sa.ForeignKeyConstraint(
            ["tenant", "campaign_id"],
            ["campaigns.tenant", "campaigns.campaign_id"],
            name="fk_spend_tenant_campaign_id",
        ),
    )


def _of_creative(table: str, *columns: sa.Column[Any]) -> None:
    op.create_table(
        table,
        sa.Column("seq", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        sa.Column("creative_id", sa.Text, nullable=False),
        *columns,
        sa.PrimaryKeyConstraint("seq", name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["tenant", "creative_id"],
            ["creatives.tenant", "creatives.creative_id"],
            name=f"fk_{table}_tenant_creative_id",
        ),
    )
