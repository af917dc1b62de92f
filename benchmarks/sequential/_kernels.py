"""CPU-seconds of HSTU attention, forward and backward, by kernel, beside softmax attention.

    OMP_NUM_THREADS=1 nice -n 19 python -m benchmarks.sequential._kernels

Three batches: 128 sequences as of MovieLens 1M, one of 8,192 tokens, and 32 of 1,024; causal,
with and without the biases by distance and time. "flash" is torch's scaled dot product attention
of the same width and heads on the batch padded to its longest sequence, by its kernel that
writes no matrix of pairs; it knows no such biases. Alternatives take turns in one process, and
the least of the runs counts. Where "bucketed" would need more than 8 GB it is left out, and with
it "compiled", the same compiled by torch (minutes of compiling, which do not count).
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels.silu_attention import Kernel, silu_attention

RUNS = 3
#: Pairs times heads beyond which the batched kernel is left out.
MOST_PAIRS = 1 << 27


def batches() -> dict[str, tuple[Tensor, int, int]]:
    """Lengths int64 [U], heads and width of a head, by name."""
    torch.manual_seed(0)
    short = (torch.randn(128) * 40 + 165).clamp(20, 200).long()
    return {
        "128 x ~165, 1 x 50": (short, 1, 50),
        "8,192, 4 x 16": (torch.tensor([8192]), 4, 16),
        "8,192, 4 x 64": (torch.tensor([8192]), 4, 64),
        "32 x 1,024, 4 x 16": (torch.full((32,), 1024), 4, 16),
        "32 x 1,024, 4 x 64": (torch.full((32,), 1024), 4, 64),
    }


def ours(
    lengths: Tensor, heads: int, width: int, dtype: torch.dtype, kernel: Kernel, biased: bool
) -> Callable[[], None]:
    """One step of `silu_attention`, forward and backward."""
    tokens, longest = int(lengths.sum()), int(lengths.max())
    q, k, v = (torch.randn(tokens, heads, width).to(dtype).requires_grad_() for _ in range(3))
    above = torch.randn(tokens, heads, width).to(dtype)
    by_distance = (torch.randn(longest) * 0.1).requires_grad_() if biased else None
    by_time = (torch.randn(129) * 0.1).requires_grad_() if biased else None
    times = torch.randint(0, 100_000, (tokens,)).cumsum(0)
    offsets = lengths_to_offsets(lengths)

    def step() -> None:
        out = silu_attention(
            q,
            k,
            v,
            offsets,
            scale=1 / longest,
            position_bias=by_distance,
            time_bias=by_time,
            time=times,
            query_time=times + 1000,
            kernel=kernel,
        )
        torch.autograd.backward(out, above)

    return step


def flash(lengths: Tensor, heads: int, width: int, dtype: torch.dtype) -> Callable[[], None]:
    """One step of softmax attention of the same size, padded, forward and backward."""
    shape = (len(lengths), heads, int(lengths.max()), width)
    q, k, v = (torch.randn(shape).to(dtype).requires_grad_() for _ in range(3))
    above = torch.randn(shape).to(dtype)

    def step() -> None:
        with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
            out = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        torch.autograd.backward(out, above)

    return step


def seconds(steps: dict[str, Callable[[], None]]) -> dict[str, float]:
    """The least CPU-seconds of each step; the first run, which compiles, does not count."""
    best = dict.fromkeys(steps, float("inf"))
    for run in range(RUNS + 1):
        for name, step in steps.items():
            begin = time.process_time()
            step()
            if run:
                best[name] = min(best[name], time.process_time() - begin)
    return best


def main() -> None:
    """Print one line a batch and type."""
    plain = ("bucketed", "compiled", "fused")
    columns = (*plain, *(f"{name} + bias" for name in plain), "flash")
    print(f"{'batch, heads x width':22} {'type':9}", *(f"{name:>15}" for name in columns))
    for name, (lengths, heads, width) in batches().items():
        for dtype in (torch.float32, torch.bfloat16):
            steps = {"flash": flash(lengths, heads, width, dtype)}
            kernels: list[Kernel] = ["fused"]
            if int((lengths**2).sum()) * heads <= MOST_PAIRS:
                kernels += ["bucketed", "compiled"]
            for kernel in kernels:
                for biased in (False, True):
                    title = f"{kernel} + bias" if biased else kernel
                    steps[title] = ours(lengths, heads, width, dtype, kernel, biased)
            taken = seconds(steps)
            # The compiler keeps eight versions, which one batch and type may need.
            torch.compiler.reset()
            cells = (f"{taken[c]:15.4f}" if c in taken else f"{'-':>15}" for c in columns)
            print(f"{name:22} {str(dtype).removeprefix('torch.'):9}", *cells, flush=True)


if __name__ == "__main__":
    main()
