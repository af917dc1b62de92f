"""Artifacts and run files."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    ResourceError,
)
from adwright.training.ranking.ranker import Ranker
from tests.broken.cases import (
    Call,
    Case,
    Shop,
    artifact,
    beside_a_file,
    check,
    edit_manifest,
    flip,
    forge,
    named,
    raw,
    run_file,
)


def manifest_without_its_id(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))


def manifest_is_a_folder(folder: Path) -> None:
    (folder / "manifest.json").unlink()
    (folder / "manifest.json").mkdir()


def other_kind(here: Path, _: Shop) -> Call:
    tensors = {"a": np.zeros(2)}
    save_artifact(here / "other", kind="index", config={}, tensors=tensors)
    return lambda: Ranker.load(here / "other")


ARTIFACTS = [
    Case(
        "pickle for tensors",
        artifact(lambda f: forge(f, "tensors.safetensors", pickle.dumps({"a": 1}))),
        ArtifactUnsafeError,
        ("tensors.safetensors is a pickle", "could run code", "store arrays as tensors"),
    ),
    Case(
        "zip of torch.save",
        artifact(lambda f: torch.save({"a": 1}, f / "model.pt")),
        ArtifactUnsafeError,
        ("model.pt is a pickle",),
    ),
    Case(
        "flipped byte",
        artifact(lambda f: flip(f / "tensors.safetensors")),
        ArtifactCorruptError,
        ("tensors.safetensors", "SHA-256 differs", "copy or make"),
    ),
    Case(
        "tensors that are none",
        artifact(lambda f: forge(f, "tensors.safetensors", b"\0" * 64)),
        ArtifactCorruptError,
        ("tensors.safetensors", "cannot be read"),
    ),
    Case(
        "extra file",
        artifact(lambda f: (f / "notes.txt").write_text("mine")),
        ArtifactCorruptError,
        ("notes.txt", "manifest does not list", "copy or make"),
    ),
    Case(
        "missing file",
        artifact(lambda f: (f / "items.parquet").unlink()),
        ArtifactCorruptError,
        ("items.parquet", "missing"),
    ),
    Case(
        "path traversal",
        artifact(
            lambda f: edit_manifest(
                f, lambda m: m["files"].update({"../secret": m["files"]["items.parquet"]})
            )
        ),
        ArtifactUnsafeError,
        ("'../secret'", "could leave", "relative name"),
    ),
    Case(
        "symbolic link",
        artifact(lambda f: (f / "link").symlink_to(f.parent)),
        ArtifactUnsafeError,
        ("link is a symbolic link", "store the file itself"),
    ),
    Case(
        "hash of a file",
        artifact(
            lambda f: edit_manifest(
                f, lambda m: m["files"]["items.parquet"].update(sha256="0" * 64)
            )
        ),
        ArtifactCorruptError,
        ("items.parquet", "SHA-256 differs"),
    ),
    Case(
        "id of the manifest",
        artifact(manifest_without_its_id),
        ArtifactCorruptError,
        ("manifest.json", "differs from its own id"),
    ),
    Case(
        "newer format",
        artifact(lambda f: edit_manifest(f, lambda m: m.update(format_version=99))),
        ArtifactError,
        ("manifest.json", "format 99", "version of adwright that wrote it"),
    ),
    Case(
        "manifest is a folder",
        artifact(manifest_is_a_folder),
        ArtifactError,
        ("manifest.json", "cannot be read", "a file"),
    ),
    Case(
        "calibrator of no known form",
        artifact(lambda f: forge(f, "calibrator.json", b"[]")),
        ArtifactError,
        ("[/", "/ranker]", "calibrator", "fit it again"),
    ),
    Case("other kind", other_kind, ArtifactError, ("other", "'index', not 'ranker'", "pass the")),
    Case(
        "artifact is a file",
        raw("ranker", "hello", load_artifact),
        ArtifactError,
        ("ranker", "no artifact here", "manifest.json"),
    ),
    Case(
        "artifact below a file",
        beside_a_file(lambda file, shop: shop.ranker.save(file / "it")),
        ResourceError,
        ("not a folder", "choose another path"),
    ),
    Case(
        "unknown key",
        run_file("[fit]\nepoch = 1\n"),
        ConfigError,
        ("run.toml, key fit.epoch", "unknown key", "did you mean epochs?"),
    ),
    Case(
        "wrong type",
        run_file('seed = "3"\n'),
        ConfigError,
        ("run.toml, key seed", "valid integer", '"3"', "correct the value"),
    ),
    Case(
        "value out of range",
        run_file("[fit]\nlearning_rate = nan\n"),
        ConfigError,
        ("run.toml", "learning_rate must be positive"),
    ),
    Case("broken TOML", run_file("seed = \n"), ConfigError, ("run.toml", "line 1", "mend")),
    Case("run file in UTF-16", run_file(b"\xff\xfes"), ConfigError, ("run.toml", "UTF-8")),
]


@pytest.mark.parametrize("case", ARTIFACTS, ids=named)
def test_artifacts_and_runs(case: Case, tmp_path: Path, shop: Shop) -> None:
    check(case, tmp_path, shop)
