from __future__ import annotations

import json
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.core.errors import MissingExtraError
from adwright.delivery.popularity import save_popularity
from adwright.service import on_ray
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.deployed import Deployed
from adwright.service.registry.publishing import load_deployed
from adwright.service.registry.registry import SETTINGS, FolderModels, publish
from tests.support.service.small_shop import ITEMS, NOW, running, wait_until

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
    return {
        "event_id": f"e{number}",
        "time": NOW.isoformat(),
        "request_id": "r1",
        "user_id": "u1",
        "kind": "click",
        "item_id": ITEMS[0],
    }


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
