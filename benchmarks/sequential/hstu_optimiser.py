"""Row-wise AdamW beside AdamW: ML-1M for ten epochs, bytes, rounding (20 CPU-minutes, resumable).

python -m benchmarks.sequential.hstu_optimiser
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.data.sequences.item_sequences import ItemSequences
from adwright.metrics.ranking import ndcg_per_user
from adwright.models.sequential.hstu import HSTU, HSTUConfig
from adwright.training.loop.distributed import RowWiseAdamW
from adwright.training.sequential.fit import SequentialConfig, fit_sequential
from adwright.training.sequential.ranks import rank_next
from benchmarks.common.next_basket import (
    by_seed,
    interval,
    keep,
    means_by_seed,
    method_difference,
    read,
)
from benchmarks.common.result import Lead, write_result
from benchmarks.sequential.sequence_files import read_movielens_1m

SCRATCH = cache_folder() / "bench" / "hstu_optimiser"
SEEDS = (0, 1, 2)
KINDS = ("adamw", "rowwise")
MODEL = HSTUConfig(time=False)
FIT = SequentialConfig(epochs=10, validate_every=5, precision="bfloat16")
PEOPLE = 2000
#: A table larger than the caches, for the time of a step.
LARGE = (200_000, 64)
PROTOCOL = (
    "HSTU on ML-1M (2 blocks of 1 head, width 50, no times, exact softmax, batches of 128, rate "
    ".001, bfloat16 products), ten epochs, three seeds; the optimiser of the one table, 3,707 rows "
    "of 50, differs, all else is AdamW. NDCG@10 of 2,000 people's validation events, whole "
    "catalogue, asked after epochs 5 and 10; the better one counts. Intervals: 95%, over "
    "seeds and people. CPU-seconds an epoch without validation; the two take "
    "turns on a machine with other work. State is what the optimiser holds of the table. A step "
    "alone: 200,000 rows of 64 with a dense gradient, the least of ten, taking turns; AdamW there "
    "is torch's default, as in the training, and beside it torch's fused one. Rounding: "
    "the first moment of the table over two epochs, kept in bfloat16, against float64; error "
    "relative to it, and of the sum of all steps of the table relative to theirs."
)


def main() -> None:
    """Run what is missing, write benchmarks/results/hstu_optimiser.json."""
    shared = os.environ.get("ADWRIGHT_DATA")
    if not shared:
        raise SystemExit("set ADWRIGHT_DATA to the folder that holds ml-1m")
    torch.set_num_threads(1)
    sequences = read_movielens_1m(Path(shared) / "ml-1m")
    paths: dict[str, list[Path]] = {kind: [] for kind in KINDS}
    for seed in SEEDS:
        for kind in KINDS:
            paths[kind].append(trained(kind, sequences, seed))
    runs = {kind: read(found) for kind, found in paths.items()}
    ndcg = {kind: by_seed(found)["ndcg10"] for kind, found in runs.items()}
    everyone = np.arange(PEOPLE)
    steps = step_seconds()
    rows: list[dict[str, Any]] = [
        {
            "optimiser": kind,
            "ndcg10": interval(ndcg[kind], everyone),
            "cpu_seconds_epoch": float(
                np.mean([run["seconds"] for run in runs[kind]]) / FIT.epochs
            ),
            "state_bytes": float(runs[kind][0]["bytes"]),
            "step_ms": 1e3 * steps[kind],
        }
        for kind in KINDS
    ]
    found = method_difference(ndcg["rowwise"], ndcg["adamw"], everyone)
    about = ("row-wise AdamW", "AdamW", "NDCG@10", "ml1m, validation", found)
    figures: dict[str, Any] = {}
    for row in rows:
        name = row["optimiser"]
        figures[f"ndcg10_{name}"] = float(ndcg[name].mean())
        figures |= {f"{key}_{name}": row[key] for key in list(row)[2:]}
        row.update(means_by_seed({"ndcg10": ndcg[name]}))
    figures["step_ms_adamw_fused"] = 1e3 * steps["adamw_fused"]
    figures |= rounding(sequences)
    write_result(
        "hstu_optimiser",
        protocol=PROTOCOL,
        data=sequences.data_hash,
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=[Lead("ndcg10_rowwise_minus_adamw", *about)],
    )


def built(sequences: ItemSequences, seed: int) -> HSTU:
    """The model as a seed draws it."""
    torch.manual_seed(seed)
    return HSTU(MODEL, sequences.items, count=sequences.count)


def trained(kind: Any, sequences: ItemSequences, seed: int) -> Path:
    """The measures of a run, which is made where it is missing."""
    fit = replace(FIT, seed=seed, optimiser=kind)
    about = {"m": to_jsonable(MODEL), "f": to_jsonable(fit), "d": sequences.data_hash}
    path = SCRATCH / f"{kind}-{seed}-{content_hash(about)[:12]}.npz"
    if path.exists():
        return path
    model = built(sequences, seed)
    rng, people = np.random.default_rng(0), sequences.people("valid")
    people = np.sort(rng.choice(people, PEOPLE, replace=False))
    found: list[Any] = []
    idle = 0.0

    def validate() -> tuple[float, dict[str, float]]:
        nonlocal idle
        begin = time.process_time()
        found.append(ndcg_per_user(rank_next(model, sequences, "valid", people=people).ranks, 10))
        idle += time.process_time() - begin
        return float(found[-1].mean()), {}

    begin = time.process_time()
    fit_sequential(model, sequences, fit, validate=validate)
    seconds = time.process_time() - begin - idle
    best = max(found, key=lambda values: float(values.mean()))
    keep(path, {"ndcg10": best, "bytes": np.array(state_bytes(kind, model))}, seconds)
    print(kind, seed, [float(values.mean()) for values in found], f"{seconds:.0f} CPU-s")
    return path


def of_table(kind: str, table: nn.Parameter) -> Optimizer:
    """The optimiser of a table."""
    if kind == "rowwise":
        return RowWiseAdamW([table], learning_rate=FIT.learning_rate, betas=FIT.betas)
    return AdamW([table], lr=FIT.learning_rate, betas=FIT.betas, weight_decay=0.0)


def state_bytes(kind: str, model: HSTU) -> float:
    """Bytes of state a float of the item table, after one step."""
    table = nn.Parameter(model.input.item.weight.detach().clone())
    optimiser = of_table(kind, table)
    table.grad = torch.ones_like(table)
    optimiser.step()
    held = sum(x.numel() * x.element_size() for x in optimiser.state[table].values())
    return float(held / table.numel())


def step_seconds() -> dict[str, float]:
    """CPU-seconds of a step of a large table with a dense gradient."""
    table = nn.Parameter(torch.randn(LARGE))
    table.grad = torch.randn(LARGE)
    optimisers = {kind: of_table(kind, table) for kind in KINDS}
    optimisers["adamw_fused"] = AdamW([table], fused=True)
    best = dict.fromkeys(optimisers, float("inf"))
    for _ in range(10):
        for kind, optimiser in optimisers.items():
            begin = time.process_time()
            optimiser.step()
            best[kind] = min(best[kind], time.process_time() - begin)
    return best


def to_nearest(x: Tensor) -> Tensor:
    """x as the nearest bfloat16."""
    return x.bfloat16().float()


def at_random(x: Tensor) -> Tensor:
    """x as the bfloat16 below or above, each the likelier the nearer; draws of torch."""
    bits = x.view(torch.int32)
    drawn = torch.randint(0, 1 << 16, x.shape, dtype=torch.int32)
    return ((bits + drawn) & -(1 << 16)).view(torch.float32)


def rounding(sequences: ItemSequences) -> dict[str, float]:
    """What two ways of rounding make of the first moment and of all steps together."""
    model = built(sequences, 0)
    table, (b1, b2) = model.input.item.weight, FIT.betas
    ways: dict[str, Callable[[Tensor], Tensor]] = {"nearest": to_nearest, "stochastic": at_random}
    exact, square = torch.zeros_like(table, dtype=torch.float64), torch.zeros(len(table)).double()
    kept = {way: torch.zeros_like(table) for way in ways}
    moved = {way: torch.zeros_like(exact) for way in (*ways, "exact")}

    def observe(step: int) -> None:
        gradient = table.grad
        if gradient is None:
            raise SystemExit("the item table has no gradient")
        square.lerp_(gradient.double().square().mean(1), 1 - b2)
        exact.lerp_(gradient.double(), 1 - b1)
        size = (1 / (1 - b1**step) / ((square / (1 - b2**step)).sqrt() + 1e-8))[:, None]
        moved["exact"].add_(exact * size)
        for way, rounded in ways.items():
            mean = kept[way].lerp(gradient, 1 - b1)
            moved[way].add_(mean * size)
            kept[way] = rounded(mean)

    fit_sequential(
        model, sequences, replace(FIT, epochs=2, train_on_validation=True), on_step=observe
    )
    found = {}
    for way in ways:
        found[f"moment_error_{way}"] = float((kept[way] - exact).norm() / exact.norm())
        gap = moved[way] - moved["exact"]
        found[f"moved_error_{way}"] = float(gap.norm() / moved["exact"].norm())
    return found


if __name__ == "__main__":
    main()
