"""HSTU against SASRec, RecTools, DIN and simple rules on real data (a day of CPU, resumable).

    python -m benchmarks.sequential.hstu_quality                    what is missing, then the result
    python -m benchmarks.sequential.hstu_quality --part ml1m        ML-1M by position, no result
    python -m benchmarks.sequential.hstu_quality --part ml1m --only hstu_large --seed 1
    python -m benchmarks.sequential.hstu_quality --part pace        CPU-seconds an epoch, in turns
    python -m benchmarks.sequential.hstu_quality --plan             what of ML-1M is missing
    python -m benchmarks.sequential.hstu_quality --only-summarise   the result of what is finished

Parts: ml1m, small (MovieLens with times), rectools (ML-1M), journey (next basket), ranking (the
response task), and pace, for a quiet machine. A run may be killed at any moment: it goes on from
its last epoch. Of ML-1M, the dropout and epochs of a model are chosen on validation first, then
each seed is trained. Where only what is finished is summarised, rows and figures of other models
stay as they were published.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from pathlib import Path
from typing import Any

import torch

from adwright.core.hashing import content_hash
from benchmarks.common.result import Lead, Published, published, write_result
from benchmarks.sequential import _journey as journey
from benchmarks.sequential import _ml1m as ml1m
from benchmarks.sequential import _movielens as ml
from benchmarks.sequential import _peers as rectools
from benchmarks.sequential import _ranking as ranking
from benchmarks.sequential._pace import PACE, paced, take_pace

PARTS = ("ml1m", "small", "rectools", "journey", "ranking")
PROTOCOL = (
    f"{ml.ML1M} {rectools.PEER_PROTOCOL} {ml.SMALL} {journey.PROTOCOL} {ranking.PROTOCOL} "
    "Intervals: 95%, over seeds and people; of a model with one seed over people, and of that "
    f"training alone. {PACE}"
)
#: The figures of the contract, and which of ours they are.
CONTRACT = {
    "ml1m_ndcg10": "ml1m_hstu_large_ndcg10",
    "ml1m_hr10": "ml1m_hstu_large_hr10",
    "ml1m_cpu_seconds_epoch": "ml1m_hstu_large_cpu_seconds_epoch",
    "ml1m_sasrec_ndcg10": "ml1m_sasrec_large_ndcg10",
}


def main() -> None:
    """Run what is missing, write benchmarks/results/hstu_quality.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="how many, from 0 on")
    parser.add_argument("--seed", type=int, help="this one alone; no result")
    parser.add_argument("--part", choices=(*PARTS, "pace"))
    parser.add_argument("--only", help="this model of the part alone")
    parser.add_argument("--only-summarise", action="store_true")
    parser.add_argument("--plan", action="store_true")
    asked = parser.parse_args()
    shared = os.environ.get("ADWRIGHT_DATA")
    if not shared:
        raise SystemExit("set ADWRIGHT_DATA to the folder that holds ml-1m")
    torch.set_num_threads(1)
    if asked.plan:
        _plan(Path(shared), asked.seeds)
        return
    if asked.part == "pace":
        take_pace(ml.sequences_of("ml1m", Path(shared)), asked.only)
        return
    rows: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    hashes: dict[str, str] = {}
    anew: set[str] = set()
    for part in PARTS:
        if asked.part in (None, part):
            found, hashes[part] = _measured(part, Path(shared), asked)
            anew |= {row["model"] for row in found.rows if row["data"] in ("ml1m", "journey")}
            if asked.only_summarise:
                found = _beside(found, _before(part), anew)
            rows, figures, leads = rows + found.rows, figures | found.figures, leads + found.leads
    if asked.part or asked.only or asked.seed is not None:
        return
    paced(rows, figures)
    ml1m.draw_curves(rows)
    write_result(
        "hstu_quality",
        protocol=" ".join([PROTOCOL, *ml1m.said_of(rows)]),
        data=content_hash(hashes),
        seeds=list(range(asked.seeds)),
        rows=rows,
        figures=figures | {key: figures[of] for key, of in CONTRACT.items() if of in figures},
        leads=leads,
    )


