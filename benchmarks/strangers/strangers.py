"""What each room does by its defaults on a stranger's data, beside simple rules (hours, resumable).

    python -m benchmarks.strangers.strangers [--room clicks] [--set medium] [--seeds 0 1 2]
    python -m benchmarks.strangers.strangers --room lives --set nulls   # its simulated sets alone
    python -m benchmarks.strangers.strangers --developed     # print those, write nothing
    python -m benchmarks.strangers.strangers --kept    # rows of cells, and what is written already

Three seeds, which draw the model and, where a set has no order of its own, the part that is held
out. The documented command is run with its defaults, and its predictions for held rows are set
beside the best of the rules, as measured on those rows. Intervals are over seeds and units (a
brand, a page, a day). Rooms are reported on sets that they were not developed on, and on their own;
the column `role` says which. `kept` is what the command saved; `told` is what it said beforehand to
expect of rows like those held out. Sets that were not measured yet have no row; `sets_planned`
counts those of rooms that predict.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from adwright.core.progress import say
from benchmarks.common.result import RESULTS, Figure, write_result
from benchmarks.strangers.kit import (
    PREDICTS,
    SETS,
    cell,
    compared,
    data_hash,
    held_of,
    is_kept,
    plain_held,
    require_reported,
)

_SHARES = {
    "usable_share": ("usable", "texts"),
    "planted_share": ("planted_found", "planted"),
    "writing_false_alarms": ("false_alarms_count", "honest"),
    "poster_intact_share": ("posters_intact", "posters"),
    "overlays_legible_share": ("overlays_legible", "overlays"),
    "guard_templates": ("templates_found", "templates"),
    "guard_fluent": ("fluent_found", "fluent"),
    "guard_gradient": ("gradient_found", "gradient"),
    "guard_certain": ("certain_found", "certain"),
    "false_alarms": ("false_alarms_count", "honest"),
}
_ROOM_OF = {"writing_false_alarms": "writing", "false_alarms": "guard"}
_SUMS = {
    "loops": "loops",
    "cut": "cut",
    "stumps": "stumps",
    "certificate_attacks": "attacks",
    "certificate_outside": "outside",
}


def measured(
    room: str, name: str, seeds: Sequence[int], *, again: bool = False
) -> list[dict[str, Any]]:
    """Of one set, what a room that predicts held out or what another counted, one a seed."""
    module = import_module(f"benchmarks.strangers._{room}")
    found = []
    for seed in seeds:
        with tempfile.TemporaryDirectory(prefix="strangers-") as folder:
            say(f"{room} on {name}, seed {seed}")
            make = partial(_asked, module, room, name, seed, Path(folder))
            found.append(cell(room, name, seed, make, again=again))
    return found


def _asked(module: Any, room: str, name: str, seed: int, folder: Path) -> Any:
    if room in PREDICTS:
        return plain_held(module.held(name, seed, folder))
    return module.figures(name, seed, folder)


def counted(room: str, name: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The row of a room that makes something: its counts, summed over seeds."""
    sums: Counter[str] = Counter()
    for one in found:
        sums.update({key: value for key, value in one.items() if isinstance(value, int)})
    said = {key: value for key, value in found[0].items() if isinstance(value, str)}
    return {
        "room": room,
        "set": name,
        "role": SETS[room][name],
        "seeds": len(found),
        **said,
        **dict(sums),
    }


def nothing_there(
    room: str, seeds: Sequence[int], *, kept: bool = False, again: bool = False
) -> list[dict[str, Any]]:
    """What a room that predicts says of sets that hold nothing, and of sets with a signal; no row
    where it has no such sets, or where none are `kept` and only those are asked for."""
    wanted = [seed for seed in seeds if not kept or is_kept(room, "nulls", seed)]
    module: Any = import_module(f"benchmarks.strangers._{room}") if wanted else None
    sums: Counter[str] = Counter()
    for seed in wanted if hasattr(module, "nulls") else ():
        with tempfile.TemporaryDirectory(prefix="strangers-") as folder:
            say(f"{room} on simulated sets, seed {seed}")
            make = partial(module.nulls, seed, Path(folder))
            sums.update(cell(room, "nulls", seed, make, again=again))
    return [{"room": room, "set": "simulated", "role": "reported", **sums}] if sums else []


