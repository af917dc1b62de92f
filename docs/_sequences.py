"""The tables of the sequential models' pages, written from benchmarks/results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def quality(rows: list[Mapping[str, Any]], data: str) -> Iterator[str]:
    """One set of hstu_quality: ml1m, small or journey."""
    journey = data == "journey"
    keys = {"recall@50": "all_recall50", "NDCG@10": "all_ndcg10", "repeat": "repeat_recall50"}
    keys |= {"new": "new_recall50"}
    if not journey:
        keys = {"NDCG@10": "ndcg10", "HR@10": "hr10", "HR@50": "hr50", "HR@200": "hr200"}
    yield f"| model | {' | '.join(keys)} | CPU-s an epoch | epochs |"
    yield "|---|" + "---|" * (len(keys) + 2)
    for row in rows:
        if row["data"] != data:
            continue
        cells = [_measured(row, key) for key in keys.values()]
        seconds = row.get("seconds_epoch")
        cells.append("" if seconds is None else f"{seconds:.0f}")
        cells.append("" if "epochs" not in row else f"{row['epochs']:.0f}")
        yield f"| {row['model']} | {' | '.join(cells)} |"


def scaling(figures: Mapping[str, Any]) -> Iterator[str]:
    """The power laws of hstu_scaling."""
    yield "| data | model | exponent | r2 | orders of magnitude of compute | best |"
    yield "|---|---|---|---|---|---|"
    for data, name in (("ml1m", "ML-1M, NDCG@10"), ("journey", "Complete Journey, recall@50")):
        for model, title in (("hstu", "HSTU"), ("sasrec", "SASRec")):
            key = f"{data}_{model}"
            if f"{key}_exponent" not in figures:
                continue
            low, high = figures[f"{key}_exponent_ci"]
            cells = [f"{figures[f'{key}_exponent']:.3f} ({low:.3f} to {high:.3f})"]
            cells += [f"{figures[f'{key}_r2']:.2f}"]
            cells += [f"{figures[f'{key}_orders_of_magnitude']:.1f}"]
            cells += [f"{figures[f'{key}_best']:.4f}"]
            yield f"| {name} | {title} | {' | '.join(cells)} |"


def _measured(row: Mapping[str, Any], key: str) -> str:
    if key not in row:
        return ""
    value, low, high = row[key]
    return f"{value:.4f} ({low:.4f} to {high:.4f})"
