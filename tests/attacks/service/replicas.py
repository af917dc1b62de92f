"""`adwright serve --ray` on a cluster of this machine: a port that is free, large bodies
without a key, and a replica that is killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from tests.attacks.attack import Area, Attack
from tests.attacks.service.running import Caller

REPLICAS = 2


@dataclass(frozen=True)
class Replicas:
    """The command that serves, what it printed, and how to call it."""

    process: subprocess.Popen[str]
    said: str
    store: str
    key: str

    @property
    def port(self) -> int:
        """That it says it listens on."""
        return int(self.said.split("http://127.0.0.1:")[1].split()[0])

    def pids(self) -> list[int]:
        """The replicas' processes: below the command's own, by the name that Ray gives them."""
        return [pid for pid in _below(self.process.pid) if b"ServeReplica" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _below(root: int) -> Iterator[int]:
    parents = dict[int, int]()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(folder.name)] = int(fields[1])
    for pid in parents:
        above = pid
        while above in parents and above != root:
            above = parents[above]
        if above == root:
            yield pid


@contextmanager
def replicas() -> Iterator[Replicas]:
    """Two replicas at a port that the command takes by itself."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        folder, url = Path(name), f"sqlite:///{name}/store.db"
        with Store.open(url) as store:
            key = store.create_key("acme", SCOPES)
        save_popularity(folder / "models" / "acme" / "v1", ["a", "b", "c"], np.arange(3.0))
        publish(folder / "models", "acme", "v1")
        code = "from adwright.cli import main; main()"
        line = [sys.executable, "-c", code, "serve", "--ray", "--port", "0", "--store", url]
        line += ["--models", str(folder / "models"), "--replicas", str(REPLICAS)]
        with subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=folder) as process:
            try:
                assert process.stdout is not None
                said = next((each for each in process.stdout if "serving on" in each), "")
                yield Replicas(process, said, url, key)
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(90)
                finally:
                    process.kill()


def decided(served: Replicas) -> int:
    """Status of a decision over a new connection, so by any of the replicas."""
    calling = Caller(served.port, served.key)
    try:
        body = {"request_id": uuid.uuid4().hex, "user_id": "u1", "k": 2, "deadline_ms": 2000}
        return calling.post("/v1/decide", json.dumps(body))[0]
    finally:
        calling.close()


def port_0(served: Replicas) -> None:
    assert served.port > 0
    assert [decided(served) for _ in range(10)] == [200] * 10


def large_body(served: Replicas) -> None:
    stranger = Caller(served.port, "")
    for _ in range(5):
        status, _ = stranger.post("/v1/decide", b"[" * (50 << 20))
        assert status in (0, 401, 413), status
    stranger.close()
    assert [decided(served) for _ in range(10)] == [200] * 10


def killed(served: Replicas) -> Mapping[str, float]:
    acknowledged, stop = list[str](), threading.Event()

    def send() -> None:
        calling = Caller(served.port, served.key)
        while not stop.is_set():
            name = uuid.uuid4().hex
            event = {
                **dict.fromkeys(("event_id", "request_id", "user_id", "item_id"), name),
                **{"time": "2026-01-01T00:00:00Z", "kind": "view"},
            }
            if calling.post("/v1/events", json.dumps({"events": [event]}))[0] == 200:
                acknowledged.append(name)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        time.sleep(2)
        before = served.pids()
        assert len(before) == REPLICAS, before
        os.kill(before[0], signal.SIGKILL)
        ends = time.monotonic() + 120
        while len(set(served.pids()) - {before[0]}) < REPLICAS:
            assert time.monotonic() < ends, "Ray starts no other one"
            time.sleep(0.5)
        more = len(acknowledged) + 20
        while len(acknowledged) < more:
            assert time.monotonic() < ends, "nothing is acknowledged any more"
            time.sleep(0.1)
    finally:
        stop.set()
        sender.join()
    with Store.open(served.store) as store:
        kept = set(store.events("acme", kinds=["view"])["event_id"])
    assert set(acknowledged) <= kept, "an acknowledged event is lost"
    return {"acknowledged": len(acknowledged)}


AREAS = [
    Area(
        "replicas on Ray",
        [
            Attack("--port 0 takes one port, and says which", port_0, seconds=60),
            Attack("bodies of 50 MB without a key", large_body, seconds=120),
            Attack("a replica killed -9 under events", killed, seconds=200),
        ],
        shared=replicas,
        memory=0,
    )
]
