from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from adwright.campaigns.store.store import Store
from adwright.core.artifacts import save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.deployed import Observer
from adwright.service.registry.loading import load_deployed, stored_events
from adwright.service.registry.registry import SETTINGS, FolderModels, publish
from tests.support.service.small_shop import ITEMS, NOW, request

WEIGHT = np.arange(len(ITEMS), dtype=np.float64)
SOFTMAX = """
seed = 7
policy_id = "warm"
[policy]
kind = "softmax"
temperature = 20.0
"""


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """A popularity artifact of the tenant acme, published."""
    save_popularity(tmp_path / "acme" / "v1", ITEMS, WEIGHT)
    publish(tmp_path, "acme", "v1")
    return tmp_path / "acme" / "v1"


def test_popularity_is_served_greedily(version: Path) -> None:
    model = load_deployed(version)
    assert (model.name, model.kind, model.seed) == ("v1", "popularity", 0)
    asked = request(k=3)
    (candidates,) = model.recommender.recommend_many([asked], None)
    decision = model.decide("acme", asked, candidates)
    assert decision.item_ids == ITEMS[:-4:-1]
    assert decision.propensity.tolist() == [1, 1, 1]
    assert model.fallback.recommend(asked).item_ids == candidates.item_ids


def test_the_policy_comes_from_the_settings(version: Path) -> None:
    (version.parent / SETTINGS).write_text(SOFTMAX)
    model = load_deployed(version)
    assert (model.seed, model.policy.policy_id) == (7, "warm")
    asked = request(k=3)
    (candidates,) = model.recommender.recommend_many([asked], None)
    decision = model.decide("acme", asked, candidates)
    assert (decision.propensity < 1).all()


def test_new_settings_are_taken_up_without_a_new_version(version: Path, clock: FixedClock) -> None:
    models = FolderModels(version.parent.parent, load_deployed, clock)
    models.look()

    def policy_id() -> str:
        status = models.status("acme")
        assert status is not None
        assert status.deployed is not None
        return status.deployed.policy.policy_id

    greedy = policy_id()
    settings = version.parent / SETTINGS
    settings.write_text(SOFTMAX)
    models.look()
    assert policy_id() == "warm" != greedy
    settings.write_text("policy = 3")
    models.look()
    status = models.status("acme")
    assert status is not None
    assert (policy_id(), status.refused) == ("warm", "v1")
    assert "ConfigError" in status.reason
    settings.unlink()
    models.look()
    assert policy_id() == greedy


@pytest.mark.parametrize(
    "text", ["seed = -1", "other = 1", "[policy]\nkind = 'magic'", "[policy]\ntemperature = 0"]
)
def test_wrong_settings_are_refused(version: Path, text: str) -> None:
    (version.parent / SETTINGS).write_text(text)
    with pytest.raises(ConfigError, match=SETTINGS):
        load_deployed(version)


def test_what_cannot_be_served_is_refused(version: Path) -> None:
    save_artifact(version.with_name("other"), kind="din", config={})
    with pytest.raises(ArtifactError, match="kind 'din' cannot be served"):
        load_deployed(version.with_name("other"))
    (version / "items.json").write_text("[]")
    with pytest.raises(ArtifactCorruptError):
        load_deployed(version)
    for text in ("", "[]", "{}", "[" * 100_000):
        (version / "manifest.json").write_text(text)
        with pytest.raises(ArtifactError, match="manifest cannot be read"):
            load_deployed(version)


def test_a_model_asks_for_the_events_that_it_does_not_know(store: Store) -> None:
    events = [
        {
            "event_id": f"e{n}",
            "time": NOW + timedelta(hours=n),
            "request_id": "r1",
            "user_id": "u1",
            "kind": kind,
            "item_id": ITEMS[n],
        }
        for n, kind in enumerate(("purchase", "click", "purchase", "view"))
    ]
    store.record_events("acme", events)
    store.record_events("umbrella", events)
    asked = stored_events(store)
    kinds = frozenset({"purchase", "view"})
    every = Observer(list, kinds, None)
    assert [event["event_id"] for event in asked("acme", every)] == ["e0", "e2", "e3"]
    newer = asked("acme", replace(every, since=NOW + timedelta(hours=2)))
    assert [event["event_id"] for event in newer] == ["e2", "e3"]
    assert newer[0]["time"] == NOW + timedelta(hours=2)
