"""A server of language models as a process of its own, for attacks on it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

SMOLLM2 = "smollm2-135m-instruct"
#: Whether a server that is told to end has ended: its own bounds are 30 s for requests and 10 s for
#: work beyond.
ENDS = 60.0


@dataclass
class Served:
    """The server. url: up to /v1. name: of its model, or of the base of its adapters."""

    process: subprocess.Popen[str]
    url: str
    name: str

    def post(
        self, path: str, body: dict[str, Any], *, key: str = "", seconds: float = 60
    ) -> httpx.Response:
        """Ask the model, or the one that the body names."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.post(
            f"{self.url}/v1/{path}",
            json={"model": self.name, **body},
            headers=headers,
            timeout=seconds,
        )

    def answer(self, tokens: int = 4, *, seconds: float = 60) -> httpx.Response:
        """A short answer."""
        body = {"prompt": "the best tea", "max_tokens": tokens, "temperature": 1.0}
        return self.post("completions", body, seconds=seconds)

    def get(self, path: str) -> httpx.Response:
        """What those look at who operate it."""
        return httpx.get(f"{self.url}/{path}", timeout=10)

    def ready(self) -> bool:
        """What /readyz says."""
        return self.get("readyz").status_code == httpx.codes.OK

    def pending(self) -> int:
        """Requests in work or waiting, by the metrics."""
        lines = self.get("metrics").text.splitlines()
        (line,) = (line for line in lines if line.startswith("adwright_lm_pending "))
        return int(float(line.split()[1]))

    def children(self) -> list[int]:
        """The processes right beneath it."""
        found: list[int] = []
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (thread / "children").read_text().split())
        return [pid for pid in found if alive(pid)]

    def end(self) -> float:
        """Tell it to end; seconds that it took. Nothing beneath it may be left."""
        children = self.children()
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=ENDS)
        took = time.monotonic() - began
        assert until(lambda: not any(map(alive, children)), 10), "a process is left behind"
        return took


def until(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    """Whether it comes true in time."""
    over = time.monotonic() + seconds
    while not what():
        if time.monotonic() > over:
            return False
        time.sleep(0.05)
    return True


def alive(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be read off is none."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@contextmanager
def served(model: str | Path, *arguments: str, name: str = "") -> Iterator[Served]:
    """Serve a model by `adwright lm serve`; it is killed at the end where it is still there."""
    command = [str(Path(sys.executable).with_name("adwright")), "lm", "serve", "--port", "0"]
    command += ["--model", str(model), "--threads", "1", "--name", name or "m", *arguments]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
        try:
            assert process.stdout is not None
            process.stdout.readline()
            line = process.stdout.readline()
            if not line:
                errors.seek(0)
                raise AssertionError(f"it did not start: {errors.read()[-400:]}")
            url = line.removeprefix("serving on ").strip().removesuffix("/v1")
            yield Served(process, url, name or "m")
        finally:
            process.kill()
            process.communicate()
