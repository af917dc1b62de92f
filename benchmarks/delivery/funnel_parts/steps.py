"""From a table to an answer of the service by six commands, each measured as a process of its own.

What was done is kept beside the run: a benchmark that was cut off goes on behind it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from adwright.core.atomic import atomic_write_text
from benchmarks.common.result import ROOT
from benchmarks.delivery.funnel_parts.logs import LogFiles

#: Seconds until the service must have answered.
_PATIENCE = 300


@dataclass(frozen=True)
class Done:
    """A command that was run. wall, cpu: seconds, cpu of all of its threads. peak_mb: of memory.
    said: the end of what it printed."""

    command: str
    wall: float
    cpu: float
    peak_mb: float
    said: str


def log_to_answer(
    files: LogFiles,
    folder: Path,
    seed: int,
    trial: Sequence[str],
    *,
    user: str,
    processor: bool,
) -> list[Done]:
    """Run the commands in `folder` as far as they were not run, and return all of them.

    trial: options of the training beside the defaults. user: who asks the service. processor: the
    minutes of the training are of the processor, as on a machine that does nothing else. Raises
    SystemExit where a command fails.
    """
    log = ["data", "import", str(files.events), "log", "--items", str(files.items), *files.options]
    train = ["train", "cascade", "log", "--seed", str(seed), *trial]
    publish = ["publish", "runs/cascade/deployment", "--models", "models", "--tenant", "shop"]
    done = _before(folder)
    if not done:
        # Of an import whose end was not noted.
        shutil.rmtree(folder / "log", ignore_errors=True)
    for number, command in enumerate((log, train, publish, ["key", "shop"])):
        if number < len(done):
            continue
        resumed = number == 1 and (folder / "runs" / "cascade" / "config.json").exists()
        more = ["--resume"] if resumed else []
        script = (
            "benchmarks.delivery.funnel_parts.train" if number == 1 and processor else "adwright"
        )
        found = _run(script, [*command, *more], folder)
        done.append(found)
        _keep(folder, done)
    if len(done) < 6:
        key = done[3].said.split()[-1]
        done += _served(folder, key, user)
        _keep(folder, done)
    return done


def _before(folder: Path) -> list[Done]:
    path = folder / "steps.json"
    return [Done(**one) for one in json.loads(path.read_text())] if path.exists() else []


def _keep(folder: Path, done: Sequence[Done]) -> None:
    atomic_write_text(folder / "steps.json", json.dumps([asdict(one) for one in done], indent=1))


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT)))}


def _run(module: str, arguments: Sequence[str], folder: Path) -> Done:
    """A command to its end."""
    out = folder / "said.txt"
    began = time.perf_counter()
    with out.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=folder,
            env=_environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    text = out.read_text("utf-8")
    short = ("/".join(Path(one).parts[-2:]) if one.startswith("/") else one for one in arguments)
    command = " ".join(("adwright", *short))
    print(f"{command}\n{text[-3_000:]}", flush=True)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}")
    return Done(
        command,
        time.perf_counter() - began,
        usage.ru_utime + usage.ru_stime,
        usage.ru_maxrss / 1024,
        text[-2_000:],
    )


def _served(folder: Path, key: str, user: str) -> list[Done]:
    """The service until its first answer, then the question."""
    out = folder / "served.txt"
    began = time.perf_counter()
    with out.open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "adwright", "serve", "--models", "models", "--port", "0"],
            cwd=folder,
            env=_environment(),
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    try:
        answer, asked = _first_answer(process, out, key, user)
    finally:
        process.send_signal(signal.SIGINT)
        _, _, usage = os.wait4(process.pid, 0)
        process.returncode = 0
    ready = time.perf_counter() - began - asked
    cpu = usage.ru_utime + usage.ru_stime
    serve = Done("adwright serve --models models", ready, cpu, usage.ru_maxrss / 1024, "")
    return [serve, Done("curl /v1/decide", asked, 0.0, 0.0, answer[:500])]


def _first_answer(
    process: subprocess.Popen[bytes], out: Path, key: str, user: str
) -> tuple[str, float]:
    """The answer of POST /v1/decide, and the seconds of the question that was answered."""
    body = {"request_id": "first", "user_id": user, "k": 10}
    reason = ""
    until = time.perf_counter() + _PATIENCE
    while time.perf_counter() < until and process.poll() is None:
        time.sleep(0.2)
        said = [line for line in out.read_text("utf-8").splitlines() if "serving on " in line]
        if not said:
            continue
        url = said[0].split("serving on ")[1].split()[0]
        began = time.perf_counter()
        try:
            answer = httpx.post(
                f"{url}/v1/decide", json=body, headers={"X-API-Key": key}, timeout=30
            )
        except httpx.TransportError as error:
            reason = str(error)
            continue
        reason = answer.text
        if answer.status_code == 200 and answer.json()["items"]:
            return reason, time.perf_counter() - began
    raise SystemExit(f"the service gave no answer: {reason}\n{out.read_text('utf-8')}")
