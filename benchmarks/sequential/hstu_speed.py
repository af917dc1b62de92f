"""HSTU beside a Transformer at length 8,192, and M-FALCON beside DIN (6 CPU-minutes).

    python -m benchmarks.sequential.hstu_speed

Resumable: each part leaves its numbers in the cache folder, and is not measured again.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import argparse
import json
import time
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.hashing import content_hash
from adwright.data.sequences.stochastic_length import (
    StochasticLength,
    chance_of_cut,
    shorten,
    threshold,
)
from adwright.models.sequential import hstu as sasrec
from adwright.models.sequential.hstu import HSTUConfig, HSTUStack, SASRecBlock, SASRecConfig
from adwright.models.sequential.sequence_model import SequenceTokens
from benchmarks.common.result import machine, write_result
from benchmarks.sequential import _export as export
from benchmarks.sequential import _falcon as falcon
from benchmarks.sequential._falcon import Row, Step, in_turns

LONGEST, LAYERS, RUNS = 8192, 2, 3
#: Width and heads; the first one gives the figures.
SIZES = ((64, 4), (256, 4), (512, 8))
ALPHAS = (1.6, 1.7)
SCRATCH = cache_folder() / "bench" / "hstu_speed"
_SETUP = (4, LONGEST, LAYERS, RUNS, SIZES, ALPHAS, *falcon.SETUP)
PROTOCOL = (
    f"Stacks: forward and backward of {LAYERS} layers over one sequence of {LONGEST:,} tokens "
    "(input and head left out, dropout off), CPU-seconds of the process on one thread; "
    f"alternatives take turns in one process, the least of {RUNS} runs after one that does not "
    "count. Transformer: the blocks of this project's SASRec with torch's scaled dot product "
    "attention by its flash kernel, causal, an FFN of 4 times the width (and, beside it, of the "
    "width). HSTU: the same width, heads and layers, with `recompute`; without biases, as flash "
    "attention knows none, and beside it with both. Both sides in the same type; bfloat16 by "
    "autocast. Stochastic length: a sequence of as many events is cut with the paper's "
    "probability 1 - N^alpha / n^2 to N^(alpha/2) of its events, so the expected time is that "
    "share of the measured time of the cut length, and the rest of the whole one's; drawing the "
    "events that stay is included. The Transformer reads the whole sequence. "
    f"Figures: bfloat16, width {SIZES[0][0]}, {SIZES[0][1]} heads, FFN of 4 times the width. "
    "Activations: bytes that autograd keeps for the backward pass, distinct storages, what a "
    "token more costs a layer, in units of the width; dropout off. "
    f"{falcon.PROTOCOL} {export.PROTOCOL}"
)


def main() -> None:
    """Measure what is missing, write benchmarks/results/hstu_speed.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=list(PARTS), help="this part, and write no result")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: measured(name) for name in PARTS if asked.only in (None, name)}
    if asked.only:
        return
    rows = [row for part in found.values() for row in part]
    write_result(
        "hstu_speed",
        protocol=PROTOCOL,
        data=content_hash(list(_SETUP)),
        seeds=[0],
        rows=rows,
        figures=figures_of(rows),
    )


def figures_of(rows: list[Row]) -> dict[str, float]:
    """The figures of the table."""
    width = SIZES[0][0]
    stack = {
        (row["width"], row["precision"], row["model"]): row
        for row in rows
        if row["part"] == "stack"
    }
    figures: dict[str, float] = {}
    for (wide, precision, name), row in stack.items():
        if not name.startswith("HSTU") or "ratio" not in row:
            continue
        chosen = wide == width and precision == "bfloat16" and "biases" not in name
        key = f"ratio_8192_{row['key']}"
        if chosen:
            figures[key] = row["ratio"]
        figures[f"{key}_{wide}_{precision}{'_biased' if 'biases' in name else ''}"] = row["ratio"]
    for row in (row for row in rows if row["part"] == "activations" and "ratio" in row):
        if row["precision"] == "bfloat16":
            figures["activation_ratio"] = row["ratio"]
        figures[f"activation_ratio_{row['precision']}"] = row["ratio"]
        figures[f"activation_ratio_{row['precision']}_ffn_1"] = row["ratio_ffn_1"]
    for row in (row for row in rows if row["part"] in ("falcon", "export")):
        figures |= row.get("figures", {})
    return figures


