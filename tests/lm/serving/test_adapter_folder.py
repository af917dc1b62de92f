from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from adwright.core.errors import AssetError, ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.adapter_folder import AdapterFolder, open_base
from adwright.lm.serving.config import ServingConfig
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import TorchModel
from adwright.tuning.additive.adapters import IA3
from adwright.tuning.methods import apply
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import models_of, saved_parts
from tests.support.lm.tiny_llama import save_tiny, tiny_llama
from tests.support.lm.tuning_methods import shake


def test_in_step_with_a_folder(tmp_path: Path) -> None:
    models = models_of({})
    top = tmp_path / "parts"
    saved_parts(top, {"one": IA3(), "two": LoRA(rank=1)})
    (top / "not a name").mkdir()
    (top / "empty").mkdir()
    (top / ".hidden").mkdir()
    (top / "note.txt").write_text("x", "utf-8")
    folder = AdapterFolder(models, top)
    first = folder.rescan()
    assert first.added == ("one", "two")
    assert set(first.refused) == {"not a name", "empty"}
    assert list(models) == ["base", "one", "two"]
    again = folder.rescan()
    assert (again.added, again.removed) == ((), ())
    shutil.rmtree(top / "one")
    saved_parts(top, {"three": IA3()})
    changed = folder.rescan()
    assert (changed.added, changed.removed) == (("three",), ("one",))


def test_a_part_that_was_tuned_on(tmp_path: Path) -> None:
    models = models_of({})
    config = GenerationConfig(max_tokens=6)
    saved_parts(tmp_path, {"one": LoRA(rank=1)})
    folder = AdapterFolder(models, tmp_path)
    folder.rescan()
    before = models["one"].generate(["the best"], config).texts
    tuned = apply(tiny_llama(), LoRA(rank=2), seed=5)
    shake(tuned, 5, 0.3)
    tuned.save(tmp_path / "one", overwrite=True)
    found = folder.rescan()
    assert (found.added, found.removed) == (("one",), ())
    assert models["one"].generate(["the best"], config).texts != before


def test_what_tune_writes(tmp_path: Path) -> None:
    """`adwright tune` puts the adapter into `tuned`, beside its run and its report."""
    models = models_of({})
    saved_parts(tmp_path / "one", {"tuned": LoRA(rank=1)})
    (tmp_path / "one" / "report.json").write_text("{}", "utf-8")
    folder = AdapterFolder(models, tmp_path)
    assert folder.rescan().added == ("one",)
    assert models["one"].generate(["the best"], GenerationConfig(max_tokens=4)).texts
    tuned = apply(tiny_llama(), LoRA(rank=2), seed=5)
    tuned.save(tmp_path / "one" / "tuned", overwrite=True)
    assert folder.rescan().added == ("one",)
    (tmp_path / "none").mkdir()
    assert "->" not in folder.rescan().refused["none"]
    assert "; " in folder.rescan().refused["none"]


def test_a_part_in_use_goes_later(tmp_path: Path) -> None:
    models = models_of({})
    saved_parts(tmp_path, {"one": IA3()})
    folder = AdapterFolder(models, tmp_path)
    folder.rescan()
    stream = models["one"].stream("tea", GenerationConfig(max_tokens=50))
    next(stream)
    shutil.rmtree(tmp_path / "one")
    assert folder.rescan().refused == {"one": "the adapter is in use"}
    stream.close()
    assert folder.rescan().removed == ("one",)


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), FileNotFoundError()])
def test_one_that_cannot_be_read_stops_no_other(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = models_of({})
    saved_parts(tmp_path, {"one": IA3(), "two": IA3(), "zero": IA3()})
    folder = AdapterFolder(models, tmp_path)
    shutil.move(tmp_path / "zero", tmp_path / ".zero")
    stat, is_file = Path.stat, Path.is_file

    def broken(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path == tmp_path / "one" / "manifest.json":
            raise error
        return stat(path, follow_symlinks=follow_symlinks)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: path.name == "manifest.json" or is_file(path))
        patch.setattr(Path, "stat", broken)
        found = folder.rescan()
    assert found.added == ("two",)
    assert found.refused["one"].startswith("the folder cannot be read: ")
    shutil.move(tmp_path / ".zero", tmp_path / "zero")
    assert folder.rescan().added == ("one", "zero")
    # One that is served, and cannot be looked at now, is not gone.
    with monkeypatch.context() as patch:
        patch.setattr(Path, "is_file", lambda path: path.name == "manifest.json" or is_file(path))
        patch.setattr(Path, "stat", broken)
        found = folder.rescan()
    assert (found.added, found.removed, set(found.refused)) == ((), (), {"one"})
    assert "one" in models


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        AdapterFolder(models_of({}), tmp_path / "none")


def test_opening_a_base(tmp_path: Path) -> None:
    where = str(save_tiny(tmp_path / "tiny"))
    config = TorchConfig(where, threads=1, dtype="float32")
    models = open_base(config, ServingConfig(pool_bytes=1 << 20), name="shop")
    plain = TorchModel.open(config)
    short = GenerationConfig(max_tokens=8)
    assert models["shop"].generate(["the best"], short) == plain.generate(["the best"], short)
    assert models["shop"].info.context == plain.info.context
    with pytest.raises(AssetError):
        open_base(TorchConfig(str(tmp_path / "none")), ServingConfig())


def test_a_manifest_that_is_no_file_is_refused_and_the_rest_served(tmp_path: Path) -> None:
    models = models_of({})
    saved_parts(tmp_path, {"one": IA3(), "two": IA3()})
    (tmp_path / "two" / "manifest.json").unlink()
    os.mkfifo(tmp_path / "two" / "manifest.json")
    found = AdapterFolder(models, tmp_path).rescan()
    assert found.added == ("one",)
    assert "regular file" in found.refused["two"]
