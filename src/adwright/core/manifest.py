"""The manifest of an artifact, and the files of the folder, each checked against it.

Everything here reads plain files alone, of sizes that are known before they are read.
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

from adwright.core.config import from_jsonable
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
)
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.regular import memory_bytes, open_regular, read_regular

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "MOST_MANIFEST_BYTES",
    "TENSORS",
    "ArtifactManifest",
    "ListedFile",
    "check_names",
    "corrupt",
    "is_safetensors",
    "parse_manifest",
    "read_listed",
    "read_manifest",
    "refuse_pickle",
    "refused",
    "safe_name",
    "verified",
]

FORMAT_VERSION = 1
MANIFEST = "manifest.json"
TENSORS = "tensors.safetensors"
#: Vocabularies of some million values fit; what is larger is not read.
MOST_MANIFEST_BYTES = 256 << 20

_PICKLE_SUFFIXES = frozenset((".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz"))
_TENSOR_SUFFIX = PurePosixPath(TENSORS).suffix
# Protocols 2 to 5 start with the PROTO opcode; a zip is how torch.save wraps its pickle.
_PICKLE_MAGIC = re.compile(rb"\x80[\x02-\x05]|PK\x03\x04")


@dataclass(frozen=True)
class ListedFile:
    """What the manifest says of a file."""

    sha256: str
    bytes: int


@dataclass(frozen=True)
class ArtifactManifest:
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
    files: dict[str, ListedFile]


def read_manifest(folder: Path) -> tuple[dict[str, Any], ArtifactManifest]:
    """The manifest as it stands in the file, and the same checked.

    Raises ArtifactError where there is none or it cannot be read, otherwise as `parse_manifest`.
    """
    path = folder / MANIFEST
    try:
        if folder.is_symlink() or path.is_symlink():
            raise _unsafe("the artifact is a symbolic link", folder, "pass the real folder")
        data = read_regular(path, most=MOST_MANIFEST_BYTES)
    except (FileNotFoundError, NotADirectoryError) as error:
        below = sorted(one.parent for one in folder.glob(f"*/{MANIFEST}"))
        meant = f"; {', '.join(str(one) for one in below[:3])} does" if below else ""
        hint = f"pass a folder that holds {MANIFEST}{meant}"
        raise refused("there is no artifact here", folder, hint) from error
    except OSError as error:
        raise _unreadable("the manifest", path, error) from error
    return parse_manifest(data, folder)


def parse_manifest(data: bytes, folder: Path) -> tuple[dict[str, Any], ArtifactManifest]:
    """The manifest of the bytes `data`, as it stands there, and the same checked.

    Raises ArtifactCorruptError where it is malformed or not what its id says, ArtifactError where
    it is of another format, or of more than this machine's memory holds.
    """
    try:
        raw = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise corrupt(f"the manifest is not JSON in UTF-8 ({error})", folder, MANIFEST) from error
    if not isinstance(raw, dict) or "format_version" not in raw:
        raise corrupt("the manifest lacks its format version", folder, MANIFEST)
    if raw["format_version"] != FORMAT_VERSION:
        what = f"format {raw['format_version']!r:.40}, this version reads format {FORMAT_VERSION}"
        raise refused(what, folder / MANIFEST, "use the version of adwright that wrote it")
    try:
        manifest = from_jsonable(ArtifactManifest, raw)
        intact = content_hash({k: v for k, v in raw.items() if k != "id"}) == manifest.id
    except ConfigError as error:
        what = f"the manifest is malformed ({error.what}, {error.where})"
        raise corrupt(what, folder, MANIFEST) from error
    except RecursionError as error:
        raise corrupt("the manifest is nested too deeply", folder, MANIFEST) from error
    if not intact:
        raise corrupt("the manifest differs from its own id", folder, MANIFEST)
    size = sum(entry.bytes for entry in manifest.files.values())
    if size > memory_bytes():
        what = f"the artifact has {size:,} bytes, more than the memory of this machine"
        raise refused(what, folder, "load it on a larger machine")
    return raw, manifest


def check_names(folder: Path, listed: Mapping[str, ListedFile]) -> None:
    """Refuse a folder that holds other files than the manifest lists, or unsafe names."""
    for name in listed:
        safe_name(name, folder, reserved=(MANIFEST,))
    try:
        present = _names_on_disk(folder)
    except OSError as error:
        raise _unreadable("a folder of the artifact", folder, error) from error
    for name in sorted(present - set(listed)):
        # A pickle beside the others is refused by its own name, which says more.
        refuse_pickle(name, b"", folder)
        raise corrupt("the folder holds a file that its manifest does not list", folder, name)
    for name in sorted(set(listed) - present):
        raise corrupt("a file of the artifact is missing", folder, name)


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


def read_listed(folder: Path, name: str, entry: ListedFile) -> bytes:
    """The bytes of a file of `folder`, once they are what the manifest says.

    The bytes that are hashed are the bytes that are used: the file is read once.
    """
    try:
        with open_regular(folder / name) as (stream, size):
            if size != entry.bytes:
                raise _other_size(size, entry, folder, name)
            data = stream.read(size + 1)  # one more, if it grows meanwhile
    except OSError as error:
        raise _unreadable("a file of the artifact", folder / name, error) from error
    except MemoryError as error:
        what = f"a file of {entry.bytes:,} bytes does not fit into the memory that is free"
        raise refused(what, folder / name, "load it on a larger machine") from error
    return verified(data, name, entry, folder)


def verified(data: bytes, name: str, entry: ListedFile, folder: Path) -> bytes:
    """The same bytes; ArtifactCorruptError where the manifest says others, ArtifactUnsafeError for
    a pickle."""
    if len(data) != entry.bytes:
        raise _other_size(len(data), entry, folder, name)
    if sha256_bytes(data) != entry.sha256:
        raise corrupt("a file of the artifact was changed: its SHA-256 differs", folder, name)
    refuse_pickle(name, data, folder)
    return data


def safe_name(name: str, folder: Path, *, reserved: Sequence[str] = (MANIFEST, TENSORS)) -> str:
    """The name of a file; ArtifactUnsafeError where it could leave the folder, ArtifactError for
    one of `reserved`."""
    parts = PurePosixPath(name).parts
    outside = not parts or parts[0] == "/" or ".." in parts or set(name) & set("\\:\0")
    if outside or PurePosixPath(name).as_posix() != name:
        raise _unsafe(
            f"the file name {name!r} could leave the artifact's folder",
            folder,
            "use a relative name with / between folders",
        )
    if name in reserved:
        raise refused(
            f"the file name {name!r} is taken by the artifact itself", folder, "choose another name"
        )
    return name


def refuse_pickle(name: str, data: bytes, folder: Path) -> None:
    """Raise ArtifactUnsafeError for a file that is, or by its name may be, a pickle."""
    suffix = PurePosixPath(name).suffix.lower()
    # Safetensors begin with the length of their header, whose bytes can be those of a pickle.
    tensors = suffix == _TENSOR_SUFFIX and is_safetensors(data)
    if suffix in _PICKLE_SUFFIXES or (_PICKLE_MAGIC.match(data) and not tensors):
        raise _unsafe(
            f"{name} is a pickle or an archive that may hold one; loading it could run code",
            folder,
            f"store arrays as tensors ({TENSORS}) and the rest as JSON",
        )


def is_safetensors(data: bytes) -> bool:
    """Whether `data` begins as safetensors: the length of a header that fits, and its brace."""
    return data[8:9] == b"{" and 8 + int.from_bytes(data[:8], "little") <= len(data)


def refused(what: str, path: Path, hint: str) -> ArtifactError:
    """The error that refuses the artifact, or its part, at `path`."""
    return ArtifactError(what, where=str(path), hint=hint)


def corrupt(what: str, folder: Path, name: str) -> ArtifactCorruptError:
    """The error that names the file whose bytes are not those that were written."""
    return ArtifactCorruptError(
        what, where=str(folder / name), hint="copy or make the artifact again"
    )


def _other_size(size: int, entry: ListedFile, folder: Path, name: str) -> ArtifactCorruptError:
    expected = f"has {size:,} bytes instead of {entry.bytes:,}"
    return corrupt(f"a file of the artifact {expected}", folder, name)


def _unsafe(what: str, folder: Path, hint: str) -> ArtifactUnsafeError:
    return ArtifactUnsafeError(what, where=str(folder), hint=hint)


def _unreadable(what: str, path: Path, error: OSError) -> ArtifactError:
    hint = "it must be a file or a folder that you may read"
    return refused(f"{what} cannot be read: {error.strerror}", path, hint)
