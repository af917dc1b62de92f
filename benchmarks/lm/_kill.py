"""Engines that are killed, closed or cancelled in the middle of an answer: what is left of them?
Part of lm_engines.py.

    python -m benchmarks.lm._kill       # 60 CPU-seconds; prints the figures
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import Cancellation, GenerationConfig, LanguageModel
from adwright.lm.native_engines.llamacpp_config import XllamacppConfig
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.lm.open_model import EngineConfig, open_model
from adwright.lm.torch_engine.config import TorchConfig
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT

ENGINES: dict[str, EngineConfig] = {
    "torch": TorchConfig(threads=1),
    "openvino": OpenVinoConfig(threads=1),
    "xllamacpp": XllamacppConfig(threads=1),
}
#: Those that `adwright lm serve` has; the others are killed in a program of a few lines.
SERVED = ("torch", "openvino")
PROMPT = "Once upon a time"
LONG = GenerationConfig(max_tokens=2000, temperature=1.0)
WAIT_SECONDS = 30.0


def kill_figures() -> dict[str, float]:
    """Of each engine, by name: processes and resident MB with the answer half written, and what
    is left of them after SIGKILL of the process that serves it; processes and MB of a program
    when it is fresh, before it opens the engine for the second time, while that answers, and after
    closing it in the middle; seconds until a cancelled answer has ended; for llama.cpp also what
    its program is left with when its process alone is killed."""
    figures: dict[str, float] = {}
    for name in ENGINES:
        found = killed(name) | _inside("closed", name)
        if name == "xllamacpp":
            found |= _inside("worker_killed", name)
        figures |= {f"{key}_{name}": value for key, value in found.items()}
    return figures


def killed(name: str) -> dict[str, float]:
    """SIGKILL of a program in the middle of an answer."""
    if name in SERVED:
        program = [str(Path(sys.executable).with_name("adwright")), "lm", "serve"]
        program += ["--engine", name, "--threads", "1", "--port", "0"]
    else:
        program = command("benchmarks.lm._kill", "host", name)
    host = subprocess.Popen(
        program,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    lines = cast(IO[str], host.stdout)
    lines.readline()
    address = lines.readline().removeprefix("serving on http://").strip()
    connection = _asked(address) if name in SERVED else None
    family = [host.pid, *descendants(host.pid)]
    megabytes = sum(map(rss_mb, family))
    host.send_signal(signal.SIGKILL)
    host.wait()
    _wait_until(lambda: not any(map(alive, family)))
    if connection is not None:
        connection.close()
    left = [pid for pid in family if alive(pid)]
    return {
        "killed_processes": len(family),
        "killed_mb": megabytes,
        "killed_processes_left": len(left),
        "killed_mb_left": sum(map(rss_mb, left)),
    }


def closed(name: str) -> dict[str, float]:
    """Closing an engine in the middle of an answer, and cancelling one. In a fresh process."""
    fresh = rss_mb(os.getpid())
    # Code and free lists of a first round stay; what a second one adds would be a leak.
    first = open_model(ENGINES[name])
    first.generate([PROMPT], GenerationConfig(max_tokens=8))
    first.close()
    before = rss_mb(os.getpid())
    model = open_model(ENGINES[name])
    cancel = Cancellation()
    thread = _writing(model, cancel)
    began = time.monotonic()
    cancel.cancel()
    thread.join()
    seconds = time.monotonic() - began
    cancel = Cancellation()
    thread = _writing(model, cancel)
    children = descendants(os.getpid())
    busy, of_children = rss_mb(os.getpid()), sum(map(rss_mb, children))
    began = time.monotonic()
    model.close()
    waited = time.monotonic() - began
    # torch lets go of its weights when what is being written has ended.
    cancel.cancel()
    thread.join()
    model.close()
    return {
        "cancelled_seconds": seconds,
        "closed_seconds": waited,
        "closed_mb_fresh": fresh,
        "closed_mb_before": before,
        "closed_mb_busy": busy + of_children,
        "closed_mb_after": rss_mb(os.getpid()),
        "closed_processes_busy": 1 + len(children),
        "closed_processes_after": 1 + len(descendants(os.getpid())),
    }


def worker_killed(name: str) -> dict[str, float]:
    """SIGKILL of the engine's own process alone. In a fresh process."""
    before = rss_mb(os.getpid())
    model = open_model(ENGINES[name])
    chunks = model.stream(PROMPT, LONG)
    next(chunks)
    (worker,) = descendants(os.getpid())
    megabytes = rss_mb(worker)
    os.kill(worker, signal.SIGKILL)
    began, error = time.monotonic(), ""
    try:
        list(chunks)
    except AdwrightError as raised:
        error = str(raised)
    seconds = time.monotonic() - began
    return {
        "worker_killed_mb": megabytes,
        "worker_killed_is_said": float("SIGKILL" in error),
        "worker_killed_seconds": seconds,
        "worker_killed_mb_before": before,
        "worker_killed_mb_after": rss_mb(os.getpid()),
        "worker_killed_processes_left": len(descendants(os.getpid())),
    }


