"""The service in a process of its own, for benchmarks: started, asked, killed, started again.

The listening socket belongs to the benchmark and is handed down, so that a service that was
killed and started again listens at the same port, and who connects in between only waits.

    python -m benchmarks.service._process STORE_URL MODELS DESCRIPTOR SETTINGS
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import load_deployed, stored_events
from adwright.service.registry.registry import FolderModels, Load
from adwright.web.server import listen, serve
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT

PATIENCE = 180.0
TICKS = os.sysconf("SC_CLK_TCK")


class Service:
    """One service at one port.

    models: folder of the models of all tenants. settings: of ServiceConfig. cpu: the core that
    it is bound to; None for any. module: whose `main` serves, with the arguments of this one's.
    """

    def __init__(
        self,
        url: str,
        models: Path,
        *,
        settings: dict[str, Any],
        cpu: int | None = None,
        module: str = "benchmarks.service._process",
    ) -> None:
        self._arguments = (url, str(models))
        self._module = module
        self._settings = settings
        self._cpu = cpu
        self._socket = listen("127.0.0.1", 0)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Start it; returns when it is ready."""
        descriptor = self._socket.fileno()
        settings = json.dumps(self._settings)
        self._process = subprocess.Popen(
            command(self._module, *self._arguments, descriptor, settings),
            cwd=ROOT,
            pass_fds=[descriptor],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        if self._cpu is not None:
            os.sched_setaffinity(self._process.pid, {self._cpu})
        ends = time.monotonic() + PATIENCE
        while self.get("/readyz")[0] != 200:
            if self._process.poll() is not None or time.monotonic() > ends:
                self.kill()
                raise RuntimeError("the service did not become ready")
            time.sleep(0.05)

    def get(self, path: str) -> tuple[int, str]:
        """Status and text; status 0 where it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=30) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except (URLError, OSError):
            return 0, ""

    @property
    def pid(self) -> int:
        """Of the process. Raises RuntimeError where none runs."""
        if self._process is None:
            raise RuntimeError("the service does not run")
        return self._process.pid

    def cpu_seconds(self) -> float:
        """What the process used so far."""
        if self._process is None:
            return 0.0
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def kill(self) -> None:
        """SIGKILL: nothing can be finished or written any more."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> None:
        """SIGTERM, and wait until it has drained."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE)
            self._process = None

    def close(self) -> None:
        """Kill what runs, and give the port back."""
        self.kill()
        self._socket.close()


def main(
    url: str, models: str, descriptor: str, settings: str, *, load: Load = load_deployed
) -> None:
    """Serve until a signal comes. load: makes the model of a version."""
    config = ServiceConfig(**json.loads(settings))
    with Store.open(url, seconds=config.store_seconds) as store:
        known: dict[str, Any] = {"stored": stored_events(store), "seconds": config.poll_seconds}
        folder = FolderModels(models, load, SystemClock(), **known)
        app = create_app(config, store, folder)
        serve(app, socket.socket(fileno=int(descriptor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
