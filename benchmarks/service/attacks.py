"""Attacks from outside on every part of the house, and what honest callers keep (90 minutes).

    python -m benchmarks.service.attacks                 all of them
    python -m benchmarks.service.attacks --area NAME     one area; the rows of the others stay
    python -m benchmarks.service.attacks --list          the areas and how many attacks each has

The attacks are those of tests/attacks, of which `make test` runs the quick ones.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

from adwright.core.hashing import content_hash
from benchmarks.common.result import RESULTS, write_result
from tests.attacks.areas import every_area
from tests.attacks.attack import Area, Outcome, run_area

NAME = "attacks"
PROTOCOL = (
    "Each attack runs from outside against the real thing: files that are read, servers in "
    "processes of their own on loopback, databases, native engines. held: what was to be seen was "
    "seen, as the attack asserts it. accepted: it did not hold, is known and stays so, with the "
    "reason beside it. broke: the rest. honest_share: of the decisions that an honest tenant asked "
    "for during the attack, the part that was answered with 200; honest_p99_ratio: their 99th "
    "percentile over that of the same server left in peace just before; the attackers share the "
    "machine's cores with the service, at a lower priority than the honest caller, whose requests "
    "come at random moments that are the same in both. lm_: the same for whole answers of language "
    "models, which wait for a batch of others to end. _worst: over all attacks but the accepted. "
    "Seeds are fixed in the attacks."
)


def main() -> None:
    """Run what is asked for, write benchmarks/results/attacks.json after each area."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--area", action="append", help="run this one alone; may be repeated")
    parser.add_argument("--list", action="store_true", help="list the areas and end")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="for the result")
    asked = parser.parse_args()
    areas = every_area()
    if asked.list:
        print(*(f"{len(area.attacks):5d}  {area.name}" for area in areas), sep="\n")
        return
    unknown = set(asked.area or ()) - {area.name for area in areas}
    if unknown:
        parser.error(f"there is no area {sorted(unknown)}: --list shows them")
    rows = {row["area"]: row for row in _earlier(asked.folder)}
    for area in areas:
        if not asked.area or area.name in asked.area:
            rows[area.name] = run(area)
            write([rows[each.name] for each in areas if each.name in rows], areas, asked.folder)


def run(area: Area) -> dict[str, Any]:
    """The row of one area; prints what broke while it runs."""
    began, outcomes = perf_counter(), list[Outcome]()
    for outcome in run_area(area):
        outcomes.append(outcome)
        if outcome.broke:
            word = "accepted" if outcome.attack.accepted else "BROKE"
            print(f"{area.name}: {outcome.attack.name}: {word}: {outcome.broke}", flush=True)
    row = row_of(area.name, outcomes)
    row["seconds"] = round(perf_counter() - began, 1)
    print(f"{area.name}: {row['held']} of {row['tried']} held", flush=True)
    return row


def row_of(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What became of the attacks of one area."""
    kinds = Counter(_kind(outcome) for outcome in outcomes)
    row: dict[str, Any] = {"area": name, "tried": len(outcomes)}
    row |= {kind: kinds[kind] for kind in ("held", "accepted", "broke")}
    row["reasons"] = sorted({o.attack.accepted for o in outcomes if _kind(o) == "accepted"})
    row["what_broke"] = [f"{o.attack.name}: {o.broke}" for o in outcomes if _kind(o) == "broke"]
    row["measures"] = {o.attack.name: dict(o.measures) for o in outcomes if o.measures}
    row["known"] = [o.attack.name for o in outcomes if _kind(o) == "accepted"]
    return row


def _kind(outcome: Outcome) -> str:
    if not outcome.broke:
        return "held"
    return "accepted" if outcome.attack.accepted else "broke"


def figures_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """The sums over areas, and the worst of what honest callers kept."""
    rows = list(rows)
    figures: dict[str, float] = {
        key: sum(row[key] for row in rows) for key in ("tried", "held", "accepted")
    }
    for key in ("honest_share", "honest_p99_ratio", "lm_honest_share", "lm_honest_p99_ratio"):
        values = [
            measures[key]
            for row in rows
            for name, measures in row["measures"].items()
            if key in measures and name not in row.get("known", ())
        ]
        if values:
            figures[f"{key}_worst"] = min(values) if key.endswith("share") else max(values)
    return figures


def write(rows: Sequence[Mapping[str, Any]], areas: Sequence[Area], folder: Path) -> None:
    """Write the rows so far; the data is the names of all attacks."""
    names = [f"{area.name}/{attack.name}" for area in areas for attack in area.attacks]
    figures = figures_of(rows)
    data = content_hash("\n".join(names))
    write_result(
        NAME, protocol=PROTOCOL, data=data, seeds=[0], rows=rows, figures=figures, folder=folder
    )


def _earlier(folder: Path) -> list[dict[str, Any]]:
    path = folder / f"{NAME}.json"
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))["rows"]
    return rows


if __name__ == "__main__":
    main()
