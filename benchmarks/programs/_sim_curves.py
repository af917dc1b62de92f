"""How fast the simulated engines are: measured on two processor cores, of GPUs computed."""

from __future__ import annotations

from adwright.programs.scheduling.engine import LatencyCurve


def _roofline(
    *,
    weight_bytes: float,
    kv_bytes: float,
    bytes_per_second: float,
    flops_per_token: float,
    flops_per_second: float,
    max_batch: int,
) -> LatencyCurve:
    """A curve that nobody measured: weights are read once a step, caches once a row, and prompts
    are bound by arithmetic (Williams et al., "Roofline", CACM 2009)."""
    read = weight_bytes / bytes_per_second
    compute = flops_per_token / flops_per_second
    batches = tuple(sorted({2**n for n in range(20) if 2**n < max_batch} | {max_batch}))
    rates = tuple(b / (read + b * compute) for b in batches)
    return LatencyCurve(batches, rates, 1 / compute, kv_bytes / bytes_per_second)


#: Tokens per CPU-second of SmolLM2-135M on one thread, as measured; and rooflines of GPUs with
#: 13 and 7 billion weights of two bytes, at 70% of their bandwidth and 45% of their arithmetic.
CURVES = {
    "openvino": LatencyCurve((1, 4, 8, 16, 32), (118, 413, 595, 813, 1045), 1590),
    "llama.cpp": LatencyCurve((1, 8, 16), (246, 390, 545), 630),
    "vllm-cpu": LatencyCurve((1, 4, 8, 16, 32), (64, 229, 382, 602, 833), 1240),
    "a100-13b": _roofline(
        weight_bytes=26e9,
        kv_bytes=819_200,
        bytes_per_second=0.7 * 2.0e12,
        flops_per_token=26e9,
        flops_per_second=0.45 * 312e12,
        max_batch=256,
    ),
    "a6000-7b": _roofline(
        weight_bytes=14e9,
        kv_bytes=524_288,
        bytes_per_second=0.7 * 768e9,
        flops_per_token=14e9,
        flops_per_second=0.45 * 155e12,
        max_batch=256,
    ),
}
