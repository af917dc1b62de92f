"""The HSTU attention operator: every kernel equals the formula, on ragged batches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels.attention_spec import AttentionSpec, Bounds, pairs
from adwright.models.kernels.silu_attention import silu_attention

#: Every kernel that runs here, with the widest type it computes in.
KERNELS = {"bucketed": torch.float64, "fused": torch.float32}
BATCHED = sorted(KERNELS)
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
    direction = torch.sin(torch.arange(out.numel()).double()).view(out.shape).to(out.dtype)
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
@pytest.mark.parametrize("biases", ["both", "position", "time", "neither"])
@pytest.mark.parametrize("kernel", BATCHED)
def test_kernels_equal_the_reference_with_gradients(kernel: str, biases: str, name: str) -> None:
    arguments, spec = inputs(dtype=KERNELS[kernel]), AttentionSpec(**SPECS[name])
    if biases in ("time", "neither"):
        arguments["position_bias"] = None
    if biases in ("position", "neither"):
        arguments["time_bias"] = None
    ours = with_gradients(arguments, kernel, spec)
    theirs = with_gradients(arguments, "reference", spec)
    exact = KERNELS[kernel] == torch.float64
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **({} if exact else {"rtol": 1e-4, "atol": 1e-5}))


@pytest.mark.parametrize("kernel", ["reference", "bucketed"])
def test_gradients_are_those_of_finite_differences(kernel: str) -> None:
    lengths, spec = torch.tensor([5, 0, 3]), AttentionSpec(contexts=torch.tensor([2, 0, 0]))
    arguments = inputs(lengths)
    names = ["q", "k", "v", "position_bias", "time_bias"]

    def function(*given: Tensor) -> Tensor:
        changed = {**arguments, **dict(zip(names, given, strict=True))}
        return silu_attention(**changed, spec=spec, kernel=kernel)

    assert torch.autograd.gradcheck(function, [arguments[name] for name in names])


@pytest.mark.parametrize("kernel", BATCHED)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 0.1),
        ("alpha", 1.0),
        ("position_bias", None),
        ("time_bias", None),
        ("spec", AttentionSpec(contexts=CONTEXTS)),
        ("spec", AttentionSpec(targets=TARGETS)),
        ("spec", AttentionSpec(window=6)),
        ("spec", AttentionSpec(window=6, prefix=3)),
        ("time", 100),
        ("query_time", 100),
    ],
)
def test_each_argument_changes_the_result(kernel: str, name: str, value: object) -> None:
    arguments = {**inputs(dtype=KERNELS[kernel]), "spec": AttentionSpec(window=9)}
    before = silu_attention(**arguments, kernel=kernel)
    changed = arguments[name] // value if isinstance(value, int) else value
    assert not torch.allclose(silu_attention(**{**arguments, name: changed}, kernel=kernel), before)


@pytest.mark.parametrize("kernel", ["reference", *BATCHED])
@pytest.mark.parametrize("name", ["causal", "contexts", "targets", "window", "all"])
def test_what_a_token_may_not_see_changes_nothing(kernel: str, name: str) -> None:
    """A mask that is dropped fails here: every hidden token is replaced, one after another."""
    lengths, settings = torch.tensor([3, 21]), dict(SPECS[name])
    for key, count in (("contexts", 3), ("targets", 4)):
        if key in settings:
            settings[key] = torch.tensor([0, count])
    spec = AttentionSpec(**settings)
    arguments = inputs(lengths, dtype=KERNELS.get(kernel, torch.float64))
    admitted, _ = pairs(
        torch.arange(21),
        torch.arange(21),
        Bounds(*(x[1] for x in Bounds.of(arguments["offsets"], spec))),
        spec.window,
    )
    before = silu_attention(**arguments, spec=spec, kernel=kernel)
    for j in range(21):
        changed = {**arguments, "k": arguments["k"].detach().clone()}
        changed["v"] = arguments["v"].detach().clone()
        changed["k"][3 + j] += 3
        changed["v"][3 + j] += 3
        after = silu_attention(**changed, spec=spec, kernel=kernel)
        same = torch.isclose(after, before, atol=1e-6).flatten(1).all(1)
        assert same[:3].all()
        assert same[3:].tolist() == (~admitted[:, j]).tolist()


@pytest.mark.parametrize("kernel", BATCHED)
def test_half_precision_is_within_its_rounding(kernel: str) -> None:
    arguments, spec = inputs(dtype=torch.float32), AttentionSpec(contexts=CONTEXTS, targets=TARGETS)
    exact = with_gradients(arguments, "reference", spec)
    rounded = dict(arguments)
    for name in ("q", "k", "v"):
        rounded[name] = arguments[name].detach().bfloat16().requires_grad_()
    ours = with_gradients(rounded, kernel, spec)
    assert [x.dtype for x in ours] == [torch.bfloat16] * 4 + [torch.float32] * 2
    for mine, other in zip(ours, exact, strict=True):
        assert float((mine.float() - other).norm().detach() / other.norm().detach()) < 0.01


@pytest.mark.parametrize("kernel", ["reference", *BATCHED, "auto"])
def test_no_tokens_are_no_result_and_no_gradient(kernel: str) -> None:
    arguments = inputs(torch.tensor([0, 0]), dtype=torch.float32)
    out, *gradients = with_gradients(arguments, kernel, AttentionSpec())
    assert out.shape == (0, HEADS, VALUES)
    assert not any(x.any() for x in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_auto_takes_a_kernel_that_computes_the_type(dtype: torch.dtype) -> None:
    arguments = inputs(dtype=dtype)
    best = "fused" if dtype == torch.float32 else "bucketed"
    ours = silu_attention(**arguments, kernel="auto")
    assert torch.equal(ours, silu_attention(**arguments, kernel=best))


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
