"""Kill and resume at 20 random moments, each of the five trainees: equal bits? 10 minutes.

    python -m benchmarks.common.kill_resume
    python -m benchmarks.common.kill_resume --checkout FOLDER_OR_REVISION --kills 2

For each trainee of `_trainees`: one run that nobody disturbs; then, again and again, a run whose
process is ended by SIGKILL and which another process takes up until it is done. Half of the kills
come from within, right after a step drawn uniformly from all; the other half from outside, at a
moment drawn uniformly from the time that the undisturbed run took, so also while a checkpoint is
being written. A run that was killed before its folder says that there is a run is begun anew. Two
SHA-256 have to be those of the undisturbed run: of the weights that the run leaves behind, which
validation may have chosen long before, and of the last checkpoint, weights and optimisers.

Processes are forked from one that has imported all and computed nothing. Each kill is a line of
the journal; what is in there of the same code and the same trainees is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from adwright.core.assets import pins
from benchmarks.common._checkouts import ROOT, checkout, environment, source_hash
from benchmarks.common._trainees import (
    LAST,
    TRAINEES,
    OnStep,
    Weights,
    digest,
    imported,
    prepare,
    tensor_hashes,
    without_pictures,
)
from benchmarks.common.result import RESULTS, write_result

How = Literal["step", "moment"]
#: A line of the journal.
Line = dict[str, Any]
#: Longest that a run may take.
SECONDS = 600.0
SEED = 7
TRAINEES_FILE = ROOT / "benchmarks" / "common" / "_trainees.py"
PROTOCOL = (
    "MovieLens 100k, the ratings of one person in eight; fit, fit_retriever, fit_sequential, tune "
    "and tune_jobs, a checkpoint every five steps. Each run is ended by SIGKILL once, half of them "
    "right after a random step and half at a random moment of the training, and then resumed by "
    "another process. Equal: the SHA-256 of the final weights and of the last checkpoint's tensors "
    "are those of a run that nobody disturbed."
)


class Trial:
    """The runs of one trainee, below the folder `work`."""

    def __init__(self, name: str, data: Path, work: Path) -> None:
        self.name, self.data, self.work = name, data, work

    def undisturbed(self) -> Line:
        """The run that the others are measured by: steps, seconds from the first step's start to
        the end, tensors and sha256."""
        began = in_child(lambda: self._train("whole", _nothing), self.work / "begun")
        seconds = time.monotonic() - (began.begun or 0.0)
        return {"seconds": seconds, **self._end("whole")}

    def killed(self, number: int, whole: Line) -> Line:
        """Kill number `number`, and what the resumed run came to."""
        draw = random.Random(f"{SEED}-{self.name}-{number}")
        how: How = "step" if number % 2 == 0 else "moment"
        step, seconds = draw.randint(1, whole["steps"]), draw.uniform(0, whole["seconds"])
        again = 0
        while self._survives(f"{number}-{again}", how, step, seconds):
            # Done before the moment came: an earlier one.
            again, seconds = again + 1, draw.uniform(0, seconds)
        folder = f"{number}-{again}"
        started = self._has_run(folder)
        in_child(lambda: self._train(folder, _nothing), self.work / "begun")
        end = self._end(folder)
        return {
            "number": number,
            "how": how,
            "at": step if how == "step" else round(seconds, 3),
            "resumed": started,
            "equal": all(end[key] == whole[key] for key in ("sha256", "checkpoint")),
            "sha256": end["sha256"],
            "checkpoint": end["checkpoint"],
        }

    def _survives(self, folder: str, how: How, step: int, seconds: float) -> bool:
        """Whether a run that was to be killed came to its end."""

        def die(steps: int) -> None:
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def work() -> None:
            self._train(folder, die if how == "step" else _nothing)

        return in_child(work, self.work / "begun", seconds if how == "moment" else SECONDS).done

    def _has_run(self, folder: str) -> bool:
        return (self.work / folder / "config.json").exists()

    def _train(self, folder: str, on_step: OnStep) -> None:
        """Start, or resume where there is a run; the end goes to FOLDER.json."""
        steps = [0]

        def counted(step: int) -> None:
            if step == 0:
                (self.work / "begun").touch()
            else:
                steps[0] = step
                on_step(step)

        run = self.work / folder
        weights = TRAINEES[self.name](self.data, run, self._has_run(folder), counted)
        kept = {name: one for name, one in weights.items() if not name.startswith(LAST)}
        end = {
            "steps": steps[0],
            "tensors": len(kept),
            "sha256": digest(tensor_hashes(kept)),
            "checkpoint": digest(tensor_hashes(checkpoint_of(run))),
        }
        (self.work / f"{folder}.json").write_text(json.dumps(end), "utf-8")

    def _end(self, folder: str) -> Line:
        return dict(json.loads((self.work / f"{folder}.json").read_text("utf-8")))


def checkpoint_of(run: Path) -> Weights:
    """The tensors of the latest checkpoint in the folder of a run."""
    from safetensors.torch import load_file

    latest = max(run.glob("checkpoint-*"))
    found: dict[str, Any] = {}
    for path in sorted(latest.rglob("*.safetensors")):
        found |= {f"{path.stem}/{name}": one for name, one in load_file(path).items()}
    return found


class Ended:
    """How a child came to its end. done: by itself. begun: when it said that it trains, None where
    it never did."""

    def __init__(self, done: bool, begun: float | None) -> None:
        self.done, self.begun = done, begun


def in_child(work: Callable[[], None], sign: Path, seconds: float = SECONDS) -> Ended:
    """Do `work` in a forked process, which is killed `seconds` after the file `sign` is there.

    Raises RuntimeError, with its last words, where it fails.
    """
    sign.unlink(missing_ok=True)
    log = sign.with_name("log")
    child = os.fork()
    if child == 0:
        _work_and_exit(work, log)
    begun, limit = None, time.monotonic() + SECONDS
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        now = time.monotonic()
        if begun is None and sign.exists():
            begun = now
        if now > limit or (begun is not None and now >= begun + seconds):
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            break
        time.sleep(0.001)
    if time.monotonic() > limit or (os.WIFEXITED(status) and os.WEXITSTATUS(status)):
        raise RuntimeError(log.read_text("utf-8")[-4000:])
    return Ended(os.WIFEXITED(status), begun)


def _work_and_exit(work: Callable[[], None], log: Path) -> None:
    """What a child does; it says what it says into a file."""
    with log.open("w") as said:
        os.dup2(said.fileno(), sys.stdout.fileno())
        os.dup2(said.fileno(), sys.stderr.fileno())
    code = 1
    try:
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    os._exit(code)


def _nothing(_: int) -> None:
    """Nothing is done after a step."""


def trials(journal: Path, source: str, kills: int, names: Sequence[str]) -> None:
    """All that the journal lacks of `kills` kills of each trainee; adds to it line by line."""
    import torch

    torch.set_num_threads(1)
    imported()
    without_pictures()
    journal.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as folder, journal.open("a", encoding="utf-8") as out:
        top = Path(folder)
        # Polars starts threads, which do not survive a fork: only children may use it.
        in_child(lambda: prepare(top / "data"), top / "begun")
        for name in names:
            known = [line for line in _lines(journal, source) if line["trainee"] == name]
            wholes = [line for line in known if "number" not in line]
            (top / name).mkdir()
            trial = Trial(name, top / "data", top / name)

            def note(line: Line, name: str = name) -> Line:
                full = {"source": source, "trainee": name, **line}
                out.write(json.dumps(full) + "\n")
                out.flush()
                return full

            whole = wholes[0] if wholes else note(trial.undisturbed())
            there = {line["number"] for line in known if "number" in line}
            for number in sorted(set(range(kills)) - there):
                line = note(trial.killed(number, whole))
                print(f"{name} {number}: {line['how']} {line['at']}, equal: {line['equal']}")


def _lines(journal: Path, source: str) -> Iterator[Line]:
    """Of the journal, what was found with this code."""
    if journal.exists():
        for text in journal.read_text("utf-8").splitlines():
            line = dict(json.loads(text))
            if line["source"] == source:
                yield line


def rows_of(lines: Iterable[Line], kills: int) -> list[Line]:
    """A row a trainee: how often it was killed, by whom, and how often the bits were equal.

    begun_anew: kills before the folder held a run."""
    found = list(lines)
    rows = []
    for name in dict.fromkeys(line["trainee"] for line in found):
        own = [line for line in found if line["trainee"] == name]
        whole = next(line for line in own if "number" not in line)
        killed = [line for line in own if line.get("number", kills) < kills]
        rows.append(
            {
                "trainee": name,
                "steps": whole["steps"],
                "seconds": round(whole["seconds"], 2),
                "tensors": whole["tensors"],
                "kills": len(killed),
                "after_a_step": sum(line["how"] == "step" for line in killed),
                "at_a_moment": sum(line["how"] == "moment" for line in killed),
                "begun_anew": sum(not line["resumed"] for line in killed),
                "equal": sum(line["equal"] for line in killed),
            }
        )
    return rows


def figures_of(rows: Iterable[Line]) -> dict[str, int]:
    """kills and equal, of all and of each trainee."""
    figures = {"kills": 0, "equal": 0}
    for row in rows:
        for key in ("kills", "equal"):
            figures[key] += row[key]
            figures[f"{key}_{row['trainee']}"] = row[key]
    return figures


def main() -> None:
    """Do what the journal lacks, and write the result; exits with 1 where bits differ."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--checkout", default=str(ROOT), help="folder or revision; this one")
    parser.add_argument("--kills", type=int, default=20, help="of each trainee")
    parser.add_argument("--only", nargs="+", default=list(TRAINEES), choices=list(TRAINEES))
    parser.add_argument("--journal", type=Path, default=ROOT / "build" / "kill_resume.jsonl")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the result")
    asked = parser.parse_args()
    with checkout(asked.checkout) as top, TemporaryDirectory() as scratch:
        trainees = hashlib.sha256(TRAINEES_FILE.read_bytes()).hexdigest()
        source = f"{source_hash(top)[:32]}-{trainees[:16]}"
        arguments = [str(asked.journal.resolve()), source, str(asked.kills), *asked.only]
        subprocess.run(
            [sys.executable, "-m", "benchmarks.common.kill_resume", "trials", *arguments],
            cwd=ROOT,
            env=environment(top, Path(scratch)),
            check=True,
        )
    rows = rows_of(_lines(asked.journal, source), asked.kills)
    figures = figures_of(rows)
    write_result(
        "kill_resume",
        protocol=PROTOCOL,
        data=pins()["recbole"].sha256,
        seeds=[SEED],
        rows=rows,
        figures=figures,
        folder=asked.folder,
    )
    sys.exit(figures["equal"] < figures["kills"])


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["trials", path, code, count, *chosen]:
            trials(Path(path), code, int(count), chosen)
        case _:
            main()
