from __future__ import annotations

import threading

import pytest

from adwright.campaigns.store.catalogue import decision_row
from adwright.campaigns.store.store import Events, Store, StoredDecision, new_events
from adwright.campaigns.store.tables import Recorded
from adwright.core.errors import ValueInvalidError
from adwright.delivery.decision import Decision
from tests.support.store.events import decision, event, events


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
        for start in range(0, 20, 4):
            numbers = range(start, start + 4) if who else range(start + 3, start - 1, -1)
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
