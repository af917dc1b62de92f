"""What is promised of these, and what is refused."""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlalchemy import select, update

from adwright.campaigns.overview import overview
from adwright.campaigns.store.catalogue import DECISION_TYPES, decision_of, decision_row
from adwright.campaigns.store.events import frame_of
from adwright.campaigns.store.keys import (
    SCOPES,
    callers_of,
    insert_key,
    key_id_of,
    list_keys,
    revoke,
)
from adwright.campaigns.store.store import Events, Store, StoredDecision, new_events
from adwright.campaigns.store.tables import KEYS, Recorded
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, MissingExtraError, SchemaError, ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA, Catalogue, empty_events, validate_events
from adwright.delivery.decision import Decision, ShownCreative
from tests.support.store import store_processes as workers
from tests.support.store.events import START, decision, event, events, request
from tests.support.store.store_processes import start


def test_events_there_and_back(store: Store, tenant: str) -> None:
    rows = [event(1, value=2.5, creative_id="c", campaign_id="d"), event(0, context=None)]
    assert store.record_events(tenant, rows) == Recorded(2, 0, 0)
    found = store.events(tenant)
    assert found.equals(validate_events(frame_of(rows[::-1], EVENT_SCHEMA)))
    assert store.events("nobody").equals(empty_events())
    assert store.record_events(tenant, []) == Recorded(0, 0, 0)
    table = frame_of(events(3, start=5), EVENT_SCHEMA)
    assert store.record_events(tenant, table) == Recorded(3, 0, 0)


def _repeated(store: Store, tenant: str, *decisions: Decision) -> list[int]:
    """The places of those that differ from what stands in the store."""
    told = store.record_group(tenant, decisions)
    assert [type(one) for one in told] == [StoredDecision] * len(decisions)
    return [at for at, one in enumerate(told) if isinstance(one, StoredDecision) and one.repeated]


def test_events_are_filtered(store: Store, tenant: str) -> None:
    rows = [*events(40), event(40, kind="click"), event(41, kind="purchase")]
    store.record_events(tenant, rows)
    hour = timedelta(hours=1)
    assert store.events(tenant, since=START + 2 * hour).height == 22
    assert store.events(tenant, until=START + 2 * hour).height == 20
    assert store.events(tenant, since=START + hour, until=START + 2 * hour).height == 10
    assert store.events(tenant, kinds=["click", "purchase"])["event_id"].to_list() == ["e40", "e41"]
    assert store.events(tenant, kinds=[]).height == 0
    assert store.events(tenant, kinds=["impression"], since=START + 3 * hour).height == 10


def test_a_batch_is_kept_whole_or_not_at_all(store: Store, tenant: str) -> None:
    with pytest.raises(ValueInvalidError, match=r"row 7, column user_id"):
        store.record_events(tenant, [*events(7), event(7, user_id="")])
    with pytest.raises(SchemaError):
        store.record_events(tenant, [event(0, colour="red")])
    assert store.events(tenant).height == 0
    assert store.record_events(tenant, events(8)).accepted == 8


def test_tenants_see_nothing_of_each_other(store: Store, tenant: str, tmp_path: Path) -> None:
    other = f"{tenant[:90]} 2"
    store.create_key(other)
    store.record_events(tenant, events(5))
    store.record_group(tenant, [decision(0)])
    store.put_campaign(tenant, {"campaign_id": "a", "start": START})
    store.put_creative(tenant, {"creative_id": "c", "item_id": "tea"})
    for read in (store.events, store.decisions, store.campaigns, store.creatives):
        assert read(other).height == 0
        assert read(tenant).height > 0
    assert store.keys(tenant) == []
    assert store.log(other, tmp_path).collect().height == 0
    assert store.record_events(other, events(5)) == Recorded(5, 0, 0)
    assert not _repeated(store, other, decision(0))


@pytest.mark.parametrize("name", ["stranger", "", "a\0", "\ud800"])
def test_only_tenants_that_exist_may_write(store: Store, name: str) -> None:
    writes: list[Callable[[], Any]] = [
        lambda: store.record_events(name, events(1)),
        lambda: store.record_group(name, [decision(0)]),
        lambda: store.put_campaign(name, {"campaign_id": "a", "start": START}),
        lambda: store.put_creative(name, {"creative_id": "c", "item_id": "tea"}),
    ]
    for write in writes:
        with pytest.raises(ValueInvalidError, match="no such tenant"):
            write()


