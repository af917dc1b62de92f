"""The ratios of tuning and serving many adapters, on a processor without bfloat16 (CPU-hour).

    python -m benchmarks.lm.lm_float32              what is not measured yet, and the JSON
    python -m benchmarks.lm.lm_float32 lora_step    one part again

Everything in float32, where reading the weights takes twice as long and products have no units
of their own: what `peft.py` and `adapters.py` measure with bfloat16 need not hold here. Each part
runs in a process of its own, on one thread.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.lm.engine.weights import SMOLLM2_NOTE
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT, write_result
from benchmarks.lm import _adapters_serving, _adapters_tuning
from benchmarks.lm._peft_runs import asked_once
from benchmarks.lm._peft_task import VARIANTS
from benchmarks.lm.adapters import within

SCRATCH = cache_folder() / "bench" / "lm_float32"
#: peft's modules whose step is timed beside ours, as `_peft_task` names them.
THEIRS = ("peft lora", "peft dora", "peft ia3", "peft prompt")
ROUNDS = 3
#: As `_adapters_tuning.LOADS`: half the requests, and twice the bounds.
LOADS = ((0.025, 160.0, 0.4, 1.2), (0.075, 120.0, 0.4, 1.2), (0.075, 120.0, 0.8, 2.4))
PROTOCOL = (
    f"{SMOLLM2_NOTE}, float32 throughout, one thread, CPU-seconds of the process. lora_step: a "
    "step of 12 PriceRunner titles with rank, targets and texts of `peft.py`, ours and peft's "
    f"module with transformers' padded loss, median of 8 steps, {ROUNDS} rounds turn about. "
    "mixed_batch, mixed_kinds, together_rows, coserving_rows: as in `adapters.py`, the last with "
    "half its requests and twice its bounds."
)


def lora_step() -> list[dict[str, Any]]:
    """One row per method: seconds and memory of a step, ours and peft's, and the ratios."""
    rows = []
    for their in THEIRS:
        own = VARIANTS[their].twin
        ratios: list[float] = []
        ours: list[dict[str, float]] = []
        theirs: list[dict[str, float]] = []
        for turn in range(ROUNDS):
            for name, found in ((own, ours), (their, theirs)):
                spec = {"name": name, "rate": 1e-3, "seed": turn, "steps": 10, "judge": []}
                line = json.loads(asked_once(spec | {"float32": True}))
                if "error" in line:
                    raise RuntimeError(f"{name}: {line['error']}")
                found.append(line)
            key = "cpu_seconds_a_step"
            ratios.append(theirs[-1][key] / ours[-1][key])
        row: dict[str, Any] = {"method": their.removeprefix("peft ")}
        for by, found in (("ours", ours), ("peft", theirs)):
            for key in ("cpu_seconds_a_step", "above_base_mb"):
                row[f"{by}_{key}"] = round(float(np.median([one[key] for one in found])), 3)
        rows.append(
            row
            | {
                "ratio": round(float(np.median(ratios)), 3),
                "ratio_low": round(min(ratios), 3),
                "ratio_high": round(max(ratios), 3),
            }
        )
        print(json.dumps(rows[-1]), flush=True)
    return rows


PARTS: dict[str, Callable[[], Sequence[Mapping[str, Any]]]] = {
    "lora_step": lora_step,
    "mixed_batch": lambda: _adapters_serving.mixed_batch(torch.float32),
    "mixed_kinds": lambda: _adapters_serving.mixed_kinds(torch.float32),
    "together_rows": lambda: _adapters_tuning.together_rows(torch.float32),
    "coserving_rows": lambda: _adapters_tuning.coserving_rows(torch.float32, LOADS),
}


def rows_of(part: str) -> list[dict[str, Any]]:
    """The rows that a part gave; none where it was not run."""
    path = SCRATCH / f"{part}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def run_part(part: str) -> None:
    """Measure a part in this process and keep its rows."""
    torch.set_num_threads(1)
    rows = PARTS[part]()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    atomic_write_text(SCRATCH / f"{part}.json", json.dumps(rows, indent=1))
    for row in rows:
        print(part, row, flush=True)


def figures() -> dict[str, Any]:
    """The figures of all parts."""
    step = rows_of("lora_step")
    kinds = {row["batch"]: row for row in rows_of("mixed_kinds")}
    together = [row["ratio_to_tune"] for row in rows_of("together_rows")]
    beside = rows_of("coserving_rows")
    found: dict[str, Any] = {
        f"{row['method'].strip('()')}_speed_ratio_peft": row["ratio"] for row in step
    }
    found |= {
        f"decode_ratio_peft_{row['adapters']}": row["times_peft"] for row in rows_of("mixed_batch")
    }
    return found | {
        "mixed_kind_share": kinds["8 of each kind"]["share"],
        "train8_ratio": max(together),
        "train8_ratio_range": [min(together), max(together)],
        "coserve_tuning_share": beside[0]["share_kept"],
        "coserve_tuning_share_range": [
            min(row["share_kept"] for row in beside),
            max(row["share_kept"] for row in beside),
        ],
        "coserve_loads": len(beside),
        "coserve_loads_within_bound": sum(map(within, beside)),
    }


def main() -> None:
    """Measure the parts that the command line names, or what is missing, and write the JSON."""
    if len(sys.argv) > 1:
        for part in sys.argv[1:]:
            run_part(part)
        return
    for part in PARTS:
        if not rows_of(part):
            subprocess.run(command("benchmarks.lm.lm_float32", part), check=True, cwd=ROOT)
    write_result(
        "lm_float32",
        protocol=PROTOCOL,
        data="random words, AE-110k titles, PriceRunner offers",
        seeds=[0],
        rows=[{"part": part} | row for part in PARTS for row in rows_of(part)],
        figures=figures(),
    )


if __name__ == "__main__":
    main()
