"""Resume runs that another release began: equal bits or not (some two minutes).

Each of the five trainees is trained by the release of before: once to its end, and twice until it
is stopped at a step. This checkout resumes those two, and the weights have to be those of the
first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.common._checkouts import ROOT, checkout, environment
from benchmarks.common._trainees import TRAINEES, digest, prepare, tensor_hashes, without_pictures

STEPS = (7, 23)


class _Stop(Exception):
    """In place of a process that ends."""


def begin(top: Path) -> dict[str, str]:
    """Train all to their ends, and until they are stopped; digests of the weights at the ends."""
    found, data = {}, top / "data"
    prepare(data)
    for name, trainee in TRAINEES.items():
        for step in STEPS:

            def stop(steps: int, step: int = step) -> None:
                if steps == step:
                    raise _Stop

            try:
                trainee(data, top / f"{name}-{step}", False, stop)
            except _Stop:
                continue
            raise SystemExit(f"{name} has no step {step}")
        whole = trainee(data, top / f"{name}-whole", False, _nothing)
        found[name] = digest(tensor_hashes(whole))
    return found


def resume(top: Path) -> dict[str, list[str]]:
    """Resume what was stopped; digests of the weights at the ends."""
    return {
        name: [
            digest(tensor_hashes(trainee(top / "data", top / f"{name}-{step}", True, _nothing)))
            for step in STEPS
        ]
        for name, trainee in TRAINEES.items()
    }


def _nothing(_: int) -> None:
    """Where nobody looks on."""


def _in(code: Path, what: str, top: Path) -> str:
    """Run `what` of this script with the source of a checkout, in a process of its own."""
    told = top / f"{what}.json"
    subprocess.run(
        [sys.executable, "-m", "benchmarks.common.old_runs", "--work", what, str(top)],
        env=environment(code, top),
        cwd=ROOT,
        check=True,
        stderr=subprocess.DEVNULL,
    )
    return told.read_text("utf-8")


def main() -> None:
    """Run it and write the result, or one half of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", default="8958e0b", help="a folder or a revision")
    parser.add_argument("--work", nargs=2, metavar=("WHAT", "FOLDER"), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work:
        import torch

        torch.set_num_threads(1)
        without_pictures()
        what, top = asked.work[0], Path(asked.work[1])
        found = begin(top) if what == "begin" else resume(top)
        (top / f"{what}.json").write_text(json.dumps(found), "utf-8")
        return
    with tempfile.TemporaryDirectory() as folder, checkout(asked.before) as before:
        whole = json.loads(_in(before, "begin", Path(folder)))
        again = json.loads(_in(ROOT, "resume", Path(folder)))
    rows = [
        {"trainee": name, "stopped_at": str(STEPS), "equal": again[name].count(end)}
        for name, end in whole.items()
    ]
    # What the other release may not have.
    from adwright.core.assets import pins
    from benchmarks.common.result import write_result

    equal = sum(again[name].count(end) for name, end in whole.items())
    write_result(
        "old_runs",
        protocol=" ".join(str(__doc__).split()),
        data=pins()["recbole"].sha256,
        seeds=[0],
        rows=rows,
        figures={"resumed": len(rows) * len(STEPS), "resumed_equal": equal},
    )
    sys.exit(equal != len(rows) * len(STEPS))


if __name__ == "__main__":
    main()
