"""Serving many adapters of SmolLM2-135M at once, for adapters.py.

Functions that return rows of plain values; the caller keeps the results. All on one thread;
times are CPU-seconds of this process, rates are from the median of the passes that write a token
of every row.

    mixed_batch()      32 rows of 1, 8 and 32 LoRAs against peft's mixed batch
    same_logits()      the greatest difference between the two, in float32 and bfloat16
    mixed_kinds()      LoRA, serial adapter, (IA)3 and BitFit, 8 each, in one batch
    many_registered()  1,000 adapters on disk, requests by Zipf's law, 40 of them in the pool
    merged_weights()   one hot adapter, merged into a copy of the weights and beside them
    attention_choices()  what a layer's attention costs from pages, and in other ways

Of peft the faster of two kinds of attention counts; `_adapter_engines` says how it is run.
"""

from __future__ import annotations

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_cache import BaseMaps, grain_of, layout_of
from adwright.lm.serving.adapter_folding import MergePolicy, folded_weights
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import GatheredMethod
from adwright.lm.serving.prefixes import PageShape
from adwright.tuning.additive.adapters import IA3, SerialAdapter
from adwright.tuning.selective import BitFit
from benchmarks.lm._adapter_engines import (
    LORA,
    PROMPT,
    ROWS,
    engine,
    opened,
    our_logits,
    peft_logits,
    peft_of,
    peft_rate,
    prompts,
    random_adapter,
    rate_of,
)

#: Different LoRAs in the batch.
COUNTS = (1, 8, 32)


def mixed_batch(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, float]]:
    """A row for 1, 8 and 32 LoRAs in a batch of 32: rates of ours and peft's, and their ratio."""
    with tempfile.TemporaryDirectory() as top:
        base_model = opened(dtype)
        base = BaseMaps.of(base_model)
        folders = [random_adapter(base, LORA, Path(top) / f"lora-{at}", at) for at in range(ROWS)]
        models = engine(base_model, folders)
        batches = {n: [folders[at % n].name for at in range(ROWS)] for n in COUNTS}
        batches[0] = ["base"] * ROWS
        ours: dict[int, dict[str, float]] = {}
        theirs: dict[int, dict[str, float]] = {}
        # Two runs of each, turn about; the better counts.
        for attention in ("sdpa", "eager"):
            for n, names in batches.items():
                _keep_better(ours, n, rate_of(models, names))
            model = opened(dtype)
            model.set_attn_implementation(attention)
            wrapped = peft_of(model, folders)
            for n in COUNTS:
                _keep_better(theirs, n, peft_rate(wrapped, batches[n], 17))
            del model, wrapped
    return [
        {
            "adapters": n,
            "rows": ROWS,
            "tokens_per_cpu_second": ours[n]["rate"],
            "peft_tokens_per_cpu_second": theirs[n]["rate"],
            "times_peft": ours[n]["rate"] / theirs[n]["rate"],
            "share_of_base": ours[n]["rate"] / ours[0]["rate"],
            "prompt_tokens_per_cpu_second": ROWS * PROMPT / ours[n]["prompts"],
            "peft_prompt_tokens_per_cpu_second": ROWS * PROMPT / theirs[n]["prompts"],
        }
        for n in COUNTS
    ]


def _keep_better(into: dict[int, dict[str, float]], n: int, found: dict[str, float]) -> None:
    if n not in into or found["rate"] > into[n]["rate"]:
        into[n] = found


def same_logits(rows: int = 16, tokens: int = 24, answer: int = 4) -> list[dict[str, float | str]]:
    """A row for float32 and bfloat16: greatest differences of logits after the prompts and after
    each of a few tokens, ours from peft's; and of both from peft's in float32."""
    with tempfile.TemporaryDirectory() as top:
        model = opened(torch.float32)
        base = BaseMaps.of(model)
        folders = [random_adapter(base, LORA, Path(top) / f"lora-{at}", at) for at in range(rows)]
        names = [folder.name for folder in folders]
        found: dict[str, dict[str, Tensor]] = {}
        forced: list[Tensor] = []
        plain: list[Tensor] = []
        for kind, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
            steps = peft_logits(peft_of(opened(dtype), folders), names, forced, tokens)
            theirs = [next(steps).float() for _ in range(answer + 1)]
            forced = forced or [step.argmax(-1) for step in theirs]
            models = engine(opened(dtype), folders)
            ours = our_logits(models, names, forced[:answer], tokens)
            if not plain:
                plain = our_logits(models, ["base"] * rows, forced[:answer], tokens)
            models.close()
            found[kind] = {"ours": torch.stack(ours), "theirs": torch.stack(theirs)}
    exact = found["float32"]["theirs"]
    return [
        {
            "number": kind,
            "greatest_difference": _far(own["ours"], own["theirs"]),
            "ours_from_float32": _far(own["ours"], exact),
            "peft_from_float32": _far(own["theirs"], exact),
            "parts_from_base": _far(exact, torch.stack(plain)),
            "greatest_logit": float(exact.abs().max()),
        }
        for kind, own in found.items()
    ]


