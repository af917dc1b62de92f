"""The first tables: tenants and their keys, campaigns, creatives, decisions, events.

What the columns hold is said in `adwright.campaigns.store.tables`; a revision keeps its own copy of
the shape, which later changes of the tables must not touch.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _required(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def _optional(*names: str) -> list[sa.Column[str | None]]:
    return [sa.Column(name, sa.Text) for name in names]


def upgrade() -> None:
    """Create the tables of an empty store."""
    _tenants()
    _campaigns()
    _decisions()
    _events()
    _compactions()


def _tenants() -> None:
    op.create_table(
        "tenants",
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("tenant", name="pk_tenants"),
    )
    op.create_table(
        "api_keys",
        *_required("key_id", "tenant"),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.BigInteger, nullable=False),
        sa.Column("revoked", sa.BigInteger),
        sa.PrimaryKeyConstraint("key_id", name="pk_api_keys"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.tenant"], name="fk_api_keys_tenant"),
    )
    op.create_index("ix_api_keys_tenant", "api_keys", ["tenant"])


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        *_required("tenant", "campaign_id"),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("end", sa.BigInteger),
        sa.Column("type", sa.Text),
        sa.PrimaryKeyConstraint("tenant", "campaign_id", name="pk_campaigns"),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.tenant"], name="fk_campaigns_tenant"),
    )
    op.create_table(
        "creatives",
        *_required("tenant", "creative_id", "item_id"),
        *_optional("campaign_id", "text", "image_hash"),
        sa.PrimaryKeyConstraint("tenant", "creative_id", name="pk_creatives"),
        sa.ForeignKeyConstraint(
            ["tenant", "campaign_id"],
            ["campaigns.tenant", "campaigns.campaign_id"],
            name="fk_creatives_tenant_campaign_id",
        ),
        sa.ForeignKeyConstraint(["tenant"], ["tenants.tenant"], name="fk_creatives_tenant"),
    )


def _decisions() -> None:
    op.create_table(
        "decisions",
        *_required("tenant", "request_id"),
        sa.Column("time", sa.BigInteger, nullable=False),
        *_required("user_id", "policy_id", "stage", "slate"),
        *_optional("context"),
        sa.PrimaryKeyConstraint("tenant", "request_id", name="pk_decisions"),
    )
    op.create_index("ix_decisions_tenant_time", "decisions", ["tenant", "time"])


def _events() -> None:
    op.create_table(
        "event_ids",
        sa.Column("id", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_event_ids"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "events",
        sa.Column("seq", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("time", sa.BigInteger, nullable=False),
        *_required("event_id", "request_id", "user_id", "kind", "item_id"),
        *_optional("creative_id", "campaign_id"),
        sa.Column("position", sa.Integer),
        sa.Column("propensity", sa.Double),
        sa.Column("policy_id", sa.Text),
        sa.Column("value", sa.Double),
        sa.Column("context", sa.Text),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_tenant_time_seq", "events", ["tenant", "time", "seq"])


def _compactions() -> None:
    op.create_table(
        "compactions",
        sa.Column("number", _NUMBER, sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
        *_required("folder", "file", "state"),
        sa.Column("rows", sa.BigInteger, nullable=False),
        sa.Column("started", sa.BigInteger, nullable=False),
        sa.Column("finished", sa.BigInteger),
        sa.PrimaryKeyConstraint("number", name="pk_compactions"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_compactions_tenant_state", "compactions", ["tenant", "state"])
