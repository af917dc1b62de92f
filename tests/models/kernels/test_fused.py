"""The fused HSTU attention where its tiles matter; the rest is in test_hstu_attention."""

from __future__ import annotations

import subprocess
import sys
from importlib import util
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels import fused as hstu_fused
from adwright.models.kernels.attention_spec import AttentionSpec
from adwright.models.kernels.fused import fused_for
from adwright.models.kernels.silu_attention import silu_attention
from adwright.models.kernels.triton_attention import triton_for
from tests.models.kernels.test_silu_attention import inputs, with_gradients

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
from tests.models.kernels.test_silu_attention import inputs, with_gradients

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
