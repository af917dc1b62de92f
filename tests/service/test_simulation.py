"""The whole loop through either service is run by tests/cli/test_simulate.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.ab_test import SimulationRunConfig, World
from adwright.campaigns.simulation.run import HttpClient, SimulationConfig, make_plan
from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.errors import ArtifactError, ConfigError
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log
from adwright.delivery.decision import Request
from adwright.delivery.popularity import save_popularity
from adwright.models.calibration import ListCalibrator
from adwright.service import simulation
from adwright.service.simulation import local_service, remote_service, two_tower_retrain
from adwright.training.retrieval.run import Retrained
from tests.support.store.small_world import ITEMS, START, events, population

CONFIG = SimulationRunConfig(simulation=SimulationConfig(days=1.0, places=3, seed=5))


@pytest.fixture(scope="module")
def world() -> World:
    return World(Log(events().lazy(), Catalogue.checked(ITEMS)), events(), population())


def requests(world: World, number: int = 12) -> list[Request]:
    return [Request(f"r{n}", world.people.users[n], START, k=3) for n in range(number)]


def test_a_service_started_here_splits_users_between_the_policies(
    world: World, tmp_path: Path
) -> None:
    with local_service(CONFIG, world, tmp_path) as setting:
        asked = requests(world)
        shown = setting.client.decide(asked)
        stored = setting.sources[0].store.decisions(setting.sources[0].tenant)
        assert setting.odds is not None
        of_a, of_b = setting.odds(asked, [one.item_ids for one in shown])
    split = CONFIG.simulation.split
    policies = {"A": "A softmax:1", "B": "B softmax:0.5"}
    assert [one.policy_id for one in shown] == [policies[split.arm(r.user_id)] for r in asked]
    assert {one.policy_id for one in shown} == set(policies.values())
    assert (setting.model, setting.retries(), setting.notes) == ("favourites", 0, ())
    assert setting.sources[0].folder == tmp_path / "log"
    # The propensities of the user's own arm, computed again, are those that were logged.
    logged = {row["request_id"]: row["slate"] for row in stored.iter_rows(named=True)}
    for request, a, b in zip(asked, of_a, of_b, strict=True):
        own = a if split.arm(request.user_id) == "A" else b
        assert own == pytest.approx([place["propensity"] for place in logged[request.request_id]])


def test_the_seed_of_the_run_is_that_of_the_decisions(world: World, tmp_path: Path) -> None:
    slates = []
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        (tmp_path / name).mkdir()
        config = replace(CONFIG, simulation=replace(CONFIG.simulation, seed=seed))
        with local_service(config, world, tmp_path / name) as setting:
            slates.append([one.item_ids for one in setting.client.decide(requests(world))])
    assert slates[0] == slates[1] != slates[2]


def test_a_model_that_is_not_there_is_refused(world: World, tmp_path: Path) -> None:
    missing = local_service(replace(CONFIG, model=tmp_path / "none"), world, tmp_path)
    with pytest.raises(ArtifactError), missing:
        pass


def test_a_saved_model_decides(world: World, tmp_path: Path) -> None:
    ids, weight = ITEMS["item_id"].to_list(), np.arange(40, dtype=np.float64)
    save_popularity(tmp_path / "raw", ids, weight)
    softmax = local_service(replace(CONFIG, model=tmp_path / "raw"), world, tmp_path)
    with pytest.raises(ConfigError, match=r"no probabilities.*policy A softmax:1"), softmax:
        pass
    calibration = {"popularity": ListCalibrator(-3.0, 0.5, 0.0)}
    save_popularity(tmp_path / "v1", ids, weight, calibration=calibration)
    with local_service(replace(CONFIG, model=tmp_path / "v1"), world, tmp_path) as setting:
        assert setting.model == "v1"
        assert {one.stage for one in setting.client.decide(requests(world))} == {"popularity"}


def test_a_service_elsewhere_needs_a_key_and_its_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        key = store.create_key("one", SCOPES)
    for given, kept, what in (
        ("", url, "needs its key"),
        (key, "", "needs its key"),
        ("adw_nobody_knows", url, "does not know a key"),
    ):
        monkeypatch.setenv("ADWRIGHT_KEY", given)
        remote = remote_service(replace(CONFIG, store=kept), "http://127.0.0.1:1", tmp_path)
        with pytest.raises(ConfigError, match=what), remote:
            pass


@pytest.mark.parametrize(("second", "folders"), [(False, ["log"]), (True, ["log", "log-b"])])
def test_users_of_b_go_to_a_second_tenant_where_it_has_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: bool, folders: list[str]
) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        monkeypatch.setenv("ADWRIGHT_KEY", store.create_key("one", SCOPES))
        monkeypatch.setenv("ADWRIGHT_KEY_B", store.create_key("two", SCOPES) if second else "")
    with remote_service(replace(CONFIG, store=url), "http://127.0.0.1:1", tmp_path) as setting:
        assert [source.tenant for source in setting.sources] == ["one", "two"][: len(folders)]
        assert [source.folder.name for source in setting.sources] == folders
        assert (setting.odds, setting.retries()) == (None, 0)
        client = setting.client
        assert (client.a is not client.b) == second  # type: ignore[attr-defined]
        assert isinstance(client.a, HttpClient)  # type: ignore[attr-defined]


@pytest.mark.parametrize("measured", [True, False])
def test_training_again_says_what_it_learned_from(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measured: bool
) -> None:
    plan = make_plan(world.people, CONFIG.simulation)
    seen: dict[str, object] = {}

    def train(
        log: pl.DataFrame, written: pl.DataFrame, items: pl.DataFrame, **rest: object
    ) -> object:
        seen.update(rest, log=log, written=written, items=items)
        recall: tuple[float | None, float | None] = (0.25, 0.125) if measured else (None, None)
        return Retrained(1234, 56, 78, 10, *recall, seconds=0.0)

    monkeypatch.setattr(simulation, "retrain_two_tower", train)
    facts = two_tower_retrain(world, plan, tmp_path)(events())
    assert seen["start"] == plan.start
    assert seen["end"] == plan.end
    assert seen["run"] == tmp_path / "retrained"
    assert facts["purchases of the log before the start"] == "1,234"
    assert facts["purchases that the service wrote"] == "56"
    recall = "recall@10 of 78 real baskets after the simulation"
    assert facts.get(recall) == ("0.2500" if measured else None)
