from __future__ import annotations

import threading
from typing import Any

import pytest

from adwright.campaigns.store.group_commit import Entry, Kept, new_events
from adwright.campaigns.store.store import Recorded, Store
from adwright.core.errors import SchemaError, ValueInvalidError
from tests.support.store.events import decision, event, events


def impressions(number: int) -> list[dict[str, Any]]:
    return [event(0, event_id=f"r{number}-{place}") for place in (1, 2)]


def decided(number: int, **changes: Any) -> Entry:
    return Entry(decision(number, **changes), impressions(number))


def test_each_caller_is_told_what_became_of_their_own(store: Store, tenant: str) -> None:
    store.record_events(tenant, events(3))
    told = store.record_group(
        tenant,
        [
            Entry(events=events(2)),
            decided(1),
            Entry(events=events(4, start=2)),
            Entry(events=[event(3), event(50), event(50)]),
            decided(2),
        ],
    )
    assert told == [
        Recorded(0, 2),
        Kept(decision(1), False),
        Recorded(3, 1),
        Recorded(1, 2),
        Kept(decision(2), False),
    ]
    assert store.decisions(tenant)["request_id"].to_list() == ["r1", "r2"]
    assert store.events(tenant).height == 3 + 3 + 1 + 4


def test_a_decision_that_was_there_is_given_back_without_new_impressions(
    store: Store, tenant: str
) -> None:
    store.record_group(tenant, [decided(1)])
    other = [event(0, event_id="other")]
    (same,) = store.record_group(tenant, [decided(1)])
    assert same == Kept(decision(1), False)
    different = Entry(decision(1, policy_id="chance", context=None), other)
    kept, fresh = store.record_group(tenant, [different, decided(2)])
    assert isinstance(kept, Kept)
    assert kept.repeated
    assert dict(kept.decision) == decision(1)
    assert fresh == Kept(decision(2), False)
    ids = store.events(tenant)["event_id"].to_list()
    assert sorted(ids) == ["r1-1", "r1-2", "r2-1", "r2-2"]


def test_of_two_decisions_with_one_id_the_first_counts(store: Store, tenant: str) -> None:
    first, second = store.record_group(tenant, [decided(1), decided(1, user_id="u2")])
    assert first == Kept(decision(1), False)
    assert isinstance(second, Kept)
    assert second.repeated
    assert dict(second.decision) == decision(1)


def test_who_listens_hears_of_each_event_once(store: Store, tenant: str) -> None:
    def write(*entries: Entry) -> list[str]:
        results = store.record_group(tenant, entries)
        pairs = zip(entries, results, strict=True)
        return [event["event_id"] for pair in pairs for event in new_events(*pair)]

    assert write(Entry(events=[event(1), event(1), event(2)]), decided(1)) == [
        "e1",
        "e2",
        "r1-1",
        "r1-2",
    ]
    again = Entry(events=[event(3), event(2), event(4), event(1), event(4)])
    other = decided(1, user_id="u9")
    assert write(again, decided(1), other, decided(2)) == ["e3", "e4", "r2-1", "r2-2"]


def test_a_context_may_be_absent(store: Store, tenant: str) -> None:
    store.record_group(tenant, [decided(1, context=None)])
    (kept,) = store.record_group(tenant, [decided(1)])
    assert isinstance(kept, Kept)
    assert kept.decision["context"] is None


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (Entry(events=[event(7, kind="unheard of")]), ValueInvalidError),
        (Entry(decision(7, stage=None)), SchemaError),
        (decided(7, slate=[{}]), SchemaError),
    ],
)
def test_all_are_written_or_none(
    store: Store, tenant: str, bad: Entry, error: type[Exception]
) -> None:
    with pytest.raises(error):
        store.record_group(tenant, [decided(1), Entry(events=events(2)), bad])
    assert store.events(tenant).is_empty()
    assert store.decisions(tenant).is_empty()


def test_nothing_is_something_too(store: Store, tenant: str) -> None:
    assert store.record_group(tenant, []) == []
    assert store.record_group(tenant, [Entry()]) == [Recorded(0, 0)]


def test_a_tenant_that_does_not_exist_is_refused(store: Store) -> None:
    with pytest.raises(ValueInvalidError, match="no such tenant"):
        store.record_group("nobody", [decided(1)])


def test_groups_side_by_side_leave_each_once(store: Store, tenant: str) -> None:
    """Two writers, as two replicas would be: the same requests, differently decided."""
    told: list[list[Kept | Recorded]] = [[], []]
    gate = threading.Barrier(2)

    def write(who: int) -> None:
        gate.wait()
        for start in range(0, 20, 4):
            numbers = range(start, start + 4) if who else range(start + 3, start - 1, -1)
            group = [decided(n, user_id=f"by-{who}") for n in numbers]
            told[who] += store.record_group(tenant, [*group, Entry(events=events(9))])

    threads = [threading.Thread(target=write, args=(who,)) for who in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    stands = dict(store.decisions(tenant).select("request_id", "user_id").iter_rows())
    assert len(stands) == 20
    for kept in told[0] + told[1]:
        if isinstance(kept, Kept):
            assert stands[kept.decision["request_id"]] == kept.decision["user_id"]
    assert store.events(tenant).height == 2 * 20 + 9
    accepted = sum(one.accepted for one in told[0] + told[1] if isinstance(one, Recorded))
    assert accepted == 9
