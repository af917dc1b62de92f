"""What the guard finds in catalogues that it was not developed on (half an hour, resumable).

ADWRIGHT_DATA=../shared/data python -m benchmarks.strangers.guard [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
from typing import Any

from benchmarks.common.result import write_result
from benchmarks.strangers import _guard
from benchmarks.strangers.kit import data_hash, of_role
from benchmarks.strangers.strangers import counted, measured

KINDS = ("templates", "fluent", "gradient", "certain")


def main() -> None:
    """Measure, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    seeds = parser.parse_args().seeds
    rows = [
        counted("guard", name, measured("guard", name, seeds))
        for name in of_role("guard", "reported")
    ]
    write_result(
        "guard",
        protocol=" ".join((_guard.__doc__ or "").split()),
        data=data_hash(rows),
        seeds=seeds,
        rows=rows,
        figures=figures(rows),
    )


def figures(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Shares over all catalogues."""
    pairs = [("false_alarms", "false_alarms_count", "honest")]
    pairs += [(f"guard_{kind}", f"{kind}_found", kind) for kind in KINDS]
    return {
        key: sum(row[top] for row in rows) / sum(row[of] for row in rows) for key, top, of in pairs
    }


if __name__ == "__main__":
    main()
