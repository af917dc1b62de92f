"""A saved item-item rule behind the service."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from adwright.core.clock import SystemClock
from adwright.data.schema import validate_events
from adwright.data.sequences.next_log import log_of_sequences
from adwright.delivery.item_item import ItemItemRecommender, with_histories
from adwright.delivery.item_item_run import sequence_histories
from adwright.service.registry.deployed import Deployed, probe
from adwright.service.registry.item_items import KIND
from adwright.service.registry.loading import load_deployed
from adwright.service.registry.registry import SETTINGS
from adwright.training.retrieval.item_item import fit_item_item
from adwright.training.retrieval.item_item_artifact import ItemItemArtifact
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.cascade_parts import LATER, request

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
    assert (model.kind, model.name, model.seed) == (KIND, "v1", 3)
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
