"""What the attacks on the service share: a service in a process of its own, and what an honest
tenant keeps of it during an attack.

    AREA = Area("floods", attacks, shared=running, memory=0)

    def flood(service: Running) -> Mapping[str, float]:
        return kept(service, *[decides] * 8)   # eight callers, each with `stop` as its argument
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import numpy as np

from adwright.campaigns.store.keys import SCOPES
from adwright.campaigns.store.store import Store
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.registry import publish
from benchmarks.service._process import Service
from tests.attacks.attack import NotKept
from tests.attacks.service.honest import Honest, ask

ATTACKER, HONEST, THIRD = "attacker", "honest", "third"
VERSION = "popular"
#: Runs in quiet before the first attack, and after how many attacks another one follows.
QUIET, EVERY = 3, 5
#: The part of the decisions that has to be answered.
SHARE = 0.99
#: Attackers share the honest caller's core, not its turn: it is the service that is measured.
NICER = 10


@dataclass
class Running:
    """A service that runs. keys: one key of each tenant. folder: for what an attack writes.

    quiet: what the honest tenant got while nothing else happened. attacks: how many there were.
    """

    service: Service
    folder: Path
    keys: Mapping[str, str]
    quiet: list[Honest] = field(default_factory=list)
    attacks: int = 0

    @property
    def port(self) -> int:
        """Where it listens, on 127.0.0.1."""
        return self.service.port

    def publish(self, tenant: str, version: str) -> None:
        """Let a version decide; returns when the service has it in place."""
        models = self.folder / "models"
        save_version(models, tenant, version)
        with caller(self, tenant) as asking:
            for _ in range(200):
                if f'"name":"{version}"' in asking.get("/v1/models")[1]:
                    return
                time.sleep(0.05)
        raise AssertionError(f"the model {version} is not put in place")


def save_version(models: Path, tenant: str, version: str) -> None:
    """Write and publish a popularity model of 200 items."""
    if not (models / tenant / version).exists():
        items = [f"item-{n}" for n in range(200)]
        save_popularity(models / tenant / version, items, np.arange(200.0))
    publish(models, tenant, version)


@contextmanager
def running(
    *, settings: Mapping[str, Any] | None = None, module: str = "benchmarks.service._process"
) -> Iterator[Running]:
    """A service with SQLite on the disk and three tenants, a popularity model each.

    settings: of ServiceConfig. module: whose `main` serves.
    """
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        folder = Path(name)
        url, models = f"sqlite:///{folder}/store.db", folder / "models"
        with Store.open(url) as store:
            keys = {
                tenant: store.create_key(tenant, SCOPES) for tenant in (ATTACKER, HONEST, THIRD)
            }
        for tenant in keys:
            save_version(models, tenant, VERSION)
        service = Service(url, models, settings=dict(settings or {}), module=module)
        try:
            service.start()
            yield Running(service, folder, keys)
        finally:
            service.close()


class Caller:
    """One connection that is kept, and opened again where it broke. For one thread."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._headers = {"X-API-Key": key, "Content-Type": "application/json"}
        self._connection = HTTPConnection("127.0.0.1", port, timeout=30)

    def post(self, path: str, body: bytes | str) -> tuple[int, str]:
        """Status and body of the answer; status 0 where the connection failed."""
        return self._send("POST", path, body)

    def get(self, path: str) -> tuple[int, str]:
        """As `post`."""
        return self._send("GET", path, None)

    def _send(self, method: str, path: str, body: bytes | str | None) -> tuple[int, str]:
        try:
            self._connection.request(method, path, body, self._headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, HTTPException):
            self.close()
            return 0, ""

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@contextmanager
def caller(running: Running, tenant: str = ATTACKER, *, key: str | None = None) -> Iterator[Caller]:
    """A caller with the key of that tenant, or with another one."""
    calling = Caller(running.port, running.keys[tenant] if key is None else key)
    try:
        yield calling
    finally:
        calling.close()


def kept(
    running: Running,
    *attackers: Callable[[threading.Event], object],
    seconds: float = 30.0,
    rate: float = 20.0,
    ratio: float = 2.0,
) -> dict[str, float]:
    """What the honest tenant keeps: measured in quiet, then while each of the attackers runs in a
    thread of its own until its event is set.

    seconds, rate: of the honest caller, for each of the two; it comes at the same moments in both.
    What quiet means is measured on the same server three times, and once more now and then.
    Raises AssertionError unless 99% of the decisions are answered 200 and their 99th percentile is
    at most `ratio` times that in quiet; what an attacker raises is raised here.
    """
    _measure_quiet(running, seconds, rate)
    with _attacked(attackers):
        then = ask(running.port, running.keys[HONEST], seconds=seconds, rate=rate)
    measures = _measures(running.quiet, then)
    if then.share < SHARE or measures["honest_p99_ratio"] > ratio:
        raise NotKept(f"{measures}, {then.statuses}", measures)
    return measures


def _measure_quiet(running: Running, seconds: float, rate: float) -> None:
    """Ask while nothing else happens, where that was not done lately."""
    wanted, tries = QUIET + running.attacks // EVERY, 0
    while len(running.quiet) < wanted:
        found = ask(running.port, running.keys[HONEST], seconds=seconds, rate=rate)
        if found.share >= SHARE:
            running.quiet.append(found)
        # What an earlier attack left behind, or the machine, may still be at work.
        tries += 1
        assert tries < 3 * QUIET, f"already without the attack: {found}"
    running.attacks += 1


def _measures(quiet: list[Honest], then: Honest) -> dict[str, float]:
    usual = float(np.percentile([one for run in quiet for one in run.latencies_ms], 99))
    return {
        "honest_share": round(then.share, 4),
        "honest_p99_ratio": round(then.p99_ms / usual, 2),
        "honest_p99_ms": round(then.p99_ms, 1),
        "quiet_p99_ms": round(usual, 1),
        "healthz_ms": round(then.healthz_ms, 1),
    }


@contextmanager
def _attacked(attackers: tuple[Callable[[threading.Event], object], ...]) -> Iterator[None]:
    """While the block runs, so does each attacker."""
    stop, raised = threading.Event(), list[BaseException]()

    def run(attacker: Callable[[threading.Event], object]) -> None:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICER)
        try:
            attacker(stop)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(one,), daemon=True) for one in attackers]
    for thread in threads:
        thread.start()
    try:
        time.sleep(0.5)  # it shall be in full swing
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join(60)
    if raised:
        raise raised[0]
