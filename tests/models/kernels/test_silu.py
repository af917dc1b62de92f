"""SiLU and its slope over tiles equal torch's, over the whole range of scores."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from importlib.util import find_spec
from itertools import product
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.core.vector_code import LANES, has_pairs
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels import attention_spec as module
from adwright.models.kernels import fused as hstu_fused
from adwright.models.kernels.attention_spec import AttentionSpec, dropped_attention
from adwright.models.kernels.fused import fused_for
from adwright.models.kernels.silu import add_pairs, add_words, set_words, slope, weigh
from adwright.models.kernels.silu_attention import (
    GROUP_PAIRS,
    LEAST_STEP,
    by_group,
    length_groups,
    missing_to_compile,
    silu_attention,
)
from adwright.models.kernels.triton_attention import triton_for
from tests.models.kernels.test_attention_spec import inputs, with_gradients

#: Whole tiles of both sizes, parts of one, and blocks of contexts and candidates.
LENGTHS = torch.tensor([613, 0, 97, 256, 1])
CONTEXTS = torch.tensor([120, 0, 50, 0, 0])
TARGETS = torch.tensor([130, 0, 3, 120, 1])
SPECS = {
    "causal": AttentionSpec(),
    "contexts": AttentionSpec(contexts=CONTEXTS, window=40),
    "targets": AttentionSpec(targets=TARGETS),
    "window": AttentionSpec(window=150, prefix=60),
    "all": AttentionSpec(contexts=CONTEXTS, targets=TARGETS, window=30, prefix=3),
}


@pytest.mark.parametrize("name", SPECS)
def test_many_tiles_equal_the_reference(name: str) -> None:
    arguments = inputs(LENGTHS, dtype=torch.float32)
    ours = with_gradients(arguments, "fused", SPECS[name])
    theirs = with_gradients(arguments, "reference", SPECS[name])
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_times_of_all_kinds_equal_the_reference() -> None:
    """Seconds apart, years apart, backwards, the same: one bucket a tile, a few, and many."""
    for spread in (1, 100, 10**5, 10**9):
        arguments = inputs(torch.tensor([300]), dtype=torch.float32)
        time = torch.arange(300) * spread
        time[200:] += 10**9
        arguments |= {"time": time, "query_time": time.roll(7)}
        ours = with_gradients(arguments, "fused", AttentionSpec())
        theirs = with_gradients(arguments, "reference", AttentionSpec())
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4)


def test_no_matrix_of_all_pairs_is_in_memory() -> None:
    """One of 8,192 tokens alone would be 268 MB in float32."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        pytest.skip("reads the peak of memory from /proc, which is not here")
    tokens = 8192
    q, k, v = (torch.randn(tokens, 1, 16, requires_grad=True) for _ in range(3))
    tables = {"position_bias": torch.randn(tokens, requires_grad=True)}
    tables["time_bias"] = torch.randn(129, requires_grad=True)
    time = torch.arange(tokens) * 1000
    offsets = lengths_to_offsets(torch.tensor([tokens]))

    def step() -> int:
        reset.write_text("5")
        out = silu_attention(
            q, k, v, offsets, scale=1e-3, **tables, time=time, query_time=time, kernel="fused"
        )
        out.sum().backward()
        (line,) = (x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1])

    step()  # what is compiled and loaded once is no matrix
    reset.write_text("5")
    before = int(status.read_text().split("VmHWM:")[1].split()[0])
    assert step() - before < 60_000  # kB


def test_what_it_cannot_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = inputs(dtype=torch.float64)
    assert not fused_for(arguments["q"])
    with pytest.raises(ConfigError, match="float64"):
        silu_attention(**arguments, kernel="fused")
    find_spec = util.find_spec
    monkeypatch.setattr(
        hstu_fused, "find_spec", lambda name: None if name == "numba" else find_spec(name)
    )
    arguments = inputs(dtype=torch.float32)
    assert not fused_for(arguments["q"])
    with pytest.raises(MissingExtraError, match=r"adwright\[fast\]"):
        silu_attention(**arguments, kernel="fused")
    with_numba_gone = silu_attention(**arguments, kernel="auto")
    assert torch.equal(with_numba_gone, silu_attention(**arguments, kernel="bucketed"))


