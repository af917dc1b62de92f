"""Parameter-efficient tuning on one real task: quality, memory and time of each method.

    python -m benchmarks.lm.peft             all that is not done yet (hours), and the JSON
    python -m benchmarks.lm.peft quality --workers 2
    python -m benchmarks.lm.peft costs       on a quiet machine
    python -m benchmarks.lm.peft write       the JSON of those methods that are done

Runs are kept in the cache folder and read back; delete a file there to have it run again.
"""

from __future__ import annotations

import argparse
import atexit
import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import IO, Any, cast

import numpy as np

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.lm.engine.weights import SMOLLM2_NOTE
from adwright.metrics.bootstrap import two_level_difference, two_level_ratio
from adwright.metrics.reports.charts import to_svg, trade_off, unbeaten
from benchmarks.common.next_basket import means_by_seed
from benchmarks.common.processes import command
from benchmarks.common.result import PICTURES, ROOT, Lead, write_result
from benchmarks.lm._peft_runs import BATCH, RUNS, asked_once
from benchmarks.lm._peft_task import TEST, TRAIN, VALID, VARIANTS, Variant

SCRATCH = cache_folder() / "bench" / "peft"
STEPS = TRAIN // BATCH
SEEDS = (0, 1, 2)
#: Times the rate is moved on where the best one lies at the end of those tried.
EXTENSIONS = 1
Floats = np.ndarray[Any, np.dtype[np.float64]]
#: Methods, in the order of `VARIANTS`, whose twins are run before the rest.
_FIRST = 9
_LOCAL = threading.local()
#: Whether runs that are not there are left out, rather than run: holds "write".
READ_ONLY: list[str] = []
#: Rounds of the comparison of speed with peft.
ROUNDS = 3
PROTOCOL = (
    f"{SMOLLM2_NOTE}, tuned on {TRAIN} titles of PriceRunner offers to name one of ten categories "
    f"({STEPS} steps of {BATCH} titles, one pass, cosine rate, warm-up .1, gradients cut at 1); "
    f"the best of three or four learning rates by the loss on {VALID} validation titles with seed "
    f"0; then seeds 0 to 2, on {TEST} test titles. All titles are of different products; a few "
    "methods take the rate of their nearest kin over. Products in bfloat16, base in bfloat16 but "
    "where it is trained itself (full tuning, norms, MeZO: float32). loss: nats of the right "
    "name; accuracy: greedy along the ten names; +- is half the width of the 95% interval "
    "over seeds and titles. Rows named peft are peft's own modules with transformers' loss on "
    "padded batches, at the rate found for ours. CPU-seconds a step: median, one thread, an own "
    "process. memory: peak of the process above what it held with the base alone."
)


