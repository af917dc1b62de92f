"""Arms as they decide: started, refused, shadowed, taken back."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.artifacts import Artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from adwright.delivery.decision import Deadline, Decision, Request
from adwright.delivery.experiments import ARM, CanarySettings, ExperimentPlan
from adwright.delivery.policy.creatives import LiveCreative
from adwright.delivery.popularity import save_popularity
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry import publishing
from adwright.service.registry.experiments import (
    JOURNAL,
    ArmsDeployed,
    CanaryWatch,
    running_experiment,
    start_experiment,
    stop_experiment,
    take_back,
)
from adwright.service.registry.publishing import load_deployed, load_settings
from adwright.service.registry.registry import SETTINGS, FixedModels, FolderModels, publish
from tests.support.service.small_shop import ITEMS, NOW, request, running

WEIGHT = np.arange(len(ITEMS), dtype=np.float64)
EXPERIMENT = """
seed = 3
[[caps]]
limit = 2
hours = 24.0
per = "item"
[experiment]
name = "trial"
salt = "s"
holdout = 0.1
[[experiment.arms]]
name = "old"
share = 0.5
[[experiment.arms]]
name = "new"
share = 0.4
model = "v2"
settings = "new.toml"
[[experiment.arms]]
name = "dark"
share = 1.0
model = "v2"
shadow = true
[experiment.canary]
arm = "new"
users = 50
"""


@pytest.fixture
def acme(tmp_path: Path) -> Path:
    """A tenant with two versions that order the items the other way round, and an experiment."""
    save_popularity(tmp_path / "acme" / "v1", ITEMS, WEIGHT)
    save_popularity(tmp_path / "acme" / "v2", ITEMS, -WEIGHT)
    publish(tmp_path, "acme", "v1")
    (tmp_path / "acme" / SETTINGS).write_text(EXPERIMENT)
    (tmp_path / "acme" / "new.toml").write_text('policy_id = "newer"\n')
    return tmp_path / "acme"


def start(acme: Path, clock: FixedClock | None = None) -> None:
    settings = load_settings(acme / "v1").experiment
    assert settings is not None
    start_experiment(
        acme, settings, ExperimentPlan(), clock=clock or FixedClock(NOW - timedelta(days=1))
    )


def loaded(acme: Path) -> ArmsDeployed:
    found = load_deployed(acme / "v1", clock=FixedClock(NOW))
    assert isinstance(found, ArmsDeployed)
    return found


def decide(model: Any, asked: Request) -> Decision:
    (candidates,) = model.recommender.recommend_many([asked], None)
    found: Decision = model.decide("acme", asked, candidates)
    return found


def user_of(model: ArmsDeployed, arm: str) -> str:
    assert model.running is not None
    return next(f"u{n}" for n in range(1000) if model.running.arm_of(f"u{n}") == arm)


def test_before_the_start_nobody_meets_an_arm(acme: Path) -> None:
    assert not isinstance(load_deployed(acme / "v1"), ArmsDeployed)
    start(acme)
    assert isinstance(loaded(acme), ArmsDeployed)
    stop_experiment(acme, "done")
    assert not isinstance(load_deployed(acme / "v1"), ArmsDeployed)


def test_each_user_meets_the_model_and_the_policy_of_an_arm(acme: Path) -> None:
    plain = load_deployed(acme / "v1", clock=FixedClock(NOW))
    start(acme)
    model = loaded(acme)
    for arm, name, policy, best in (
        ("old", "v1", "greedy", ITEMS[-1]),
        ("new", "v2", "newer", ITEMS[0]),
        ("holdout", "v1", "greedy", ITEMS[-1]),
    ):
        asked = request(user_id=user_of(model, arm), k=2, context={"page": "p", ARM: "mine"})
        found = decide(model, asked)
        assert (found.model, found.policy_id, found.item_ids[0]) == (name, policy, best)
        assert found.request.context[ARM] == arm
        assert found.request.context["page"] == "p"
        assert json.loads(found.impressions()[0]["context"])[ARM] == arm
        assert model.fallback.recommend(asked).item_ids[0] == best
        if name == "v1":
            assert found.item_ids == decide(plain, asked).item_ids


def test_arms_choose_ads_in_their_own_way_and_learn_from_all(acme: Path) -> None:
    (acme / "new.toml").write_text('[creatives]\nkind = "greedy"\n')
    start(acme)
    model = loaded(acme)
    both = [LiveCreative("a", ITEMS[0]), LiveCreative("b", ITEMS[0])]
    assert len(model.all_creatives()) == 2
    for one in model.all_creatives():
        one.put(both)
    shown = {"time": NOW, "request_id": "r", "user_id": "u", "item_id": ITEMS[0]}
    kinds = ["impression", "impression", "click"]
    events = [
        {**shown, "event_id": f"e{n}", "kind": kind, "creative_id": creative}
        for n, (kind, creative) in enumerate(zip(kinds, "abb", strict=True))
    ]
    model.tell(events * 3)
    found = {}
    for arm in ("old", "new", "holdout"):
        asked = request(user_id=user_of(model, arm))
        found[arm] = model.creatives_of(asked).chances(ITEMS[0], asked)[1].tolist()
    assert found["new"] == [0, 1]
    assert found["old"] == found["holdout"]
    assert 0 < found["old"][0] < 0.5
    # An arm that says nothing of ads follows serving.toml.
    (acme / "new.toml").write_text('policy_id = "newer"\n')
    assert len(loaded(acme).all_creatives()) == 1


def test_arms_of_one_version_share_its_model(acme: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = EXPERIMENT.replace('model = "v2"\nsettings', "settings")
    (acme / SETTINGS).write_text(text)
    start(acme)
    opened: list[str] = []
    load = publishing.load_artifact

    def counted(folder: Path) -> Artifact:
        opened.append(folder.name)
        return load(folder)

    monkeypatch.setattr(publishing, "load_artifact", counted)
    model = loaded(acme)
    assert sorted(opened) == ["v1", "v2"]
    assert model.arms["old"].recommender is model.arms["new"].recommender
    asked = [request(user_id=user_of(model, arm)) for arm in ("old", "new")]
    assert [decide(model, one).policy_id for one in asked] == ["greedy", "newer"]


def test_a_batch_is_parted_and_put_together(acme: Path) -> None:
    start(acme)
    model = loaded(acme)
    asked = [request(f"r{n}", f"u{n}", k=2) for n in range(40)]
    answers = model.recommender.recommend_many(asked, None)
    for one, candidates in zip(asked, answers, strict=True):
        found = model.decide("acme", one, candidates)
        assert found.item_ids == decide(model, one).item_ids


def test_a_shadow_is_logged_and_changes_nothing(acme: Path) -> None:
    start(acme)
    model = loaded(acme)
    asked = request(user_id=user_of(model, "old"), k=2)
    found = decide(model, asked)
    assert json.loads(str(found.request.context["_shadow:dark"])) == list(ITEMS[:2])
    assert found.item_ids == ITEMS[:-3:-1]
    clock = FixedClock(NOW)
    late = Deadline.after(0, clock)
    model.recommender.seconds = 1.0  # type: ignore[attr-defined]
    (candidates,) = model.recommender.recommend_many([asked], late)
    assert "_shadow:dark" not in model.decide("acme", asked, candidates).request.context


def test_a_shadow_that_fails_is_nothing_to_anybody(
    acme: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start(acme)
    model = loaded(acme)

    def broken(*_: Any) -> None:
        raise RuntimeError("broken")

    asked = request(user_id=user_of(model, "old"), k=2)
    monkeypatch.setattr(model.arms["dark"].recommender, "recommend_many", broken)
    found = decide(model, asked)
    assert found.item_ids == ITEMS[:-3:-1]
    assert "_shadow:dark" not in found.request.context


def test_caps_hold_in_an_arm(acme: Path) -> None:
    start(acme)
    model = loaded(acme)
    user = user_of(model, "old")
    shown = [decide(model, request(f"r{n}", user, k=1)).item_ids[0] for n in range(3)]
    assert shown == [ITEMS[-1], ITEMS[-1], ITEMS[-2]]
    model.settle("r0")
    assert decide(model, request("r3", user, k=1)).item_ids[0] == ITEMS[-1]


@pytest.mark.parametrize(
    ("was", "now", "told"),
    [
        ('salt = "s"', 'salt = "t"', "salt was changed while the experiment trial runs"),
        ("share = 0.5", "share = 0.45", "add up to"),
        ('model = "v2"', 'model = "v1"', "arms was changed"),
    ],
)
def test_while_it_runs_it_stays(acme: Path, was: str, now: str, told: str) -> None:
    start(acme)
    (acme / SETTINGS).write_text(EXPERIMENT.replace(was, now, 1))
    with pytest.raises(ConfigError, match=told):
        load_deployed(acme / "v1")


def test_what_is_wrong_with_an_arm_is_refused(acme: Path) -> None:
    start(acme)
    (acme / "new.toml").write_text(EXPERIMENT)
    with pytest.raises(ConfigError, match="an experiment of its own"):
        load_deployed(acme / "v1")
    (acme / JOURNAL).write_text('{"do": "start"}\n')
    with pytest.raises(ConfigError, match="none of those that adwright writes"):
        running_experiment(acme)


def test_one_runs_at_a_time_and_an_end_has_a_start(acme: Path) -> None:
    with pytest.raises(ConfigError, match="no experiment runs"):
        stop_experiment(acme, "")
    start(acme)
    with pytest.raises(ConfigError, match="the experiment trial runs since"):
        start(acme)
    with pytest.raises(ConfigError, match="no such arm to take back: old"):
        take_back(acme, "old", "")
    take_back(acme, "new", "why")
    take_back(acme, "new", "why")
    found = running_experiment(acme)
    assert found is not None
    assert found.back == {"new"}
    assert (acme / JOURNAL).read_text().count("\n") == 2
    model = loaded(acme)
    assert decide(model, request(user_id=user_of(model, "new"), k=1)).model == "v1"


def test_a_start_takes_effect_while_it_is_served(acme: Path) -> None:
    clock = FixedClock(NOW)
    models = FolderModels(acme.parent, load_deployed, clock)

    def kind() -> type:
        models.look()
        status = models.status("acme")
        assert status is not None
        assert not status.refused
        return type(status.deployed)

    assert kind() is not ArmsDeployed
    start(acme)
    assert kind() is ArmsDeployed
    (acme / "new.toml").write_text('policy_id = "newest"\n')
    models.look()
    status = models.status("acme")
    assert status is not None
    assert isinstance(status.deployed, ArmsDeployed)
    assert status.deployed.arms["new"].policy.policy_id == "newest"
    stop_experiment(acme, "")
    assert kind() is not ArmsDeployed


def told(watch: CanaryWatch, model: ArmsDeployed, users: int, worse: float) -> None:
    """Impressions and clicks of so many users; those of the canary click less."""
    assert model.running is not None
    rng = np.random.default_rng(0)
    for n in range(users):
        seen = {"user_id": f"u{n}", "time": NOW, "kind": "impression"}
        rate = 1.5 * (1 - worse * (model.running.arm_of(f"u{n}") == "new"))
        watch.observe([seen, *[{**seen, "kind": "click"}] * int(rng.poisson(rate))])


def test_the_canary_is_taken_back_by_itself(acme: Path) -> None:
    start(acme)
    model = loaded(acme)
    assert model.watch is not None
    assert any(one.observe == model.watch.observe for one in model.observers)
    told(model.watch, model, 400, worse=0.0)
    found = running_experiment(acme)
    assert found is not None
    assert not found.back
    model = loaded(acme)
    assert model.watch is not None
    told(model.watch, model, 600, worse=0.8)
    found = running_experiment(acme)
    assert found is not None
    assert found.back == {"new"}
    assert "the canary new earns less" in (acme / JOURNAL).read_text()
    assert loaded(acme).watch is None


def test_a_watch_needs_a_canary(acme: Path) -> None:
    start(acme)
    found = running_experiment(acme)
    assert found is not None
    assert found.settings.canary == CanarySettings("new", users=50)
    settings = type(found.settings)("n", "s", found.settings.arms, 0.1)
    with pytest.raises(ConfigError, match="has no canary"):
        CanaryWatch(type(found)(settings, NOW, ExperimentPlan()), lambda _: None)


def test_over_http(acme: Path, store: Store) -> None:
    start(acme)
    clock = FixedClock(NOW)
    key = {"X-API-Key": store.create_key("acme", SCOPES)}
    other = {"X-API-Key": store.create_key("umbrella", SCOPES)}
    models = FixedModels({"acme": loaded(acme)}, clock)
    app = create_app(ServiceConfig(deadline_ms=2000), store, models, clock=clock)
    with running(app) as client:
        answer = client.get("/v1/experiments", headers=key).json()
        assert answer["name"] == "trial"
        assert answer["reading"] is None
        assert "too few users" in answer["verdicts"][0]
        for n in range(30):
            body = {"request_id": f"r{n}", "user_id": f"u{n}", "k": 1}
            assert client.post("/v1/decide", json=body, headers=key).status_code == 200
            click = {"event_id": f"c{n}", "kind": "click", "item_id": ITEMS[0]}
            event = {**body, **click, "time": NOW.isoformat()}
            del event["k"]
            client.post("/v1/events", json={"events": [event][: n % 3]}, headers=key)
        answer = client.get("/v1/experiments?segment=page", headers=key).json()
        assert answer["reading"]["arms"][0]["name"] == "new"
        assert answer["verdicts"][1].startswith("new: ")
        assert client.get("/v1/experiments", headers=other).json()["name"] is None
        assert client.get("/v1/experiments?segment='", headers=key).status_code == 422