def test_tenants(store: Store, tenant: str) -> None:
    store.create_tenant(tenant)
    assert store.tenants().count(tenant) == 1
    for name in ("", "  ", "a\nb", "a\0", "\ud800", "x" * 101):
        with pytest.raises(ValueInvalidError, match="name of a tenant"):
            store.create_tenant(name)
    with pytest.raises(ValueInvalidError, match="name of a tenant"):
        store.create_key("")


def test_it_shows_no_password_and_answers(store: Store, tmp_path: Path) -> None:
    store.ping()
    assert repr(store).startswith("Store('")
    with pytest.raises(ConfigError):
        Store.open("sqlite://")
    clock = FixedClock()
    url = f"sqlite:///{tmp_path / 'a.db'}"
    with Store.open(url, clock=clock, connections=1) as other:
        other.create_key("acme")
        assert other.keys("acme")[0].created == clock.now()
        assert other._database.engine.pool.size() == 1  # type: ignore[attr-defined]
    with Store.open(url) as again:
        assert again.tenants() == ["acme"]


@pytest.mark.parametrize("absent", ["sqlalchemy", "alembic"])
def test_without_the_extra_it_says_what_to_install(
    absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, absent, None)
    monkeypatch.delitem(sys.modules, "adwright.campaigns.store.store")
    with pytest.raises(MissingExtraError, match=r"adwright\[service\]"):
        importlib.import_module("adwright.campaigns.store.store")