def _measured(part: str, shared: Path, asked: argparse.Namespace) -> tuple[Published, str]:
    """What was measured of a part, and the hash of its data."""
    run, only = not asked.only_summarise, asked.only
    seeds = range(asked.seeds) if asked.seed is None else [asked.seed]
    if part in ("ml1m", "small"):
        runs = ml.runs_of(part, shared, seeds, only, run=run)
        sequences, rows = ml.sequences_of(part, shared), ml.rows_of(part, runs)
        rows += ml1m.curve_rows(sequences) if part == "ml1m" else []
        leads = ml.leads_of(part, runs)
        return Published(rows, ml.figures_of(part, runs), leads), sequences.data_hash
    if part == "rectools":
        sequences = ml.sequences_of("ml1m", shared)
        ours = ml.runs_of("ml1m", shared, seeds, None, run=False)
        rows = rectools.peer_rows(sequences, only=only, train=run)
        leads = rectools.leads_of(sequences, ours)
        return Published(rows, rectools.figures_of(sequences), leads), sequences.data_hash
    if part == "journey":
        found = journey.runs_of(seeds, only, run=run)
        return Published(*journey.rows_and_figures(found)), journey.task_hash()
    for name in ranking.VARIANTS:
        for seed in seeds:
            if run and only in (None, name):
                ranking.trained(name, ranking.SHARE, seed)
    return Published(*ranking.rows_and_figures()), ranking.task_hash()


def _beside(new: Published, old: Published, anew: set[str]) -> Published:
    """What was measured anew, and of what was published all that it does not replace; no old
    comparison of a model of ML-1M or Complete Journey that was measured `anew`."""
    done = {(row["data"], row["model"]) for row in new.rows}
    keys = {lead.key for lead in new.leads}
    rows = [row for row in old.rows if (row["data"], row["model"]) not in done]
    for data, model in sorted({(row["data"], row["model"]) for row in rows}):
        print(f"as published before: {data}, {model}")
    starts = tuple(f"ml1m_{k}_minus_" for k, choice in ml1m.MODELS.items() if choice.about in anew)
    others = tuple(f"_minus_{k}" for k, about in journey.NAMES.items() if about in anew)
    of_lead = {key: key.removesuffix("_ci") for key in old.figures}
    keep = [k for k, of in of_lead.items() if not (of.startswith(starts) or of.endswith(others))]
    leads = [lead for lead in old.leads if lead.key not in keys and lead.key in keep]
    figures = {key: old.figures[key] for key in keep if key.removesuffix("_ci") not in keys}
    place = {(row["data"], row["model"]): at for at, row in enumerate(old.rows)}
    rows += new.rows
    rows.sort(key=lambda row: place.get((row["data"], row["model"]), len(place)))
    return Published(rows, figures | new.figures, new.leads + leads)


def _before(part: str) -> Published:
    """What was published of a part."""
    return published(
        "hstu_quality",
        lambda row: _part(row["data"], row["model"]) == part,
        lambda key: _part_of_key(key) == part,
    )


def _part(data: str, model: str) -> str:
    """The part that a row is of."""
    if model.endswith("RecTools"):
        return "rectools"
    return {"response": "ranking", "ml1m-valid": "ml1m"}.get(data, data)


def _part_of_key(key: str) -> str:
    """The part that a figure is of."""
    if "rectools" in key:
        return "rectools"
    if key.startswith(("cj_rank", "cj_ne")):
        return "ranking"
    return "journey" if key.startswith("cj_") else key.partition("_")[0]


def _plan(shared: Path, seeds: int) -> None:
    """Say what of ML-1M is missing, and what it may cost."""
    missing = ml1m.plan(ml.sequences_of("ml1m", shared), range(seeds))
    for model, what, hours in missing:
        print(f"{model}: {what}, {hours:.2f} CPU-hours")
    print(f"{len(missing)} trainings, {sum(hours for *_, hours in missing):.1f} CPU-hours")


if __name__ == "__main__":
    main()
