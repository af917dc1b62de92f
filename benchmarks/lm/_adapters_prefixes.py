"""Requests that begin in the same way, and one request alone, on SmolLM2-135M, for adapters.py.

Functions that return rows of plain values; the caller keeps the results. One thread, CPU-seconds
of this process.

    shared_prefixes()  16 requests of 249 tokens in common, 20 of their own and 24 new: each read
                       whole; together, what they share read once; and again, where it is there
    shared_labels()    ten continuations of one prompt of 249 tokens, scored
    shared_memory()    pages of 16 requests on 1,500 tokens in common
    shared_alora()     a prompt of 249 tokens that the base has answered, asked of three adapters
                       that act from an invocation on, and of three that act everywhere
    one_row()          tokens per CPU-second of one request, ours and with the layers of
                       transformers and torch's product of matrices
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor
from torch.nn import functional

from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving import adapter_model as paged_network
from adwright.lm.serving.adapter_cache import BaseMaps
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import GatheredMethod
from adwright.lm.serving.paged_attention import FusedDecoder
from adwright.lm.serving.scheduler import AnswerRow, Row, ScoreRow
from adwright.lm.torch_engine import network
from adwright.tuning.reparameterised.lora import ActivatedLoRA
from benchmarks.lm._adapter_engines import (
    LORA,
    engine,
    opened,
    prompts,
    random_adapter,
    rate_of,
)

ROWS, COMMON, OWN, NEW = 16, 249, 20, 24
LABELS, LABEL = 10, 3
LONG = 1500
#: Adapters that are asked, the tokens that call them, which open an answer of SmolLM2, and what
#: they write.
ASKED, CALL = 3, (1, 520, 9531, 198)
ALORA = ActivatedLoRA(LORA.rank, LORA.alpha, LORA.targets, CALL)
_FEW = GenerationConfig(max_tokens=8)


def shared_prefixes(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, Any]]:
    """A row: CPU-seconds apart, cold and warm, each the least of three with new engines, their
    ratios, and whether the answers are equal in float32."""
    seconds: dict[str, float] = {}
    for _ in range(3):
        apart, together = _both(dtype)
        took = {
            "apart": min(_answered(apart, seed)[0] for seed in (0, 1)),
            "cold": _answered(together, 0)[0],
            "warm": _answered(together, 1)[0],
        }
        seconds = {name: min(value, seconds.get(name, value)) for name, value in took.items()}
    cached = together.pool().shared_tokens
    apart, together = _both(torch.float32)
    wanted = [_answered(apart, seed)[1] for seed in (0, 1)]
    found = [_answered(together, seed)[1] for seed in (0, 1)]
    return [
        {
            **{f"{name}_cpu_seconds": value for name, value in seconds.items()},
            "ratio_cold": seconds["apart"] / seconds["cold"],
            "ratio_warm": seconds["apart"] / seconds["warm"],
            "shared_tokens": cached,
            "float32_answers_equal": int(wanted == found),
        }
    ]


def shared_labels(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, Any]]:
    """A row: CPU-seconds of ten labels apart, in one read, and where the prompt was read before,
    each the least of three with new engines; and the greatest difference of their
    log-probabilities in float32."""
    turns = []
    for _ in range(3):
        both = _both(dtype)
        turns.append([_scored(models)[0] for models in (*both, both[1])])
    seconds = [min(turn) for turn in zip(*turns, strict=True)]
    apart, together = (torch.tensor(_scored(models)[1]) for models in _both(torch.float32))
    return [
        {
            "apart_cpu_seconds": seconds[0],
            "together_cpu_seconds": seconds[1],
            "warm_cpu_seconds": seconds[2],
            "ratio": seconds[0] / seconds[1],
            "ratio_warm": seconds[0] / seconds[2],
            "float32_greatest_difference": float((apart - together).abs().max()),
        }
    ]


def shared_memory() -> list[dict[str, Any]]:
    """A row: the most pages of keys at a time, with what is shared and, counted, without."""
    models = engine(opened(), [], share_prefixes=True, prompt_tokens=512)
    rows = _rows(models, 0, common=LONG)
    models.submit(rows)
    most = 0
    while not all(row.over for row in rows):
        models.step()
        most = max(most, models.pool().keys)
    alone = -(-(LONG + OWN + NEW - 1) // models.config.block)
    return [{"pages": most, "pages_apart": ROWS * alone, "share": most / (ROWS * alone)}]


def shared_alora(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, Any]]:
    """A row: CPU-seconds of the adapters' answers and their ratio, the least of three prompts that
    both kinds take in turn; which share of the tokens was there; and whether the answers are in
    float32 those that were read whole."""
    with TemporaryDirectory() as top:
        model = opened(dtype)
        kinds = [_with_adapters(model, method, Path(top)) for method in (LORA, ALORA)]
        turns = [
            [_asked(models, list(begin.ids)) for models in kinds] for begin in prompts(3, COMMON)
        ]
        plain, activated = zip(*turns, strict=True)
        model = opened(torch.float32)
        both = [_with_adapters(model, ALORA, Path(top), share=share) for share in (False, True)]
        alone, shared = (_asked(models, list(prompts(1, COMMON)[0].ids)) for models in both)
    best = {
        name: [min(turn[key] for turn in own) for key in ("first", "whole")]
        for name, own in (("lora", plain), ("alora", activated))
    }
    return [
        {
            "alora_cpu_seconds": best["alora"][1],
            "lora_cpu_seconds": best["lora"][1],
            "ratio": best["lora"][1] / best["alora"][1],
            "first_token_ratio": best["lora"][0] / best["alora"][0],
            "cached_share": activated[0]["cached"],
            "lora_cached_share": plain[0]["cached"],
            "float32_answers_equal": int(alone["answers"] == shared["answers"]),
        }
    ]


def _with_adapters(
    model: Any, method: GatheredMethod, top: Path, *, share: bool = True
) -> AdapterModels:
    """The engine with adapters of one kind, which are in the pool."""
    base, own = BaseMaps.of(model), Path(mkdtemp(dir=top))
    folders = [random_adapter(base, method, own / f"adapter-{at}", at) for at in range(ASKED)]
    models = engine(model, folders, share_prefixes=share)
    for folder in folders:
        _run(models, [models.batched(folder.name).row([*CALL], _FEW, 0)])
    return models


def _asked(models: AdapterModels, begin: list[int]) -> dict[str, Any]:
    """Let the adapters answer, one after another, what the base has answered."""
    _run(models, [models.batched("base").row([*begin, *CALL], _FEW, 0)])
    names = [name for name in models if name != "base"]
    rows = [models.batched(name).row([*begin, *CALL], _FEW, 0) for name in names]
    took = [_one_by_one(models, row) for row in rows]
    usage = [row.answer.usage for row in rows]
    return {
        "first": sum(first for first, _ in took),
        "whole": sum(whole for _, whole in took),
        "cached": sum(one.cached_tokens for one in usage) / sum(one.prompt_tokens for one in usage),
        "answers": [row.answer.completion().token_ids for row in rows],
    }


def _one_by_one(models: AdapterModels, row: AnswerRow) -> tuple[float, float]:
    """CPU-seconds to the first token, and to the last."""
    began, first = time.process_time(), 0.0
    models.submit([row])
    while not row.over:
        models.step()
        first = first or time.process_time() - began
    return first, time.process_time() - began


def one_row(dtype: torch.dtype = torch.bfloat16) -> list[dict[str, Any]]:
    """A row: tokens per CPU-second of one request, the best of three turns each."""
    model = opened(dtype)
    models = engine(model, [])
    with patch.object(FusedDecoder, "of", lambda _: None):
        plain = engine(model, [])
    rates = {"plain": 0.0, "ours": 0.0}
    for _ in range(3):
        with (
            patch.object(paged_network, "mapped", _linear),
            patch.object(network, "mapped", _linear),
        ):
            rates["plain"] = max(rates["plain"], rate_of(plain, ["base"], 25)["rate"])
        rates["ours"] = max(rates["ours"], rate_of(models, ["base"], 25)["rate"])
    return [
        {
            "tokens_per_cpu_second": rates["ours"],
            "plain_tokens_per_cpu_second": rates["plain"],
            "ratio": rates["ours"] / rates["plain"],
        }
    ]


def _linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return functional.linear(x, weight, bias)


def _both(dtype: torch.dtype) -> tuple[AdapterModels, AdapterModels]:
    """The engine that reads each request whole, and the one that shares."""
    model = opened(dtype)
    return engine(model, []), engine(model, [], share_prefixes=True)


def _rows(models: AdapterModels, seed: int, common: int = COMMON) -> list[AnswerRow]:
    """Requests that begin alike and end in other tokens for each seed."""
    begin = prompts(1, common)[0].ids
    ends = prompts(2 * ROWS, OWN)[seed * ROWS :][:ROWS]
    config = GenerationConfig(max_tokens=NEW)
    return [
        models.batched("base").row([*begin, *end.ids], config, row) for row, end in enumerate(ends)
    ]


def _answered(models: AdapterModels, seed: int) -> tuple[float, list[tuple[int, ...]]]:
    rows = _rows(models, seed)
    seconds = _run(models, rows)
    return seconds, [row.answer.completion().token_ids for row in rows]


def _scored(models: AdapterModels) -> tuple[float, list[list[float]]]:
    begin = list(prompts(1, COMMON)[0].ids)
    rows = [ScoreRow(None, begin, list(label.ids)) for label in prompts(LABELS, LABEL)]
    seconds = _run(models, rows)
    return seconds, [row.logprobs.tolist() for row in rows]


def _run(models: AdapterModels, rows: Sequence[Row]) -> float:
    began = time.process_time()
    models.submit(rows)
    while not all(row.over for row in rows):
        models.step()
    return time.process_time() - began
