"""Many adapters over one base, served and trained, beside peft (18 CPU-minutes).

    python -m benchmarks.lm.adapters                 what is not measured yet, and the JSON
    python -m benchmarks.lm.adapters mixed_batch     one part again

Each part runs in a process of its own, on one thread; what it gives is kept in the cache folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import torch

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.lm.engine.weights import SMOLLM2_NOTE
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT, write_result

SCRATCH = cache_folder() / "bench" / "adapters"
SERVING = (
    "mixed_batch",
    "same_logits",
    "mixed_kinds",
    "many_registered",
    "merged_weights",
    "attention_choices",
)
PREFIXES = ("shared_prefixes", "shared_labels", "shared_memory", "shared_alora", "one_row")
TUNING = ("together_rows", "coserving_rows")
PROTOCOL = (
    f"{SMOLLM2_NOTE}, bfloat16, one thread, CPU-seconds of the process. mixed_batch: 32 rows of 64 "
    "tokens that write 32 more, LoRA of rank 8 on q, k, v and o with random numbers, 1, 8 or 32 "
    "different ones; peft by its `adapter_names`, with a cache and the faster of two kinds of "
    "attention. same_logits: greatest difference from peft's logits after prompts and tokens. "
    "mixed_kinds: 8 each of LoRA, serial adapter, (IA)3 and BitFit beside 32 LoRAs. "
    "many_registered: 1,000 adapters on disk, requests by Zipf's law, a pool for 40 of them. "
    "merged_weights: one adapter folded into weights of its own. shared_prefixes: 16 requests of "
    "249 tokens in common, 20 of their own and 24 new, each read whole, sharing what they read, "
    "and once more with other ends. shared_labels: ten labels of one prompt of 249 tokens. "
    "shared_memory: pages of 16 requests on 1,500 tokens in common. shared_alora: a prompt of 249 "
    "tokens that the base has answered, asked of three LoRAs that act from an invocation on, and "
    "of three plain ones, 8 tokens each. one_row: one request, against "
    "transformers' layers and torch's product of matrices over the same pages. "
    "together_rows: eight LoRA jobs in one step, against one after another through `tune`, on "
    "titles of AE-110k with their attributes. coserving_rows: four jobs tuned while requests "
    "arrive as a Poisson process; "
    "latencies and shares on the clock of the process's CPU time, as a machine of its own would "
    "have them; coserve_tuning_share and coserve_p99_within_bound are of the first load."
)


def rows_of(part: str) -> list[dict[str, Any]]:
    """The rows that a part gave; none where it was not run."""
    path = SCRATCH / f"{part}.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else []


def run_part(part: str) -> None:
    """Measure a part in this process and keep its rows."""
    from benchmarks.lm import _adapters_prefixes, _adapters_serving, _adapters_tuning

    torch.set_num_threads(1)
    modules = {SERVING: _adapters_serving, PREFIXES: _adapters_prefixes, TUNING: _adapters_tuning}
    rows = getattr(next(module for own, module in modules.items() if part in own), part)()
    SCRATCH.mkdir(parents=True, exist_ok=True)
    atomic_write_text(SCRATCH / f"{part}.json", json.dumps(rows, indent=1))
    for row in rows:
        print(part, row, flush=True)


def figures() -> dict[str, Any]:
    """The figures of all parts."""
    mixed = {row["adapters"]: row for row in rows_of("mixed_batch")}
    exact = next(row for row in rows_of("same_logits") if row["number"] == "float32")
    kinds = {row["batch"]: row for row in rows_of("mixed_kinds")}
    (many,) = rows_of("many_registered")
    (prefixes,), (labels,) = rows_of("shared_prefixes"), rows_of("shared_labels")
    (memory,), (one,) = rows_of("shared_memory"), rows_of("one_row")
    (alora,) = rows_of("shared_alora")
    together = rows_of("together_rows")
    beside = rows_of("coserving_rows")
    found: dict[str, Any] = {
        f"decode_ratio_peft_{n}": row["times_peft"] for n, row in mixed.items()
    }
    found |= {
        "mixed_kind_share": kinds["8 of each kind"]["share"],
        "prefix_ratio_cold": prefixes["ratio_cold"],
        "prefix_ratio_warm": prefixes["ratio_warm"],
        "prefix_answers_equal": prefixes["float32_answers_equal"],
        "labels_ratio": labels["ratio"],
        "labels_ratio_warm": labels["ratio_warm"],
        "prefix_pages_share": memory["share"],
        "alora_ratio": alora["ratio"],
        "alora_first_token_ratio": alora["first_token_ratio"],
        "alora_cached_share": alora["cached_share"],
        "alora_answers_equal": alora["float32_answers_equal"],
        "decode_one_row_ratio": one["ratio"],
        "decode_one_row_rate": one["tokens_per_cpu_second"],
        "logits_max_diff": exact["greatest_difference"],
        "train8_ratio": max(row["ratio_to_tune"] for row in together),
        "train8_ratio_range": [
            min(row["ratio_to_tune"] for row in together),
            max(row["ratio_to_tune"] for row in together),
        ],
        "train8_loss_difference": max(row["loss_difference"] for row in together),
        "coserve_tuning_share": beside[0]["share_kept"],
        "coserve_tuning_share_range": [
            min(row["share_kept"] for row in beside),
            max(row["share_kept"] for row in beside),
        ],
        "coserve_p99_within_bound": int(within(beside[0])),
        "coserve_loads_within_bound": sum(map(within, beside)),
    }
    found |= {f"many_{k}": v for k, v in many.items() if isinstance(v, int | float)}
    return found


def within(row: dict[str, Any]) -> bool:
    """Whether 99 of 100 tokens, first and later ones, came within their bounds."""
    return bool(
        row["beside_gap_p99_ms"] <= row["token_bound_ms"]
        and row["beside_first_p99_ms"] <= row["first_bound_ms"]
    )


def main() -> None:
    """Measure the parts that the command line names, or what is missing, and write the JSON."""
    if len(sys.argv) > 1:
        for part in sys.argv[1:]:
            run_part(part)
        return
    for part in (*SERVING, *PREFIXES, *TUNING):
        if not rows_of(part):
            subprocess.run(command("benchmarks.lm.adapters", part), check=True, cwd=ROOT)
    write_result(
        "adapters",
        protocol=PROTOCOL,
        data="random words and AE-110k titles",
        seeds=[0],
        rows=[
            {"part": part} | row for part in (*SERVING, *PREFIXES, *TUNING) for row in rows_of(part)
        ],
        figures=figures(),
    )


if __name__ == "__main__":
    main()
