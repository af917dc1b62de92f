"""The agent: pages that are slow to look at, ways round its gate, kills as a change is sent, and
tasks that take a part of an item away (20 minutes).

PYTHONPATH=TREE/src python -m benchmarks.mended.agent --state before
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np

from adwright.agent.document.text_format import write_document
from adwright.agent.drivers.chromium import open_browser
from adwright.agent.drivers.protocol import PendingRequest
from adwright.agent.generate.planner import plan_scripts
from adwright.agent.operate.policy_file import policy_text
from adwright.agent.policy.origins import OriginRules, check_origin
from adwright.campaigns.store import keys
from adwright.campaigns.store.store import Store
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from benchmarks.mended import run
from tests.agent.drivers.test_way_out import ROUND, go_round
from tests.agent.generate.test_planner import DELETIONS, PARTS
from tests.attacks.service.honest import Honest, ask
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_document import shop_document
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.server import small_site

_TASK = {"app": "shop", "task": 'Set the discount of "Spring" to 25'}
_RUNS = "/v1/agent/runs"
_KILLS = int(os.environ.get("KILLS", "30"))
_LONG = f'<img alt="" src="/thumb?u={"A." * 30_000}">'
_ROWS = "".join(
    f"<tr><td>row {n}</td><td><a href='/?r={n}'>open</a></td></tr>" for n in range(4000)
)
_SECONDS, _RATE = 30.0, 15.0


class _SlowShop(ShopApp):
    """Says when a change arrives, and then takes its time."""

    def __init__(self) -> None:
        super().__init__()
        self.arrived = threading.Event()

    def post(self, path: str, fields: Mapping[str, str]) -> Answer:
        self.arrived.set()
        time.sleep(1.0)
        return super().post(path, fields)


class _Service:
    """A service in a process of its own: acme has an app, umbrella asks for decisions."""

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder, self.url = folder, f"sqlite:///{folder}/store.db"
        home = folder / "agents/acme/shop"
        home.mkdir(parents=True)
        write_document(home / "document.txt", replace(shop_document(), origins=(origin,)))
        (home / "policy.toml").write_text(policy_text(origin), "utf-8")
        (folder / "service.toml").write_text(f'agents = "{folder}/agents"\n', "utf-8")
        names = [f"i{n}" for n in range(100)]
        save_popularity(folder / "models/umbrella/v1", names, np.arange(100.0) + 1)
        publish(folder / "models", "umbrella", "v1")
        scopes = [keys.SCOPES] if hasattr(keys, "SCOPES") else []
        with Store.open(self.url) as store:
            self.keys = {one: store.create_key(one, *scopes) for one in ("acme", "umbrella")}
        self.process: subprocess.Popen[bytes] | None = None
        self.port = 0

    def start(self) -> None:
        """Until it is ready."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        options = ["service.toml", "--store", self.url, "--port", str(self.port)]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "adwright", "serve", *options],
                cwd=self.folder,
                stdout=log,
                stderr=log,
            )
        until = time.monotonic() + 120
        while time.monotonic() < until:
            with suppress(httpx.HTTPError):
                if self.ask("GET", "/v1/models", "umbrella").status_code == 200:
                    return
            time.sleep(0.2)
        raise RuntimeError((self.folder / "log").read_text("utf-8")[-2000:])

    def stop(self, how: signal.Signals) -> None:
        """And wait for its end."""
        if self.process is not None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def ask(self, method: str, path: str, tenant: str, body: object = None) -> httpx.Response:
        """A call of a tenant."""
        url, headers = f"http://127.0.0.1:{self.port}{path}", {"X-API-Key": self.keys[tenant]}
        return httpx.request(method, url, headers=headers, json=body, timeout=60.0)

    def begin(self) -> str:
        """A run of the task."""
        return str(self.ask("POST", _RUNS, "acme", _TASK).json()["run_id"])

    def waits(self, run_id: str) -> dict[str, Any]:
        """A run once it waits for a yes, or has ended."""
        while True:
            found = self.ask("GET", f"{_RUNS}/{run_id}", "acme").json()
            if found["state"] != "running":
                return dict(found)
            time.sleep(0.1)


