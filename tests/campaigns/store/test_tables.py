from __future__ import annotations

from adwright.campaigns.store.tables import CAMPAIGNS, CREATIVES, EVENTS, METADATA
from adwright.data.schema import CAMPAIGN_SCHEMA, CREATIVE_SCHEMA, EVENT_SCHEMA


def test_the_tables_hold_the_columns_of_the_schemas() -> None:
    pairs = ((EVENTS, EVENT_SCHEMA), (CAMPAIGNS, CAMPAIGN_SCHEMA), (CREATIVES, CREATIVE_SCHEMA))
    for table, schema in pairs:
        assert set(table.c.keys()) - {"tenant", "seq"} == set(schema.names)
        for field in schema:
            assert table.c[field.name].nullable == field.nullable


def test_every_table_but_the_digests_and_numbers_starts_with_its_tenant() -> None:
    for table in METADATA.tables.values():
        first = next(iter(table.primary_key)).name
        if table.name == "event_ids":
            assert "tenant" not in table.c  # it is in the digest
        else:
            assert "tenant" in table.c
            assert first in ("tenant", "key_id", "seq", "number")