def mixed_kinds(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, float | str]]:
    """Rates of 32 rows: the base, 32 LoRAs, and four kinds with eight adapters each.

    share: of the rate of the LoRAs. The better of two alternating runs counts.
    """
    kinds: dict[str, GatheredMethod] = {
        "lora": LORA,
        "serial": SerialAdapter(size=16),
        "ia3": IA3(),
        "bitfit": BitFit(),
    }
    with tempfile.TemporaryDirectory() as top:
        model = opened(dtype)
        base = BaseMaps.of(model)
        loras = [random_adapter(base, LORA, Path(top) / f"lora-{at}", at) for at in range(ROWS)]
        others = [
            random_adapter(base, method, Path(top) / f"{kind}-{at}", at)
            for kind, method in kinds.items()
            for at in range(8)
            if kind != "lora"
        ]
        models = engine(model, [*loras, *others])
        batches = {
            "base": ["base"] * ROWS,
            "32 LoRAs": [folder.name for folder in loras],
            "8 of each kind": [folder.name for folder in [*loras[:8], *others]],
        }
        rates = dict.fromkeys(batches, 0.0)
        for _ in range(2):
            for name, rows in batches.items():
                rates[name] = max(rates[name], rate_of(models, rows, 25)["rate"])
    return [
        {"batch": name, "tokens_per_cpu_second": rate, "share": rate / rates["32 LoRAs"]}
        for name, rate in rates.items()
    ]


def many_registered(
    adapters: int = 1000, requests: int = 400, hot: int = 40
) -> list[dict[str, Any]]:
    """One row: hits, loads and evictions of requests whose adapters follow Zipf's law, and memory.

    The exponent is 1; the pool has pages for `hot` adapters and the keys of all rows.
    """
    prompt, answer = 16, 8
    with tempfile.TemporaryDirectory() as top:
        model = opened()
        base = BaseMaps.of(model)
        folders = [
            random_adapter(base, LORA, Path(top) / f"lora-{at}", at) for at in range(adapters)
        ]
        shape = PageShape.of(base.sizes)
        each = layout_of(LORA, base.sizes, grain_of(base.sizes)).pages(shape, grain_of(base.sizes))
        pages = 1 + hot * each + ROWS * shape.blocks(prompt + answer)
        bound = pages * shape.numbers * 2
        host = 100 * each * shape.numbers * 2
        before = _resident()
        began = time.process_time()
        models = engine(model, folders, pool_bytes=bound, host_bytes=host)
        registered = time.process_time() - began
        after = _resident()
        weights = 1 / torch.arange(1, adapters + 1, dtype=torch.float64)
        drawn = torch.multinomial(
            weights, requests, replacement=True, generator=torch.Generator().manual_seed(3)
        )
        config = GenerationConfig(max_tokens=answer)
        ids = prompts(requests, prompt)
        jobs = [
            models.batched(f"lora-{at}").row(list(ids[row].ids), config, row)
            for row, at in enumerate(drawn.tolist())
        ]
        models.submit(jobs)
        began = time.process_time()
        peak, used, warm = before, 0, 0
        while not all(job.over for job in jobs):
            models.step()
            state = models.pool()
            used, warm = max(used, state.adapters + state.keys), max(warm, state.host_bytes)
            peak = max(peak, _resident())
        took = time.process_time() - began
        state = models.pool()
    counts = state.counts
    return [
        {
            "registered": adapters,
            "requests": requests,
            "different": len(set(drawn.tolist())),
            "hits": counts.hits,
            "loads_from_host": counts.from_host,
            "loads_from_disk": counts.from_disk,
            "evictions": counts.evictions,
            "dropped": counts.dropped,
            "preemptions": state.preemptions,
            "pages": state.pages,
            "most_pages_used": used,
            "pool_mb": state.bytes / 2**20,
            "host_bound_mb": host / 2**20,
            "most_host_mb": warm / 2**20,
            "all_parts_mb": adapters * each * shape.numbers * 2 / 2**20,
            "resident_growth_mb": (peak - before) / 2**20,
            "resident_growth_by_registering_mb": (after - before) / 2**20,
            "peak_resident_mb": peak / 2**20,
            "register_cpu_seconds": registered,
            "serve_cpu_seconds": took,
            "answers_per_cpu_second": requests / took,
        }
    ]