#: Run in a process of its own, as triton reads TRITON_INTERPRET when it is imported.
COMPARE = """
import torch
from adwright.models.kernels.silu_attention import AttentionSpec
from tests.models.kernels.test_attention_spec import inputs, with_gradients

device = "cuda" if torch.cuda.is_available() else "cpu"
contexts, targets = torch.tensor([0, 0, 2, 4, 1]), torch.tensor([0, 1, 2, 5, 1])
arguments = inputs(torch.tensor([0, 1, 5, 40, 33]), dtype=torch.float32)
for name, x in arguments.items():
    if isinstance(x, torch.Tensor) and name != "offsets":
        arguments[name] = x.detach().to(device).requires_grad_(x.requires_grad)
for biased in (True, False):
    for spec in (
        AttentionSpec(),
        AttentionSpec(contexts=contexts),
        AttentionSpec(targets=targets),
        AttentionSpec(contexts=contexts, targets=targets, window=6, prefix=3),
    ):
        ours = with_gradients(arguments, "triton", spec)
        for mine, other in zip(ours, with_gradients(arguments, "reference", spec), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)
    arguments |= {"position_bias": None, "time_bias": None}
"""


def test_it_equals_the_reference_with_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    if find_spec("triton") is None:
        pytest.skip("triton, which comes with torch for CUDA, is not installed")
    if not torch.cuda.is_available():
        monkeypatch.setenv("TRITON_INTERPRET", "1")
    command = [sys.executable, "-c", COMPARE]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_it_cannot_compute_is_refused_triton_attention(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    arguments = inputs(dtype=torch.float32)
    assert not triton_for(arguments["q"])
    with pytest.raises(ConfigError, match="triton kernel cannot compute"):
        silu_attention(**arguments, kernel="triton")


@numba.njit
def _weigh(s, bias, mask, alpha):  # type: ignore[no-untyped-def]
    weigh(s.ctypes.data, bias.ctypes.data, 1, mask.ctypes.data, 1, alpha, 0, len(s))
    return s, bias, mask


@numba.njit
def _slope(s, dp, d_bias, bias, mask, alpha):  # type: ignore[no-untyped-def]
    slope(
        s.ctypes.data, dp.ctypes.data, d_bias.ctypes.data, bias.ctypes.data, 1,
        mask.ctypes.data, 1, alpha, len(s),
    )  # fmt: skip
    return s, dp, d_bias, bias, mask


def test_weights_and_slopes_equal_those_of_torch() -> None:
    torch.manual_seed(0)
    s = torch.cat([torch.linspace(-30, 30, 4000), torch.tensor([-1e4, -200, -88, 0, 88, 200, 1e4])])
    s = torch.cat([s, torch.zeros(-len(s) % 16)])
    bias, dp = torch.randn(2, len(s))
    mask, alpha = (torch.rand(len(s)) > 0.2).float(), 0.5
    x = (alpha * s + bias).double().requires_grad_()
    weights = torch.nn.functional.silu(x) * mask
    (wanted,) = torch.autograd.grad((weights * dp).sum(), x)
    given = [one.numpy().copy() for one in (s, bias, mask)]
    ours = torch.from_numpy(_weigh(*given, np.float32(alpha))[0])
    torch.testing.assert_close(ours.double(), weights.detach(), rtol=1e-5, atol=1e-6)
    ones = np.ones(len(s), np.float32)
    given = [one.numpy().copy() for one in (s, dp)]
    ours, slopes, total, *_ = _slope(*given, ones, bias.numpy(), mask.numpy(), np.float32(alpha))
    torch.testing.assert_close(
        torch.from_numpy(ours).double(), weights.detach(), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(torch.from_numpy(slopes).double(), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, slopes + 1, rtol=1e-6)


#: Whole blocks of vectors, and one vector left over.
SHAPES = [(8, 16, 5), (16, 48, 7), (48, 32, 1)]


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_words_equal_numpy(m: int, n: int, k: int) -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=(m, k)).astype(np.float32)
    b = generator.normal(size=(k, n)).astype(np.float32)
    c = generator.normal(size=(m, n)).astype(np.float32)
    wanted, where = c + a @ b, c.ctypes.data
    add_words(where, n, a.ctypes.data, k, 1, b.ctypes.data, n, LANES, m, n, k)
    np.testing.assert_allclose(c, wanted, rtol=1e-5, atol=1e-5)
    turned = np.ascontiguousarray(a.T)
    panels = np.ascontiguousarray(b.reshape(k, n // LANES, LANES).transpose(1, 0, 2))
    strides = (panels.ctypes.data, LANES, LANES * k)
    set_words(where, n, turned.ctypes.data, 1, m, *strides, m, n, k)
    np.testing.assert_allclose(c, a @ b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("m", "n", "k"), SHAPES)
def test_pairs_equal_torch(m: int, n: int, k: int) -> None:
    if not has_pairs():
        pytest.skip("this processor multiplies no pairs of bfloat16")
    torch.manual_seed(0)
    a, b = torch.randn(m, 2 * k).bfloat16(), torch.randn(2 * k, n).bfloat16()
    pairs = b.view(k, 2, n).transpose(1, 2).contiguous()
    c = torch.zeros(m, n)
    add_pairs(c.data_ptr(), n, a.data_ptr(), k, 1, pairs.data_ptr(), n, LANES, m, n, k)
    torch.testing.assert_close(c, a.float() @ b.float(), rtol=1e-4, atol=1e-4)


def test_groups_hold_every_sequence_once_and_pad_little() -> None:
    lengths = torch.cat([torch.arange(0, 300), torch.tensor([3000, 3001, 8192])])
    groups = length_groups(lengths)
    rows = torch.cat([part for _, part in groups])
    assert rows.sort().values.tolist() == lengths.nonzero()[:, 0].tolist()
    for length, part in groups:
        assert int(lengths[part].max()) <= length
        least = int(lengths[part].min())
        assert length <= least + max(LEAST_STEP - 1, least // 8)
        assert len(part) == 1 or len(part) * length**2 <= GROUP_PAIRS


@pytest.mark.skipif(bool(missing_to_compile()), reason=f"needs {missing_to_compile()}")
# The compiler warns of its own ways.
@pytest.mark.filterwarnings("ignore")
def test_what_torch_compiles_equals_the_reference_with_gradients() -> None:
    """Two groups of different lengths and sizes: one compilation for both."""
    lengths = torch.tensor([5, 7, 12, 6, 9])
    spec = AttentionSpec(torch.tensor([0, 2, 1, 0, 2]), torch.tensor([1, 0, 3, 0, 2]), 6, 3)
    arguments = inputs(lengths, dtype=torch.float32)
    ours = with_gradients(arguments, "compiled", spec)
    theirs = with_gradients(arguments, "reference", spec)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_it_warns_and_computes_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    arguments = inputs(dtype=torch.float32)
    with pytest.warns(UserWarning, match=r"needs a C\+\+ compiler \(no-such-compiler\)"):
        ours = silu_attention(**arguments, kernel="compiled")
    assert torch.equal(ours, silu_attention(**arguments, kernel="bucketed"))


def test_without_headers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    assert "Python.h" in missing_to_compile()


def test_groups_come_back_in_the_order_of_the_tokens() -> None:
    """Sums before each token, of which the padding must be none."""
    lengths = torch.tensor([3, 0, 40, 9, 1, 17])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    x = torch.randn(int(offsets[-1]), 2, 4, dtype=torch.float64).requires_grad_()
    rows_seen: list[int] = []

    def attend(operands: list[Tensor], index: Tensor, rows: Tensor) -> Tensor:
        rows_seen.extend(rows.tolist())
        (mine,) = operands
        for g, head, place in product(range(len(index)), range(2), range(index.shape[1])):
            at = int(index[g, place])
            expected = x[at, head] if at < len(x) else torch.zeros(4, dtype=x.dtype)
            assert torch.equal(mine[g, head, place], expected)
        return mine.cumsum(2)

    def summed(operands: list[Tensor], *_: Tensor) -> Tensor:
        return operands[0].cumsum(2)

    found = by_group([x], offsets[:-1], lengths, attend)
    assert sorted(rows_seen) == [0, 2, 3, 4, 5]
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        torch.testing.assert_close(found[start:end], x[start:end].cumsum(0))
    torch.autograd.gradcheck(lambda x: by_group([x], offsets[:-1], lengths, summed), x)
    torch.autograd.gradgradcheck(lambda x: by_group([x**2], offsets[:-1], lengths, summed), x)


def test_no_token_at_all_still_has_a_gradient_for_everything() -> None:
    arguments = inputs(torch.tensor([0, 0]))
    out, *gradients = with_gradients(arguments, "bucketed", AttentionSpec())
    assert out.shape == (0, *arguments["v"].shape[1:])
    assert all(not one.any() for one in gradients)


RATE = 0.3


def operands(length: int, *, width: int = 3, number: int = 2, heads: int = 2) -> list[Tensor]:
    """q, k and v, float64."""
    generator = torch.Generator().manual_seed(length)
    shape = (3, number, heads, length, width)
    return [x.requires_grad_() for x in torch.randn(shape, generator=generator).double().unbind()]


def literal(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Whole matrices: softmax, then the weights that `mask` [G, H, L, L] scales."""
    length = q.shape[2]
    scores = q @ k.transpose(2, 3) / q.shape[3] ** 0.5
    ahead = torch.ones(length, length).triu(1).bool()
    return (torch.softmax(scores.masked_fill(ahead, -torch.inf), -1) * mask) @ v


def mask_of(q: Tensor, k: Tensor, seed: int, rate: float = RATE) -> Tensor:
    """What the weights are multiplied with: values of unit vectors show the weights."""
    length = q.shape[2]
    eye = torch.eye(length).double().expand(*q.shape[:2], length, length)
    torch.manual_seed(seed)
    dropped = dropped_attention(q, k, eye, rate).detach()
    torch.manual_seed(seed)
    plain = dropped_attention(q, k, eye, 0.0).detach()
    return torch.where(plain > 0, dropped / plain.clamp(min=1e-300), 0.0)


WAYS = {"whole": (256, 128, 1 << 20), "tiles": (1, 128, 1 << 20), "small tiles": (1, 5, 64)}


@pytest.fixture(params=WAYS.values(), ids=WAYS)
def ways(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(("LONG", "ROWS", "CELLS"), request.param, strict=True):
        monkeypatch.setattr(module, name, value)


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("length", [1, 2, 7, 21, 150])
def test_values_and_gradients_are_the_formulas(length: int) -> None:
    q, k, v = operands(length)
    mask = mask_of(q, k, seed=3)
    torch.manual_seed(3)
    ours = dropped_attention(q, k, v, RATE)
    expected = literal(q, k, v, mask)
    torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-12)
    above = torch.randn_like(ours)
    found = torch.autograd.grad(ours, (q, k, v), above)
    for one, other in zip(found, torch.autograd.grad(expected, (q, k, v), above), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-11)


@pytest.mark.usefixtures("ways")
def test_the_mask_drops_at_the_rate_and_keeps_the_mean() -> None:
    q, k, _ = operands(60, number=4)
    mask = mask_of(q, k, seed=1)
    below = torch.ones(60, 60).tril().bool().expand_as(mask)
    kept = mask[below] > 0
    assert float(kept.double().mean()) == pytest.approx(1 - RATE, abs=0.015)
    torch.testing.assert_close(
        mask[below][kept],
        torch.full((int(kept.sum()),), 1 / (1 - round(RATE * 2**16) / 2**16)).double(),
    )
    # Neighbours are dropped apart from each other: words serve four weights each.
    rows = (mask[:, :, 30:, :30] > 0).double() - (1 - RATE)
    for step in (1, 2, 3, 4, 8):
        assert float((rows[..., step:] * rows[..., :-step]).mean()) == pytest.approx(0, abs=0.02)
    assert not torch.equal(mask[0], mask[1])


@pytest.mark.usefixtures("ways")
def test_the_seed_alone_decides() -> None:
    q, k, v = (x.detach() for x in operands(20))
    runs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        runs.append(dropped_attention(q, k, v, RATE))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


@pytest.mark.usefixtures("ways")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_types_are_as_near_as_they_can_be(dtype: torch.dtype) -> None:
    q, k, v = (x.detach() for x in operands(40))
    small = [x.to(dtype).requires_grad_() for x in (q, k, v)]
    exact = [x.detach().double().requires_grad_() for x in small]
    found = []
    for some in (small, exact):
        torch.manual_seed(2)
        out = dropped_attention(some[0], some[1], some[2], RATE)
        assert out.dtype == some[0].dtype
        found.append([out.detach(), *torch.autograd.grad(out.double().square().sum(), some)])
    tolerance = 1e-5 if dtype == torch.float32 else 0.06
    for one, other in zip(*found, strict=True):
        assert one.dtype == dtype
        assert float((one.double() - other).abs().max() / other.abs().max()) < tolerance


@pytest.mark.usefixtures("ways")
def test_operands_of_float32_are_multiplied_as_bfloat16_where_that_is_asked_for() -> None:
    small = [x.detach().float().requires_grad_() for x in operands(40)]
    found = []
    for asked in (True, False):
        torch.manual_seed(2)
        with torch.autocast("cpu", torch.bfloat16, enabled=asked):
            out = dropped_attention(small[0], small[1], small[2], RATE)
        found.append([out.detach(), *torch.autograd.grad(out.double().square().sum(), small)])
    for one, other in zip(*found, strict=True):
        assert float((one.double() - other).abs().max() / other.abs().max()) < 0.06
