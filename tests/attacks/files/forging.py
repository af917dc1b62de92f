"""Artifacts as somebody with bad intent would write them: every hash is right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.artifacts import MANIFEST, Artifact, load_artifact, save_artifact
from adwright.core.errors import ArtifactError
from adwright.core.hashing import content_hash, sha256_bytes
from tests.attacks.attack import Attack


def small(folder: Path) -> Path:
    """A fresh artifact of two tensors and two files in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    save_artifact(
        folder,
        kind="din",
        config={"width": 8},
        tensors={"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64)},
        files={"report.json": '{"auc": 1}', "sub/raw.bin": b"\x00\x01"},
    )
    return folder


def rewrite(folder: Path, **changes: Any) -> None:
    """Change the manifest, with a matching id."""
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    del manifest["id"]
    manifest["id"] = content_hash(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def entry(data: bytes) -> dict[str, Any]:
    """What a manifest says of a file of these bytes."""
    return {"sha256": sha256_bytes(data), "bytes": len(data)}


def forge(folder: Path, name: str, data: bytes) -> None:
    """Put `data` into a file, with every hash right."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    listed: Mapping[str, Any] = json.loads((folder / MANIFEST).read_text())["files"]
    rewrite(folder, files={**listed, name: entry(data)})


def refused(folder: Path) -> Artifact | None:
    """None where the artifact is refused by name; the artifact where it is read."""
    try:
        return load_artifact(folder)
    except ArtifactError as error:
        if not error.where:
            raise AssertionError("the refusal names no place") from error
        return None


def refuses(
    name: str, spoil: Callable[[Path], object], *, quick: bool = True, seconds: float = 30.0
) -> Attack:
    """The attack that holds where an artifact that was spoilt so is refused."""

    def run(shared: Path) -> None:
        folder = small(shared / "model")
        spoil(folder)
        try:
            assert refused(folder) is None, "it was loaded"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            if folder.is_symlink():
                folder.unlink()

    return Attack(name, run, quick=quick, seconds=seconds)
