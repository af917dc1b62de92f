from __future__ import annotations

import pytest
from sqlalchemy import select

from adwright.campaigns.store.keys import insert_key, key_id_of, list_keys, revoke, tenant_of
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import KEYS
from adwright.core.clock import FixedClock


def test_a_key_opens_for_its_tenant_alone(store: Store, tenant: str) -> None:
    key = store.create_key(tenant)
    other = store.create_key(f"{tenant[:90]} 2")
    assert store.tenant_of_key(key) == tenant
    assert store.tenant_of_key(other) == f"{tenant[:90]} 2"
    assert key != store.create_key(tenant)


def test_keys_are_long_and_kept_as_hashes(store: Store, tenant: str) -> None:
    key = store.create_key(tenant)
    start, key_id, secret = key.split("_", 2)
    assert (start, len(key_id), len(secret)) == ("adw", 16, 43)
    with store._database.read() as connection:
        row = connection.execute(select(KEYS).where(KEYS.c.key_id == key_id)).one()
    assert len(row.hash) == 32
    assert secret not in repr(row)
    assert secret.encode() not in row.hash


def altered(key: str) -> list[str]:
    _, key_id, secret = key.split("_", 2)
    flipped = "A" if secret[0] != "A" else "B"
    return [
        "",
        "adw",
        "adw__",
        f"adw__{secret}",
        f"adw_{key_id}",
        f"adw_{key_id}_",
        f"adw_{key_id}_{flipped}{secret[1:]}",
        f"adw_{key_id}_{secret}x",
        f"adw_{key_id}_{secret[:-1]}",
        f"adw_{key_id[::-1]}_{secret}",
        f"aws_{key_id}_{secret}",
        f" {key}",
        f"{key}\0",
        f"adw_{key_id}\0_{secret}",
        f"adw_ä_{secret}",
        "adw_\ud800_x",
        f"adw_'; DROP TABLE api_keys; --_{secret}",
    ]


def test_anything_else_opens_nothing(store: Store, tenant: str) -> None:
    key = store.create_key(tenant)
    for wrong in altered(key):
        assert store.tenant_of_key(wrong) is None, ascii(wrong)
    assert store.tenant_of_key(key) == tenant


def test_many_keys_are_looked_up_at_once(store: Store, tenant: str) -> None:
    other = f"{tenant[:90]} 2"
    keys = [store.create_key(tenant), store.create_key(other)]
    asked = [keys[1], *altered(keys[0]), keys[0], keys[1]]
    nobody = [None] * len(altered(keys[0]))
    assert store.tenants_of_keys(asked) == [other, *nobody, tenant, other]
    assert store.tenants_of_keys([]) == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_revoked_key_opens_nothing(store: Store, tenant: str, whole: bool) -> None:
    key, kept = store.create_key(tenant), store.create_key(tenant)
    shown = key if whole else key_id_of(key)
    assert not store.revoke_key("another tenant", shown)
    assert store.tenant_of_key(key) == tenant
    assert store.revoke_key(tenant, shown)
    assert not store.revoke_key(tenant, shown)
    assert store.tenant_of_key(key) is None
    assert store.tenant_of_key(kept) == tenant


def test_what_may_be_shown(store: Store, tenant: str) -> None:
    clock = FixedClock()
    with store._database.write() as connection:
        first = insert_key(connection, tenant, clock.now())
        clock.advance(60)
        second = insert_key(connection, tenant, clock.now())
        clock.advance(60)
        assert revoke(connection, tenant, key_id_of(first), clock.now())
        assert tenant_of(connection, second) == tenant
        shown = list_keys(connection, tenant)
    assert [one.key_id for one in shown] == [key_id_of(first), key_id_of(second)]
    assert shown[0].revoked == clock.now()
    assert shown[1].revoked is None
    assert (shown[1].created - shown[0].created).total_seconds() == 60
    assert store.keys(tenant) == shown
    assert not any(key.split("_", 2)[2] in repr(shown) for key in (first, second))
