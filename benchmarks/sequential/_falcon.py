"""M-FALCON warm, cold and after a new event, beside one by one and DIN: a part of hstu_speed.py."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from adwright.data.batches.batch import Batch
from adwright.data.batches.jagged import Jagged
from adwright.data.features import Feature, fit_spec
from adwright.data.sequences.item_sequences import SequenceBatch
from adwright.models.ranking.din import DIN, DINConfig
from adwright.models.sequential.hstu_ranker import HSTURanker, HSTURankerConfig
from adwright.models.sequential.mfalcon import Falcon
from adwright.training.retrieval.fit import embed_catalogue, with_vectors

Row = dict[str, Any]
Step = Callable[[], object]

RUNS = 3
ITEMS, EVENTS, CANDIDATES, SAMPLE = 28_000, 512, (1024, 16_384), 24
RANKER = HSTURankerConfig(
    width=128,
    max_length=EVENTS + 1,
    blocks=4,
    heads=1,
    qk_width=128,
    v_width=128,
    dropout=0.0,
    actions=3,
    tasks=(("taken", (1,)),),
)
SETUP = (ITEMS, EVENTS, CANDIDATES, SAMPLE, 1)
PROTOCOL = (
    f"M-FALCON: an HSTU ranker of {RANKER.blocks} layers, width {RANKER.width}, "
    f"{RANKER.heads} head of {RANKER.qk_width}, weights drawn at random, a person of {EVENTS} "
    f"events (so {2 * EVENTS:,} tokens: items and actions take turns) out of {ITEMS:,} items, "
    "both biases; the figure without an addition is of a history of 512 tokens, so 256 events, as "
    "the papers count; warm: the history is kept. CPU-milliseconds, "
    f"the least of {4 * RUNS} calls. One by one: sequences that end with each candidate, "
    f"through the ranker itself, {SAMPLE} of them, scaled to all; the greatest difference of the "
    "logits is over these. GFLOP: of the products with the history and of the projections. DIN: "
    "its defaults, one item feature of 28,000 values and three of fewer, the catalogue embedded "
    "beforehand, the same events and candidates, one call. Random weights: nothing here depends "
    "on what was learned."
)


def in_turns(steps: dict[str, Step], runs: int) -> dict[str, float]:
    """The least CPU-seconds of each step; a first run of all does not count."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(runs + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            taken[name].append(time.process_time() - start)
    return {name: min(times[1:]) for name, times in taken.items()}


def measured() -> list[Row]:
    """M-FALCON warm, cold and after a new event, beside one by one, torch and DIN."""
    model, person, now = ranker(), somebody(EVENTS), 1_600_000_000 + 3600 * EVENTS
    codes = torch.randint(1, ITEMS + 1, (max(CANDIDATES),))
    kinds = {
        "float32": Falcon(model, kernel="fused"),
        "bfloat16": Falcon(model, kernel="fused", precision="bfloat16"),
        "float32 in torch": Falcon(model, kernel="plain"),
    }
    network, batches = din(person), [din_batch(person, codes[:count]) for count in CANDIDATES]
    steps: dict[str, Step] = {}
    for place, count in enumerate(CANDIDATES):
        for name, one in kinds.items():
            some = codes[:count]
            steps[f"{name}/{count}"] = partial(one.score, person, some, request_time=now, key=1)
        steps[f"DIN/{count}"] = partial(no_gradient, network, batches[place])
    taken = in_turns(steps, 4 * RUNS)
    before = person.at(torch.arange(EVENTS - 1), torch.tensor([0, EVENTS - 1]))
    few = codes[:8]
    kept = kinds["float32"]

    def whole() -> Tensor:
        kept.clear()
        return kept.score(person, few, request_time=now)

    others: dict[str, Step] = {
        "read/whole": whole,
        "read/shorter": lambda: kept.score(before, few, request_time=now, key=2),
        "read/event": lambda: kept.score(person, few, request_time=now, key=2),
        "read/kept": lambda: kept.score(person, few, request_time=now, key=2),
    }
    taken |= in_turns(others, 2 * RUNS)
    alone = partial(one_by_one, model, person, codes[:SAMPLE], now)
    taken |= in_turns({"alone": alone}, RUNS)
    wanted = alone()
    differences = {
        name: float((one.score(person, codes[:SAMPLE], request_time=now) - wanted).abs().max())
        for name, one in kinds.items()
    }
    rows = falcon_rows(taken, differences, float(wanted.std()))
    short, heads = other_falcons(now, codes[:1024])
    rows[-1]["figures"] |= short | heads
    return rows


