"""The triton kernel equals the reference: on a GPU where there is one, else interpreted."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.models.kernels.silu_attention import silu_attention
from adwright.models.kernels.triton_attention import triton_for
from tests.models.kernels.test_silu_attention import inputs

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


def test_what_it_cannot_compute_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    arguments = inputs(dtype=torch.float32)
    assert not triton_for(arguments["q"])
    with pytest.raises(ConfigError, match="triton kernel cannot compute"):
        silu_attention(**arguments, kernel="triton")
