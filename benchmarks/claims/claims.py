"""Every published comparison with its verdict, and the sentences that claim one (seconds).

    python -m benchmarks.claims.claims           the comparisons, then what is wrong
    python -m benchmarks.claims.claims --wrong   what is wrong alone

It reads benchmarks/results and the documentation, writes nothing, and ends with 1 where a sentence
claims what its row does not bear.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable

from benchmarks.claims._rows import ClaimRow, claim_rows
from benchmarks.claims._sentences import faults, pages, passages
from benchmarks.common.result import ROOT


def main() -> int:
    """Print; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wrong", action="store_true", help="what is wrong alone")
    asked = parser.parse_args()
    rows = claim_rows()
    if not asked.wrong:
        print("\n".join(lines(rows.values())))
    wrong, marked = [], 0
    for page in pages():
        name = page.relative_to(ROOT).as_posix()
        for passage in passages(name, page.read_text("utf-8")):
            marked += bool(passage.marks)
            wrong += faults(passage, rows)
    print(f"{len(rows)} comparisons; {marked} passages with marks; {len(wrong)} wrong")
    print("\n".join(wrong))
    return 1 if wrong else 0


def lines(rows: Iterable[ClaimRow]) -> list[str]:
    """A line each: verdict, row, who against whom, measure, data, seeds, difference."""
    found = []
    for row in rows:
        ends = "" if row.verdict == "untold" else f" ({row.low:+.4f} to {row.high:+.4f})"
        who = f"{row.a} less {row.b}" if row.b else row.a
        about = ", ".join(part for part in (row.measure, row.data) if part and part != row.a)
        seeds = "" if row.seeds == 0 else f", seeds: {row.seeds}" if row.seeds > 1 else ""
        found.append(
            f"{row.words():30} {row.name}\n    {who}; {about}{seeds}: {row.value:+.4f}{ends}"
        )
    return found


if __name__ == "__main__":
    sys.exit(main())
