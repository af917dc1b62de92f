"""Figures of faults that were mended, before and after: a script per area, run against either tree.

`python -m benchmarks.mended.AREA --state before` with PYTHONPATH at the tree of that state keeps
what it finds in benchmarks/results/mended/AREA.json.
`python -m benchmarks.mended.table` prints all areas.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping

from adwright.core.atomic import atomic_write_text
from benchmarks.common.result import RESULTS, machine

__all__ = ["KEPT", "keep", "run"]

KEPT = RESULTS / "mended"


def keep(area: str, state: str, found: Mapping[str, float | int | str]) -> None:
    """Write what was found of an area in one state ("before" or "after") beside the other.

    found: what was measured, in words with its unit, to a number or a few words.
    """
    path = KEPT / f"{area}.json"
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"rows": []}
    rows = {row["what"]: row for row in kept["rows"]}
    for what, value in found.items():
        rows.setdefault(what, {"what": what})[state] = value
        print(f"{what}: {value}")
    kept = {"machine": machine(), "rows": list(rows.values())}
    KEPT.mkdir(exist_ok=True)
    atomic_write_text(path, json.dumps(kept, indent=1) + "\n")


def run(area: str, measure: Callable[[], Mapping[str, float | int | str]]) -> None:
    """The command line of an area's script."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--state", choices=("before", "after"), default="after")
    keep(area, parser.parse_args().state, measure())
