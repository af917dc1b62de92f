"""The HSTU attention operator: every kernel equals the formula, on ragged batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.jagged import lengths_to_offsets
from adwright.models.hstu_attention import AttentionSpec, silu_attention

KERNELS = ["reference", "bucketed"]
LENGTHS = torch.tensor([0, 1, 5, 17, 3, 40, 0, 33])
CONTEXTS = torch.tensor([0, 0, 2, 3, 0, 4, 0, 1])
TARGETS = torch.tensor([0, 1, 2, 3, 0, 5, 0, 1])
HEADS, WIDTH, VALUES = 2, 6, 5
SPECS = {
    "causal": {},
    "contexts": {"contexts": CONTEXTS},
    "targets": {"targets": TARGETS},
    "window": {"window": 6},
    "prefix": {"window": 6, "prefix": 3},
    "all": {"contexts": CONTEXTS, "targets": TARGETS, "window": 6, "prefix": 3},
}


def inputs(lengths: Tensor = LENGTHS, *, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """All arguments of a batch but spec and kernel; tables of the bias included."""
    generator = torch.Generator().manual_seed(0)
    tokens = int(lengths.sum())

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    time = torch.randint(0, 10**6, (tokens,), generator=generator).cumsum(0)
    later = torch.randint(0, 10**4, (tokens,), generator=generator)
    return {
        "q": normal(tokens, HEADS, WIDTH),
        "k": normal(tokens, HEADS, WIDTH),
        "v": normal(tokens, HEADS, VALUES),
        "offsets": lengths_to_offsets(lengths),
        "scale": 0.05,
        "alpha": 0.7,
        # Shorter than the longest sequence: distances are cut off.
        "position_bias": normal(20),
        "time_bias": normal(129),
        "time": time,
        "query_time": time + later,
    }


def with_gradients(arguments: dict[str, Any], kernel: str, spec: AttentionSpec) -> list[Tensor]:
    """The result, then its gradients in one direction by everything that has one."""
    out = silu_attention(**arguments, spec=spec, kernel=kernel)
    wanted = [x for x in arguments.values() if isinstance(x, Tensor) and x.requires_grad]
    direction = torch.sin(torch.arange(out.numel(), dtype=out.dtype)).view(out.shape)
    return [out, *torch.autograd.grad((out * direction).sum(), wanted)]


def literal(arguments: dict[str, Any], spec: AttentionSpec) -> Tensor:
    """One pair of tokens after another, in plain Python."""
    a = arguments
    out = torch.zeros_like(a["v"])
    for u, start in enumerate(a["offsets"][:-1].tolist()):
        length = int(a["offsets"][u + 1]) - start
        contexts = 0 if spec.contexts is None else int(spec.contexts[u])
        history = length - (0 if spec.targets is None else int(spec.targets[u]))
        for i in range(length):
            for j in range(length):
                distance = min(i, history) - min(j, history)
                seen = j <= i and (j < history or i == j)
                if spec.window and j >= max(spec.prefix, contexts):
                    seen = seen and distance < spec.window
                if not (seen or (i < contexts and j < contexts)):
                    continue
                score = a["alpha"] * (a["q"][start + i] * a["k"][start + j]).sum(-1)
                score = score + a["position_bias"][min(max(distance, 0), 19)]
                elapsed = abs(int(a["query_time"][start + i] - a["time"][start + j]))
                bucket = int(torch.tensor(float(max(1, elapsed))).double().log() / 0.301)
                score = score + a["time_bias"][min(bucket, 128)]
                weight = score * torch.sigmoid(score) * a["scale"]
                out[start + i] = out[start + i] + weight[:, None] * a["v"][start + j]
    return out


@pytest.mark.parametrize("name", SPECS)
def test_the_reference_equals_a_loop_over_pairs(name: str) -> None:
    arguments, spec = inputs(torch.tensor([0, 1, 5, 17, 3, 12, 0, 9])), AttentionSpec(**SPECS[name])
    ours = silu_attention(**arguments, spec=spec, kernel="reference")
    torch.testing.assert_close(ours, literal(arguments, spec))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("kernel", KERNELS[1:])
def test_kernels_equal_the_reference_with_gradients(kernel: str, name: str) -> None:
    arguments, spec = inputs(), AttentionSpec(**SPECS[name])
    ours = with_gradients(arguments, kernel, spec)
    theirs = with_gradients(arguments, "reference", spec)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other)


def test_shapes_and_kernels_that_do_not_fit_are_refused() -> None:
    arguments = inputs()
    for wrong in (
        {"k": arguments["k"][:, :, :3]},
        {"v": arguments["v"].float()},
        {"offsets": arguments["offsets"].int()},
        {"offsets": arguments["offsets"][:-1]},
        {"time_bias": arguments["time_bias"][:5]},
        {"time": None},
        {"query_time": arguments["time"][:3]},
        {"position_bias": arguments["position_bias"][:0]},
        {"spec": AttentionSpec(contexts=LENGTHS + 1)},
        {"spec": AttentionSpec(contexts=LENGTHS[:2])},
    ):
        with pytest.raises(ValueInvalidError):
            silu_attention(**{**arguments, **wrong}, kernel="reference")
    with pytest.raises(ConfigError, match="no kernel"):
        silu_attention(**arguments, kernel="fast")
    with pytest.raises(ConfigError, match="without a window"):
        AttentionSpec(prefix=3)
    with pytest.raises(ConfigError, match="negative"):
        AttentionSpec(window=-1)
