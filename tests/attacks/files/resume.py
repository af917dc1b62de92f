"""Commands that are ended by SIGKILL at any moment and begun again: the bytes have to be the same.

Each command runs once undisturbed; then, for each kill, again in a folder of its own, until a
moment that is drawn from the time between its first file and its end, and once more as a person
would resume it. What counts are the tensors that are left, and the reports but for what a clock
wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.core.hashing import sha256_file
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, save_log
from tests.attacks.attack import Area, Attack
from tests.support.data.ranking_task import shop_task
from tests.support.lm.tiny_llama import save_tiny
from tests.support.store.small_world import ITEMS, events

MAIN = "from adwright.cli import main; main()"
#: Seconds that a command may take, undisturbed.
SECONDS = 280.0
#: Keys of reports that a clock or the machine wrote.
CLOCKED = {"cpu_seconds", "seconds", "stages", "tokens_per_cpu_second", "peak_bytes", "made", "at"}
TRAIN = """seed = 3
draws = 20
base = false
[task]
kind = "folder"
folder = "task"
[model]
mlp_hidden = [16, 8]
[fit]
epochs = 3
learning_rate = 0.01
checkpoint_every = 3
[fit.stream]
negative_rate = 0.5
groups_per_batch = 4
"""
SIMULATE = """log = "world"
retrain = false
[population]
start = "2024-05-20T00:00:00Z"
fit_visits = 500
[simulation]
days = 3.0
places = 3
[verdict]
draws = 50
"""
TUNE = ("tune", "run", "--model", "base", "--data", "pairs.jsonl", "--epochs", "3", "--batch", "2")
DEMO = (
    *("demo", "ranker", "--households", "0.01", "--requests", "20", "--offline"),
    "--no-cascade",
)


@dataclass(frozen=True)
class Command:
    """A command without its --out. again: what is added to resume it. kills: how many."""

    name: str
    arguments: Sequence[str]
    again: Sequence[str]
    kills: int


COMMANDS = (
    Command("train", ("train", "train.toml"), ("--resume",), 8),
    Command("tune", TUNE, ("--resume",), 11),
    Command("simulate", ("simulate", "simulate.toml"), ("--force",), 1),
    Command("demo", DEMO, (), 13),
)


@contextmanager
def inputs() -> Iterator[Path]:
    """A folder with all that the commands read."""
    with TemporaryDirectory(prefix="attacks-") as name:
        top = Path(name)
        shop_task(top / "task", users=24)
        save_log(top / "world", Log(events().lazy(), Catalogue.checked(ITEMS)))
        save_tiny(top / "base")
        rows = [json.dumps({"prompt": f"shop {n}", "answer": f"sale {n % 3}"}) for n in range(40)]
        (top / "pairs.jsonl").write_text("\n".join(rows) + "\n")
        (top / "train.toml").write_text(TRAIN)
        (top / "simulate.toml").write_text(SIMULATE)
        yield top


def _start(top: Path, arguments: Sequence[str], out: Path) -> subprocess.Popen[bytes]:
    with (top / f"{out.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-c", MAIN, *arguments, "--out", str(out)],
            cwd=top,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def _until(top: Path, process: subprocess.Popen[bytes], out: Path, seconds: float) -> bool:
    """Let it run for `seconds` from its first file on, then kill it; whether it was killed."""
    began, limit = None, time.monotonic() + SECONDS
    while process.poll() is None:
        now = time.monotonic()
        began = now if began is None and out.exists() else began
        if now > limit or (began is not None and now >= began + seconds):
            process.kill()
            process.wait()
            assert now <= limit, f"{out.name} took more than {SECONDS} s"
            return True
        time.sleep(0.005)
    said = (top / f"{out.name}.log").read_text("utf-8", "replace")[-600:]
    assert process.returncode == 0, said
    return False


def _left(out: Path) -> dict[str, str]:
    """Hashes of tensors and reports, by their place in the folder."""
    found = {}
    for path in sorted(out.rglob("*")):
        name = str(path.relative_to(out))
        if path.suffix == ".safetensors":
            found[name] = sha256_file(path)
        elif path.name == "report.json":
            plain = _plain(json.loads(path.read_text("utf-8")))
            found[name] = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        assert not path.name.endswith(".tmp"), f"{name} was left behind"
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items() if key not in CLOCKED}
    return [_plain(each) for each in value] if isinstance(value, list) else value


def _whole(top: Path, command: Command) -> dict[str, Any]:
    """What it leaves undisturbed, and how long it took from its first file on."""
    kept = top / f"{command.name}.json"
    if not kept.exists():
        out = top / f"{command.name}-whole"
        process = _start(top, command.arguments, out)
        while process.poll() is None and not out.exists():
            time.sleep(0.005)
        began = time.monotonic()
        assert not _until(top, process, out, SECONDS)
        found = {"seconds": time.monotonic() - began, "left": _left(out)}
        kept.write_text(json.dumps(found))
    whole: dict[str, Any] = json.loads(kept.read_text())
    assert whole["left"], f"{command.name} left nothing that could be compared"
    return whole


def _is_whole(out: Path, whole: Mapping[str, Any]) -> bool:
    return all((out / name).exists() for name in whole["left"])


def _killed(top: Path, *, command: Command, number: int) -> dict[str, float]:
    whole = _whole(top, command)
    # Evenly over the time, each somewhere in its share of it.
    share = (number + random.Random(number).random()) / command.kills
    seconds = share * whole["seconds"]
    for turn in range(6):
        out = top / f"{command.name}-{number}-{turn}"
        process = _start(top, command.arguments, out)
        # Killed as it ends, with all that it leaves in place, it has nothing to resume.
        if _until(top, process, out, seconds) and not _is_whole(out, whole):
            break
        seconds /= 2  # done before the moment came: the machine has less to do by now
    else:
        raise AssertionError("it was never killed")
    # Killed before there was a run, it is begun anew, as a person would.
    begun = "--resume" not in command.again or any(out.rglob("config.json"))
    again = _start(top, [*command.arguments, *(command.again if begun else ())], out)
    assert not _until(top, again, out, SECONDS)
    left = _left(out)
    differ = [name for name in {*left, *whole["left"]} if left.get(name) != whole["left"].get(name)]
    assert not differ, f"other bytes after a kill at {share:.0%}: {sorted(differ)[:5]}"
    return {"at": round(share, 3), "turns": turn + 1}


def _attacks() -> Iterator[Attack]:
    for command in COMMANDS:
        for number in range(command.kills):
            name = f"adwright {command.name}, killed the {number + 1}. time of {command.kills}"
            run = partial(_killed, command=command, number=number)
            yield Attack(name, run, seconds=3 * SECONDS)


AREAS = [Area("kill and resume", list(_attacks()), shared=inputs, memory=0)]
