from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.artifacts import save_artifact
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError
from adwright.delivery.decision import Candidates
from adwright.delivery.policy.rules import beta_chances
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.models.calibration import ListCalibrator
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed, Observer
from adwright.service.registry.loading import load_deployed, load_settings, stored_events
from adwright.service.registry.registry import SETTINGS, FolderModels, Load, publish
from tests.support.service.small_shop import ITEMS, NOW, Client, deployed, request, running

NOON, TOMORROW = NOW.isoformat(), (NOW + timedelta(days=1)).isoformat()
WEIGHT = np.arange(len(ITEMS), dtype=np.float64)
SOFTMAX = """
seed = 7
policy_id = "warm"
[policy]
kind = "softmax"
scale = "score"
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


CALIBRATION = {"popularity": ListCalibrator(-3.0, 0.5, 0.0)}


@pytest.mark.parametrize(
    "text", ["explore = 0.02", "[policy]\nkind = 'thompson'", "[policy]\nkind = 'softmax'"]
)
def test_a_policy_that_a_model_cannot_carry_is_refused(version: Path, text: str) -> None:
    (version.parent / SETTINGS).write_text(text)
    with pytest.raises(ConfigError, match=r"no probabilities.* train it again"):
        load_deployed(version)
    able = version.with_name("v2")
    save_popularity(able, ITEMS, WEIGHT, calibration=CALIBRATION)
    model, asked = load_deployed(able), request(k=3)
    (candidates,) = model.recommender.recommend_many([asked], None)
    assert candidates.item_ids[:3] == ITEMS[:-4:-1]
    propensity = model.decide("acme", asked, candidates).propensity
    assert ((propensity > 0) & (propensity < 1)).all()
    kept = model.kept()
    assert kept is not None
    assert kept.value < 1
    assert 0 < kept.effective < 1_000


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
        with pytest.raises(ArtifactError, match="manifest"):
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


class Shop:
    """A service over HTTP whose tenant acme has a published model and settings."""

    def __init__(self, root: Path, store: Store, load: Load = load_deployed) -> None:
        self.settings = root / "acme" / SETTINGS
        stored = stored_events(store)
        self.models = FolderModels(root, load, SystemClock(), stored=stored, seconds=3600)
        self.app = create_app(ServiceConfig(deadline_ms=2000), store, self.models)
        self.key = store.create_key("acme", SCOPES)

    def set(self, text: str) -> None:
        """Change the settings, and let the registry look."""
        self.settings.write_text(text)
        self.models.look()


@contextmanager
def shop(root: Path, store: Store, load: Load = load_deployed) -> Iterator[tuple[Shop, Client]]:
    opened = Shop(root, store, load)
    with running(opened.app) as client:
        client.headers = {"X-API-Key": opened.key}
        yield opened, client


def slate(client: Client, request_id: str, user_id: str = "u1", **fields: Any) -> dict[str, float]:
    """Items that are shown now -> their propensities."""
    body = {"request_id": request_id, "user_id": user_id, "k": 4, **fields}
    answer = client.post("/v1/decide", json=body)
    assert answer.status_code == 200
    return {place["item_id"]: place["propensity"] for place in answer.json()["items"]}


BEST = list(ITEMS[:-5:-1])
GROUPS = f"""
[campaigns]
spring = ["{BEST[0]}", "{BEST[1]}"]
[categories]
tea = ["{BEST[0]}", "{BEST[1]}", "{BEST[2]}"]
"""


def test_a_cap_that_is_reached_takes_the_item_away(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store) as (opened, client):
        opened.set("[[caps]]\nlimit = 2\nhours = 1")
        assert list(slate(client, "r1")) == BEST
        assert list(slate(client, "r1")) == BEST, "sent again it is no second impression"
        assert list(slate(client, "r2")) == BEST
        assert not set(slate(client, "r3")) & set(BEST)
        assert list(slate(client, "r4", "u2")) == BEST
        opened.set("[[caps]]\nlimit = 3\nhours = 1")
        # The new settings count what the store holds of the hour.
        assert list(slate(client, "r5")) == BEST
        assert not set(slate(client, "r6")) & set(BEST)
    with shop(version.parent.parent, store) as (_, client):
        assert not set(slate(client, "r7")) & set(BEST)


def test_decisions_that_are_made_at_once_see_each_other(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store) as (opened, client):
        opened.set("[[caps]]\nlimit = 1")
        asked = [{"request_id": f"r{n}", "user_id": "u1", "k": 4} for n in range(5)]
        answers = [client.start("POST", "/v1/decide", json=body) for body in asked]
        shown = [place["item_id"] for one in answers for place in one.result(30).json()["items"]]
        assert len(shown) == len(set(shown)) == 20


def test_a_budget_that_is_spent_takes_the_campaign_away(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store) as (opened, client):
        opened.set("[pacing]\ncost = 0.5\ngain = 0.0\nbudget.spring = 2.0" + GROUPS)
        noon = {"time": NOON}
        assert [list(slate(client, f"r{n}", f"u{n}", **noon)) for n in range(2)] == [BEST] * 2
        assert not set(slate(client, "r3", "u3", **noon)) & set(BEST[:2])
        assert list(slate(client, "r4", "u4", time=TOMORROW)) == BEST


def test_variety_changes_the_slate(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store) as (opened, client):
        opened.set("[diversity]\nweight = 3.5" + GROUPS)
        # Scores are 59, 58, 57, 56 ...: an item of the same category loses 3.5 of them.
        assert list(slate(client, "r1")) == [BEST[0], BEST[3], ITEMS[-5], BEST[1]]
        opened.set("[diversity]\nweight = 0.0\nmax_per_category = 1" + GROUPS)
        assert list(slate(client, "r2")) == [BEST[0], BEST[3], ITEMS[-5], ITEMS[-6]]


def test_propensities_are_those_of_what_may_be_shown(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store) as (opened, client):
        opened.set(
            '[policy]\nkind = "softmax"\nscale = "score"\ntemperature = 2.0\n[[caps]]\nlimit = 1'
        )
        (shown,) = slate(client, "r1", k=1, candidates=BEST[:3])
        left = [item for item in BEST[:3] if item != shown]
        found = slate(client, "r2", k=2, candidates=BEST[:3])
        odds = {item: np.exp(WEIGHT[ITEMS.index(item)] / 2 - 29) for item in left}
        first, last = found
        assert found[first] == pytest.approx(odds[first] / sum(odds.values()))
        assert found[last] == 1


class Twins:
    """Two items of the same probability."""

    def recommend_many(self, requests: Any, deadline: Any) -> list[Candidates]:
        return [Candidates(("a", "b"), np.array([0.5, 0.5]), True, "fine") for _ in requests]


def load_twins(folder: Path) -> Deployed:
    settings = load_settings(folder)
    policy, records = settings.build()
    return deployed(
        folder.name,
        recommender=Twins(),
        policy=policy,
        fallback=Popularity(ITEMS, WEIGHT, CALIBRATION),
        records=records,
        seed=settings.seed,
    )


def test_thompson_learns_from_the_clicks_that_come_in(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store, load_twins) as (opened, client):
        opened.set('[policy]\nkind = "thompson"\nstrength = 2.0\n[evidence]\nresponse = "click"')
        shown = [next(iter(slate(client, f"r{n}", k=1))) for n in range(12)]
        assert {"a", "b"} == set(shown)
        clicks = [
            {
                "event_id": f"c{n}",
                "time": NOON,
                "request_id": f"r{n}",
                "user_id": "u1",
                "kind": "click",
                "item_id": "a",
            }
            for n, item in enumerate(shown)
            if item == "a"
        ]
        for _ in range(2):
            assert client.post("/v1/events", json={"events": clicks}).status_code == 200
        successes = np.array([1.0 + len(clicks), 1.0])
        failures = np.array([1.0, 1.0 + 12 - len(clicks)])
        chance = beta_chances(successes, failures, np.zeros(2))
        expected = dict(zip("ab", chance, strict=True))
        first = slate(client, "r20", k=1)
        (item, propensity), *_ = first.items()
        assert propensity == pytest.approx(expected[item])
        assert expected["a"] > 0.9
    # After a restart the evidence comes from the store.
    with shop(version.parent.parent, store, load_twins) as (_, client):
        (again,) = slate(client, "r21", k=1).values()
        assert max(again, 1 - again) > 0.9


def test_refused_settings_leave_the_old_ones_at_work(version: Path, store: Store) -> None:
    with shop(version.parent.parent, store) as (opened, client):
        opened.set("[[caps]]\nlimit = 1")
        slate(client, "r1")
        opened.set("[[caps]]\nlimitt = 9")
        assert not set(slate(client, "r2")) & set(BEST)
        (model,) = client.get("/v1/models").json()["models"]
        assert (model["name"], model["refused"]) == ("v1", "v1")
        assert "unknown key" in model["reason"]
        assert "serving.toml, key caps.0.limitt" in model["reason"]
        assert client.get("/readyz").json()["refused"] == 1
        assert "adwright_models_refused 1.0" in client.get("/metrics").text
        opened.set("[[caps]]\nlimit = 9")
        assert list(slate(client, "r3")) == BEST
        assert client.get("/readyz").json()["refused"] == 0
