"""HSTU against SASRec, RecTools and simple rules on real data (some hours of CPU, resumable).

    python benchmarks/hstu_quality.py                     what is missing, then the result
    python benchmarks/hstu_quality.py --part ml1m         ML-1M by position alone, no result
    python benchmarks/hstu_quality.py --part ml1m --only hstu_large
    python benchmarks/hstu_quality.py --only-summarise    the result of what is finished

Parts: ml1m, small (MovieLens with times), journey (next basket).
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path
from typing import Any

import _hstu_journey as journey
import _hstu_ml as ml
import torch
from _result import write_result

from adwright.core.hashing import content_hash

PARTS = ("ml1m", "small", "journey")


def main() -> None:
    """Run what is missing, write benchmarks/results/hstu_quality.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--part", choices=PARTS)
    parser.add_argument("--only", help="this model of the part alone")
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    shared = os.environ.get("ADWRIGHT_DATA")
    if not shared:
        raise SystemExit("set ADWRIGHT_DATA to the folder that holds ml-1m")
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    hashes: dict[str, str] = {}
    run = not asked.only_summarise
    for part in ("ml1m", "small"):
        if asked.part not in (None, part):
            continue
        runs = ml.runs_of(part, Path(shared), range(asked.seeds), asked.only, run=run)
        rows += ml.rows_of(part, runs)
        figures |= ml.figures_of(part, runs)
        hashes[part] = ml.sequences_of(part, Path(shared)).data_hash
    if asked.part in (None, "journey"):
        found = journey.runs_of(range(asked.seeds), asked.only, run=run)
        more, some = journey.rows_and_figures(found)
        rows, figures = rows + more, figures | some
        hashes["journey"] = journey.task_hash()
    if asked.part or asked.only:
        return
    write_result(
        "hstu_quality",
        protocol=f"{ml.ML1M} {ml.SMALL} {journey.PROTOCOL} Intervals: 95% by bootstrap over "
        "people.",
        data=content_hash(hashes),
        seeds=list(range(asked.seeds)),
        rows=rows,
        figures=figures,
    )


if __name__ == "__main__":
    main()
