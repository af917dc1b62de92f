"""A saved model, index or data set: a folder that proves what it is.

    FOLDER/
      manifest.json        kind, config, feature spec, data hash, seed, parents, hashes
      tensors.safetensors  the arrays, where there are any
      ...                  further files, for example report.json

The manifest lists each file with its SHA-256 and its size, and carries an `id`, the hash of
its own content; `parents` are the ids of the artifacts that this one was made from. Loading
checks all of it before it returns anything, reads no file that the manifest does not list,
follows no symbolic link and never unpickles. Saving makes the same checks on what it wrote,
before the folder takes its name: what cannot be loaded again is never left as saved.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from adwright.core.atomic import atomic_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
)
from adwright.core.hashing import content_hash, sha256_bytes

__all__ = ["FORMAT_VERSION", "MANIFEST", "TENSORS", "Artifact", "load_artifact", "save_artifact"]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"

_PICKLE_SUFFIXES = frozenset((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"))
_TENSOR_SUFFIX = PurePosixPath(TENSORS).suffix
# Protocols 2 to 5 start with the PROTO opcode; a zip is how torch.save wraps its pickle.
_PICKLE_MAGIC = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")


@dataclass(frozen=True)
class _File:
    sha256: str
    bytes: int


@dataclass(frozen=True)
class _Manifest:
    """The shape of manifest.json, checked before anything in it is used."""

    id: str
    kind: str
    format_version: int
    config: dict[str, Any]
    feature_spec: dict[str, Any] | None
    data_hash: str
    seed: int
    parents: tuple[str, ...]
    created: datetime
    files: dict[str, _File]


@dataclass(frozen=True)
class Artifact:
    """An artifact that was read and verified. tensors: name -> array. files: name -> bytes of
    every other file. manifest: the whole manifest, its `id` included."""

    folder: Path
    kind: str
    config: dict[str, Any]
    feature_spec: dict[str, Any] | None
    data_hash: str
    seed: int
    parents: tuple[str, ...]
    tensors: dict[str, NDArray[Any]]
    files: dict[str, bytes]
    manifest: dict[str, Any]

    @property
    def id(self) -> str:
        """The hash of the manifest: names exactly these bytes with this history."""
        return str(self.manifest["id"])

    def text(self, name: str) -> str:
        """The file `name` as UTF-8 text; ArtifactError where there is no such file."""
        if name not in self.files:
            hint = f"it holds {sorted(self.files)}"
            raise _refused(f"the artifact holds no file {name!r}", self.folder, hint)
        return self.files[name].decode("utf-8")


def save_artifact(
    folder: str | Path,
    *,
    kind: str,
    config: Mapping[str, Any],
    tensors: Mapping[str, NDArray[Any]] | None = None,
    files: Mapping[str, bytes | str] | None = None,
    feature_spec: Mapping[str, Any] | None = None,
    data_hash: str = "",
    seed: int = 0,
    parents: Sequence[str] = (),
    overwrite: bool = False,
    clock: Clock | None = None,
) -> str:
    """Write an artifact in one step that succeeds or leaves no trace; returns its id.

    What was written is read back and checked as `load_artifact` checks it before the folder
    takes its name.

    kind: what it is, for example "din". config, feature_spec: plain JSON values.
    tensors: arrays of numbers or booleans, any shape and memory order.
    files: further files by relative name ("report.json", "adapter/a.json"); text is UTF-8.
    data_hash: hash of the data that it was made from. parents: ids of source artifacts.
    clock: gives `created`, the machine's own by default.

    Raises ArtifactUnsafeError for a name that leaves the folder or a file that is a pickle,
    ArtifactError for content that cannot be stored, ArtifactCorruptError where the disk returns
    other bytes, ResourceError where it is full or the folder exists and `overwrite` is false.
    """
    folder = Path(folder)
    contents = {
        _safe_name(name, folder): data.encode("utf-8") if isinstance(data, str) else bytes(data)
        for name, data in (files or {}).items()
    }
    for name, data in contents.items():
        _refuse_pickle(name, data, folder)
    if tensors:
        contents[TENSORS] = _tensor_bytes(tensors, folder)
    created = (SystemClock() if clock is None else clock).now()
    manifest: dict[str, Any] = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "config": dict(config),
        "feature_spec": None if feature_spec is None else dict(feature_spec),
        "data_hash": data_hash,
        "seed": seed,
        "parents": list(parents),
        "created": created.isoformat(),
        "files": {
            name: {"sha256": sha256_bytes(data), "bytes": len(data)}
            for name, data in sorted(contents.items())
        },
    }
    try:
        manifest["id"] = content_hash(manifest)
    except ConfigError as error:
        what = f"the config or feature spec cannot be stored: {error.what}"
        hint = "use plain JSON values; to_jsonable makes them from a dataclass"
        raise _refused(what, folder, hint) from error
    text = json.dumps(manifest, indent=2, sort_keys=True, ensure_ascii=False)
    with atomic_folder(folder, overwrite=overwrite) as temporary:
        for name, data in contents.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        (temporary / MANIFEST).write_text(text + "\n", encoding="utf-8")
        shapes = {name: list(np.shape(array)) for name, array in (tensors or {}).items()}
        _read_back(temporary, folder, str(manifest["id"]), shapes)
    return str(manifest["id"])


def load_artifact(folder: str | Path, *, kind: str | None = None) -> Artifact:
    """Read an artifact, after checking every byte of it against its manifest.

    kind: what the caller can use; another kind is an ArtifactError.

    Raises ArtifactError where there is no artifact, it cannot be read, or it is of another kind or
    a newer format, ArtifactCorruptError where a file is missing, changed or not in the manifest,
    ArtifactUnsafeError for pickles, symbolic links and names that leave the folder.
    """
    folder = Path(folder)
    raw, manifest = _read_manifest(folder)
    if kind is not None and manifest.kind != kind:
        what = f"the artifact is of kind {manifest.kind!r}, not {kind!r}"
        raise _refused(what, folder, "pass the folder of the right one")
    _check_names(folder, manifest.files)
    contents = {
        name: _read_verified(folder, name, entry) for name, entry in sorted(manifest.files.items())
    }
    data = contents.pop(TENSORS, None)
    try:
        tensors = {} if data is None else safetensors_numpy.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise _corrupt(f"the tensors cannot be read ({error})", folder, TENSORS) from error
    return Artifact(
        folder=folder,
        kind=manifest.kind,
        config=manifest.config,
        feature_spec=manifest.feature_spec,
        data_hash=manifest.data_hash,
        seed=manifest.seed,
        parents=manifest.parents,
        tensors=tensors,
        files=contents,
        manifest=raw,
    )


def _tensor_bytes(tensors: Mapping[str, NDArray[Any]], folder: Path) -> bytes:
    for name, array in tensors.items():
        # The kinds: boolean, signed, unsigned, floating. Objects would need a pickle.
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
            found = getattr(array, "dtype", type(array).__name__)
            what = f"the tensor {name!r} is not an array of numbers: {found}"
            raise _refused(what, folder, "store text and objects as JSON in files")
    try:
        ordered = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        return safetensors_numpy.save(ordered)
    except (SafetensorError, KeyError, ValueError) as error:
        hint = "use bool, integers of 8 to 64 bits and floats of 16 to 64 bits"
        raise _refused(f"the tensors cannot be stored: {error}", folder, hint) from error


def _read_back(
    temporary: Path, folder: Path, identity: str, shapes: Mapping[str, list[int]]
) -> None:
    """Check in `temporary` what shall become `folder`: one file after the other, as loading does.

    shapes: name -> shape of each tensor that was to be stored.
    """
    try:
        _, manifest = _read_manifest(temporary)
        if manifest.id != identity:
            raise _corrupt("the manifest is not the one that was written", temporary, MANIFEST)
        _check_names(temporary, manifest.files)
        found: dict[str, list[int]] = {}
        for name, entry in manifest.files.items():
            data = _read_verified(temporary, name, entry)
            found |= _tensor_shapes(data, temporary) if name == TENSORS else {}
        if found != shapes:
            raise _corrupt("the tensors differ in name or shape", temporary, TENSORS)
    except ArtifactError as error:
        raise type(error)(
            f"what was written cannot be read back, so nothing was kept: {error.what}",
            where=error.where.replace(str(temporary), str(folder)),
            hint="save it again, and to another disk if it happens again",
        ) from error


def _tensor_shapes(data: bytes, folder: Path) -> dict[str, list[int]]:
    """name -> shape, from the header of the tensor file `data`."""
    try:
        if not _is_safetensors(data):
            raise ValueError("it does not begin with a header")
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _corrupt(f"the tensors cannot be read ({error})", folder, TENSORS) from error


def _is_safetensors(data: bytes) -> bool:
    """Whether `data` begins as safetensors: the length of a header that fits, and its brace."""
    return data[8:9] == b"{" and 8 + int.from_bytes(data[:8], "little") <= len(data)


def _read_manifest(folder: Path) -> tuple[dict[str, Any], _Manifest]:
    """The manifest as it stands in the file, and the same checked."""
    path = folder / MANIFEST
    try:
        if folder.is_symlink() or path.is_symlink():
            raise _unsafe("the artifact is a symbolic link", folder, "pass the real folder")
        raw = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        hint = f"pass a folder that holds {MANIFEST}"
        raise _refused("there is no artifact here", folder, hint) from error
    except OSError as error:
        raise _unreadable("the manifest", path, error) from error
    except (ValueError, RecursionError) as error:
        raise _corrupt(f"the manifest is not JSON in UTF-8 ({error})", folder, MANIFEST) from error
    if not isinstance(raw, dict) or "format_version" not in raw:
        raise _corrupt("the manifest lacks its format version", folder, MANIFEST)
    if raw["format_version"] != FORMAT_VERSION:
        what = f"format {raw['format_version']!r}, this version reads format {FORMAT_VERSION}"
        raise _refused(what, path, "use the version of adwright that wrote it")
    try:
        manifest = from_jsonable(_Manifest, raw)
        intact = content_hash({k: v for k, v in raw.items() if k != "id"}) == manifest.id
    except ConfigError as error:
        what = f"the manifest is malformed ({error.what}, {error.where})"
        raise _corrupt(what, folder, MANIFEST) from error
    if not intact:
        raise _corrupt("the manifest differs from its own id", folder, MANIFEST)
    return raw, manifest


def _check_names(folder: Path, listed: Mapping[str, _File]) -> None:
    """Refuse a folder that holds other files than the manifest lists, or unsafe names."""
    for name in listed:
        _safe_name(name, folder, reserved=(MANIFEST,))
    try:
        present = _names_on_disk(folder)
    except OSError as error:
        raise _unreadable("a folder of the artifact", folder, error) from error
    for name in sorted(present - set(listed)):
        # A pickle beside the others is refused by its own name, which says more.
        _refuse_pickle(name, b"", folder)
        raise _corrupt("the folder holds a file that its manifest does not list", folder, name)
    for name in sorted(set(listed) - present):
        raise _corrupt("a file of the artifact is missing", folder, name)


def _names_on_disk(folder: Path) -> set[str]:
    """Relative posix names of all files below `folder`, the manifest left out."""
    names: set[str] = set()
    for root, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(root, name)
            where = path.relative_to(folder).as_posix()
            if path.is_symlink():
                raise _unsafe(f"{where} is a symbolic link", folder, "store the file itself")
            if not path.is_dir() and not path.is_file():
                raise _unsafe(f"{where} is no regular file", folder, "remove it")
        names.update(Path(root, name).relative_to(folder).as_posix() for name in files)
    return names - {MANIFEST}


def _read_verified(folder: Path, name: str, entry: _File) -> bytes:
    # The bytes that are hashed are the bytes that are used: the file is read once.
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise _unreadable("a file of the artifact", folder / name, error) from error
    if len(data) != entry.bytes:
        expected = f"has {len(data):,} bytes instead of {entry.bytes:,}"
        raise _corrupt(f"a file of the artifact {expected}", folder, name)
    if sha256_bytes(data) != entry.sha256:
        raise _corrupt("a file of the artifact was changed: its SHA-256 differs", folder, name)
    _refuse_pickle(name, data, folder)
    return data


def _safe_name(name: str, folder: Path, *, reserved: Sequence[str] = (MANIFEST, TENSORS)) -> str:
    parts = PurePosixPath(name).parts
    outside = not parts or parts[0] == "/" or ".." in parts or set(name) & set("\\:\0")
    if outside or PurePosixPath(name).as_posix() != name:
        raise _unsafe(
            f"the file name {name!r} could leave the artifact's folder",
            folder,
            "use a relative name with / between folders",
        )
    if name in reserved:
        raise _refused(
            f"the file name {name!r} is taken by the artifact itself", folder, "choose another name"
        )
    return name


def _refuse_pickle(name: str, data: bytes, folder: Path) -> None:
    suffix = PurePosixPath(name).suffix.lower()
    # Safetensors begin with the length of their header, whose bytes can be those of a pickle.
    tensors = suffix == _TENSOR_SUFFIX and _is_safetensors(data)
    if suffix in _PICKLE_SUFFIXES or (_PICKLE_MAGIC.match(data) and not tensors):
        raise _unsafe(
            f"{name} is a pickle or an archive that may hold one; loading it could run code",
            folder,
            f"store arrays as tensors ({TENSORS}) and the rest as JSON",
        )


def _refused(what: str, path: Path, hint: str) -> ArtifactError:
    return ArtifactError(what, where=str(path), hint=hint)


def _unsafe(what: str, folder: Path, hint: str) -> ArtifactUnsafeError:
    return ArtifactUnsafeError(what, where=str(folder), hint=hint)


def _unreadable(what: str, path: Path, error: OSError) -> ArtifactError:
    hint = "it must be a file or a folder that you may read"
    return _refused(f"{what} cannot be read: {error.strerror}", path, hint)


def _corrupt(what: str, folder: Path, name: str) -> ArtifactCorruptError:
    return ArtifactCorruptError(
        what, where=str(folder / name), hint="copy or make the artifact again"
    )