@contextmanager
def _service(app: ShopApp, extra: str = "") -> Iterator[_Service]:
    with TemporaryDirectory() as scratch, shop_server(app, extra=extra) as origin:
        service = _Service(Path(scratch), origin)
        service.start()
        try:
            yield service
        finally:
            service.stop(signal.SIGTERM)


def _beside(extra: str) -> Honest:
    """What the other tenant gets while runs look at pages with this."""
    with _service(ShopApp(), extra) as service:
        ends = threading.Event()

        def look() -> None:
            while not ends.is_set():
                with suppress(httpx.HTTPError, KeyError):
                    service.waits(service.begin())
                time.sleep(0.5)

        looking = threading.Thread(target=look, daemon=True)
        if extra:
            looking.start()
        try:
            return ask(service.port, service.keys["umbrella"], seconds=_SECONDS, rate=_RATE)
        finally:
            ends.set()


def _kills() -> tuple[int, int]:
    """Of so many kills as a change arrives: after how many nobody says that it may have been sent,
    and after how many the run is not found at all."""
    unsaid = lost = 0
    app = _SlowShop()
    with _service(app) as service:
        for _ in range(_KILLS):
            app.arrived.clear()
            run_id = service.begin()
            waiting = service.waits(run_id)
            confirm = f"{_RUNS}/{run_id}/confirm"
            service.ask("POST", confirm, "acme", {"hash": waiting["hash"]})
            app.arrived.wait(60)
            service.stop(signal.SIGKILL)
            service.start()
            answer = service.ask("GET", f"{_RUNS}/{run_id}", "acme")
            found = answer.json()
            lost += answer.status_code != 200
            sent = [one["url"] for one in [*found.get("unknown", ()), *found.get("written", ())]]
            unsaid += not any("/offers/7/" in one for one in sent)
    return unsaid, lost


def _ways() -> dict[str, int]:
    """Requests that arrived past the gate, by the way that they took."""
    found = {}
    with open_browser() as browser:
        for name in ROUND:
            with small_site() as home, small_site() as evil:
                go_round(browser, home, evil, name)
                ahead = [one for one in home.asked if one in ("/secret", "/writes")]
                found[name] = len(home.written) + len(evil.written) + len(evil.asked) + len(ahead)
    return found


def _planned(tasks: tuple[str, ...]) -> int:
    """For how many tasks the first plan, which is run, deletes the item."""
    plans = [plan_scripts(one, shop_document())[:1] for one in tasks]
    return sum(
        p.is_whole and "offer_delete__confirm" in p.script.elements for f in plans for p in f
    )


def measure() -> Mapping[str, float | int | str]:
    """All of it."""
    rules = OriginRules(("http://127.0.0.1:1",))
    start = time.process_time()
    check_origin(PendingRequest("GET", f"http://127.0.0.1:1/thumb?u={'A.' * 30_000}"), rules)
    checked = time.process_time() - start
    found: dict[str, float | int | str] = {
        "an address of 60 kB, checked once: seconds of computing": round(checked, 4)
    }
    found |= {f"requests past the gate: {name}": count for name, count in _ways().items()}
    pages = {"no run": "", "an address of 60 kB": _LONG, "4,000 rows": f"<table>{_ROWS}</table>"}
    for page, extra in pages.items():
        honest = _beside(extra)
        found[f"decisions of another tenant, page with {page}: p99 in ms"] = round(honest.p99_ms, 1)
        found[f"decisions of another tenant, page with {page}: share answered"] = honest.share
    found[f"tasks of {len(PARTS)} that take a part away: the item is deleted"] = _planned(PARTS)
    found[f"tasks of {len(DELETIONS)} that delete an item: planned"] = _planned(DELETIONS)
    unsaid, lost = _kills()
    found["kills as a change is sent: not said that it may have been"] = f"{unsaid} of {_KILLS}"
    found["kills as a change is sent: the run is not found"] = f"{lost} of {_KILLS}"
    return found


if __name__ == "__main__":
    run("agent", measure)
