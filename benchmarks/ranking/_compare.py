"""The comparisons with peer libraries behind benchmarks/ranking/din.py: what is run, and the table.

Quality and speed at natural length: MovieLens 100k (up to 700 events) and Beauty with
attributes (mean 9, up to 200). The response task (every 10th household, 5% of the training
negatives; up to 4,000 events) is too long for the peers to train on in reasonable time: its
natural length is measured for speed alone, on few rows, and quality at a cut of 50. The ratios
published as train_ratio_best_peer and score_ratio_best_peer are the smallest ones at natural
length with quality measured; the others carry the name of their comparison.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

from adwright.core.assets import cache_folder
from adwright.core.hashing import content_hash
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.response import build_movielens_task
from adwright.data.tasks.task import Task
from adwright.metrics.bootstrap import two_level_difference
from adwright.metrics.classification import GroupAuc, auc, group_auc_parts, log_loss
from benchmarks.common.result import Lead, Published, published
from benchmarks.peers.environments import PEERS, PeerName
from benchmarks.peers.harness import ALLOCATOR, PeerFailedError, run_peer
from benchmarks.ranking import _runs as runs
from benchmarks.ranking._kept import Kept, keep_run, kept_place, read_run
from benchmarks.ranking._peers import export_exchange, run_ours, smaller
from benchmarks.ranking.sequences_task import build_sequences_task

SIZES = {
    "embedding_dim": 16,
    "attention_hidden": [36],
    "mlp_hidden": [200, 80],
    "batch_size": 1024,
    "learning_rate": 0.001,
    "l2": 0.0,
    "threads": 1,
}
TIMEOUT = 3600.0
#: Within so much of the best peer's GAUC, a peer counts as one of equal quality.
EQUAL = 0.001
_QUALITY = ("auc", "gauc", "log_loss")
_MARGIN = "gauc_minus_best_peer"
_RATIOS = {"train": "train_ratio_best_peer", "score": "score_ratio_best_peer"}


@dataclass(frozen=True)
class Comparison:
    """One data set at one history cut (0: natural length)."""

    data: str
    max_history: int
    epochs: int
    limits: dict[str, int] = field(default_factory=dict)
    batch_size: int = 1024

    @property
    def name(self) -> str:
        """Folder and row name."""
        return f"{self.data}-{self.max_history or 'natural'}"

    @property
    def measures_quality(self) -> bool:
        """Whether the peers train on all rows."""
        return not self.limits

    @property
    def seeds(self) -> Sequence[int]:
        """Speed alone needs no second training."""
        return runs.SEEDS if self.measures_quality else runs.SEEDS[:1]

    def config(self, seed: int) -> dict[str, Any]:
        """The settings of one run."""
        return {
            **SIZES,
            "seed": seed,
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "max_train_rows": self.limits.get("train"),
            "max_score_rows": self.limits.get("score"),
        }


COMPARISONS = (
    Comparison("ml-100k", 0, epochs=1),
    Comparison("beauty", 0, epochs=1),
    Comparison("response", 0, epochs=1, limits={"train": 1024, "score": 512}, batch_size=128),
    Comparison("response", 50, epochs=1),
    Comparison("ml-100k", 50, epochs=2),
)


def run_all(seeds: Sequence[int] | None = None) -> None:
    """Every comparison, seed by seed, ours first; finished runs are kept. seeds: only these."""
    for seed in seeds or runs.SEEDS:
        for comparison in COMPARISONS:
            if seed in comparison.seeds:
                _run(comparison, seed)


def _run(comparison: Comparison, seed: int) -> None:
    libraries: tuple[Literal["adwright"] | PeerName, ...] = ("adwright", *PEERS)
    names = [name for name in libraries if not _result(comparison, name, seed).exists()]
    if not names:
        return
    task = _task(comparison.data)
    exchange = export_exchange(
        task, _folder(comparison, "data"), max_history=comparison.max_history
    )
    config = {**comparison.config(seed), "max_history": comparison.max_history}
    for name in names:
        out = _folder(comparison, name, seed)
        try:
            if name == "adwright":
                run_ours(task, config, out, ALLOCATOR)
            else:
                run_peer(name, exchange, comparison.config(seed), out, TIMEOUT)
            _keep(comparison, task, out, _result(comparison, name, seed))
        except PeerFailedError as error:
            print(f"{comparison.name}: {name} failed: {error}")


def _keep(comparison: Comparison, task: Task, out: Path, path: Path) -> None:
    """Keep what a run of a library found: speeds, memory and, where it was measured, quality."""
    record = json.loads((out / "result.json").read_text(encoding="utf-8"))
    parts = None
    if comparison.measures_quality:
        rows = task.rows("test").select("user_id", "label").collect()
        label, user = rows["label"].to_numpy(), rows["user_id"].rle_id().to_numpy()
        scores = np.load(out / "scores.npy").astype(np.float64)
        parts = group_auc_parts(label, scores, user)
        record["quality"] = {
            "auc": auc(label, scores),
            "gauc": parts.mean,
            "log_loss": log_loss(label, np.clip(scores, 1e-7, 1 - 1e-7)),
        }
    keep_run(path, record, parts)


def _result(comparison: Comparison, name: str, seed: int) -> Path:
    """Where what a run found is kept: other settings are another run."""
    key = content_hash({**comparison.config(seed), "max_history": comparison.max_history})
    return kept_place("din_peers", f"{comparison.name}-{name}-{seed}-{key[:8]}")


def _folder(comparison: Comparison, name: str, seed: int | None = None) -> Path:
    folder = cache_folder() / "bench" / "din-peers" / comparison.name
    return folder / (name if seed is None else f"{name}-seed{seed}")


def _task(data: str) -> Task:
    tasks = cache_folder() / "tasks"
    match data:
        case "ml-100k":
            return build_movielens_task(MovieLens.open(), tasks)
        case "response":
            return smaller(
                runs.response_task(), tasks / "response-small", people=10, negatives=runs.RATE
            )
        case _:
            shared = os.environ.get("ADWRIGHT_DATA")
            if not shared:
                raise SystemExit("set ADWRIGHT_DATA to the folder with the further data sets")
            return build_sequences_task(Path(shared) / data, tasks)


@dataclass(frozen=True)
class _Library:
    """The finished runs of one library in one comparison: its row, and its group AUC by seed."""

    row: dict[str, Any]
    parts: list[GroupAuc]

    @property
    def hits(self) -> np.ndarray[Any, Any]:
        """Impressions times AUC by seed and user [S, U]."""
        return np.stack([one.impressions * one.auc for one in self.parts])


def summarise() -> Published:
    """Rows of all finished comparisons, the ratios against the best peers, and our leads; of a
    comparison of which nothing is here, what was published."""
    table, figures, leads = Published([], {}, [])
    smallest: dict[str, list[tuple[float, str]]] = {}
    for comparison in COMPARISONS:
        found = _libraries(comparison)
        part = _compared(comparison, found) if found else _before(comparison)
        table, figures, leads = table + part.rows, figures | part.figures, leads + part.leads
        key = _key(comparison)
        for measure in (_MARGIN, *_RATIOS.values()):
            speed = measure != _MARGIN
            counts = comparison.measures_quality and not (speed and comparison.max_history)
            if counts and f"{key}_{measure}" in part.figures:
                of = f"{key}_{measure}"
                smallest.setdefault(measure, []).append((part.figures[of], of))
    for measure, found_of in smallest.items():
        figures[measure], of = min(found_of)
        if f"{of}_ci" in figures:
            figures[f"{measure}_ci"] = figures[f"{of}_ci"]
    return Published(table, figures, leads)


def _compared(comparison: Comparison, found: dict[str, _Library]) -> Published:
    """Of one comparison."""
    figures: dict[str, Any] = {}
    leads: list[Lead] = []
    table, key = [one.row for one in found.values()], _key(comparison)
    others = {name: one for name, one in found.items() if name != "adwright"}
    if "adwright" not in found or not others:
        return Published(table, figures, leads)
    ours, peers = found["adwright"], [one.row for one in others.values()]
    if comparison.measures_quality:
        best = max(row["gauc"] for row in peers)
        peers = [row for row in peers if row["gauc"] >= best - EQUAL]
        leads = [_lead(comparison, key, ours, name, one) for name, one in others.items()]
        least = next(lead for lead in leads if others[lead.b].row["gauc"] == best)
        figures[f"{key}_{_MARGIN}"] = least.found.value
        figures[f"{key}_{_MARGIN}_ci"] = [least.found.low, least.found.high]
    for stage, ratio in _RATIOS.items():
        speed = f"{stage}_rows_per_cpu_second"
        figures[f"{key}_{ratio}"] = ours.row[speed] / max(row[speed] for row in peers)
    return Published(table, figures, leads)


def _key(comparison: Comparison) -> str:
    """What its figures begin with."""
    return comparison.name.replace("-", "_")


def _before(comparison: Comparison) -> Published:
    """What was published of it."""
    name, key = comparison.name, f"{_key(comparison)}_"
    return published(
        "din", lambda row: row.get("comparison") == name, lambda of: of.startswith(key)
    )


def _lead(comparison: Comparison, key: str, ours: _Library, name: str, other: _Library) -> Lead:
    rng, shown = np.random.default_rng(0), ours.parts[0].impressions
    gap = two_level_difference(ours.hits, other.hits, shown, rng)
    return Lead(f"{key}_gauc_minus_{name}", "adwright", name, "group AUC", comparison.name, gap)


def _libraries(comparison: Comparison) -> dict[str, _Library]:
    found = {}
    for name in ("adwright", *PEERS):
        kept = [read_run(_result(comparison, name, seed)) for seed in comparison.seeds]
        done = [one for one in kept if one is not None]
        if done:
            found[name] = _library(comparison, name, done)
    return found


def _library(comparison: Comparison, name: PeerName | str, done: Sequence[Kept]) -> _Library:
    """Speeds and memory: the median of the seeds; quality: the mean, and by seed."""
    runs_of = [one.record for one in done]

    def middle(key: str) -> float:
        return float(np.median([one[key] for one in runs_of]))

    def peak(key: str) -> float:
        return float(np.median([one["peak_rss_bytes"][key] for one in runs_of])) / 1e9

    row = {
        "comparison": comparison.name,
        "library": name,
        "seeds": len(done),
        "train_rows": runs_of[0]["train_rows"],
        "score_rows": runs_of[0]["score_rows"],
        "train_rows_per_cpu_second": middle("train_rows_per_cpu_second"),
        "score_rows_per_cpu_second": middle("score_rows_per_cpu_second"),
        "batch_size": runs_of[0].get("batch_size", comparison.batch_size),
        "peak_train_gb": peak("train"),
        "peak_score_gb": peak("score"),
    }
    if comparison.measures_quality:
        by_seed = {key: [one["quality"][key] for one in runs_of] for key in _QUALITY}
        row |= {key: float(np.mean(values)) for key, values in by_seed.items()}
        row["by_seed"] = by_seed
    parts = [one.parts for one in done if one.parts is not None]
    return _Library(row, parts)