def figures_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """The flat figures of the table."""
    predicted = [row for row in rows if "lead" in row]
    figures: dict[str, Figure] = {
        "sets": len(predicted),
        "sets_planned": sum(
            SETS[room][name] != "developed" for room in PREDICTS for name in SETS[room]
        ),
        "behind": sum(row["behind"] for row in predicted),
        "ahead_share": sum(row["ahead"] for row in predicted) / max(len(predicted), 1),
        "self_report_within": sum(row["told_within"] for row in predicted),
        "rooms": len({row["room"] for row in rows}),
    }
    nulls = [row for row in rows if row["set"] == "simulated"]
    for key, top, bottom in (
        ("nothing_said_share", "told_nothing", "without"),
        ("signal_found_share", "found", "with"),
    ):
        if sum(row.get(bottom, 0) for row in nulls):
            shares = [row[top] / row[bottom] for row in nulls if row.get(bottom)]
            figures[key] = sum(row.get(top, 0) for row in nulls) / sum(
                row.get(bottom, 0) for row in nulls
            )
            figures[f"{key}_worst"] = min(shares)
    for key, (top, bottom) in _SHARES.items():
        mine = [row for row in rows if _ROOM_OF.get(key, row["room"]) == row["room"]]
        if whole := sum(row.get(bottom, 0) for row in mine):
            figures[key] = sum(row.get(top, 0) for row in mine) / whole
    if products := sum(row.get("honest_products", 0) for row in rows):
        gained = sum(row.get("honest_gain_milliranks", 0) for row in rows)
        figures["certificate_honest_gain"] = gained / 1000 / products
    for key, column in _SUMS.items():
        if any(column in row for row in rows):
            figures[key] = sum(row.get(column, 0) for row in rows)
    return figures


def main() -> None:
    """Measure what is missing, and write the result."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--room", choices=sorted(SETS), action="append")
    parser.add_argument("--set", action="append")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--again", action="store_true", help="measure anew what is kept")
    parser.add_argument("--developed", action="store_true", help="print sets of development")
    parser.add_argument("--kept", action="store_true", help="measure nothing; write what is kept")
    chosen = parser.parse_args()
    rooms = chosen.room or list(SETS)
    rows: list[dict[str, Any]] = []
    for room in rooms:
        for name, role in SETS[room].items():
            if (chosen.set and name not in chosen.set) or (role == "developed") != chosen.developed:
                continue
            if not chosen.developed:
                require_reported(room, name)
            seeds = [one for one in chosen.seeds if not chosen.kept or is_kept(room, name, one)]
            if not seeds:
                continue
            found = measured(room, name, seeds, again=chosen.again)
            predicts = room in PREDICTS
            row = compared([held_of(one) for one in found]) if predicts else None
            rows.append(row or counted(room, name, found))
            say(_line(rows[-1]))
        drawn = not chosen.developed and (not chosen.set or "nulls" in chosen.set)
        if drawn and room in PREDICTS:
            simulated = nothing_there(room, chosen.seeds, kept=chosen.kept, again=chosen.again)
            say(f"{room} on simulated sets: {simulated}")
            rows += simulated
    if chosen.developed or chosen.room or chosen.set:
        say("a part: nothing is written")
        return
    if chosen.kept:
        rows = beside(rows, json.loads((RESULTS / "strangers.json").read_text("utf-8"))["rows"])
    write_result(
        "strangers",
        protocol=str(__doc__).rpartition("\n\n")[2].replace("\n", " ").strip(),
        data=data_hash(rows),
        seeds=chosen.seeds,
        rows=rows,
        figures=figures_of(rows),
    )


def beside(
    rows: Sequence[dict[str, Any]], written: Sequence[dict[str, Any]]
) -> list[dict[str, Any]]:
    """`rows`, and those `written` of other sets or of more seeds, in the order of `SETS`."""
    found = {(row["room"], row["set"]): row for row in rows}
    for row in written:
        key = row["room"], row["set"]
        if key not in found or found[key].get("seeds", 0) < row.get("seeds", 0):
            found[key] = row
    places = [(room, name) for room in SETS for name in (*SETS[room], "simulated")]
    return sorted(found.values(), key=lambda row: places.index((row["room"], row["set"])))


def _line(row: Mapping[str, Any]) -> str:
    if "lead" not in row:
        return str(row)
    three = "{:.3f} ({:.3f} to {:.3f})".format
    return (
        f"{row['room']} {row['set']} [{row['role']}] kept {', '.join(row['kept'])}: "
        f"{row['measure']} {three(*row['ours'])}, told {three(*row['told'])}, "
        f"{row['best_rule']} {three(*row['rule'])}, lead {three(*row['lead'])}"
    )


if __name__ == "__main__":
    main()