def measured(name: str) -> list[Row]:
    """What a part found; from the cache folder where it was measured before."""
    key = content_hash([*_SETUP, machine()["processor"]])[:12]
    path = SCRATCH / f"{name}-{key}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        start = time.process_time()
        torch.manual_seed(0)
        rows = PARTS[name]()
        atomic_write_text(path, json.dumps(rows))
        print(f"{name}: {time.process_time() - start:.0f} CPU-seconds", flush=True)
    found: list[Row] = json.loads(path.read_text("utf-8"))
    return found


class Transformer(nn.Module):
    """Blocks of SASRec; hidden: width of the FFN."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        config = SASRecConfig(width=width, heads=heads, hidden=hidden, dropout=0.0)
        self.blocks = nn.ModuleList(SASRecBlock(config) for _ in range(LAYERS))

    def forward(self, tokens: SequenceTokens) -> Tensor:
        """The tokens' x [T, D] after the last block."""
        x = tokens.x
        for block in self.blocks:
            x = block(x, tokens.offsets)
        return x


def flash(q: Tensor, k: Tensor, v: Tensor, offsets: Tensor, *, dropout: float = 0.0) -> Tensor:
    """`sasrec.causal_attention` of one sequence by the flash kernel and no other."""
    q, k, v = (one.transpose(0, 1)[None] for one in (q, k, v))
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        seen = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
    return seen[0].transpose(0, 1)


def hstu(width: int, heads: int, *, biased: bool = False, recompute: bool = True) -> nn.Module:
    """A stack of HSTU."""
    config = HSTUConfig(
        width=width,
        max_length=LONGEST,
        blocks=LAYERS,
        heads=heads,
        qk_width=width // heads,
        v_width=width // heads,
        dropout=0.0,
        position=biased,
        time=biased,
        kernel="fused",
        recompute=recompute,
    )
    return HSTUStack(config, LONGEST)


def tokens_of(width: int, length: int) -> SequenceTokens:
    """One sequence of random vectors, an hour between events."""
    event = torch.arange(length)
    x = torch.randn(length, width, requires_grad=True)
    return SequenceTokens(x, torch.tensor([0, length]), 0, event, event * 3600, event * 3600 + 600)


def forward(model: nn.Module, tokens: SequenceTokens, dtype: torch.dtype) -> Tensor:
    """A pass of either stack."""
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        after = model(tokens)
    found: Tensor = after.x if isinstance(after, SequenceTokens) else after
    return found


def both_ways(model: nn.Module, width: int, length: int, dtype: torch.dtype) -> None:
    """Forward and backward."""
    after = forward(model, tokens_of(width, length), dtype)
    torch.autograd.backward(after.float().square().mean())


