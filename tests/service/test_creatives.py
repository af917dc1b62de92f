"""Ads over HTTP: entered as drafts, moved by who may, and shown to their tenant alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.data.creatives import Creative
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels
from tests.support.service.small_shop import Client, running

AD = {
    **{"item_id": "bread", "headline": "Fresh bread", "landing": "https://mill.example/bread"},
    **{"maker": "model:m1", "checks_passed": ["authoring"]},
}


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    with running(create_app(ServiceConfig(), store, FixedModels({}, SystemClock()))) as found:
        found.headers = {"X-API-Key": store.create_key("acme", ["creatives"])}
        yield found


def entered(client: Client, *ads: dict[str, Any], **more: Any) -> list[str]:
    answer = client.post("/v1/creatives", json={"creatives": [*ads], **more})
    assert answer.status_code == 200, answer.text
    ids: list[str] = answer.json()["creative_ids"]
    return ids


def move(client: Client, creative_id: str, state: str, **more: Any) -> Any:
    return client.post(f"/v1/creatives/{creative_id}/move", json={"state": state, **more})


def test_an_ad_goes_from_draft_to_live_with_its_history(client: Client, store: Store) -> None:
    (one,) = entered(client, AD)
    draft = Creative(**{**AD, "checks_passed": ("authoring",)})  # type: ignore[arg-type]
    assert one == draft.creative_id
    again = client.post("/v1/creatives", json={"creatives": [AD]}).json()
    assert again == {"accepted": 0, "duplicates": 1, "creative_ids": [one]}
    for state in ("in review", "approved", "live"):
        answer = move(client, one, state, author="ann", why="fine")
        assert answer.json() == {"creative_id": one, "state": state, "moved": True}
    assert move(client, one, "live").json()["moved"] is False
    store.set_priors("acme", "ctr", {one: (0.2, 0.1, 0.3)})
    (shown,) = client.get("/v1/creatives").json()["creatives"]
    assert shown == {
        **dict.fromkeys(("description", "body", "call_to_action", "brand", "image_hash"), ""),
        **dict.fromkeys(("campaign_id", "parent", "edit"), ""),
        **AD,
        **{"creative_id": one, "state": "live", "label": "AI"},
        "scores": {"ctr": {"value": 0.2, "low": 0.1, "high": 0.3}},
    }
    moves = client.get(f"/v1/creatives/{one}/moves").json()["moves"]
    assert [each["state"] for each in moves] == ["draft", "in review", "approved", "live"]
    assert moves[0]["author"].startswith("key ")
    assert (moves[1]["author"], moves[1]["why"]) == ("ann", "fine")
    key_id = client.headers["X-API-Key"].split("_")[1]
    assert store.actions("acme", what="creative")[0].key_id == key_id


def test_what_is_refused_says_what_to_do(client: Client, store: Store) -> None:
    (one,) = entered(client, AD)
    refused = move(client, one, "live")
    assert refused.status_code == 422
    error = refused.json()["error"]
    assert "'draft' cannot become 'live'" in error["message"]
    assert "in review or retired" in error["hint"]
    assert move(client, "gone", "live").status_code == 404
    assert client.get("/v1/creatives/gone/moves").status_code == 404
    assert move(client, one, "sold").status_code == 422
    for wrong in (
        {"item_id": None},
        {"campaign_id": "gone"},
        {"edit": "shorter"},
        {"landing": "javascript:alert(1)"},
        {"image_hash": "f00"},
        {"headline": "a\u0000"},
        {"creative_id": "nan"},
        {"colour": "red"},
    ):
        body = {"creatives": [{**AD, "brand": "Mill"}, {**AD, **wrong}]}
        answer = client.post("/v1/creatives", json=body)
        assert answer.status_code == 422, wrong
        assert answer.json()["error"]["message"]
    assert len(store.creatives_full("acme")) == 1


def test_pages_by_state_and_item(client: Client) -> None:
    ads = [{**AD, "headline": f"No {n}", "item_id": f"i{n % 2}"} for n in range(5)]
    ids = entered(client, *ads)
    (submitted,) = entered(client, {**AD, "headline": "Now"}, submit=True, author="ann")

    def listed(query: str) -> list[str]:
        found = client.get(f"/v1/creatives?{query}").json()["creatives"]
        return [one["creative_id"] for one in found]

    assert listed("state=in%20review") == [submitted]
    assert sorted(listed("state=draft&state=in%20review")) == sorted([*ids, submitted])
    assert len(listed("item_id=i1")) == 2
    first = listed("state=draft&limit=3")
    assert sorted(first + listed(f"state=draft&after={first[-1]}")) == sorted(ids)
    assert client.get("/v1/creatives?limit=0").status_code == 422
    assert client.get("/v1/creatives?state=sold").status_code == 422


def test_a_tenant_sees_and_moves_its_own_alone(client: Client, store: Store) -> None:
    (one,) = entered(client, AD)
    client.headers = {"X-API-Key": store.create_key("umbrella", SCOPES)}
    assert client.get("/v1/creatives").json() == {"creatives": []}
    assert move(client, one, "in review").status_code == 404
    assert client.get(f"/v1/creatives/{one}/moves").status_code == 404
    assert entered(client, {**AD, "creative_id": one, "headline": "Other"}) == [one]
