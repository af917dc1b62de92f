"""From a log to its first answer by six commands, on five logs and beside others (10 minutes each).

    python -m benchmarks.delivery.funnel --set lastfm --seed 1     one log; the others stay

What was done is kept in the cache folder by log and seed, and goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.funnel.measure import FunnelReport
from benchmarks.common.result import RESULTS, Lead, write_result
from benchmarks.delivery.funnel_parts.logs import SetName, write_log
from benchmarks.delivery.funnel_parts.peers import answers_of, peer_rows
from benchmarks.delivery.funnel_parts.pooled import pooled
from benchmarks.delivery.funnel_parts.steps import Done, log_to_answer

NAME = "funnel"
PROTOCOL = (
    "From events.csv and items.csv to the first answer of the service by data import, train "
    "cascade, publish, key, serve and one request, all by defaults, each a process of its own: "
    "wall and CPU-seconds and peak memory. {clock} The split is that of the defaults: by time, or"
    " the last visit of each user where the times say too little. Test visits (at most 5,000, "
    "fewer in large catalogues) are asked once, every item a candidate but those that the user "
    "had where nothing repeats. Intervals: 95%, over seeds and users (of these "
    "trainings, over users, where a log has one seed), differences paired. A rule is measured over "
    "the whole catalogue, a part (one model alone) over the "
    "candidates that the sources find, what serves as the service answers. Peers train on the "
    "same events, answer from the same histories and rank the whole catalogue: implicit by its "
    "defaults (100 factors, 15 iterations), RecBole's SASRec by its own (width 64, 2 layers, "
    "dropout 0.5, batches of 2,048, loss over all items), trained until ten validations are no "
    "better, one seed, where there is such a row. Not below: the upper "
    "end of the interval of what serves less each rule and each of its own parts is not below 0. "
    "Best of all: the lower end is above 0 of every rule and every peer in NDCG@10."
)
_CLOCKS = {
    True: "The minutes of the training (5) are those of the processor on one thread, since the "
    "machine was shared.",
    False: "The training has 5 minutes.",
}


def main() -> None:
    """Do what was asked for, and write what was ever done on this machine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="names", choices=get_args(SetName), action="append")
    parser.add_argument("--seed", dest="seeds", type=int, action="append")
    parser.add_argument("--processor", action="store_true", help="for a busy machine")
    parser.add_argument("--minutes", type=float, help="of the training: a trial, kept elsewhere")
    parser.add_argument("--no-peers", action="store_true", help="adwright alone")
    parser.add_argument("--recbole", action="store_true", help="its SASRec too, to convergence")
    parser.add_argument("--results", type=Path, default=RESULTS)
    asked = parser.parse_args()
    data = Path(os.environ["ADWRIGHT_DATA"])
    root = cache_folder() / "bench" / (NAME if asked.minutes is None else f"{NAME}-trial")
    trial = () if asked.minutes is None else ("--minutes", str(asked.minutes))
    for seed in asked.seeds or (0,):
        for name in asked.names or get_args(SetName):
            folder = root / f"{name}-seed{seed}"
            done(name, seed, data, folder, trial, processor=asked.processor)
            beside(folder, seed, peers=not asked.no_peers, recbole=asked.recbole)
            written(root, asked.results)


def done(
    name: SetName,
    seed: int,
    data: Path,
    folder: Path,
    trial: tuple[str, ...],
    *,
    processor: bool,
) -> None:
    """The six commands, as far as they were not run. trial: options of the training."""
    if (folder / "row.json").exists():
        return
    files = write_log(name, data, folder)
    user = str(pl.read_csv(files.events, n_rows=1)[0, 0])
    steps = log_to_answer(files, folder, seed, trial, user=user, processor=processor)
    report = FunnelReport.from_json((folder / "runs" / "cascade" / "report.json").read_text())
    row = {
        "set": name,
        "seed": seed,
        "processor": processor,
        "steps": [asdict(step) for step in steps],
        "report": json.loads(report.to_json()),
    }
    atomic_write_text(folder / "row.json", json.dumps(row, indent=1))