def host(name: str) -> None:
    """Write a long answer, and another one, until somebody ends this process."""
    model = open_model(ENGINES[name])
    while True:
        for at, _ in enumerate(model.stream(PROMPT, LONG)):
            if at == 4:
                print("the answer is half written\n", flush=True)


def _inside(what: str, name: str) -> dict[str, float]:
    found = subprocess.run(
        command("benchmarks.lm._kill", what, name),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return dict(json.loads(found.stdout.splitlines()[-1]))


def _writing(model: LanguageModel, cancel: Cancellation) -> threading.Thread:
    """A thread that has begun to write a long answer."""
    begun = threading.Event()

    def write() -> None:
        try:
            for at, _ in enumerate(model.stream(PROMPT, LONG, cancel=cancel)):
                if at == 4:
                    begun.set()
        except AdwrightError:
            return

    thread = threading.Thread(target=write)
    thread.start()
    begun.wait(WAIT_SECONDS)
    return thread


def _asked(address: str) -> http.client.HTTPConnection:
    """A connection that a served model has begun to write to."""
    connection = http.client.HTTPConnection(address.partition("/")[0], timeout=WAIT_SECONDS)
    body = {"model": "smollm2-135m-instruct", "prompt": PROMPT, "max_tokens": LONG.max_tokens}
    body |= {"temperature": 1.0, "stream": True}
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/v1/completions", json.dumps(body), headers)
    response = connection.getresponse()
    for _ in range(10):
        response.readline()
    return connection


def _wait_until(holds: Any) -> None:
    until = time.monotonic() + WAIT_SECONDS
    while not holds() and time.monotonic() < until:
        time.sleep(0.02)


def _status(pid: int) -> dict[str, str]:
    try:
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
    except OSError:
        return {}
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def alive(pid: int) -> bool:
    """Whether there is such a process; one that only waits to be read off is none."""
    return _status(pid).get("State", "Z")[0] != "Z"


def rss_mb(pid: int) -> float:
    """Resident memory; 0 where there is no such process."""
    return int(_status(pid).get("VmRSS", "0 kB").split()[0]) / 1e3


def descendants(pid: int) -> list[int]:
    """Children of a process, and theirs."""
    parents = {int(one.name): _parent(int(one.name)) for one in Path("/proc").glob("[0-9]*")}

    def below(one: int) -> Iterator[int]:
        for child, parent in parents.items():
            if parent == one and alive(child):
                yield child
                yield from below(child)

    return list(below(pid))


def _parent(pid: int) -> int:
    return int(_status(pid).get("PPid", "0"))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["host", name]:
            host(name)
        case ["closed", name]:
            print(json.dumps(closed(name)))
        case ["worker_killed", name]:
            print(json.dumps(worker_killed(name)))
        case _:
            print(json.dumps(kill_figures(), indent=1))
