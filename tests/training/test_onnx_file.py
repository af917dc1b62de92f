from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from adwright.core.errors import ArtifactError, MissingExtraError
from adwright.training.model_artifacts import OnnxProgram, onnx_bytes

pytest.importorskip("onnxruntime")


class Sums(nn.Module):
    """Two outputs of two inputs."""

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        return left + right, (left * right).sum(1)


def program() -> torch.export.ExportedProgram:
    rows = torch.export.Dim("rows", min=1)
    shapes = {"left": {0: rows}, "right": {0: rows}}
    return torch.export.export(Sums(), (torch.ones(3, 2), torch.ones(3, 2)), dynamic_shapes=shapes)


def test_a_program_runs_on_any_number_of_rows(capsys: pytest.CaptureFixture[str]) -> None:
    data = onnx_bytes(program(), ("a", "b"), ("sum", "product"))
    assert capsys.readouterr() == ("", "")
    run = OnnxProgram(data, {"a": ("rows",), "b": ("rows",)})
    assert run.signature == [
        {"name": name, "type": "tensor(float)", "dimensions": ["rows", 2]} for name in "ab"
    ]
    for rows in (1, 2, 9):
        left, right = np.random.default_rng(rows).random((2, rows, 2), np.float32)
        total, product = run({"a": left, "b": right, "unread": left})
        np.testing.assert_allclose(total, left + right)
        np.testing.assert_allclose(product, (left * right).sum(1), rtol=1e-6)


def test_a_program_that_torch_does_not_write_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: None)
    with pytest.raises(ArtifactError, match="no ONNX"):
        onnx_bytes(program(), ("a", "b"), ("sum", "product"))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> Any:
        if name in ("onnx", "onnxruntime"):
            raise ImportError(name)
        return real(name, *rest, **more)

    made = program()
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"adwright\[export\]"):
        onnx_bytes(made, ("a", "b"), ("sum", "product"))
    with pytest.raises(MissingExtraError, match=r"adwright\[export\]"):
        OnnxProgram(b"", {})