def falcon_rows(taken: dict[str, float], differences: dict[str, float], std: float) -> list[Row]:
    """The table, and its figures in the last row."""
    rows: list[Row] = []
    first = CANDIDATES[0]
    for count in CANDIDATES:
        for name in ("float32", "bfloat16", "float32 in torch", "DIN"):
            row: Row = {"part": "falcon", "candidates": count, "model": name}
            row["cpu_ms"] = 1e3 * taken[f"{name}/{count}"]
            if name != "DIN":
                row["gflop"] = gflop(RANKER, EVENTS, count)
                row["gflop_a_second"] = row["gflop"] / taken[f"{name}/{count}"]
                row["max_diff"] = differences[name]
            rows.append(row)
            print(row, flush=True)
    alone = taken["alone"] / SAMPLE * first
    figures = {
        "falcon_1024_cpu_ms_warm_512_events": 1e3 * taken[f"float32/{first}"],
        "falcon_1024_cpu_ms_warm_512_events_bfloat16": 1e3 * taken[f"bfloat16/{first}"],
        "falcon_1024_cpu_ms_warm_512_events_torch": 1e3 * taken[f"float32 in torch/{first}"],
        "falcon_1024_gflop_512_events": gflop(RANKER, EVENTS, first),
        "falcon_max_diff": differences["float32"],
        "falcon_max_diff_bfloat16": differences["bfloat16"],
        "falcon_logit_std": std,
        "falcon_ratio_one_by_one": alone / taken[f"float32/{first}"],
        "falcon_cpu_ms_read": 1e3 * (taken["read/whole"] - taken["read/kept"]),
        "falcon_cpu_ms_new_event": 1e3 * (taken["read/event"] - taken["read/kept"]),
    }
    for count in CANDIDATES:
        for name in ("float32", "bfloat16"):
            ratio = taken[f"DIN/{count}"] / taken[f"{name}/{count}"]
            figures[f"falcon_{count}_ratio_din_{name}"] = ratio
    return [*rows, {"part": "falcon", "candidates": first, "model": "", "figures": figures}]


def other_falcons(now: int, codes: Tensor) -> tuple[dict[str, float], dict[str, float]]:
    """Half the events, and a truncation; and more heads of the same width."""
    cut = replace(RANKER, truncate_after=1, truncate_to=256)
    some = {
        "": (RANKER, EVENTS // 2),
        "_512_events_truncated_256": (cut, EVENTS),
        "_512_events_4_heads": (replace(RANKER, heads=4, qk_width=32, v_width=32), EVENTS),
    }
    steps: dict[str, Step] = {}
    for name, (config, events) in some.items():
        model = ranker(config)
        for precision in ("float32", "bfloat16"):
            one = Falcon(model, kernel="fused", precision=precision)
            ask = partial(one.score, somebody(events), codes, request_time=now, key=1)
            end = "" if precision == "float32" else f"_{precision}"
            steps[f"falcon_1024_cpu_ms_warm{name}{end}"] = ask
    taken = {name: 1e3 * seconds for name, seconds in in_turns(steps, 2 * RUNS).items()}
    return taken, {"falcon_1024_gflop": gflop(RANKER, EVENTS // 2, len(codes))}


def gflop(config: HSTURankerConfig, events: int, candidates: int) -> float:
    """Of candidates, without SiLU and norms; two a product and sum."""
    wide = config.heads * (config.qk_width + config.v_width)
    history = 2 * events * wide
    weights = 2 * config.width * wide + config.width * config.heads * config.v_width
    return 2e-9 * config.blocks * candidates * (history + weights)


def ranker(config: HSTURankerConfig = RANKER) -> HSTURanker:
    """A ranker whose weights are large enough to tell people and items apart."""
    torch.manual_seed(0)
    model = HSTURanker(config, ITEMS).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def somebody(events: int) -> SequenceBatch:
    """A user with one event per hour, all taken."""
    items = torch.from_numpy(np.random.default_rng(0).integers(1, ITEMS + 1, events))
    return SequenceBatch.serving(
        Jagged(items, torch.tensor([0, events])),
        time=1_600_000_000 + 3600 * torch.arange(events),
        action=torch.ones(events, dtype=torch.int64),
    )


def one_by_one(model: HSTURanker, person: SequenceBatch, codes: Tensor, now: int) -> Tensor:
    """Logits [m, K] of sequences that end with each candidate."""
    found = []
    for code in codes:
        longer = somebody(len(person.items.values) + 1)
        longer.items.values[-1] = code
        if longer.time is None or longer.action is None:
            raise SystemExit("the ranker reads times and actions")
        longer.time[-1], longer.action[-1] = now, 0
        with torch.no_grad():
            found.append(model.logits(longer)[0][-1])
    return torch.stack(found)


def din(person: SequenceBatch) -> nn.Module:
    """DIN with its defaults over a catalogue of four features, embedded."""
    number = pl.int_range(ITEMS, eager=True)
    items = pl.DataFrame(
        {
            "item_id": number.cast(pl.String),
            "type": (number % 2000).cast(pl.String),
            "category": (number % 300).cast(pl.String),
            "brand": (number % 1000).cast(pl.String),
        }
    )
    features = (
        Feature("history", "sequence", "user"),
        *(Feature(name, "categorical", "item") for name in items.columns),
    )
    spec = fit_spec(features, items.lazy(), items.lazy())
    torch.manual_seed(0)
    model = DIN(DINConfig(), spec, spec.encode_items(items)).eval()
    return with_vectors(model, embed_catalogue(model.item, ITEMS + 1))


def din_batch(person: SequenceBatch, codes: Tensor) -> Batch:
    """All candidates of the person as one group."""
    count = len(codes)
    return Batch(
        history=person.items,
        offsets=torch.tensor([0, count]),
        item=codes,
        begin=torch.zeros(count, dtype=torch.int64),
        end=torch.full((count,), len(person.items.values)),
        categorical={},
        multi={},
        numeric=torch.zeros(count, 0),
        label=torch.zeros(count),
        row=torch.arange(count),
    )


def no_gradient(network: nn.Module, batch: Batch) -> object:
    """Logits of the batch."""
    with torch.inference_mode():
        return network(batch)
