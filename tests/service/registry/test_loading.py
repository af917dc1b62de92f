"""?"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.artifacts import save_artifact
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError, ValueInvalidError
from adwright.data.schema import ACTION_KINDS, validate_events
from adwright.data.sequences.datasets import log_of_sequences
from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.counted import (
    ItemItemRecommender,
    sequence_histories,
    train_item_item,
    with_histories,
)
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.creatives import LiveCreative
from adwright.delivery.policy.rules import beta_chances
from adwright.delivery.popularity import Popularity, save_popularity
from adwright.delivery.training_log import open_history
from adwright.models.calibration import ListCalibrator
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed, Observer, decision_rng, probe
from adwright.service.registry.publishing import (
    load_deployed,
    load_settings,
    publish_model,
    stored_events,
)
from adwright.service.registry.registry import SETTINGS, FolderModels, Load, inventory, publish
from adwright.training.retrieval.item_item import ItemItemArtifact, fit_item_item
from adwright.training.sequential.runfile import sequence_data
from tests.support.data.event_rows import event_row
from tests.support.data.small_sequences import small_sequences
from tests.support.delivery.cascade_parts import LATER
from tests.support.delivery.cascade_parts import request as cascade_parts_request
from tests.support.service.small_shop import (
    ITEMS,
    NOW,
    Client,
    Hashed,
    Shuffle,
    deployed,
    request,
    running,
    save_version,
    wait_until,
)

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
        event_row(f"e{n}", NOW + timedelta(hours=n), "r1", "u1", kind, ITEMS[n])
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


def test_what_was_compacted_of_ads_goes_on_to_count(
    version: Path, store: Store, tmp_path: Path
) -> None:
    """A service that starts anew after a compaction believes of ads what it did before."""
    store.create_tenant("acme")
    rows = [
        {
            **event_row(f"e{n}", NOW + timedelta(hours=6 * n), f"r{n}", "u1", kind, ITEMS[0]),
            "creative_id": creative,
        }
        for n, (kind, creative) in enumerate(
            [("impression", "a"), ("impression", "b"), ("click", "b")] * 30
        )
    ]
    store.record_events("acme", rows)
    both = [LiveCreative("a", ITEMS[0]), LiveCreative("b", ITEMS[0])]
    asked, found = Request("r", "u", NOW), list[Any]()
    for days in (0, 3, 400):
        if days:
            store.compact("acme", tmp_path / "log", before=NOW + timedelta(days=days))
        stored = stored_events(store)
        models = FolderModels(version.parent.parent, load_deployed, SystemClock(), stored=stored)
        models.look()
        status = models.status("acme")
        assert status is not None
        assert status.deployed is not None
        status.deployed.creatives.put(both)
        found.append(status.deployed.creatives.chances(ITEMS[0], asked)[1].tolist())
    assert found[0] == found[1] == found[2]
    assert found[0][1] > 0.9


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
            event_row(f"c{n}", NOON, f"r{n}", "u1", "click", "a")
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
    return event_row(f"{user_id}-{item_id}", at, f"r-{user_id}", user_id, "click", item_id)


def test_it_decides_as_the_rule_says(model: Deployed) -> None:
    assert (model.kind, model.name, model.seed) == ("item-item", "v1", 3)
    (found,) = model.recommender.recommend_many([cascade_parts_request("u3")], None)
    expected = ItemItemRecommender(RULE, sequence_histories(WALKS)).recommend(
        cascade_parts_request("u3")
    )
    assert found.item_ids == expected.item_ids
    decision = model.decide("acme", cascade_parts_request("u3", k=2), found)
    assert decision.item_ids == found.item_ids[:2]
    assert model.similar is not None
    assert model.similar("i3", 2) == ItemItemRecommender(RULE, sequence_histories(WALKS)).similar(
        "i3", 2
    )
    assert model.fallback.recommend(cascade_parts_request("u3")).stage == "popularity"
    probe(model, SystemClock())


def test_it_follows_what_happens(model: Deployed) -> None:
    (before,) = model.recommender.recommend_many([cascade_parts_request("new")], None)
    model.tell([event("new", "i4")])
    (after,) = model.recommender.recommend_many([cascade_parts_request("new")], None)
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
    tomorrow = cascade_parts_request("c2", k=12, time=LATER + timedelta(days=1))
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


def draws(*parts: Any) -> list[float]:
    drawn: list[float] = decision_rng(*parts).random(4).tolist()
    return drawn


def test_chance_depends_on_seed_tenant_and_request_alone() -> None:
    assert draws(1, "acme", "r1") == draws(1, "acme", "r1")
    others = [(2, "acme", "r1"), (1, "umbrella", "r1"), (1, "acme", "r2"), (1, "acm", "er1")]
    seen = {tuple(draws(*parts)) for parts in [(1, "acme", "r1"), *others]}
    assert len(seen) == 5
    # Pinned: replicas of different versions must decide alike.
    assert decision_rng(0, "a", "b").integers(0, 2**32, 2).tolist() == [489223896, 1858404339]


def test_a_decision_is_that_of_the_policy_with_this_generator() -> None:
    model = deployed()
    asked = request(k=5)
    candidates = Hashed().recommend_many([asked], None)[0]
    found = model.decide("acme", asked, candidates)
    expected = Shuffle().decide(asked, candidates, decision_rng(7, "acme", "r1"))
    assert found.item_ids == expected.item_ids
    assert model.decide("umbrella", asked, candidates).item_ids != found.item_ids


def test_one_thread_at_a_time_is_with_the_policy() -> None:
    inside, most = [0], [0]

    class Counting(Shuffle):
        def decide(
            self, request: Request, candidates: Candidates, rng: np.random.Generator
        ) -> Decision:
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            threading.Event().wait(0.002)
            inside[0] -= 1
            return super().decide(request, candidates, rng)

    model = deployed(policy=Counting())
    candidates = Hashed().recommend_many([request()], None)[0]
    threads = [
        threading.Thread(target=model.decide, args=("acme", request(), candidates))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


def test_a_probe_takes_every_path(clock: FixedClock) -> None:
    recommender = Hashed()
    probe(deployed(recommender=recommender), clock)
    assert recommender.batches == [2, 2, 2]
    none, far, passed = recommender.deadlines
    assert none is None
    assert far is not None
    assert not far.passed()
    assert passed is not None
    assert passed.passed()


class Short(Hashed):
    def recommend_many(self, requests: Any, deadline: Any) -> list[Candidates]:
        return super().recommend_many(requests, deadline)[:1]


class NoPolicy(Shuffle):
    def decide(self, request: Request, candidates: Candidates, rng: Any) -> Decision:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"recommender": Hashed(broken=True)}, RuntimeError),
        ({"recommender": Short()}, ValueInvalidError),
        ({"fallback": Popularity((), np.empty(0))}, ConfigError),
        ({"policy": NoPolicy()}, ZeroDivisionError),
    ],
)
def test_a_model_that_cannot_decide_is_found_out(
    clock: FixedClock, changes: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error):
        probe(deployed(**changes), clock)


class LongId(Shuffle):
    policy_id = "x" * 501


class Blank(Shuffle):
    def decide(self, request: Request, candidates: Candidates, rng: Any) -> Decision:
        found = super().decide(request, candidates, rng)
        return replace(found, item_ids=tuple(" " * (n + 1) for n in range(len(found.item_ids))))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_ids": ("a", "x" * 600)}, "600 characters"),
        ({"item_ids": ("a", "nan")}, "a word for nothing.*nan"),
        ({"item_ids": (" ",)}, "blank"),
        ({"item_ids": ("a\0b",)}, "control character"),
        ({"policy": LongId()}, "policy_id must have at most 500"),
        ({"policy": Blank()}, "item_id must not be empty"),
    ],
)
def test_a_model_whose_decisions_cannot_be_stored_is_found_out(
    clock: FixedClock, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueInvalidError, match=message):
        probe(deployed(**changes), clock)
    probe(deployed(item_ids=("a", "x" * 500)), clock)


def test_a_model_that_knows_each_event_is_asked_about_all_of_them() -> None:
    noon, few = datetime(2024, 6, 1, tzinfo=UTC), pl.DataFrame({"kind": []})
    plain = deployed(observe=print, known_until=noon)
    exact = deployed(observe=print, known_until=noon, unknown=lambda _: few)
    observer = exact.observers[0]
    assert [plain.observers[0].since, observer.since] == [noon, None]
    assert observer.unknown is not None
    assert observer.unknown(pl.DataFrame()) is few


def test_a_model_is_told_what_it_wants_to_know() -> None:
    told: list[Any] = []
    events = [{"kind": kind} for kind in ("click", "view", "click")]
    deployed(observe=told.append, kinds=frozenset({"click"})).tell(events)
    deployed(observe=told.append, kinds=frozenset({"purchase"})).tell(events)
    deployed(kinds=frozenset({"click"})).tell(events)
    assert told == [[events[0], events[2]]]


def test_it_tells_what_decides_and_what_else_is_there(tmp_path: Path) -> None:
    for tenant, version in (("acme", "v1"), ("acme", "v2"), ("umbrella", "v1")):
        save_version(tmp_path, tenant, version)
    publish(tmp_path, "acme", "v2")
    (tmp_path / "acme" / SETTINGS).write_text("seed = 1")
    (tmp_path / ".hidden").mkdir()
    acme, umbrella = inventory(tmp_path)
    assert (acme.tenant, acme.current, acme.settings) == ("acme", "v2", True)
    assert acme.kinds == {"v1": "hashed", "v2": "hashed"}
    assert acme.line() == ("acme: v2 (hashed, policy of serving.toml) decides; also there: v1")
    assert umbrella.line() == "umbrella: nothing is published (1 versions)"


def test_what_cannot_be_read_is_said_and_stops_nothing(tmp_path: Path) -> None:
    save_version(tmp_path, "acme", "v1")
    publish(tmp_path, "acme", "v1")
    (tmp_path / "acme" / "v1" / "manifest.json").write_text("{")
    (found,) = inventory(tmp_path)
    assert found.kinds == {"v1": ""}
    assert "v1 (missing) decides" in found.line()
    assert inventory(tmp_path / "nowhere") == []