def merged_weights() -> list[dict[str, float]]:
    """Rates of 1, 8 and 32 rows of one LoRA, beside the weights (apart) and merged into a copy.

    fold_cpu_seconds: of merging it; passes_until_paid: passes after which the time saved exceeds
    it. The better of two alternating runs counts.
    """
    with tempfile.TemporaryDirectory() as top:
        model = opened()
        base = BaseMaps.of(model)
        folder = random_adapter(base, LORA, Path(top) / "hot", 0)
        apart = engine(model, [folder])
        never = 1 << 30
        folded = engine(model, [folder], merge=MergePolicy(to_merge=1, to_unmerge=never))
        rate_of(folded, [folder.name] * 2, 3)
        size = folded.pool().merged_bytes
        seconds = _fold_seconds(folded, folder.name)
        found = []
        for rows in COUNTS:
            rates = {"apart": 0.0, "folded": 0.0, "base": 0.0}
            for _ in range(2):
                hot = [folder.name] * rows
                for name, models, names in (
                    ("apart", apart, hot),
                    ("folded", folded, hot),
                    ("base", apart, ["base"] * rows),
                ):
                    rates[name] = max(rates[name], rate_of(models, names, 25)["rate"])
            found.append(
                {
                    "rows": rows,
                    "apart_tokens_per_cpu_second": rates["apart"],
                    "folded_tokens_per_cpu_second": rates["folded"],
                    "base_tokens_per_cpu_second": rates["base"],
                    "times_apart": rates["folded"] / rates["apart"],
                    "fold_cpu_seconds": seconds,
                    "passes_until_paid": seconds / (rows / rates["apart"] - rows / rates["folded"]),
                    "folded_mb": size / 2**20,
                }
            )
    return found


def attention_choices() -> list[dict[str, float]]:
    """Microseconds of one layer's attention while 32 rows of one length decode, a row per length.

    pick: gathering blocks from the pool; products: the two products that follow (ours); kernel:
    torch's kernel with a mask on what was gathered; by_row: torch's kernel, one call per row, on
    memory that needs no gathering.
    """
    torch.set_num_threads(1)
    return [_attention_of(length) for length in (128, 512)]


@torch.inference_mode()
def _attention_of(length: int, G: int = 3, folds: int = 3, D: int = 64, T: int = 16) -> Any:
    n = length // T
    pool = torch.randn(ROWS * n * 60, T * D, dtype=torch.bfloat16)
    at = torch.randperm(len(pool))[: 2 * ROWS * G * n]
    room = pool.new_empty(len(at), T * D)
    query = torch.randn(ROWS, G, folds, D, dtype=torch.bfloat16)
    mask = query.new_zeros(ROWS, G, folds, length)
    k, v = pool[at].view(2, ROWS, G, length, D)
    q3, m3, k3, v3 = (tensor.flatten(0, 1) for tensor in (query, mask, k, v))
    kernel = functional.scaled_dot_product_attention
    work: dict[str, Callable[[], object]] = {
        "pick": lambda: torch.index_select(pool, 0, at, out=room),
        "products": lambda: torch.baddbmm(m3, q3, k3.mT, alpha=0.125).softmax(-1) @ v3,
        "kernel": lambda: kernel(query, k, v, attn_mask=mask),
        "by_row": lambda: list(map(kernel, query.chunk(ROWS), k.chunk(ROWS), v.chunk(ROWS))),
    }
    return {"tokens": length} | {f"{name}_us": _micro(one) for name, one in work.items()}


def _micro(work: Callable[[], object], times: int = 200) -> float:
    began = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - began) / times * 1e6


def _fold_seconds(models: AdapterModels, name: str) -> float:
    """CPU-seconds of computing all merged weights, the median of five."""
    hot = models._cache.acquire(name)
    if hot is None:
        raise RuntimeError("the pool has no room for the adapter")
    taken = []
    for _ in range(5):
        began = time.process_time()
        folded_weights(hot, models._passes.network.maps, models._pool, models._cache.grain)
        taken.append(time.process_time() - began)
    models._cache.release(name)
    return statistics.median(taken)


def _far(one: Tensor, other: Tensor) -> float:
    return float((one.float() - other.float()).abs().max())


def _resident() -> int:
    """Bytes of memory of this process now."""
    text = Path("/proc/self/statm").read_text("ascii")
    return int(text.split()[1]) * resource.getpagesize()
