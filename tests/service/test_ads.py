"""Ads in decisions: shown while they may be, told with their chance, clicked once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.creatives import LiveAds
from adwright.campaigns.store.store import Store
from adwright.core.clock import FixedClock, SystemClock
from adwright.creative.response.fit import KIND
from adwright.data.creatives import Creative
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.decide.ads import PATIENCE, Ads
from adwright.service.registry.registry import FixedModels
from tests.support.service.small_shop import ITEMS, NOW, Client, deployed, request, running

FIRST = Creative(headline="Fresh bread", item_id=ITEMS[0], landing="https://mill.example/bread")
SECOND = Creative(headline="Bread", item_id=ITEMS[0], campaign_id="spring", maker="model:m1")
WAY = ("in review", "approved", "live")


def enter(store: Store, *creatives: Creative) -> None:
    store.write_creatives("acme", creatives, author="ann")
    for state in WAY:
        store.move_creatives("acme", [one.creative_id for one in creatives], state, author="ann")


def campaign(store: Store, **terms: Any) -> None:
    start = SystemClock().now() - timedelta(days=1)
    store.put_campaign("acme", {"campaign_id": "spring", "start": start, **terms})


@pytest.fixture
def client(store: Store) -> Iterator[Client]:
    models = FixedModels({"acme": deployed()}, SystemClock())
    store.create_tenant("acme")
    with running(create_app(ServiceConfig(), store, models)) as found:
        found.headers = {"X-API-Key": store.create_key("acme", ["decide", "events", "stops"])}
        yield found


def decide(client: Client, number: int, **more: Any) -> list[dict[str, Any]]:
    body = {"request_id": f"r{number}", "user_id": "u1", "k": 2, "candidates": list(ITEMS[:2])}
    answer = client.post("/v1/decide", json=body | more)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return sorted(items, key=lambda place: str(place["item_id"]))


def test_an_item_is_shown_in_one_of_its_live_ads(client: Client, store: Store) -> None:
    before = decide(client, 1)
    assert all("creative" not in place for place in before)
    campaign(store)
    enter(store, FIRST, SECOND)
    client.app.state.service.ads.look()
    places = [decide(client, number)[0] for number in range(2, 30)]
    seen = {place["creative_id"]: place for place in places}
    assert seen.keys() == {FIRST.creative_id, SECOND.creative_id}
    first, second = seen[FIRST.creative_id], seen[SECOND.creative_id]
    assert first["creative"]["slots"] == {"headline": "Fresh bread"}
    assert (first["creative"]["landing"], first["campaign_id"]) == (FIRST.landing, None)
    assert (second["creative"]["label"], second["campaign_id"]) == ("AI", "spring")
    # Items without ads, and the draw of the items, are as they were.
    assert "creative" not in decide(client, 31)[1]
    assert [place["item_id"] for place in decide(client, 1)] == list(ITEMS[:2])
    assert decide(client, 1) == before
    events = store.events("acme", kinds=["impression"]).drop_nulls("creative_id")
    assert set(events["creative_id"]) == seen.keys()
    row = events.filter(request_id=f"r{places.index(first) + 2}").row(0, named=True)
    assert row["propensity"] == first["propensity"] * first["creative_propensity"]


def test_the_same_question_has_the_same_answer(client: Client, store: Store) -> None:
    enter(store, FIRST)
    ads: Ads = client.app.state.service.ads
    ads.look()
    first = decide(client, 1)
    store.move_creatives("acme", [FIRST.creative_id], "retired", author="ann")
    ads.look()
    assert decide(client, 1) == first
    ads._creatives.clear()  # as in a process that never saw it
    assert decide(client, 1) == first
    assert "creative" not in decide(client, 2)[0]


def test_a_click_counts_once_and_leads_to_the_page_of_the_ad(client: Client, store: Store) -> None:
    enter(store, FIRST)
    client.app.state.service.ads.look()
    address = decide(client, 1)[0]["creative"]["click"]
    client.headers = {}
    for _ in range(2):
        answer = client.get(address)
        assert (answer.status_code, answer.headers["location"]) == (303, FIRST.landing)
    (row,) = store.events("acme", kinds=["click"]).to_dicts()
    assert (row["item_id"], row["creative_id"]) == (ITEMS[0], FIRST.creative_id)
    assert (row["user_id"], row["request_id"]) == ("u1", "r1")
    text, _, mac = address.rpartition("/")[2].partition(".")
    for wrong in (f"{text}.{mac[:-2]}AA", f"{text}A.{mac}", text, "x", ".", "WzEsMiwzXQ.AA"):
        assert client.get(f"/click/{wrong}").status_code == 404
    assert store.events("acme", kinds=["click"]).height == 1


@pytest.mark.parametrize(
    "terms",
    [
        {"end": SystemClock().now() - timedelta(hours=1)},
        {"budget": 1.0, "price": 1.0, "spent": True},
        {"targeting": '{"page": ["home"]}'},
    ],
    ids=["flight", "budget", "targeting"],
)
def test_a_campaign_that_is_not_for_this_pays_for_nothing(
    client: Client, store: Store, terms: dict[str, Any]
) -> None:
    spent = terms.get("spent")
    campaign(store, **{name: one for name, one in terms.items() if name != "spent"})
    enter(store, FIRST, SECOND)
    if spent:
        event = {"event_id": "e", "request_id": "r", "user_id": "u9", "kind": "impression"}
        event |= {"item_id": ITEMS[0], "creative_id": SECOND.creative_id, "campaign_id": "spring"}
        store.record_events("acme", [{**event, "time": SystemClock().now()}])
    client.app.state.service.ads.look()
    shown = [decide(client, number)[0]["creative_id"] for number in range(20)]
    assert set(shown) == {FIRST.creative_id}
    if "targeting" in terms:
        places = [decide(client, n, context={"page": "home"})[0] for n in range(20, 40)]
        assert SECOND.creative_id in {place["creative_id"] for place in places}


def test_a_budget_ends_with_its_last_impression(client: Client, store: Store) -> None:
    campaign(store, budget=3.0, price=1.0)
    enter(store, SECOND)
    client.app.state.service.ads.look()
    shown = [decide(client, number)[0].get("creative_id") for number in range(6)]
    assert shown == [SECOND.creative_id] * 3 + [None] * 3
    assert store.spend("acme").row(0) == ("spring", 3, 3.0)


def test_a_person_sees_a_campaign_as_often_as_its_cap_says(client: Client, store: Store) -> None:
    campaign(store, cap=3)
    other = Creative(headline="Jam", item_id=ITEMS[1], campaign_id="spring")
    enter(store, SECOND, other)
    ads: Ads = client.app.state.service.ads
    ads.look()

    def shown(number: int, user: str = "u1") -> list[str]:
        places = decide(client, number, user_id=user)
        return [place["creative_id"] for place in places if "creative_id" in place]

    # The cap holds within a slate, too, and whoever asks again is answered as before.
    assert [len(shown(number)) for number in (1, 2, 2, 3)] == [2, 1, 1, 0]
    assert len(shown(4, "u2")) == 2
    # A cap that is changed, or has other hours, counts what was seen before.
    campaign(store, cap=4)
    ads.look()
    assert [len(shown(number)) for number in (5, 6)] == [1, 0]
    campaign(store, cap=5, cap_hours=48.0)
    ads.look()
    assert [len(shown(number)) for number in (7, 8)] == [1, 0]
    # So does another process, and one that starts anew.
    state = client.app.state.service
    again = Ads(store, state.models, lambda _: None, state.clock, seconds=1.0)
    again.look()
    capped = decided(deployed(), time=state.clock.now())
    assert not again.shown("acme", deployed(), capped).shown
    campaign(store)
    ads.look()
    assert len(shown(9)) == 2


def test_what_is_on_its_way_counts_for_a_cap(store: Store) -> None:
    clock, model = FixedClock(NOW), deployed()
    store.create_tenant("acme")
    store.put_campaign("acme", {"campaign_id": "spring", "start": NOW, "cap": 1})
    enter(store, SECOND)
    ads = Ads(store, FixedModels({"acme": model}, clock), lambda _: None, clock, seconds=1.0)
    ads.look()
    asked = [decided(model), decided(model, request_id="r2"), decided(model, request_id="r3")]
    assert ads.shown("acme", model, asked[0]).shown
    assert not ads.shown("acme", model, asked[1]).shown
    ads.settle("acme", asked[0].request.request_id)  # it was not written
    made = ads.shown("acme", model, asked[1])
    assert made.shown
    ads.tell("acme", made.impressions())
    ads.settle("acme", "r2")
    assert not ads.shown("acme", model, asked[2]).shown
    clock.advance(24 * 3600)
    ads.look()
    later = replace(asked[2], request=replace(asked[2].request, time=clock.now()))
    assert ads.shown("acme", model, later).shown


def test_a_stop_counts_at_once(client: Client, store: Store) -> None:
    enter(store, FIRST, replace_headline("Loaf"))
    client.app.state.service.ads.look()
    event = {
        **{"event_id": "s1", "time": "2024-06-01T18:30:07Z", "request_id": "x", "user_id": "ann"},
        **{"kind": "stop", "item_id": ITEMS[0], "creative_id": FIRST.creative_id},
    }
    assert client.post("/v1/events", json={"events": [event]}).status_code == 200
    shown = {decide(client, number)[0]["creative_id"] for number in range(20)}
    assert shown == {replace_headline("Loaf").creative_id}


def replace_headline(text: str) -> Creative:
    return Creative(headline=text, item_id=ITEMS[0])


def test_without_word_from_the_store_no_ad_is_shown(store: Store) -> None:
    clock, model = FixedClock(), deployed()
    store.create_tenant("acme")
    enter(store, FIRST)
    ads = Ads(store, FixedModels({"acme": model}, clock), lambda _: None, clock, seconds=1.0)
    ads.look()
    assert ads.total == 1
    decision = decided(model)
    assert ads.shown("acme", model, decision).shown
    clock.advance(PATIENCE)
    assert ads.shown("acme", model, decision) is decision
    ads.look()
    assert ads.shown("acme", model, decision).shown


def decided(model: Any, **changes: Any) -> Any:
    asked = request(candidates=ITEMS[:1], **changes)
    (candidates,) = model.recommender.recommend_many([asked], None)
    return model.policy.decide(asked, candidates, np.random.default_rng(0))


def test_what_judges_say_reaches_the_choice(store: Store) -> None:
    clock, model = FixedClock(), deployed()
    store.create_tenant("acme")
    enter(store, FIRST, replace_headline("Loaf"))
    said = {FIRST.creative_id: (0.3, 0.2, 0.4)}
    store.set_priors("acme", KIND, said)
    store.set_priors("acme", "memorability", said)
    Ads(store, FixedModels({"acme": model}, clock), lambda _: None, clock, seconds=1.0).look()
    offered, _ = model.creatives.chances(ITEMS[0], request())
    told = {one.creative_id: (one.told, one.recall) for one in offered}
    assert told == {
        FIRST.creative_id: (0.3, 0.3),
        replace_headline("Loaf").creative_id: (None, None),
    }


def test_a_choice_that_fails_leaves_the_items(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, model = FixedClock(), deployed()
    store.create_tenant("acme")
    enter(store, FIRST)
    ads = Ads(store, FixedModels({"acme": model}, clock), lambda _: None, clock, seconds=1.0)
    monkeypatch.setattr(model.creatives, "choose", None)
    monkeypatch.setattr(model.creatives, "refresh", None)
    ads.look()
    decision = decided(model)
    assert ads.shown("acme", model, decision) is decision
    assert "the counts of tenant acme cannot be read" in caplog.text
    assert "could not be chosen" in caplog.text


def test_ads_of_one_tenant_that_cannot_be_read_are_no_matter_of_others(
    store: Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock, model = FixedClock(), deployed()
    store.create_tenant("acme")
    store.create_tenant("above")
    enter(store, FIRST)
    store.write_creatives("above", [FIRST], author="ann")
    read = store.live_creatives

    def broken(tenant: str) -> LiveAds:
        if tenant == "above":
            raise ValueError("no such ad")
        return read(tenant)

    monkeypatch.setattr(store, "live_creatives", broken)
    ads = Ads(store, FixedModels({"acme": model}, clock), lambda _: None, clock, seconds=1.0)
    for _ in range(2):
        ads.look()
        assert ads.shown("acme", model, decided(model)).shown
        clock.advance(PATIENCE)
    assert caplog.text.count("the ads of tenant above cannot be read") == 1


def test_clicks_teach_which_ad_is_better(client: Client, store: Store) -> None:
    enter(store, FIRST, replace_headline("Loaf"))
    client.app.state.service.ads.look()
    for number in range(60):
        place = decide(client, number)[0]
        if place["creative_id"] == FIRST.creative_id:
            assert client.get(place["creative"]["click"]).status_code == 303
    shown = [decide(client, number)[0]["creative_id"] for number in range(60, 90)]
    assert shown.count(FIRST.creative_id) > 20


@pytest.mark.parametrize(
    ("creative_id", "code"),
    [
        ("live", 200),
        ("draft", 422),
        ("theirs", 422),
        ("old", 200),
        ("unheard-of", 422),
        (None, 200),
    ],
)
def test_an_event_is_of_an_ad_that_was_live(
    client: Client, store: Store, creative_id: str | None, code: int
) -> None:
    store.create_tenant("other")
    store.write_creatives("other", [replace(FIRST, creative_id="theirs")], author="ann")
    store.put_creatives("acme", [{"creative_id": "old", "item_id": ITEMS[1], "text": "Rye"}])
    row = {"event_id": "e1", "request_id": "x1", "user_id": "u1", "kind": "click"}
    row |= {"item_id": ITEMS[0], "time": SystemClock().now().isoformat()}
    said = {} if creative_id is None else {"creative_id": creative_id}
    # A tenant without ads of its own may name those of its platform.
    assert client.post("/v1/events", json={"events": [row | said]}).status_code == 200
    enter(store, replace(FIRST, creative_id="live"))
    store.write_creatives(
        "acme", [replace(SECOND, creative_id="draft", campaign_id="")], author="ann"
    )
    client.app.state.service.ads.look()
    answer = client.post("/v1/events", json={"events": [{**row, **said, "event_id": "e2"}]})
    assert answer.status_code == code, answer.text
    if code != 200:
        assert f"no ad '{creative_id}' of this tenant was ever live" in answer.text
