from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from adwright.campaigns.simulation.local import LocalClient
from adwright.campaigns.simulation.personal_frequency import Favourites
from adwright.campaigns.store.store import Store
from adwright.delivery.decision import Request
from adwright.delivery.policy.slate_policy import SoftmaxConfig, build_policy
from tests.support.store.small_world import ITEMS, START, before


def test_it_decides_and_stores_as_the_service_does(tmp_path: Path) -> None:
    seen: list[Mapping[str, Any]] = []

    def note(events: Sequence[Mapping[str, Any]]) -> None:
        seen.extend(events)

    with Store.open(f"sqlite:///{tmp_path / 's.db'}") as store:
        recommender = Favourites(before(), ITEMS["item_id"].to_list())
        policy = build_policy(SoftmaxConfig())
        client = LocalClient(recommender, policy, store, "t", seed=1, observe=note)
        requests = [Request(f"r{n}", f"u{n}", START, k=3) for n in range(4)]
        first = client.decide(requests)
        assert [one.request_id for one in first] == ["r0", "r1", "r2", "r3"]
        assert [row["request_id"] for row in store.decisions("t").to_dicts()] == [
            one.request_id for one in first
        ]
        impressions = store.events("t")
        assert impressions["event_id"].to_list()[:3] == ["r0-1", "r0-2", "r0-3"]
        assert tuple(impressions["item_id"].to_list()[:3]) == first[0].item_ids

        # Asked again, also with others beside it, the answer stands and nothing is added.
        again = client.decide([*requests, Request("r9", "u9", START, k=3)])
        assert again[:4] == first
        assert store.events("t").height == 15

        click = {
            "event_id": "r0-1-click",
            "time": START + timedelta(seconds=5),
            "request_id": "r0",
            "user_id": "u0",
            "kind": "click",
            "item_id": first[0].item_ids[0],
        }
        assert client.send_events([click]) == 1
        assert client.send_events([click]) == 0
        assert [event["event_id"] for event in seen] == ["r0-1-click"]


def test_chance_depends_on_the_seed_and_the_request_alone(tmp_path: Path) -> None:
    recommender = Favourites(before(), ITEMS["item_id"].to_list())
    policy = build_policy(SoftmaxConfig(temperature=5.0))
    requests = [Request(f"r{n}", "u1", START, k=5) for n in range(6)]
    slates = []
    for name, seed, order in (("a", 0, 1), ("b", 0, -1), ("c", 1, 1)):
        with Store.open(f"sqlite:///{tmp_path / name}.db") as store:
            client = LocalClient(recommender, policy, store, "t", seed=seed)
            found = client.decide(requests[::order])
            slates.append({one.request_id: one.item_ids for one in found})
    assert slates[0] == slates[1] != slates[2]