def beside(folder: Path, seed: int, *, peers: bool, recbole: bool) -> None:
    """Add to what each visit got by ours what it got by the peers, as gains.parquet.

    recbole: whether its SASRec is trained now; what was done before is there in any case.
    """
    gains = pl.read_parquet(folder / "runs" / "cascade" / "visits.parquet")
    found = open_next_item(folder / "log")
    log, every = log_of_task(found.task), found.task.visits("test")
    places = np.searchsorted(every, gains["visit"].to_numpy())
    about = []
    asked: list[Literal["implicit", "recbole"]] = ["implicit"] if peers else []
    if recbole or answers_of("recbole", folder / "peers", seed).exists():
        asked.append("recbole")
    for peer in asked:
        rows = peer_rows(
            peer, log, places, folder / "peers", repeats=found.choices.repeats, seed=seed
        )
        for row in rows:
            gains = gains.with_columns(
                pl.Series(f"ndcg/peer/{row.name}", row.ndcg),
                pl.Series(f"recall/peer/{row.name}", row.recall),
            )
            about.append({"name": row.name, "cpu": row.cpu, "note": row.note})
    gains.write_parquet(folder / "gains.parquet")
    atomic_write_text(folder / "peers.json", json.dumps(about, indent=1))


def written(root: Path, results: Path) -> None:
    """Write funnel.json from all that is kept in `root`."""
    rows: list[dict[str, Any]] = []
    kept: dict[str, dict[int, Path]] = {}
    for name in get_args(SetName):
        for folder in sorted(root.glob(f"{name}-seed*")):
            if (folder / "gains.parquet").exists():
                kept.setdefault(name, {})[int(folder.name.rpartition("seed")[2])] = folder
    figures: dict[str, Any] = {"cli_steps": 6, "sets": len(kept)}
    leads: list[Lead] = []
    not_below, best, minutes, hashes, seeds, clocks = 0, 0, [], set(), set(), set()
    for name, folders in kept.items():
        found = pooled(name, {s: pl.read_parquet(f / "gains.parquet") for s, f in folders.items()})
        not_below, best = not_below + found.not_below, best + found.best
        rows += found.rows
        leads += found.leads
        short = name.replace("-", "_")
        figures |= {f"{short}_{key}": value for key, value in found.figures.items()}
        for seed, folder in folders.items():
            row = json.loads((folder / "row.json").read_text("utf-8"))
            steps = [Done(**one) for one in row["steps"]]
            rows += lines_of(row, steps, json.loads((folder / "peers.json").read_text("utf-8")))
            taken = (step.cpu if row["processor"] else step.wall for step in steps)
            minutes.append(sum(taken) / 60)
            hashes.add(row["report"]["data_hash"])
            seeds.add(seed)
            clocks.add(row["processor"])
    figures |= {
        "log_to_served_minutes": max(minutes),
        "sets_not_below_best_rule": not_below,
        "sets_best_of_all": best,
    }
    write_result(
        NAME,
        protocol=PROTOCOL.format(clock=" ".join(_CLOCKS[one] for one in sorted(clocks))),
        data=content_hash(sorted(hashes)),
        seeds=sorted(seeds),
        rows=rows,
        figures=figures,
        leads=leads,
        folder=results,
    )


def lines_of(
    row: dict[str, Any], steps: list[Done], peers: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    """What was measured of one log and seed: the commands, the sources, and what was decided."""
    report, of = row["report"], {"set": row["set"], "seed": row["seed"]}
    commands = [
        {**of, "command": s.command, "wall": s.wall, "cpu": s.cpu, "peak_mb": s.peak_mb}
        for s in steps
    ]
    sources = [
        {
            **of,
            "name": line["name"],
            "kind": line["kind"],
            "items": line["items"],
            "recall": [line["recall"][end] for end in ("value", "low", "high")],
            "ms": line["ms"],
        }
        for line in report["lines"]
        if line["kind"] in ("source", "shortlist", "served")
    ]
    decided = {**of, "first": report["first"], "notes": report["notes"], "visits": report["visits"]}
    return [*commands, *sources, decided, *({**of, "peer": one["name"], **one} for one in peers)]


if __name__ == "__main__":
    main()
