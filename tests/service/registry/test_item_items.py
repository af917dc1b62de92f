"""A saved item-item rule behind the service."""

from __future__ import annotations

from datetime import timedelta
from itertools import count
from pathlib import Path

import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.data.schema import ACTION_KINDS, validate_events
from adwright.data.sequences.datasets import log_of_sequences
from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.counted import (
    ItemItemRecommender,
    sequence_histories,
    train_item_item,
    with_histories,
)
from adwright.delivery.training_log import open_history
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed, probe
from adwright.service.registry.loading import load_deployed, stored_events
from adwright.service.registry.publishing import publish_model
from adwright.service.registry.registry import SETTINGS, FolderModels
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from adwright.training.sequential.runfile import sequence_data
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.cascade_parts import LATER, request
from tests.support.service.small_shop import running, wait_until

COUNT = count()

WALKS = small_sequences()
RULE = ItemItemArtifact(fit_item_item(log_of_sequences(WALKS)), WALKS.ids, repeats=True)


@pytest.fixture
def model(tmp_path: Path) -> Deployed:
    with_histories(RULE, sequence_histories(WALKS)).save(tmp_path / "acme" / "v1")
    (tmp_path / "acme" / SETTINGS).write_text("seed = 3\n")
    return load_deployed(tmp_path / "acme" / "v1")


def event(user_id: str, item_id: str) -> dict[str, object]:
    at = LATER - timedelta(hours=1)
    return {
        "event_id": f"{user_id}-{item_id}",
        "time": at,
        "request_id": f"r-{user_id}",
        "user_id": user_id,
        "kind": "click",
        "item_id": item_id,
    }


def test_it_decides_as_the_rule_says(model: Deployed) -> None:
    assert (model.kind, model.name, model.seed) == ("item-item", "v1", 3)
    (found,) = model.recommender.recommend_many([request("u3")], None)
    expected = ItemItemRecommender(RULE, sequence_histories(WALKS)).recommend(request("u3"))
    assert found.item_ids == expected.item_ids
    decision = model.decide("acme", request("u3", k=2), found)
    assert decision.item_ids == found.item_ids[:2]
    assert model.similar is not None
    assert model.similar("i3", 2) == ItemItemRecommender(RULE, sequence_histories(WALKS)).similar(
        "i3", 2
    )
    assert model.fallback.recommend(request("u3")).stage == "popularity"
    probe(model, SystemClock())


def test_it_follows_what_happens(model: Deployed) -> None:
    (before,) = model.recommender.recommend_many([request("new")], None)
    model.tell([event("new", "i4")])
    (after,) = model.recommender.recommend_many([request("new")], None)
    assert after.item_ids != before.item_ids
    assert model.known_until is not None
    told = validate_events(pl.DataFrame([event("new", "i4"), event("new", "i5")]))
    assert model.unknown is not None
    assert model.unknown(told)["item_id"].to_list() == ["i5"]
    # The log lacks what its returns took back: told again, they would take another purchase.
    back, until = event("u3", "i1") | {"kind": "return"}, model.known_until
    returns = [back | {"time": until - timedelta(hours=1)}, back | {"time": until, "event_id": "b"}]
    assert model.unknown(validate_events(pl.DataFrame(returns)))["event_id"].to_list() == ["b"]


def test_what_is_wanted_stays_and_what_is_bought_leaves_the_list_over_http(
    tmp_path: Path, store: Store
) -> None:
    """In a log of purchases of which nobody makes one twice, each of four neighbours in turn."""
    start = LATER - timedelta(days=300)
    rows = [
        {
            "user_id": f"u{n}",
            "item_id": f"i{(n + step) % 12}",
            "time": start + timedelta(days=step),
            "kind": "purchase",
        }
        for n in range(60)
        for step in range(5)
    ]
    pl.DataFrame(rows).write_parquet(tmp_path / "log.parquet")
    found = open_next_item(tmp_path / "log.parquet")
    assert not found.choices.repeats
    known = open_history(tmp_path / "log.parquet", ACTION_KINDS).events
    made = train_item_item(sequence_data(found), tmp_path / "run", events=known, draws=20)
    assert made.again["purchase"].share == 0
    publish_model(tmp_path / "run", tmp_path / "models", "acme")
    models = FolderModels(tmp_path / "models", load_deployed, SystemClock())
    config = ServiceConfig(deadline_ms=2000)
    tomorrow = request("c2", k=12, time=LATER + timedelta(days=1))
    with running(create_app(config, store, models)) as client:
        key = {"X-API-Key": store.create_key("acme")}

        def listed(user: str, visit: str) -> list[str]:
            body = {"request_id": f"{user}-{visit}", "user_id": user, "k": 12}
            answer = client.post("/v1/decide", json=body, headers=key).json()
            assert answer["stage"] == "fine"
            return [place["item_id"] for place in answer["items"]]

        def happens(user: str, kind: str, item_id: str, hour: int) -> None:
            more = {"event_id": f"{user}-{kind}", "kind": kind, "item_id": item_id}
            at = (LATER + timedelta(hours=hour)).isoformat()
            row = {**event(user, item_id), **more, "time": at}
            assert client.post("/v1/events", json={"events": [row]}, headers=key).status_code == 200

        for user, kind in enumerate(("view", "click", "cart")):
            before = listed(f"c{user}", "before")
            happens(f"c{user}", kind, "i3", 0)
            wait_until(lambda at=user, was=before: listed(f"c{at}", f"{next(COUNT)}") != was)
            assert "i3" in listed(f"c{user}", "after")
        happens("c2", "purchase", "i3", 1)
        wait_until(lambda: "i3" not in listed("c2", f"{next(COUNT)}"))
        # The popular items of a late answer are of one mind with that.
        late = models.status("acme").deployed.fallback.recommend(tomorrow)
        assert (late.stage, "i3" in late.item_ids) == ("popularity", False)
        happens("c2", "return", "i3", 2)
        wait_until(lambda: "i3" in listed("c2", f"{next(COUNT)}"))
    # A new process, which reads what is stored, knows the same.
    again = FolderModels(
        tmp_path / "models", load_deployed, SystemClock(), stored=stored_events(store)
    )
    again.look()
    deployed = again.status("acme").deployed
    (answer,) = deployed.recommender.recommend_many([tomorrow], None)
    assert "i3" in answer.item_ids
