"""?"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import polars as pl
import pytest

from adwright.campaigns.simulation.ab_test import SimulationRunConfig, World
from adwright.campaigns.simulation.run import HttpClient, SimulationConfig, make_plan
from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log
from adwright.delivery.decision import Request
from adwright.delivery.popularity import save_popularity
from adwright.models.calibration import ListCalibrator
from adwright.service import on_ray, simulation
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.publishing import load_deployed
from adwright.service.registry.registry import SETTINGS, FolderModels, publish
from adwright.service.simulation import local_service, remote_service, two_tower_retrain
from adwright.training.retrieval.run import Retrained
from tests.support.data.event_rows import event_row
from tests.support.service.small_shop import ITEMS, NOW, running, wait_until
from tests.support.store.small_world import ITEMS as small_world_ITEMS
from tests.support.store.small_world import START, events, population

CONFIG = ServiceConfig(deadline_ms=2000)


def loader(pids: Path) -> Callable[[Path], Deployed]:
    """Loads as always, and leaves the number of the process; travels by value."""

    def load(folder: Path) -> Deployed:
        (pids / str(os.getpid())).touch()
        return load_deployed(folder)

    return load


@dataclass(frozen=True)
class Shared:
    """What the replicas share."""

    folder: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/store.db"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    def pids(self) -> list[int]:
        return sorted(int(path.name) for path in (self.folder / "pids").iterdir())


@pytest.fixture
def shared(tmp_path: Path) -> Shared:
    made = Shared(tmp_path)
    (tmp_path / "pids").mkdir()
    weight = np.linspace(0, 1, len(ITEMS))
    save_popularity(made.models / "acme" / "v1", ITEMS, weight)
    (made.models / "acme" / SETTINGS).write_text(
        'seed = 7\n[policy]\nkind = "softmax"\nscale = "score"\n'
    )
    publish(made.models, "acme", "v1")
    return made


def event(number: int) -> dict[str, Any]:
    return event_row(f"e{number}", NOW.isoformat(), "r1", "u1", "click", ITEMS[0])


class Sender(threading.Thread):
    """Sends events one by one, each until it is acknowledged."""

    def __init__(self, client: httpx.Client, numbers: Iterator[int]) -> None:
        super().__init__()
        self.client, self.numbers = client, numbers
        self.stop = threading.Event()
        self.acknowledged: list[str] = []
        self.failures = 0

    def run(self) -> None:
        while not self.stop.is_set():
            body = {"events": [event(next(self.numbers))]}
            while not self._sent(body):
                self.failures += 1
                time.sleep(0.05)
            self.acknowledged.append(body["events"][0]["event_id"])

    def _sent(self, body: dict[str, Any]) -> bool:
        try:
            return self.client.post("/v1/events", json=body).status_code == 200
        except httpx.HTTPError:
            return False


def decide_all(client: httpx.Client) -> dict[str, tuple[str, bytes]]:
    """Of 16 requests, who answered and what."""
    answers = {}
    for number in range(16):
        body = {"request_id": f"r{number}", "user_id": f"u{number}", "time": NOW.isoformat()}
        answer = client.post("/v1/decide", json=body)
        assert answer.status_code == 200
        answers[f"r{number}"] = (answer.headers["x-replica"], answer.content)
    return answers


def check_equal_decisions(client: httpx.Client, shared: Shared, tmp_path: Path) -> None:
    first = decide_all(client)
    with sqlite3.connect(shared.folder / "store.db") as connection:
        # As if nobody had asked yet: the other replica has to decide anew.
        connection.execute("DELETE FROM decisions")
    connection.close()
    second = decide_all(client)
    assert {name: body for name, (_, body) in first.items()} == {
        name: body for name, (_, body) in second.items()
    }
    assert len({who for who, _ in first.values()} | {who for who, _ in second.values()}) == 2
    assert any(first[name][0] != second[name][0] for name in first), "one replica did it all"
    assert len({body for _, body in first.values()}) == 16
    # And the same as a process of another kind, with a store of its own.
    with Store.open(f"sqlite:///{tmp_path}/other.db") as store:
        folder = FolderModels(shared.models, load_deployed, SystemClock())
        with running(create_app(CONFIG, store, folder)) as other:
            other.headers = {"X-API-Key": store.create_key("acme", SCOPES)}
            for number in range(16):
                answer = other.decide(f"r{number}", f"u{number}")
                assert answer.content == first[f"r{number}"][1]


def check_no_acknowledged_event_is_lost(client: httpx.Client, shared: Shared, store: Store) -> None:
    numbers = iter(range(100_000))
    sender = Sender(client, numbers)
    sender.start()
    try:
        wait_until(lambda: len(sender.acknowledged) > 20, 300)
        before = shared.pids()
        os.kill(before[0], signal.SIGKILL)
        # Ray starts another one, and in the meantime the other goes on.
        wait_until(lambda: len(shared.pids()) > len(before), 300)
        more = len(sender.acknowledged) + 20
        wait_until(lambda: len(sender.acknowledged) > more, 300)
    finally:
        sender.stop.set()
        sender.join()
    kept = store.events("acme", kinds=["click"])["event_id"].to_list()
    assert len(kept) == len(set(kept))
    assert set(sender.acknowledged) <= set(kept)


# Ray warns of settings of its own that it will drop, and leaves sockets to the interpreter.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_two_replicas_decide_alike_and_lose_nothing_when_one_is_killed(
    shared: Shared, tmp_path: Path, serve_port: int
) -> None:
    port = serve_port
    load = loader(shared.folder / "pids")
    with Store.open(shared.url) as store:
        # A connection stays with one replica, so each request makes its own.
        headers = {"X-API-Key": store.create_key("acme", SCOPES), "Connection": "close"}
        on_ray.deploy(
            CONFIG, store_url=shared.url, models=shared.models, load=load, replicas=2, port=port
        )
        # More where one was started again, since the machine was slow.
        assert len(shared.pids()) >= 2
        address = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=address, headers=headers, timeout=30) as client:
            wait_until(lambda: client.get("/readyz").json()["status"] == "ready", 60)
            check_equal_decisions(client, shared, tmp_path)
            check_no_acknowledged_event_is_lost(client, shared, store)


class Routes(BaseHTTPRequestHandler):
    """A proxy of Ray Serve, as far as its routes go."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"/": on_ray.NAME}).encode())

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def test_port_0_takes_a_free_one_and_says_which(
    shared: Shared, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxies: list[HTTPServer] = []

    def start(*, http_options: dict[str, Any], **_: Any) -> None:
        proxies.append(HTTPServer((http_options["host"], http_options["port"]), Routes))
        threading.Thread(target=proxies[0].serve_forever, daemon=True).start()

    app = SimpleNamespace(bind=lambda: None)
    serve = SimpleNamespace(
        config=SimpleNamespace(HTTPOptions=dict),
        start=start,
        deployment=lambda **_: lambda _: app,
        ingress=lambda _: lambda: None,
        run=lambda *_, **__: None,
    )
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(serve=serve))
    try:
        port = on_ray.deploy(CONFIG, store_url=shared.url, models=shared.models, port=0)
        assert port == proxies[0].server_port > 0
    finally:
        proxies[0].shutdown()
        proxies[0].server_close()


