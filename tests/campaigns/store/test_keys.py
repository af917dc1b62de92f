from __future__ import annotations

import pytest
from sqlalchemy import select, update

from adwright.campaigns.store.keys import (
    SCOPES,
    callers_of,
    insert_key,
    key_id_of,
    list_keys,
    revoke,
)
from adwright.campaigns.store.store import Store
from adwright.campaigns.store.tables import KEYS
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError


def tenants(store: Store, *keys: str) -> list[str | None]:
    return [None if one is None else one.tenant for one in store.callers_of_keys(keys)]


def test_a_key_opens_for_its_tenant_alone(store: Store, tenant: str) -> None:
    key = store.create_key(tenant)
    other = store.create_key(f"{tenant[:90]} 2")
    assert tenants(store, key, other) == [tenant, f"{tenant[:90]} 2"]
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
        assert store.caller_of_key(wrong) is None, ascii(wrong)
    assert tenants(store, key) == [tenant]


def test_many_keys_are_looked_up_at_once(store: Store, tenant: str) -> None:
    other = f"{tenant[:90]} 2"
    keys = [store.create_key(tenant), store.create_key(other)]
    asked = [keys[1], *altered(keys[0]), keys[0], keys[1]]
    nobody = [None] * len(altered(keys[0]))
    assert tenants(store, *asked) == [other, *nobody, tenant, other]
    assert tenants(store) == []


@pytest.mark.parametrize("whole", [True, False])
def test_a_revoked_key_opens_nothing(store: Store, tenant: str, whole: bool) -> None:
    key, kept = store.create_key(tenant), store.create_key(tenant)
    shown = key if whole else key_id_of(key)
    assert not store.revoke_key("another tenant", shown)
    assert store.revoke_key(tenant, shown)
    assert not store.revoke_key(tenant, shown)
    assert tenants(store, key, kept) == [None, tenant]
    said = [(one.what, one.subject) for one in store.actions(tenant)]
    made = [("make key", key_id_of(one)) for one in (kept, key)]
    assert said == [("revoke key", key_id_of(key)), *made]
    assert [one.subject for one in store.actions(tenant, before=store.actions(tenant)[0].number)]


def test_a_key_opens_what_its_scopes_name(store: Store, tenant: str) -> None:
    kinds = [store.create_key(tenant), store.create_key(tenant, ["stops", "read", "stops"])]
    found = [one.scopes for one in store.callers_of_keys(kinds) if one is not None]
    assert found == [{"events", "decide"}, {"read", "stops"}]
    for wrong, why in ((["stop"], "did you mean 'stops'"), ([], "opens nothing")):
        with pytest.raises(ConfigError) as raised:
            store.create_key(tenant, wrong)
        assert why in f"{raised.value} {raised.value.hint}"
    # One that was made before there were scopes keeps all.
    with store._database.write() as connection:
        connection.execute(update(KEYS).values(scopes=None))
    old = store.caller_of_key(kinds[0])
    assert old is not None
    assert old.scopes == set(SCOPES)
    assert [one.scopes for one in store.keys(tenant)] == [None, None]


def test_a_tenant_may_want_two_keys(store: Store, tenant: str) -> None:
    key = store.create_key(tenant)
    for wanted in (True, False):
        store.want_two_keys(tenant, wanted)
        caller = store.caller_of_key(key)
        assert caller is not None
        assert caller.two_keys is wanted
    assert [one.subject for one in store.actions(tenant, what="two keys")] == ["off", "on"]


def test_what_may_be_shown(store: Store, tenant: str) -> None:
    clock = FixedClock()
    with store._database.write() as connection:
        first = insert_key(connection, tenant, clock.now(), ["read"])
        clock.advance(60)
        second = insert_key(connection, tenant, clock.now(), ["admin", "read"])
        clock.advance(60)
        assert revoke(connection, tenant, key_id_of(first), clock.now())
        (caller,) = callers_of(connection, [second])
        assert caller is not None
        assert caller.tenant == tenant
        shown = list_keys(connection, tenant)
    assert [one.key_id for one in shown] == [key_id_of(first), key_id_of(second)]
    assert [one.scopes for one in shown] == [("read",), ("admin", "read")]
    assert shown[0].revoked == clock.now()
    assert shown[1].revoked is None
    assert (shown[1].created - shown[0].created).total_seconds() == 60
    assert store.keys(tenant) == shown
    assert not any(key.split("_", 2)[2] in repr(shown) for key in (first, second))