def run(spec: dict[str, Any], kind: str) -> dict[str, Any]:
    """A run's result, from the cache where it is there."""
    variant = VARIANTS[spec["name"]]
    key = content_hash([spec, variant.by, variant.settings])[:16]
    path = SCRATCH / f"{kind}-{spec['name'].replace(' ', '-')}-{key}.json"
    if not path.exists() and READ_ONLY:
        return {}
    if not path.exists():
        line = asked_once(spec) if kind == "cost" else asked_of_worker(spec)
        if "error" in json.loads(line):
            print(spec, line, file=sys.stderr)
            return {}
        SCRATCH.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, line)
        print(kind, spec["name"], f"{spec['rate']:.2g}", spec["seed"], flush=True)
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def asked_of_worker(spec: dict[str, Any]) -> str:
    """The result of this thread's own process, which has loaded everything before."""
    worker = getattr(_LOCAL, "worker", None)
    if worker is None or worker.poll() is not None:
        worker = subprocess.Popen(
            command(RUNS, "-"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        )
        _LOCAL.worker = worker
        atexit.register(worker.kill)
    asks, answers = cast(IO[str], worker.stdin), cast(IO[str], worker.stdout)
    asks.write(json.dumps(spec) + "\n")
    asks.flush()
    for line in answers:
        if line.startswith("RESULT "):
            return str(line.removeprefix("RESULT ").strip())
    return '{"error": "the process ended"}'


def trained(name: str, rate: float, seed: int) -> dict[str, Any]:
    """A run; its test titles count only where the rate is the one chosen."""
    judge = ["test"] if VARIANTS[name].twin or seed else ["valid", "test"]
    spec = {"name": name, "rate": rate, "seed": seed, "steps": STEPS, "judge": judge}
    return run(spec, "run")


def searched(name: str) -> float:
    """The learning rate with the lowest validation loss, seed 0."""
    variant = VARIANTS[name]
    if other := variant.twin or variant.like:
        return searched(other)
    losses: dict[float, float] = {}

    def ask(rate: float) -> None:
        found = trained(name, rate, 0)
        mean = float(np.mean(found["valid"]["nll"])) if found else float("inf")
        losses[rate] = mean if np.isfinite(mean) else float("inf")

    for rate in (variant.rate / 3, variant.rate, variant.rate * 3):
        ask(rate)
    for _ in range(EXTENSIONS):
        best = min(losses, key=losses.__getitem__)
        if best == max(losses):
            ask(best * 3)
        elif best == min(losses):
            ask(best / 3)
    return min(losses, key=losses.__getitem__)


def quality(name: str, seeds: Iterable[int] = SEEDS) -> list[dict[str, Any]]:
    """Test figures at that rate, a result per seed."""
    rate = searched(name)
    return [found for seed in seeds if (found := trained(name, rate, seed))]


def done(name: str) -> bool:
    """Whether all runs of a method are there."""
    READ_ONLY.append(name)
    try:
        return len(quality(name)) == len(SEEDS)
    finally:
        READ_ONLY.pop()


def cost(name: str, round_: int = 0) -> dict[str, Any]:
    """Seconds per step and memory, of a few steps."""
    spec = {"name": name, "rate": VARIANTS[name].rate, "seed": round_, "steps": 10, "judge": []}
    return run(spec, "cost")


def untuned() -> dict[str, Any]:
    """Test figures of the base."""
    spec = {"name": "lora", "rate": 1e-3, "seed": 0, "steps": 1, "judge": ["test"]}
    return run(spec | {"rate": 1e-12}, "untuned")


def by_title(runs: Sequence[dict[str, Any]], measure: str) -> Floats:
    """A measure of the test titles, by seed: [S, TEST]."""
    return np.array([one["test"][measure] for one in runs], np.float64)


def interval(values: Floats) -> tuple[float, float]:
    """Mean, and half the width of its 95% interval over seeds and titles."""
    found = two_level_ratio(values, np.ones(values.shape[1]), np.random.default_rng(0))
    return found.value, found.width / 2


def row_of(name: str) -> dict[str, Any] | None:
    """A row of the table."""
    runs = quality(name)
    price = cost(name) if runs else {}
    if len(runs) < len(SEEDS) or not price:
        return None
    variant: Variant = VARIANTS[name]
    right, nll = by_title(runs, "right"), by_title(runs, "nll")
    (accuracy, spread), (loss, loss_spread) = interval(right), interval(nll)
    return {
        "method": name,
        "by": variant.by,
        "settings": ", ".join(f"{k} {v}" for k, v in variant.settings.items()),
        "rate": searched(name),
        "trainable": runs[0]["trainable"],
        "cpu_seconds_a_step": round(price["cpu_seconds_a_step"], 4),
        "above_base_mb": round(price["above_base_mb"]),
        "peak_mb": round(price["peak_mb"]),
        "loss": round(loss, 4),
        "loss_spread": round(loss_spread, 4),
        "accuracy": round(accuracy, 4),
        "accuracy_spread": round(spread, 4),
        **means_by_seed({"loss": nll, "accuracy": right}),
    }


def against_twin(name: str) -> list[Lead]:
    """Ours less peft's: accuracy and loss."""
    twin = VARIANTS[name].twin
    ours, theirs = quality(twin), quality(name)
    leads = []
    for measure, label in (("right", "accuracy"), ("nll", "loss")):
        a, b = by_title(ours, measure), by_title(theirs, measure)
        found = two_level_difference(a, b, np.ones(TEST), np.random.default_rng(0))
        key = f"{label}_{twin.replace(' ', '_')}_minus_peft"
        lower = label == "loss"
        leads.append(Lead(key, twin, name, label, "PriceRunner titles", found, lower))
    return leads


def front(rows: list[dict[str, Any]]) -> list[str]:
    """Rows that no other beats in loss and memory."""
    best = unbeaten([(row["above_base_mb"], row["loss"]) for row in rows])
    return [row["method"] for row, strong in zip(rows, best, strict=True) if strong]


def speed_ratio() -> list[float]:
    """peft's seconds per step over ours, LoRA on all maps, in turns."""
    return [
        cost("peft lora", turn)["cpu_seconds_a_step"] / cost("lora", turn)["cpu_seconds_a_step"]
        for turn in range(ROUNDS)
    ]


def write() -> None:
    """Write the JSON from the runs that are there."""
    rows = [row for name in VARIANTS if (row := row_of(name)) is not None]
    by = {row["method"]: row for row in rows}
    best = set(front(rows))
    leads: list[Lead] = []
    for row in rows:
        row["front"] = row["method"] in best
        if VARIANTS[row["method"]].twin:
            row["twin"] = VARIANTS[row["method"]].twin
            for lead in (found := against_twin(row["method"])):
                row[f"{lead.measure}_low"] = round(lead.found.low, 4)
                row[f"{lead.measure}_high"] = round(lead.found.high, 4)
            leads += found
    base = untuned()["test"]
    figures: dict[str, Any] = {
        "methods_trained": sum(VARIANTS[row["method"]].twin == "" for row in rows),
        "methods_ours": sum(row["by"] == "ours" for row in rows),
        "untuned_accuracy": float(np.mean(base["right"])),
        "untuned_loss": float(np.mean(base["nll"])),
        "ours_on_front": sum(name in best and by[name]["by"] == "ours" for name in by),
    }
    ratios = speed_ratio()
    figures["lora_speed_ratio_peft"] = float(np.median(ratios))
    figures["lora_speed_ratio_peft_range"] = [min(ratios), max(ratios)]
    for name in ("ladder", "mezo", "mezo on lora"):
        if name in by:
            key = name.replace(" ", "_")
            figures[f"{key}_memory_of_peft_lora"] = (
                by[name]["above_base_mb"] / by["peft lora"]["above_base_mb"]
            )
            figures[f"{key}_memory_of_lora"] = (
                by[name]["above_base_mb"] / by["lora"]["above_base_mb"]
            )
    write_result(
        "peft",
        protocol=PROTOCOL,
        data="PriceRunner offers, one a product",
        seeds=SEEDS,
        rows=rows,
        figures=figures,
        leads=leads,
    )
    draw(rows)


def draw(rows: list[dict[str, Any]]) -> None:
    """docs/_static/peft.svg: loss against memory."""
    chart = trade_off(
        [
            {
                "name": row["method"],
                "x": max(row["above_base_mb"], 1),
                "y": row["loss"],
                "series": "peft" if row["by"] == "peft" else "adwright",
            }
            for row in rows
        ],
        x_title="memory of training above the base, MB",
        y_title="test loss, nats",
    )
    PICTURES.mkdir(parents=True, exist_ok=True)
    atomic_write_text(PICTURES / "peft.svg", to_svg(chart))


def main() -> None:
    """Run the parts that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", nargs="?", choices=["all", "quality", "costs", "write"])
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    part = asked.part or "all"
    if part == "write":
        READ_ONLY.append(part)
    if part in ("all", "quality"):
        # A twin takes over the rate of its like, which is searched for first.
        own = [name for name, variant in VARIANTS.items() if not variant.twin]
        twins = [name for name, variant in VARIANTS.items() if variant.twin]
        with ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(quality, own[:_FIRST]))
            list(pool.map(quality, [name for name in twins if VARIANTS[name].twin in own[:_FIRST]]))
            list(pool.map(quality, own[_FIRST:]))
            list(pool.map(quality, twins))
    if part in ("all", "costs"):
        for name in VARIANTS:
            if part == "all" or done(name):
                cost(name)
        speed_ratio()
        untuned()
    if part in ("all", "write"):
        write()


if __name__ == "__main__":
    main()
