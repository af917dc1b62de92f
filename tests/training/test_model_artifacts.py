from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor, nn

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError, MissingExtraError
from adwright.training.model_artifacts import (
    OnnxProgram,
    load_trained,
    load_weights,
    onnx_bytes,
    parquet_bytes,
    read_catalogue,
    saved_report,
    weights_of,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = pl.DataFrame({"item_id": ["a", "b"]})
    save_artifact(
        tmp_path / "one",
        kind="thing",
        config={},
        tensors=weights_of(nn.Linear(2, 3), "model.") | {"count": np.arange(3)},
        files={"items.parquet": parquet_bytes(table)},
    )
    return tmp_path / "one"


def test_weights_come_back_and_others_are_left_alone(folder: Path) -> None:
    artifact = load_artifact(folder)
    model = nn.Linear(2, 3)
    load_weights(model, artifact.tensors, "model.")
    assert set(artifact.tensors) == {"model.weight", "model.bias", "count"}
    assert np.array_equal(model.weight.detach().numpy(), artifact.tensors["model.weight"])
    assert read_catalogue(artifact)["item_id"].to_list() == ["a", "b"]
    assert saved_report(artifact) is None


def test_building_leaves_the_random_numbers_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    assert load_trained(folder, lambda _: torch.rand(3), kind="thing", name="thing").shape == (3,)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("error", [KeyError("x"), ConfigError("no"), RuntimeError("size")])
def test_what_another_version_wrote_is_told(folder: Path, error: Exception) -> None:
    def build(_: Artifact) -> None:
        raise error

    with pytest.raises(ArtifactError, match="the thing does not fit this version") as raised:
        load_trained(folder, build, kind="thing", name="thing")
    assert raised.value.where == str(folder)
    with pytest.raises(ArtifactError):
        load_trained(folder, build, kind="other", name="thing")


def test_an_error_of_the_artifact_keeps_its_kind_and_says_where(folder: Path) -> None:
    def build(_: Artifact) -> None:
        raise ArtifactCorruptError("broken")

    with pytest.raises(ArtifactCorruptError, match="broken") as raised:
        load_trained(folder, build, kind="thing", name="thing")
    assert raised.value.where == str(folder)


def test_bugs_are_no_misfits(folder: Path) -> None:
    def build(_: Artifact) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load_trained(folder, build, kind="thing", name="thing")


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
