"""What Prometheus hears of each tenant: only where it is asked for."""

from __future__ import annotations

import re
from datetime import timedelta

import numpy as np
import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.data.creatives import Creative, CreativeState
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FixedModels
from tests.support.service.small_shop import ITEMS, Client, deployed, running

AD = Creative(headline="Fresh", item_id=ITEMS[0], campaign_id="spring", landing="https://a.example")


def measured(client: Client) -> dict[str, float]:
    found = re.findall(r"^adwright_tenant_(\S+) (\S+)$", client.get("/metrics").text, re.MULTILINE)
    return {name: float(value) for name, value in found if not name.startswith("created")}


@pytest.mark.parametrize("wanted", [True, False])
def test_each_tenant_is_told_where_that_is_wanted(store: Store, wanted: bool) -> None:
    key = store.create_key("acme", ["decide", "events"])
    start = SystemClock().now() - timedelta(days=1)
    store.put_campaign("acme", {"campaign_id": "spring", "start": start, "price": 0.5})
    store.write_creatives("acme", [AD], author="ann")
    states: list[CreativeState] = ["in review", "approved", "live"]
    for state in states:
        store.move_creatives("acme", [AD.creative_id], state, author="ann")
    models = FixedModels({"acme": deployed()}, SystemClock())
    with running(create_app(ServiceConfig(tenant_metrics=wanted), store, models)) as client:
        client.headers = {"X-API-Key": key}
        body = {"request_id": "r1", "user_id": "u1", "k": 2, "candidates": list(ITEMS[:2])}
        answers = [client.post("/v1/decide", json=body).json() for _ in range(2)]
        places = answers[0]["items"]
        click = next(place["creative"]["click"] for place in places if "creative" in place)
        assert client.get(click).status_code == 303
        found = measured(client)
        assert ("acme" in client.get("/metrics").text) == wanted
    if not wanted:
        return
    here = '{arm="",tenant="acme"}'
    assert found[f"decisions_total{here}"] == 1  # whoever asks again is answered as before
    assert found[f"impressions_total{here}"] == 2
    assert found[f"ad_impressions_total{here}"] == found[f"ad_clicks_total{here}"] == 1
    assert found['responses_total{arm="",kind="click",tenant="acme"}'] == 1
    scores = [place["score"] for place in places]
    assert np.isclose(found[f"expected_responses_total{here}"], sum(scores))
    assert (found['ads_live{tenant="acme"}'], found['ad_spend{tenant="acme"}']) == (1, 0.5)