def test_without_ray_the_extra_is_named(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"adwright\[ray\]"):
        on_ray.deploy(CONFIG, store_url=shared.url, models=shared.models)
    with pytest.raises(MissingExtraError, match=r"adwright\[ray\]"), on_ray.connected():
        pass


SIMULATION_CONFIG = SimulationRunConfig(simulation=SimulationConfig(days=1.0, places=3, seed=5))


@pytest.fixture(scope="module")
def world() -> World:
    return World(Log(events().lazy(), Catalogue.checked(small_world_ITEMS)), events(), population())


def requests(world: World, number: int = 12) -> list[Request]:
    return [Request(f"r{n}", world.people.users[n], START, k=3) for n in range(number)]


def test_a_service_started_here_splits_users_between_the_policies(
    world: World, tmp_path: Path
) -> None:
    with local_service(SIMULATION_CONFIG, world, tmp_path) as setting:
        asked = requests(world)
        shown = setting.client.decide(asked)
        stored = setting.sources[0].store.decisions(setting.sources[0].tenant)
        assert setting.odds is not None
        of_a, of_b = setting.odds(asked, [one.item_ids for one in shown])
    split = SIMULATION_CONFIG.simulation.split
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
        config = replace(
            SIMULATION_CONFIG, simulation=replace(SIMULATION_CONFIG.simulation, seed=seed)
        )
        with local_service(config, world, tmp_path / name) as setting:
            slates.append([one.item_ids for one in setting.client.decide(requests(world))])
    assert slates[0] == slates[1] != slates[2]


def test_a_model_that_is_not_there_is_refused(world: World, tmp_path: Path) -> None:
    missing = local_service(replace(SIMULATION_CONFIG, model=tmp_path / "none"), world, tmp_path)
    with pytest.raises(ArtifactError), missing:
        pass


def test_a_saved_model_decides(world: World, tmp_path: Path) -> None:
    ids, weight = small_world_ITEMS["item_id"].to_list(), np.arange(40, dtype=np.float64)
    save_popularity(tmp_path / "raw", ids, weight)
    softmax = local_service(replace(SIMULATION_CONFIG, model=tmp_path / "raw"), world, tmp_path)
    with pytest.raises(ConfigError, match=r"no probabilities.*policy A softmax:1"), softmax:
        pass
    calibration = {"popularity": ListCalibrator(-3.0, 0.5, 0.0)}
    save_popularity(tmp_path / "v1", ids, weight, calibration=calibration)
    with local_service(
        replace(SIMULATION_CONFIG, model=tmp_path / "v1"), world, tmp_path
    ) as setting:
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
        remote = remote_service(
            replace(SIMULATION_CONFIG, store=kept), "http://127.0.0.1:1", tmp_path
        )
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
    with remote_service(
        replace(SIMULATION_CONFIG, store=url), "http://127.0.0.1:1", tmp_path
    ) as setting:
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
    plan = make_plan(world.people, SIMULATION_CONFIG.simulation)
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
