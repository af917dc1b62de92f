from __future__ import annotations

import importlib
import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.store.catalogue import decision_row
from adwright.campaigns.store.events import frame_of
from adwright.campaigns.store.store import Events, Store, StoredDecision, new_events
from adwright.campaigns.store.tables import Recorded
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, MissingExtraError, SchemaError, ValueInvalidError
from adwright.data.schema import EVENT_SCHEMA, empty_events, validate_events
from adwright.delivery.decision import Decision
from tests.support.store import store_processes as workers
from tests.support.store.events import START, decision, event, events
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


def test_an_event_counts_once(store: Store, tenant: str) -> None:
    assert store.record_events(tenant, events(10)) == Recorded(10, 0, 0)
    assert store.record_events(tenant, events(10)) == Recorded(0, 10, 0)
    within = [event(10), event(10), event(10, value=1.0), event(3, item_id="other"), event(11)]
    assert store.record_events(tenant, within) == Recorded(2, 3, 2)
    assert store.events(tenant)["event_id"].to_list() == [f"e{n}" for n in range(12)]
    assert store.events(tenant)["item_id"][3] == event(3)["item_id"]
    assert store.events(tenant)["value"].null_count() == 12


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
    store.record_decisions(tenant, [decision(0)])
    store.put_campaign(tenant, {"campaign_id": "a", "start": START})
    store.put_creative(tenant, {"creative_id": "c", "item_id": "tea"})
    for read in (store.events, store.decisions, store.campaigns, store.creatives):
        assert read(other).height == 0
        assert read(tenant).height > 0
    assert store.keys(tenant) == []
    assert store.log(other, tmp_path).collect().height == 0
    assert store.record_events(other, events(5)) == Recorded(5, 0, 0)
    assert store.record_decisions(other, [decision(0)]) == Recorded(1, 0, 0)


@pytest.mark.parametrize("name", ["stranger", "", "a\0", "\ud800"])
def test_only_tenants_that_exist_may_write(store: Store, name: str) -> None:
    writes: list[Callable[[], Any]] = [
        lambda: store.record_events(name, events(1)),
        lambda: store.record_decisions(name, [decision(0)]),
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
        [
            events(2),
            decision(1),
            events(4, start=2),
            [event(3), event(50), event(50)],
            decision(2),
        ],
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


def test_of_two_decisions_with_one_id_the_first_counts(store: Store, tenant: str) -> None:
    first, second = store.record_group(tenant, [decision(1), decision(1, user_id="u2")])
    assert stands(first, decision(1), repeated=False)
    assert stands(second, decision(1), repeated=True)


def test_who_listens_hears_of_each_event_once(store: Store, tenant: str) -> None:
    def write(*entries: Decision | Events) -> list[str]:
        results = store.record_group(tenant, entries)
        pairs = zip(entries, results, strict=True)
        return [event["event_id"] for pair in pairs for event in new_events(*pair)]

    assert write([event(1), event(1), event(2)], decision(1)) == [
        "e1",
        "e2",
        "r1-1",
        "r1-2",
    ]
    again = [event(3), event(2), event(4), event(1), event(4)]
    other = decision(1, user_id="u9")
    assert write(again, decision(1), other, decision(2)) == ["e3", "e4", "r2-1", "r2-2"]


@pytest.mark.parametrize(
    "bad",
    [
        [event(7, kind="unheard of")],
        decision(7, stage="\0"),
        decision(7, item_ids=("tea", "nan")),
    ],
)
def test_all_are_written_or_none(store: Store, tenant: str, bad: Decision | Events) -> None:
    with pytest.raises(ValueInvalidError):
        store.record_group(tenant, [decision(1), events(2), bad])
    assert store.events(tenant).is_empty()
    assert store.decisions(tenant).is_empty()


def test_nothing_is_something_too(store: Store, tenant: str) -> None:
    assert store.record_group(tenant, []) == []
    assert store.record_group(tenant, [[]]) == [Recorded(0, 0)]


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
