"""Quality against training compute, HSTU beside SASRec (2 hours of CPU, resumable).

    python -m benchmarks.sequential.hstu_scaling                   what is missing, then the result
    python -m benchmarks.sequential.hstu_scaling --data ml1m       one set alone, and no result
    python -m benchmarks.sequential.hstu_scaling --only-summarise  the result of what is finished

Each model is trained once and asked after 1, 2, 4, ... epochs.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.sequences.datasets import sequences_of_task
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.metrics.ranking import ndcg_per_user, recall_per_user
from adwright.metrics.reports.charts import to_svg
from adwright.models.sequential.hstu import HSTUConfig, SASRecConfig
from adwright.models.sequential.losses import EXACT_BELOW
from adwright.training.retrieval.fit import retrieved_ranks
from adwright.training.sequential.fit import SequentialConfig, fit_sequential
from adwright.training.sequential.ranks import rank_next, visit_scorer
from benchmarks.common.next_basket import keep
from benchmarks.common.result import PICTURES, write_result
from benchmarks.sequential import _journey as journey
from benchmarks.sequential._runs import Model, Values, build
from benchmarks.sequential.sequence_files import read_movielens_1m

SCRATCH = cache_folder() / "bench" / "hstu_scaling"
PROTOCOL = (
    "Each model was trained once at a constant rate and asked after 1, 2, 4, 8, ... epochs on "
    "held-out events that chose nothing: ML-1M by position, NDCG@10 of the second-last event of "
    "2,000 people, whole catalogue less what they had; Complete Journey, recall@50 of the "
    "baskets of weeks 45-48 of 500 households, whole catalogue, with the popularity of items but "
    "without counts of the own past. Compute "
    "is floating-point operations of training, forward and backward, counted from the formulas "
    "(matrix products alone). The frontier is every point that is better than all cheaper ones; "
    "the power law, quality = a * compute^b, is a line through the logarithms of the frontier; "
    "intervals: 95% by bootstrap over people, the frontier staying as it is. Where compute "
    "saturates quality a power law cannot hold, and its fit (r2) says how badly."
)


class Size(NamedTuple):
    """Of a model, its data and its training: latest events of a user, positions per step that
    are predicted (0 for all)."""

    width: int
    blocks: int
    heads: int
    length: int
    positions: int
    epochs: int


#: More compute is wider and deeper models, longer histories, more positions, more epochs.
SIZES = {
    "ml1m": (
        Size(8, 1, 1, 20, 0, 8),
        Size(16, 1, 1, 100, 0, 16),
        Size(32, 2, 1, 200, 0, 16),
        Size(64, 2, 2, 200, 0, 16),
        Size(128, 4, 2, 200, 0, 8),
    ),
    "journey": (
        Size(8, 1, 1, 100, 32, 4),
        Size(16, 1, 1, 300, 128, 4),
        Size(32, 2, 2, 1000, 512, 4),
        Size(64, 4, 4, 4200, 1024, 4),
    ),
}
TITLES = {
    "ml1m": "ML-1M, NDCG@10",
    "journey": "Complete Journey next basket, recall@50",
}
FAMILIES = ("hstu", "sasrec")
Floats = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Data:
    """A set: its sequences, how a model is asked (sums and counts per user), and training."""

    sequences: ItemSequences
    ask: Callable[[Model], Values]
    fit: SequentialConfig
    measure: str


def main() -> None:
    """Run what is missing, write benchmarks/results/hstu_scaling.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=list(SIZES))
    parser.add_argument("--model", choices=FAMILIES, help="this one alone, and no result")
    parser.add_argument("--most", type=int, default=10**9, help="no model wider than this")
    parser.add_argument("--only-summarise", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    points: list[dict[str, Any]] = []
    figures: dict[str, Any] = {}
    hashes = {}
    for name, sizes in SIZES.items():
        if asked.data not in (None, name):
            continue
        data = _data(name)
        hashes[name] = data.sequences.data_hash
        for family in FAMILIES:
            if asked.model not in (None, family):
                continue
            found = []
            for size in sizes:
                if size.width <= asked.most:
                    found += _curve(name, data, family, size, run=not asked.only_summarise)
            if found:
                # It marks the points of the frontier.
                figures |= _law(f"{name}_{family}", found)
                points += [{k: v for k, v in p.items() if k != "values"} for p in found]
    if asked.data or asked.model:
        return
    widest = [v for k, v in figures.items() if k.endswith("orders_of_magnitude")]
    figures["orders_of_magnitude"] = min(widest)
    figures["power_law_exponent_ci"] = figures["ml1m_hstu_exponent_ci"]
    draw(points, figures)
    write_result(
        "hstu_scaling",
        protocol=PROTOCOL,
        data=content_hash(hashes),
        seeds=[0],
        rows=points,
        figures=figures,
    )


def _data(name: str) -> Data:
    fit = SequentialConfig(precision="bfloat16", patience=100)
    if name == "ml1m":
        sequences = read_movielens_1m(Path(os.environ["ADWRIGHT_DATA"]) / "ml-1m")
        people = sequences.people("valid")
        people = np.sort(np.random.default_rng(0).choice(people, 2000, replace=False))

        def ask(model: Model) -> Values:
            found = rank_next(model, sequences, "valid", people=people).ranks
            return {"sum": ndcg_per_user(found, 10), "number": np.ones(len(people))}

        return Data(sequences, ask, fit, "NDCG@10")
    task = build_next_basket(CompleteJourney.open())
    visits = journey.validation_visits(task)
    owner = np.unique(task.visit_user[visits], return_inverse=True)[1]

    def ask_visits(model: Model) -> Values:
        found = retrieved_ranks(visit_scorer(model, task), task, visits, depth=50).ranks()
        value = recall_per_user(found, 50)
        return {"sum": np.bincount(owner, value), "number": np.bincount(owner).astype(float)}

    sequences = sequences_of_task(task, split="task")
    return Data(sequences, ask_visits, replace(fit, batch=16, exclude_seen=False), "recall@50")


def _config(name: str, family: str, size: Size) -> HSTUConfig | SASRecConfig:
    about: dict[str, Any] = {
        "width": size.width,
        "blocks": size.blocks,
        "heads": size.heads,
        "max_length": size.length,
    }
    if name == "journey":
        loss = replace(journey.LOSS, positions=size.positions)
        about |= {"popularity": True, "loss": loss}
    if family == "sasrec":
        # Flash attention, so no dropout of its weights.
        return SASRecConfig(**about, attention_dropout=0.0)
    narrow = size.width // size.heads
    return HSTUConfig(**about, qk_width=narrow, v_width=narrow, time=name == "journey")


def _curve(name: str, data: Data, family: str, size: Size, *, run: bool) -> list[dict[str, Any]]:
    """The points of one training, in the order of its epochs."""
    config = _config(name, family, size)
    fit = replace(data.fit, epochs=size.epochs)
    about = {"m": to_jsonable(config), "f": to_jsonable(fit), "d": data.sequences.data_hash}
    key = f"{name}-{family}-{size.width}x{size.blocks}-{content_hash(about)[:12]}"
    folder = SCRATCH / key
    asked = [2**n for n in range(12) if 2**n <= size.epochs]
    if run and not (folder / f"{asked[-1]}.npz").exists():
        _train(folder, config, fit, data, asked)
    first, end = data.sequences.windows(config.max_length)
    each = training_flops(config, end - first, data.sequences.items, fit.batch)
    points = []
    for epoch in asked:
        if not (folder / f"{epoch}.npz").exists():
            continue
        with np.load(folder / f"{epoch}.npz", allow_pickle=False) as stored:
            values = dict(stored)
        point: dict[str, Any] = {"data": name, "model": family, **size._asdict()}
        point |= {"epochs": epoch, "flops": each * epoch}
        quality = float(values["sum"].sum() / values["number"].sum())
        points.append(point | {"measure": data.measure, "quality": quality, "values": values})
    return points


def _train(
    folder: Path,
    config: HSTUConfig | SASRecConfig,
    fit: SequentialConfig,
    data: Data,
    asked: list[int],
) -> None:
    model = build(config, data.sequences, 0)
    run = folder / "run"

    def validate() -> tuple[float, dict[str, float]]:
        lines = run / "metrics.jsonl"
        epoch = 1 + (len(lines.read_text("utf-8").splitlines()) if lines.exists() else 0)
        if epoch not in asked:
            return 0.0, {}
        values = data.ask(model)
        keep(folder / f"{epoch}.npz", values, 0.0)
        quality = float(values["sum"].sum() / values["number"].sum())
        print(folder.name, epoch, round(quality, 4), flush=True)
        return quality, {"quality": quality}

    folder.mkdir(parents=True, exist_ok=True)
    resume = (run / "config.json").exists()
    fit_sequential(model, data.sequences, fit, run, resume=resume, validate=validate)


def _law(prefix: str, points: list[dict[str, Any]]) -> dict[str, Any]:
    """The power law through the frontier, its interval, and how far it reaches."""
    points = sorted(points, key=lambda p: p["flops"])
    best, frontier = 0.0, []
    for point in points:
        point["frontier"] = point["quality"] > best
        if point["frontier"]:
            best = point["quality"]
            frontier.append(point)
    x = np.log10([p["flops"] for p in frontier])
    sums = np.stack([p["values"]["sum"] for p in frontier])
    numbers = np.stack([p["values"]["number"] for p in frontier])
    y = np.log10(sums.sum(1) / numbers.sum(1))
    slope, start = np.polyfit(x, y, 1)
    rng = np.random.default_rng(0)
    draws = []
    for _ in range(1000):
        w = rng.multinomial(sums.shape[1], np.full(sums.shape[1], 1 / sums.shape[1]))
        draws.append(np.polyfit(x, np.log10(sums @ w / (numbers @ w)), 1)[0])
    residual = y - (slope * x + start)
    return {
        f"{prefix}_exponent": float(slope),
        f"{prefix}_exponent_ci": [float(e) for e in np.quantile(draws, (0.025, 0.975))],
        f"{prefix}_factor": float(10**start),
        f"{prefix}_r2": float(1 - residual.var() / y.var()),
        f"{prefix}_orders_of_magnitude": float(np.ptp(np.log10([p["flops"] for p in points]))),
        f"{prefix}_best": float(best),
    }


def draw(points: list[dict[str, Any]], figures: dict[str, Any]) -> None:
    """docs/_static/hstu_scaling.svg: the points, those of the frontier strong, and its law."""
    x = alt.X("flops:Q", scale=alt.Scale(type="log"), title="floating-point operations of training")
    x = x.axis(format=".0e", tickCount=5)
    y = alt.Y("quality:Q", scale=alt.Scale(type="log", zero=False, nice=False), title=None)
    color = alt.Color("model:N", title=None)
    opacity = alt.Opacity("strong:Q", legend=None, scale=None)
    panels = []
    for data, title in TITLES.items():
        dots, lines = [], []
        for family, name in (("hstu", "HSTU"), ("sasrec", "SASRec")):
            mine = [p for p in points if (p["data"], p["model"]) == (data, family)]
            for one in mine:
                plain = {"model": name, "flops": one["flops"], "quality": one["quality"]}
                dots.append(plain | {"strong": 1.0 if one["frontier"] else 0.3})
            ends = [one["flops"] for one in mine]
            for flops in (min(ends), max(ends)) if ends else ():
                key = f"{data}_{family}"
                law = figures[f"{key}_factor"] * flops ** figures[f"{key}_exponent"]
                lines.append({"model": name, "flops": flops, "quality": law})
        points_drawn = alt.Chart(pl.DataFrame(dots)).mark_point(filled=True, size=40)
        law_drawn = alt.Chart(pl.DataFrame(lines)).mark_line(strokeDash=[4, 3])
        panel = points_drawn.encode(x, y, color, opacity) + law_drawn.encode(x, y, color)
        panels.append(panel.properties(title=title, width=300, height=240))
    PICTURES.mkdir(parents=True, exist_ok=True)
    atomic_write_text(PICTURES / "hstu_scaling.svg", to_svg(alt.hconcat(*panels)))


def training_flops(
    config: HSTUConfig | SASRecConfig, lengths: NDArray[np.int64], items: int, batch: int
) -> float:
    """Floating-point operations of training one epoch over sequences of `lengths` (int64 [W]),
    `batch` a step, with a softmax over `items`, from the formulas.

    A product of [a, b] with [b, c] counts 2 a b c; a backward pass counts twice the forward one.
    Causal attention is counted on the pairs that are seen. Embeddings, norms, activations and the
    optimiser are left out: they move bytes rather than multiply.
    """
    tokens = float(lengths.sum())
    asked = tokens
    if config.loss.positions:
        asked = min(tokens, config.loss.positions * -(-len(lengths) // batch))
    pairs = float((lengths * (lengths + 1) / 2).sum())
    width = config.width
    match config:
        case HSTUConfig():
            qk, v = config.heads * config.qk_width, config.heads * config.v_width
            weights = width * (2 * v + 2 * qk) + v * width * (3 if config.concat else 1)
            seen = qk + v
        case SASRecConfig():
            weights = 4 * width**2 + 2 * width * (config.hidden or width)
            seen = 2 * width
    layer = 2 * weights * tokens + 2 * seen * pairs
    return 3 * (config.blocks * layer + 2 * asked * width * _candidates(config, items))


def _candidates(config: Any, items: int) -> int:
    """Items that each position is compared with."""
    exact = config.loss.kind == "exact" or (config.loss.kind == "auto" and items < EXACT_BELOW)
    if exact:
        return items
    return int(config.loss.negatives if config.loss.kind == "per_position" else config.loss.shared)


if __name__ == "__main__":
    main()
