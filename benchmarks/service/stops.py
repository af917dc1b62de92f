"""Is a stop that was acknowledged ever disobeyed? A history of 10,400 calls (10 minutes).

Two processes of the service on one store, SQLite and then PostgreSQL, are killed, frozen and have
their clocks stepped while clients stop items, take that back and ask for decisions; see `_history`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter

from adwright.core.hashing import content_hash
from benchmarks.common.result import write_result
from benchmarks.service import _history
from benchmarks.service._history import Trial
from benchmarks.service.service import postgres

SEED = 1
PROTOCOL = (
    "Two processes of the service on one store; the store is SQLite, then PostgreSQL. 12 clients "
    "stop 12 items, take stops back (by name, or all of their user's) and ask for decisions of all "
    "items, half of the stops waiting up to 4 s until they are in force in both processes; of ten "
    "three are sent again, after a stop of another tenant. Their "
    "events are dated by whole seconds from a minute behind to 70 years ahead. Every 1 to 3 s a "
    "process is killed with SIGKILL, frozen for up to 6 s, or has its clock stepped by seconds to "
    "400 days either way. Looks every 0.3 s and a lease of 3 s (1 and 15 by default) make such "
    "rounds as many. Violations are counted from what the clients saw alone, on their one clock: a "
    "decision begun after a stop's acknowledgement that shows the item, or, with all stops taken "
    "back, leaves it out; an acknowledged event that is lost; processes that differ in the end."
)


def main() -> None:
    """Play the histories, and keep the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--operations", type=int, default=5_200, help="on each store")
    parser.add_argument("--seconds", type=float, default=120.0, help="at least, on each store")
    asked = parser.parse_args()
    rows, total, found = [], Counter[str](), list[str]()
    with tempfile.TemporaryDirectory() as folder, postgres() as address:
        for kind, url in (("sqlite", f"sqlite:///{folder}/stops.db"), ("postgresql", address)):
            trial = Trial(url, asked.seconds, operations=asked.operations, seed=SEED)
            said = trial.run()
            print(*said, sep="\n")
            counts = Counter[str](call.kind for call in trial.calls)
            of: dict[str, int] = {
                name: trial.counts[name] for name in ("kills", "freezes", "steps", "in force")
            }
            of |= {"operations": len(trial.calls), "violations": len(said)}
            row: dict[str, object] = {"store": kind, **counts, **of}
            rows.append({**row, "statuses": _statuses(trial.counts)})
            total.update({name.replace(" ", "_"): number for name, number in of.items()})
            found += said
    write_result(
        "stops",
        protocol=PROTOCOL,
        data=content_hash({"items": list(_history.ITEMS), "clients": _history.CLIENTS}),
        seeds=[SEED],
        rows=rows,
        figures=dict(total),
    )
    if found:
        raise SystemExit(f"{len(found)} violations")


def _statuses(counts: Counter[str]) -> dict[str, int]:
    return {name: number for name, number in sorted(counts.items()) if name.isdigit()}


if __name__ == "__main__":
    main()