def stack(width: int, heads: int, dtype: torch.dtype) -> list[Row]:
    """One size and type: whole length, cut lengths, Transformers."""
    sasrec.causal_attention = flash
    cuts = {f"sl{10 * alpha:.0f}": threshold(LONGEST, alpha) for alpha in ALPHAS}
    steps: dict[str, Step] = {}
    for biased in (False, True):
        model = hstu(width, heads, biased=biased)
        name = "HSTU with biases" if biased else "HSTU"
        for key, length in {"full": LONGEST, **cuts}.items():
            steps[f"{name}/{key}"] = partial(both_ways, model, width, length, dtype)
    for times in (4, 1):
        model = Transformer(width, heads, times * width)
        steps[f"Transformer, FFN {times}"] = partial(both_ways, model, width, LONGEST, dtype)
    lengths, rng = np.array([LONGEST]), np.random.default_rng(0)
    age = np.arange(LONGEST, 0, -1, dtype=np.float64)
    for alpha in ALPHAS:
        config = StochasticLength(alpha)
        steps[f"draw/sl{10 * alpha:.0f}"] = partial(shorten, lengths, LONGEST, config, rng, age=age)
    taken = in_turns(steps, RUNS)
    about = {"part": "stack", "width": width, "heads": heads}
    about |= {"precision": str(dtype).removeprefix("torch.")}
    rows = []
    for name in ("HSTU", "HSTU with biases"):
        whole = taken[f"{name}/full"]
        expected = {"full": whole}
        for alpha, key in zip(ALPHAS, cuts, strict=True):
            share = float(chance_of_cut(lengths, LONGEST, alpha)[0])
            cut = share * taken[f"{name}/{key}"] + (1 - share) * whole
            expected[key] = cut + taken[f"draw/{key}"]
        for key, seconds in expected.items():
            ratios = {
                f"ratio{end}": taken[f"Transformer, FFN {times}"] / seconds
                for times, end in ((4, ""), (1, "_ffn_1"))
            }
            label = name if key == "full" else f"{name}, stochastic length {key[2]}.{key[3]}"
            one = {"model": label, "key": key, "cpu_seconds": seconds, **ratios}
            rows.append({**about, **one})
    for times in (4, 1):
        name = f"Transformer, FFN {times}"
        rows.append({**about, "model": name, "cpu_seconds": taken[name]})
    for row in rows:
        print(row, flush=True)
    return rows


def activations() -> list[Row]:
    """Bytes kept for the backward pass, a token and layer, over the width."""
    sasrec.causal_attention = flash
    width, heads = 256, 4
    models = {
        "HSTU, recompute": hstu(width, heads),
        "HSTU": hstu(width, heads, recompute=False),
        "Transformer, FFN 4": Transformer(width, heads, 4 * width),
        "Transformer, FFN 1": Transformer(width, heads, width),
    }
    rows = []
    for dtype in (torch.float32, torch.bfloat16):
        kept = {}
        for name, model in models.items():
            # Copies of weights are kept too, but not for each token.
            more = kept_bytes(model, width, 1024, dtype) - kept_bytes(model, width, 512, dtype)
            kept[name] = more / 512 / LAYERS / width
        for name, count in kept.items():
            row: Row = {"part": "activations", "width": width, "model": name}
            row |= {"precision": str(dtype).removeprefix("torch."), "bytes": count}
            if name == "HSTU, recompute":
                row["ratio"] = count / kept["Transformer, FFN 4"]
                row["ratio_ffn_1"] = count / kept["Transformer, FFN 1"]
            rows.append(row)
            print(row, flush=True)
    return rows


def kept_bytes(model: nn.Module, width: int, length: int, dtype: torch.dtype) -> int:
    """Bytes of all distinct storages that autograd keeps."""
    found: dict[int, Tensor] = {}

    def note(one: Tensor) -> Tensor:
        found[one.untyped_storage().data_ptr()] = one
        return one

    with torch.autograd.graph.saved_tensors_hooks(note, lambda one: one):
        forward(model, tokens_of(width, length), dtype)
    return sum(one.untyped_storage().nbytes() for one in found.values())


PARTS: dict[str, Callable[[], list[Row]]] = {
    **{
        f"stack_{width}_{str(dtype).removeprefix('torch.')}": partial(stack, width, heads, dtype)
        for width, heads in SIZES
        for dtype in (torch.bfloat16, torch.float32)
        if width < 512 or dtype == torch.bfloat16
    },
    "activations": activations,
    "falcon": falcon.measured,
    "export": export.measured,
}


if __name__ == "__main__":
    main()
