import argparse
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ArtifactUnsafeError, DataError, FileUnreadableError
from adwright.creative.faces.layouts.reading import Named, prefix_before, read_checkpoint


def test_both_formats_are_read(tmp_path: Path) -> None:
    weight = torch.randn(2, 3)
    save_file({"g.a": weight}, tmp_path / "one.safetensors")
    torch.save({"g": {"a": weight, "step": 3}, "args": {"lr": 0.1}}, tmp_path / "one.pt")
    for name in ("one.safetensors", "one.pt"):
        found = read_checkpoint(tmp_path / name)
        assert list(found.tensors) == ["g.a"]
        assert torch.equal(found.below("g.").get("a", 2, 3), weight)
        assert found.file.endswith(name)


def test_what_could_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"args": argparse.Namespace(lr=1), "a": torch.zeros(1)}, tmp_path / "one.pt")
    with pytest.raises(ArtifactUnsafeError, match="more than tensors"):
        read_checkpoint(tmp_path / "one.pt")


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("no checkpoint at all")
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "cut.safetensors").write_bytes(b"\xff\0\0\0\0\0\0\0{")
    torch.save({"step": 3}, tmp_path / "none.pt")
    for name in ("missing.pt", "empty.pt", "cut.safetensors"):
        with pytest.raises(FileUnreadableError, match="cannot be read"):
            read_checkpoint(tmp_path / name)
    with pytest.raises((FileUnreadableError, ArtifactUnsafeError)):
        read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(DataError, match="no tensor"):
        read_checkpoint(tmp_path / "none.pt")


def test_tensors_are_asked_for_by_name_and_shape() -> None:
    found = Named({"a.0.w": torch.zeros(1, 2, 3), "a.1.w": torch.ones(1)}, "some.pt")
    assert "a.0.w" in found
    assert found.count("a.{}.w") == 2
    assert found.count("a.{}.w", 1) == 1
    assert found.get("a.0.w", 2, 3).shape == (2, 3)
    assert found.get("a.1.w").shape == ()
    assert found.shape("a.0.w", 3) == (1, 2, 3)
    for wrong in (lambda: found.get("b"), lambda: found.shape("b", 1)):
        with pytest.raises(DataError, match=r"lacks a tensor \[some.pt, column b\]"):
            wrong()
    with pytest.raises(DataError, match="it should have 7"):
        found.get("a.0.w", 7)
    with pytest.raises(DataError, match="2 axes"):
        found.shape("a.0.w", 2)


def test_the_running_mean_is_preferred() -> None:
    names = iter(["g.conv1.w", "d.conv1.w", "g_ema.conv1.w", "to.xconv1.w"])
    assert prefix_before(names, "conv1.w") == "g_ema."
    assert prefix_before({"conv1.w": torch.zeros(1)}, "conv1.w") == ""
    assert prefix_before({"xconv1.w": torch.zeros(1)}, "conv1.w") is None