def test_threads_post_overlapping_batches(store: Store, tenant: str) -> None:
    accepted = []

    def run(seed: int) -> None:
        rows = events(300)
        random.Random(seed).shuffle(rows)
        for first in range(0, 300, 20):
            accepted.append(store.record_events(tenant, rows[first : first + 20]).accepted)

    threads = [threading.Thread(target=run, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(accepted) == 90
    assert sum(accepted) == 300
    assert sorted(store.events(tenant)["event_id"]) == sorted(e["event_id"] for e in events(300))


def test_processes_post_overlapping_batches(store_url: str) -> None:
    accepted = multiprocessing.get_context("forkserver").Value("q", 0)
    with Store.open(store_url) as store:
        store.create_tenant("acme")
        posts = [
            start(workers.post, store_url, "acme", seed, 600, 50, accepted) for seed in range(4)
        ]
        for process in posts:
            process.join(60)
        assert [process.exitcode for process in posts] == [0] * 4
        assert accepted.value == 600
        assert sorted(store.events("acme")["event_id"]) == sorted(
            e["event_id"] for e in events(600)
        )


def test_killed_at_random_what_was_acknowledged_is_kept_once(
    store_url: str, tmp_path: Path
) -> None:
    rng, told = random.Random(5), tmp_path / "told"
    told.touch()
    with Store.open(store_url) as store:
        store.create_tenant("acme")
        for _ in range(4):
            writer = start(workers.post_and_tell, store_url, "acme", 5_000, 10, told)
            size = told.stat().st_size
            deadline = time.monotonic() + 120
            while told.stat().st_size == size and writer.is_alive():
                assert time.monotonic() < deadline
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
            os.kill(writer.pid or 0, signal.SIGKILL)
            writer.join()
        # A line that was cut off names nothing that was acknowledged.
        acknowledged = set(told.read_text().rpartition("\n")[0].split())
        kept = store.events("acme")["event_id"].to_list()
        assert len(kept) == len(set(kept))
        assert acknowledged <= set(kept)
        assert len(kept) % 10 == 0
        again = store.record_events("acme", events(len(kept) + 10))
        assert again == Recorded(10, len(kept), 0)


def test_a_store_says_whether_it_is_new_and_where_it_is(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with pytest.raises(ConfigError, match="no such store"):
        Store.open(url, create=False)
    with Store.open(url) as made:
        assert made.is_new
        assert made.url == url
        assert made.size() > 0
    with Store.open(url, create=False) as again:
        assert not again.is_new


def stands(result: StoredDecision | Recorded, expected: Decision, *, repeated: bool) -> bool:
    """Whether the result says that the expected decision is the one in the store."""
    assert isinstance(result, StoredDecision)
    assert result.repeated == repeated
    return decision_row(result.decision) == decision_row(expected)


def test_each_caller_is_told_what_became_of_their_own(store: Store, tenant: str) -> None:
    store.record_events(tenant, events(3))
    told = store.record_group(
        tenant,
        [events(2), decision(1), events(4, start=2), [event(3), event(50), event(50)], decision(2)],
    )
    assert [told[0], *told[2:4]] == [Recorded(0, 2), Recorded(3, 1), Recorded(1, 2)]
    assert stands(told[1], decision(1), repeated=False)
    assert stands(told[4], decision(2), repeated=False)
    assert store.decisions(tenant)["request_id"].to_list() == ["r1", "r2"]
    assert store.events(tenant).height == 3 + 3 + 1 + 4


def test_a_decision_that_was_there_is_given_back_without_new_impressions(
    store: Store, tenant: str
) -> None:
    store.record_group(tenant, [decision(1)])
    (same,) = store.record_group(tenant, [decision(1)])
    assert stands(same, decision(1), repeated=False)
    different = decision(1, policy_id="chance", item_ids=("rye", "tea"), context={})
    kept, fresh = store.record_group(tenant, [different, decision(2)])
    assert stands(kept, decision(1), repeated=True)
    assert stands(fresh, decision(2), repeated=False)
    found = store.events(tenant)
    assert sorted(found["event_id"].to_list()) == ["r1-1", "r1-2", "r2-1", "r2-2"]
    assert "rye" not in found["item_id"]


def test_who_listens_hears_of_each_event_once(store: Store, tenant: str) -> None:
    def write(*entries: Decision | Events) -> list[str]:
        results = store.record_group(tenant, entries)
        pairs = zip(entries, results, strict=True)
        return [event["event_id"] for pair in pairs for event in new_events(*pair)]

    assert write([event(1), event(1), event(2)], decision(1)) == ["e1", "e2", "r1-1", "r1-2"]
    again = [event(3), event(2), event(4), event(1), event(4)]
    other = decision(1, user_id="u9")
    assert write(again, decision(1), other, decision(2)) == ["e3", "e4", "r2-1", "r2-2"]


@pytest.mark.parametrize(
    "bad",
    [[event(7, kind="unheard of")], decision(7, stage="\0"), decision(7, item_ids=("tea", "nan"))],
)
def test_all_are_written_or_none(store: Store, tenant: str, bad: Decision | Events) -> None:
    with pytest.raises(ValueInvalidError):
        store.record_group(tenant, [decision(1), events(2), bad])
    assert store.events(tenant).is_empty()
    assert store.decisions(tenant).is_empty()


def test_a_tenant_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(ValueInvalidError, match="no such tenant"):
        store.record_group("nobody", [decision(1)])


def test_groups_side_by_side_leave_each_once(store: Store, tenant: str) -> None:
    """Two writers, as two replicas would be: the same requests, differently decided."""
    told: list[list[StoredDecision | Recorded]] = [[], []]
    gate = threading.Barrier(2)

    def write(who: int) -> None:
        gate.wait()
        for first in range(0, 20, 4):
            numbers = range(first, first + 4) if who else range(first + 3, first - 1, -1)
            group = [decision(n, user_id=f"by-{who}") for n in numbers]
            told[who] += store.record_group(tenant, [*group, events(9)])

    threads = [threading.Thread(target=write, args=(who,)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    users = dict(store.decisions(tenant).select("request_id", "user_id").iter_rows())
    assert len(users) == 20
    for kept in told[0] + told[1]:
        if isinstance(kept, StoredDecision):
            asked = kept.decision.request
            assert users[asked.request_id] == asked.user_id
    assert store.events(tenant).height == 2 * 20 + 9
    accepted = sum(one.accepted for one in told[0] + told[1] if isinstance(one, Recorded))
    assert accepted == 9


def creative(name: str, **changes: Any) -> dict[str, Any]:
    return {"creative_id": name, "item_id": "tea", "campaign_id": None, "text": "Tea!", **changes}


def test_campaigns_and_creatives_are_a_catalogue(store: Store, tenant: str) -> None:
    store.put_campaign(tenant, {"campaign_id": "b", "start": START})
    store.put_campaign(tenant, {"campaign_id": "a", "start": START, "type": "A"})
    store.put_creatives(tenant, [creative("2", campaign_id="a"), creative("1", text=None)])
    items = pl.DataFrame({"item_id": ["tea"]})
    found = Catalogue.checked(items, store.creatives(tenant), store.campaigns(tenant))
    assert found.campaigns["campaign_id"].to_list() == ["a", "b"]
    assert found.campaigns["start"].to_list() == [START, START]
    assert found.creatives.rows() == [
        ("1", "tea", None, None, None),
        ("2", "tea", "a", "Tea!", None),
    ]
    assert store.creatives("nobody").equals(found.creatives[:0])
    assert store.campaigns("nobody").equals(found.campaigns[:0])


def test_a_campaign_takes_new_values(store: Store, tenant: str) -> None:
    end = START + timedelta(days=3)
    store.put_campaign(tenant, {"campaign_id": "a", "start": START, "type": "A"})
    store.put_campaign(tenant, {"campaign_id": "a", "start": START, "end": end})
    assert store.campaigns(tenant).rows() == [("a", START, end, *[None] * 7)]


def test_campaigns_come_by_the_page(store: Store, tenant: str) -> None:
    ids = ["a", "B", "a-1", "\u00e4", "z", "c10", "c9", "C9"]
    for name in ids:
        store.put_campaign(tenant, {"campaign_id": name, "start": START})
    got, after = list[str](), None
    while page := store.campaigns(tenant, after=after, limit=3)["campaign_id"].to_list():
        assert len(page) <= 3
        got += page
        after = page[-1]
    assert sorted(got) == sorted(ids)
    assert store.campaigns(tenant, after=got[4])["campaign_id"].to_list() == got[5:]
    assert store.campaigns(tenant, limit=100)["start"].to_list() == [START] * len(ids)


def test_a_creative_never_changes(store: Store, tenant: str) -> None:
    store.put_creative(tenant, creative("1"))
    store.put_creative(tenant, creative("1"))
    with pytest.raises(ValueInvalidError, match=r"another creative.*row 1, column creative_id"):
        store.put_creatives(tenant, [creative("2"), creative("1", text="Coffee!")])
    assert store.creatives(tenant)["creative_id"].to_list() == ["1"]
    store.put_creatives(tenant, [])


def test_a_creatives_campaign_is_one_of_the_tenant(store: Store, tenant: str) -> None:
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    store.put_campaign(other, {"campaign_id": "a", "start": START})
    with pytest.raises(ValueInvalidError, match=r"no such campaign.*row 1, column campaign_id"):
        store.put_creatives(tenant, [creative("1"), creative("2", campaign_id="a")])


@pytest.mark.parametrize(
    ("campaign", "kind", "words"),
    [
        ({"campaign_id": "a"}, SchemaError, "missing: start"),
        ({"campaign_id": "a", "start": None}, ValueInvalidError, "start must not be empty"),
        ({"campaign_id": "x" * 501, "start": START}, ValueInvalidError, "at most 500"),
        ({"campaign_id": "a\0", "start": START}, ValueInvalidError, "NUL"),
        (
            {"campaign_id": "a", "start": START, "end": START - timedelta(1)},
            ValueInvalidError,
            "end",
        ),
        ({"campaign_id": "a", "start": "May"}, SchemaError, "timestamp"),
    ],
)
def test_broken_campaigns_are_refused(
    store: Store, tenant: str, campaign: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        store.put_campaign(tenant, campaign)


def test_broken_creatives_are_refused(store: Store, tenant: str) -> None:
    for changes in ({"creative_id": "x" * 501}, {"text": "a\0"}, {"item_id": ""}):
        with pytest.raises(ValueInvalidError):
            store.put_creative(tenant, creative("1") | changes)
    longest = creative("ß" * 500)
    store.put_creative(tenant, longest)
    assert store.creatives(tenant)["creative_id"].to_list() == ["ß" * 500]


def test_decisions_there_and_back(store: Store, tenant: str) -> None:
    assert _repeated(store, tenant, decision(1), decision(0)) == []
    found = store.decisions(tenant)
    assert dict(found.schema) == DECISION_TYPES
    assert found["request_id"].to_list() == ["r0", "r1"]
    later = decision(1).request.time
    assert found["time"][1] == later
    slate = found["slate"][0].to_list()
    assert [{k: v for k, v in place.items() if v is not None} for place in slate] == (
        decision(0).places()
    )
    assert json.loads(found["context"][0]) == {"store": "s1", "_model": "v1"}
    assert store.decisions(tenant, since=later)["request_id"].to_list() == ["r1"]
    assert store.decisions(tenant, until=later)["request_id"].to_list() == ["r0"]
    assert store.decisions("nobody").equals(found[:0])


def test_the_creatives_of_a_decision_come_back(store: Store, tenant: str) -> None:
    made = decision(0, shown=(None, ShownCreative("c1", "spring", 0.25)))
    store.record_group(tenant, [made])
    first, second = store.decisions(tenant)["slate"][0].to_list()
    assert (first["creative_id"], first["creative_propensity"]) == (None, None)
    assert second == made.places()[1]


def test_a_request_is_decided_once(store: Store, tenant: str) -> None:
    store.record_group(tenant, [decision(0)])
    again = [decision(0), decision(0, stage="coarse"), decision(1), decision(1), decision(2)]
    assert _repeated(store, tenant, *again) == [1]
    assert store.decisions(tenant)["stage"].to_list() == ["fine"] * 3
    assert store.record_group(tenant, []) == []
    other = f"{tenant[:90]} 2"
    store.create_tenant(other)
    assert not _repeated(store, other, decision(0))


def test_a_row_keeps_its_form() -> None:
    """Pinned: a decision sent again is compared with rows that earlier releases wrote."""
    assert decision_row(decision(0)) == {
        "request_id": "r0",
        "user_id": "u1",
        "policy_id": "greedy",
        "stage": "fine",
        "time": 1_714_521_600_000_000,
        "slate": '[{"item_id": "tea", "position": 1, "propensity": 0.9, "reason": "best", '
        '"score": 0.5}, {"item_id": "jam", "position": 2, "propensity": 1.0, "reason": "next", '
        '"score": -2.0}]',
        "context": '{"_model": "v1", "store": "s1"}',
    }
    assert decision_row(decision(0, model=""))["context"] == '{"store": "s1"}'


@pytest.mark.parametrize(
    "made",
    [
        decision(0, context={"price": 0.1 + 0.2, "page": "käse"}),
        decision(0, model="", context={}),
        decision(
            0, item_ids=(), propensity=np.empty(0), score=np.empty(0), reasons=(), stage="coarse"
        ),
        decision(0, shown=(None, ShownCreative("c1", "", 0.1 + 0.2))),
        decision(0, shown=(ShownCreative("c2", "spring", 1.0), ShownCreative("c1", "", 0.5))),
    ],
)
def test_a_row_gives_back_its_decision(made: Any) -> None:
    found = decision_of(decision_row(made))
    assert decision_row(found) == decision_row(made)
    assert found.request.time == made.request.time
    assert (found.model, found.stage, found.item_ids) == (made.model, made.stage, made.item_ids)
    assert (found.shown, found.places()) == (made.shown, made.places())
    assert np.array_equal(found.propensity, made.propensity)


@pytest.mark.parametrize(
    ("made", "column"),
    [
        (replace(decision(0), request=request(0, request_id="x" * 501)), "request_id"),
        (decision(0, user_id="a\0"), "user_id"),
        (decision(0, user_id="\ud800"), "user_id"),
        (decision(0, policy_id="a\0"), "policy_id"),
        (decision(0, stage="\udfff"), "stage"),
        (decision(0, reasons=("\ud800", "b")), "slate"),
        (decision(0, context={"a": "\ud800"}), "context"),
    ],
)
def test_what_no_database_keeps_is_refused(made: Any, column: str) -> None:
    with pytest.raises(ValueInvalidError) as caught:
        decision_row(made)
    assert caught.value.column == column


def test_odd_texts_survive(store: Store, tenant: str) -> None:
    odd = decision(0, context={"ä\0": "🛒\n"}, reasons=('"\\ \0', "next"), model="")
    store.record_group(tenant, [odd])
    found = store.decisions(tenant)
    assert json.loads(found["context"][0]) == {"ä\0": "🛒\n"}
    assert found["slate"][0][0]["reason"] == '"\\ \0'


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


def test_a_tenant_is_counted_by_kind_and_day(store: Store, tenant: str, tmp_path: Path) -> None:
    key = store.create_key(tenant)
    store.revoke_key(tenant, store.create_key(tenant))
    store.record_group(tenant, [decision(n) for n in range(3)])  # with two impressions each
    store.record_events(tenant, [*events(250)[6:], event(900, kind="click", time=START)])
    store.put_campaign(tenant, {"campaign_id": "spring", "start": START})
    found = overview(store, tenant)
    assert [one.revoked is None for one in found.keys] == [True, False]
    assert key.split("_")[1] == found.keys[0].key_id
    assert (found.events, found.kinds) == (251, {"impression": 250, "click": 1})
    assert found.span == (START.date(), START.date() + timedelta(days=1))
    days = found.by_day()
    assert days.columns == ["day", "click", "impression"]
    assert days.rows() == [(START.date() + timedelta(days=1), 0, 10), (START.date(), 1, 240)]
    assert (found.totals.decisions, found.totals.campaigns, found.totals.creatives) == (3, 1, 0)
    assert (found.totals.compacted, found.totals.files, found.totals.folders) == (0, 0, ())
    store.compact(tenant, tmp_path / "log", before=START + timedelta(days=1))
    after = overview(store, tenant)
    assert after.events == 10
    assert (after.totals.compacted, after.totals.files) == (241, 1)
    assert after.totals.folders == (str((tmp_path / "log").resolve()),)
