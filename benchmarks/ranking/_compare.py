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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.assets import cache_folder
from adwright.data.sources.movielens import MovieLens
from adwright.data.tasks.attributed_sequences import build_sequences_task
from adwright.data.tasks.movielens import build_movielens_task
from adwright.data.tasks.task import Task
from adwright.metrics.classification import auc, group_auc, log_loss
from benchmarks.peers.environments import PEERS, PeerName
from benchmarks.peers.harness import ALLOCATOR, PeerFailedError, run_peer
from benchmarks.ranking import _runs as runs
from benchmarks.ranking._peers import export_exchange, run_ours, smaller

__all__ = ["run_all", "summarise"]

SIZES = {
    "embedding_dim": 16,
    "attention_hidden": [36],
    "mlp_hidden": [200, 80],
    "batch_size": 1024,
    "learning_rate": 0.001,
    "seed": 1,
    "l2": 0.0,
    "threads": 1,
}
TIMEOUT = 3600.0
#: Within so much of the best peer's GAUC, a peer counts as one of equal quality.
EQUAL = 0.001


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

    def config(self) -> dict[str, Any]:
        """The settings of one run."""
        return {
            **SIZES,
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


def run_all() -> None:
    """Every comparison, ours first; finished runs are kept."""
    for comparison in COMPARISONS:
        task = _task(comparison.data)
        folder = _folder(comparison)
        exchange = export_exchange(task, folder / "data", max_history=comparison.max_history)
        config = {**comparison.config(), "max_history": comparison.max_history}
        run_ours(task, config, folder / "adwright", ALLOCATOR)
        for name in PEERS:
            try:
                run_peer(name, exchange, comparison.config(), folder / name, TIMEOUT)
            except PeerFailedError as error:
                print(f"{comparison.name}: {name} failed: {error}")


def _folder(comparison: Comparison) -> Path:
    return cache_folder() / "bench" / "din-peers" / comparison.name


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


def summarise() -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Rows of all finished comparisons, and the ratios against the best peers."""
    table = []
    for comparison in COMPARISONS:
        for name in ("adwright", *PEERS):
            path = _folder(comparison) / name / "result.json"
            if path.exists():
                table.append(_row(comparison, name, path))
    figures: dict[str, Any] = {}
    ratios: dict[str, list[float]] = {"train": [], "score": []}
    margins = []
    for comparison in COMPARISONS:
        rows = {row["library"]: row for row in table if row["comparison"] == comparison.name}
        ours, peers = rows.pop("adwright", None), list(rows.values())
        if ours is None or not peers:
            continue
        key = comparison.name.replace("-", "_")
        if comparison.measures_quality:
            best = max(row["gauc"] for row in peers)
            peers = [row for row in peers if row["gauc"] >= best - EQUAL]
            margins.append(ours["gauc"] - best)
            figures[f"{key}_gauc_minus_best_peer"] = margins[-1]
        for stage in ("train", "score"):
            speed = f"{stage}_rows_per_cpu_second"
            ratio = ours[speed] / max(row[speed] for row in peers)
            figures[f"{key}_{stage}_ratio_best_peer"] = ratio
            if comparison.measures_quality and not comparison.max_history:
                ratios[stage].append(ratio)
    if margins and ratios["train"]:
        figures["gauc_minus_best_peer"] = min(margins)
        figures["train_ratio_best_peer"] = min(ratios["train"])
        figures["score_ratio_best_peer"] = min(ratios["score"])
    return table, figures


def _row(comparison: Comparison, library: PeerName | str, path: Path) -> dict[str, Any]:
    found = json.loads(path.read_text(encoding="utf-8"))
    row = {
        "comparison": comparison.name,
        "library": library,
        "train_rows": found["train_rows"],
        "score_rows": found["score_rows"],
        "train_rows_per_cpu_second": found["train_rows_per_cpu_second"],
        "score_rows_per_cpu_second": found["score_rows_per_cpu_second"],
        "batch_size": found.get("batch_size", comparison.batch_size),
        "peak_train_gb": found["peak_rss_bytes"]["train"] / 1e9,
        "peak_score_gb": found["peak_rss_bytes"]["score"] / 1e9,
    }
    if comparison.measures_quality:
        rows = _task(comparison.data).rows("test").select("user_id", "label").collect()
        label, user = rows["label"].to_numpy(), rows["user_id"].rle_id().to_numpy()
        score = np.load(path.with_name("scores.npy")).astype(np.float64)
        row |= {
            "auc": auc(label, score),
            "gauc": group_auc(label, score, user),
            "log_loss": log_loss(label, np.clip(score, 1e-7, 1 - 1e-7)),
        }
    return row
