from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.artifacts import load_artifact
from adwright.core.clock import SystemClock
from adwright.delivery import served
from adwright.delivery.decision import Request
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Serving
from adwright.delivery.served import ServedModel, history_kinds_of
from adwright.models.calibration import ListCalibrator
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.publishing import ALONE, load_deployed, stored_events
from adwright.service.registry.registry import SETTINGS, FolderModels, publish
from tests.support.data.event_rows import event_row
from tests.support.delivery.cascade_parts import (
    deployment,
    hcn,
    histories,
    ranker,
    request,
    two_tower,
)
from tests.support.delivery.funnel_parts import funnel, without
from tests.support.delivery.sequence_parts import hstu, hstu_ranker, sasrec
from tests.support.delivery.single_models import past
from tests.support.service.small_shop import running

CALIBRATED = replace(
    deployment(),
    calibration={
        stage: ListCalibrator(-2.0, 0.5, 0.1) for stage in ("fine", "coarse", "popularity")
    },
)


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained cascade of the tenant acme, published."""
    root = tmp_path_factory.mktemp("models")
    CALIBRATED.save(root / "acme" / "v1")
    (root / "acme" / SETTINGS).write_text('seed = 3\n[policy]\nkind = "softmax"\n')
    publish(root, "acme", "v1")
    return root / "acme" / "v1"


@pytest.fixture
def model(version: Path) -> Deployed:
    return load_deployed(version)


def event(number: int, kind: str, user_id: str, item_id: str, time: datetime) -> dict[str, Any]:
    return event_row(f"e{number}", time, f"v{number}", user_id, kind, item_id)


def test_a_saved_cascade_decides_as_it_did_before(model: Deployed) -> None:
    (found,) = model.recommender.recommend_many([request()], None)
    (expected,) = deployment().cascade().recommend_many([request()])
    assert found.item_ids == expected.item_ids
    assert (found.stage, model.kind, model.seed) == ("fine", "cascade", 3)
    assert model.policy.policy_id.startswith("softmax")
    assert found.probability
    decision = model.decide("acme", request(), found)
    assert set(decision.item_ids) <= set(found.item_ids)


def test_a_cascade_with_hstu_decides_and_sees_what_happens(tmp_path: Path) -> None:
    whole = replace(deployment(), retriever=hstu(repeats=True), fine=hstu_ranker())
    whole.save(tmp_path / "v1")
    model = load_deployed(tmp_path / "v1")
    (found,) = model.recommender.recommend_many([request("u1")], None)
    (expected,) = whole.cascade().recommend_many([request("u1")])
    assert found.item_ids == expected.item_ids
    assert found.stage == "fine"
    assert model.similar is not None
    assert model.similar("i3", 2) == whole.cascade().similar("i3", 2)
    assert model.observe is not None
    model.observe([event(1, "purchase", "u1", "i7", request().time - timedelta(hours=1))])
    (after,) = model.recommender.recommend_many([request("u1")], None)
    assert (after.score != found.score).any()


@pytest.mark.parametrize("alone", [False, True])
def test_a_funnel_decides_and_sees_what_happens(tmp_path: Path, alone: bool) -> None:
    whole = funnel()
    if alone:
        serving = Serving({"item-item": 5, "popularity": 3}, ScoreMixture.of("item-item"))
        whole = replace(whole, serving=serving)
        parts = without(whole.parts, "two-tower", "sequence", "hcn", "fine")
        whole = replace(whole, parts=parts)
    whole.save(tmp_path / "v1")
    model = load_deployed(tmp_path / "v1")
    (found,) = model.recommender.recommend_many([request("u1")], None)
    (expected,) = whole.cascade().recommend_many([request("u1")])
    assert found.item_ids == expected.item_ids
    assert (found.stage, model.kind) == ("coarse", "cascade")
    assert model.similar is not None
    assert model.similar("i3", 2) == whole.cascade().similar("i3", 2)
    assert model.observe is not None
    model.observe([event(1, "purchase", "u1", "i7", request().time - timedelta(hours=1))])
    (after,) = model.recommender.recommend_many([request("u1")], None)
    assert after.item_ids != found.item_ids or (after.score != found.score).any()


def test_given_no_time_it_answers_with_the_most_popular(model: Deployed) -> None:
    asked = request(k=3, exclude=frozenset(model.fallback.recommend(request()).item_ids[:1]))
    found = model.fallback.recommend(asked)
    assert found.stage == "popularity"
    assert not asked.exclude & set(found.item_ids)


def test_neighbours_come_from_its_vectors(model: Deployed) -> None:
    assert model.similar is not None
    item_id = histories().items.ids[0]
    near = model.similar(item_id, 4)
    assert near is not None
    assert len(near) == 4
    assert item_id not in [other for other, _ in near]
    assert model.similar("unheard of", 4) is None


def test_it_knows_the_events_up_to_its_latest(model: Deployed) -> None:
    latest = histories().latest
    assert latest is not None
    assert model.known_until is not None
    end = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=latest)
    assert timedelta(0) < model.known_until - end < timedelta(seconds=1)
    assert model.kinds == {"purchase", "return"}


def test_what_is_bought_is_known_to_the_next_decision_and_after_a_restart(
    version: Path, store: Store
) -> None:
    time = request().time + timedelta(days=30)
    items = histories().items.ids
    bought = [event(n, "purchase", "newcomer", items[n], time) for n in range(3)]
    store.record_events("acme", [*bought, event(9, "view", "newcomer", items[9], time)])
    asked = Request("r1", "newcomer", time + timedelta(days=1))

    def loaded() -> FolderModels:
        root = version.parent.parent
        models = FolderModels(root, load_deployed, SystemClock(), stored=stored_events(store))
        models.look()
        return models

    def history(models: FolderModels) -> int:
        status = models.status("acme")
        assert status is not None
        assert status.deployed is not None
        cascade: Any = status.deployed.recommender
        return len(cascade.histories.batch([asked]).item)

    models = loaded()
    assert history(models) == 3
    more = [event(4, "purchase", "newcomer", items[4], time)]
    with running(create_app(ServiceConfig(deadline_ms=2000), store, models)) as client:
        client.headers = {"X-API-Key": store.create_key("acme", SCOPES)}
        body = {"events": [{**one, "time": one["time"].isoformat()} for one in more]}
        for _ in range(2):
            assert client.post("/v1/events", json=body).status_code == 200
        answer = client.decide("r1", "newcomer", time=asked.time.isoformat())
        assert answer.json()["stage"] == "fine"
        assert history(models) == 4
        answer = client.get(f"/v1/items/{items[0]}/similar?k=2")
        assert len(answer.json()["items"]) == 2
    assert history(loaded()) == 4


def test_one_event_of_the_future_and_late_ones_are_no_matter(tmp_path: Path, store: Store) -> None:
    known, items = histories(), histories().items.ids
    far = datetime(2099, 1, 1, tzinfo=UTC)
    known.append("u1", [items[0]], [far])
    replace(deployment(), histories=known).save(tmp_path / "acme" / "v1")
    publish(tmp_path, "acme", "v1")
    start = request().time
    bought = [event(n, "purchase", "ann", items[n], start + timedelta(days=n)) for n in range(5)]
    late = event(5, "purchase", "ann", items[5], datetime(2001, 1, 1, tzinfo=UTC))
    store.create_tenant("acme")
    store.record_events("acme", [*bought, late, event(6, "purchase", "u1", items[0], far)])
    model = load_deployed(tmp_path / "acme" / "v1")
    assert model.known_until is not None
    assert model.known_until.year < 2099
    observer, _ = model.observers  # and who counts ads
    told = stored_events(store)("acme", observer)
    assert [one["event_id"] for one in told] == ["e5", "e0", "e1", "e2", "e3", "e4"]


def test_variety_goes_by_the_retrievers_vectors(tmp_path: Path) -> None:
    deployment().save(tmp_path / "acme" / "v1")
    plain = load_deployed(tmp_path / "acme" / "v1")
    (found,) = plain.recommender.recommend_many([request()], None)
    text = '[diversity]\nweight = 1000.0\nsimilarity = "vectors"'
    (tmp_path / "acme" / SETTINGS).write_text(text)
    varied = load_deployed(tmp_path / "acme" / "v1")
    first, second = varied.decide("acme", request(k=2), found).item_ids
    assert first == found.item_ids[0]
    assert plain.similar is not None
    near = plain.similar(first, len(histories().items.ids))
    assert near is not None
    cosine = dict(near)
    assert second == min(found.item_ids[1:], key=cosine.__getitem__)


@pytest.mark.parametrize("make", [two_tower, hcn, sasrec, hstu, ranker])
def test_a_model_serves_alone_as_training_wrote_it(make: Any, tmp_path: Path, store: Store) -> None:
    model = make()
    model.save(tmp_path / "acme" / "v1")
    publish(tmp_path, "acme", "v1")
    deployed = load_deployed(tmp_path / "acme" / "v1")
    assert deployed.kind == load_artifact(tmp_path / "acme" / "v1").kind in ALONE
    assert deployed.known_until is None
    assert deployed.kinds == {*history_kinds_of(model), "return"}
    bought = [event(n, "purchase", "u1", f"i{n}", request().time) for n in range(3)]
    store.record_events("acme", bought)
    models = FolderModels(tmp_path, load_deployed, SystemClock(), stored=stored_events(store))
    models.look()
    status = models.status("acme")
    assert status is not None
    assert status.deployed is not None
    cascade: Any = status.deployed.recommender
    later = Request("r1", "u1", request().time + timedelta(hours=1))
    assert len(cascade.histories.batch([later]).item) == 3
    assert status.deployed.similar is not None
    assert len(status.deployed.similar("i3", 2) or ()) == 2
    assert len(status.deployed.fallback.recommend(later)) > 0


def test_a_model_with_histories_knows_the_events_up_to_its_latest(
    tmp_path: Path, store: Store
) -> None:
    ServedModel.of_log(sasrec(), past().events).save(tmp_path / "acme" / "v1")
    deployed = load_deployed(tmp_path / "acme" / "v1")
    assert deployed.kind == "served"
    known = past().events.row(0, named=True)
    had = event(0, "purchase", known["user_id"], known["item_id"], known["time"])
    new = event(1, "view", "u1", "i3", request().time)
    store.record_events("acme", [had, new])
    observer, _ = deployed.observers
    assert [one["event_id"] for one in stored_events(store)("acme", observer)] == ["e1"]


def test_the_kinds_that_serve_alone_are_those_of_the_delivery() -> None:
    assert (served.KIND, *served.ALONE) == ALONE
