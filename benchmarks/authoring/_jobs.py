"""What is measured once beside the cells: search, and the bulk jobs. Each is kept as a cell is."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adwright.core.atomic import atomic_write_text
from adwright.metrics.bootstrap import MethodInterval
from benchmarks.authoring._cells import CELLS, SEEDS
from benchmarks.common.result import Figure, Lead

#: By name, the file in which it is kept.
JOBS: Mapping[str, Path] = {
    name: CELLS / f"{name}.json" for name in ("search", "pace", "kills", "servers")
}
_PROTOCOL = (
    " Search: Abt's products of held-out clusters by Buy's names of them, never seen in writing; "
    "descriptions written by 'one' from title, price and details of the original, and repaired; "
    "NDCG@10, original + written less original, by BM25. Bulk: headlines of Walmart-Amazon's "
    "products by `adwright author write`; the ratio is its rows per CPU-second over those of "
    "transformers' generate, one by one, in the faster of float32 and bfloat16, one thread, same "
    "weights, prompts, greedy choice and bound; kills: SIGKILL of a job of 2,000 products."
)


@dataclass
class JobFigures:
    """What the jobs add to the result."""

    figures: dict[str, Figure] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)
    leads: list[Lead] = field(default_factory=list)
    protocol: str = _PROTOCOL


def job_cells(only: Sequence[str]) -> Iterator[str]:
    """The jobs that are asked for; none named: all."""
    return (name for name in JOBS if not only or name in only)


def run_job(name: str, *, trial: int = 0) -> None:
    """Measure one, and keep it unless it is a trial."""
    from benchmarks.authoring._bulk import kill_job, pace_job, server_job
    from benchmarks.authoring._search import search_job

    match name:
        case "search":
            found = search_job(SEEDS[:1] if trial else SEEDS, trial)
        case "pace":
            found = pace_job(trial)
        case "kills":
            found = kill_job(trial, kills=2 if trial else 10)
        case _:
            found = server_job(trial)
    print(name, {key: value for key, value in found.items() if key != "rows"}, flush=True)
    if not trial:
        CELLS.mkdir(parents=True, exist_ok=True)
        atomic_write_text(JOBS[name], json.dumps(found, indent=1) + "\n")


def job_figures() -> JobFigures:
    """From the jobs that are there."""
    told = JobFigures()
    there = {
        name: json.loads(path.read_text("utf-8")) for name, path in JOBS.items() if path.is_file()
    }
    if "search" in there:
        _search(there["search"], told)
    if "pace" in there:
        _pace(there["pace"], told)
    if "kills" in there:
        kills = there["kills"]
        told.figures |= {
            "bulk_kills": kills["kills"],
            "bulk_kills_rows_lost": kills["lost"],
            "bulk_kills_rows_twice": kills["twice"],
        }
    if "servers" in there:
        told.figures["bulk_servers_same_form"] = there["servers"]["same_form"]
    return told


def _search(found: Mapping[str, Any], told: JobFigures) -> None:
    for row in found["rows"]:
        name = "bm25" if row["ranker"].startswith("BM25") else "vectors"
        told.rows.append(
            {
                "part": "search",
                "system": f"{row['index']} ({name}, {row['part']})",
                "queries": row["queries"],
                "ndcg10": round(row["ndcg"]["value"], 4),
            }
        )
        if row["lead"] is not None and row["part"] == "unseen":
            lead = MethodInterval(*(row["lead"][key] for key in ("value", "low", "high", "seeds")))
            key = f"ndcg10_{name}_{row['index']}_minus_original"
            data = "Abt-Buy, held-out products"
            told.leads.append(Lead(key, row["index"], "original", "NDCG@10", data, lead))
            if (name, row["index"]) == ("bm25", "both"):
                told.figures |= {"ndcg10_gain": lead.value, "ndcg10_gain_ci": [lead.low, lead.high]}


def _pace(found: Mapping[str, Any], told: JobFigures) -> None:
    peers = [one for name, one in found.items() if name.startswith("transformers")]
    peer = max(peers, key=lambda one: one["rows_per_cpu_second"])
    for name, one in found.items():
        told.rows.append({"part": "bulk", "system": name, **one})
        if name.startswith("transformers"):
            continue
        ratio = one["rows_per_cpu_second"] / peer["rows_per_cpu_second"]
        key = "bulk_ratio_transformers" if name == "auto" else f"bulk_ratio_transformers_{name}"
        told.figures[key] = ratio
        # Where answers differ in length, what a token costs.
        told.figures[f"{key}_by_token"] = ratio * one["tokens_per_row"] / peer["tokens_per_row"]
