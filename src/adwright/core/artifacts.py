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

The manifest of an artifact, and the files of the folder, each checked against it.

Everything here reads plain files alone, of sizes that are known before they are read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from adwright.core.atomic import atomic_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
)
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.regular import memory_bytes, open_regular, read_regular

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


#: The verbs for each kind, for whoever brought another one.
_TAKEN_BY = {
    "ranker": "adwright evaluate, score, explain, export, recommend, publish and retrain",
    "sequence": "adwright evaluate, export, recommend, publish and retrain",
    **dict.fromkeys(
        ("cascade", "retriever", "item-item", "popularity", "served"),
        "adwright evaluate, recommend, publish and retrain",
    ),
    "lm-tuned": "adwright tune export and adwright lm",
}


#: Where the last event lies before this, in microseconds, places in a sequence stand for times.
_PLACES = 3_650 * 86_400_000_000
_FITTED = "fitted"


@dataclass(frozen=True)
class Fitted:
    """What a model was fitted on. events: so many. until: microseconds since 1970, after which it
    saw none; None for a log without times."""

    events: int
    until: int | None = None

    @classmethod
    def of(cls, events: int, last: int | None) -> Fitted:
        """last: microseconds of the last event. In the first ten years after 1970 it is a place."""
        timed = events and last is not None and last >= _PLACES
        return cls(int(events), int(last) if timed and last is not None else None)

    def text(self) -> str:
        """In words, to the second."""
        if self.until is None:
            return f"{self.events:,} events"
        moment = datetime.fromtimestamp(self.until // 1_000_000, UTC)
        return f"{self.events:,} events until {moment:%Y-%m-%d %H:%M:%S}"


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

    @property
    def fitted(self) -> Fitted | None:
        """What it was fitted on; None where an older version did not say. Raises ConfigError where
        that is no record of it."""
        return _fitted(self.config)

    def text(self, name: str) -> str:
        """The file `name` as UTF-8 text; ArtifactError where there is no such file."""
        if name not in self.files:
            hint = f"it holds {sorted(self.files)}"
            raise refused(f"the artifact holds no file {name!r}", self.folder, hint)
        return self.files[name].decode("utf-8")

    def part(self, name: str) -> Artifact:
        """The artifact that lies whole in the sub-folder `name` of this one.

        It is made of the bytes that were verified, and checked against its own manifest; the disk
        is not read again. Raises ArtifactError where there is none, otherwise as `load_artifact`.
        """
        folder, prefix = self.folder / name, f"{name}/"
        contents = {
            path.removeprefix(prefix): data
            for path, data in self.files.items()
            if path.startswith(prefix)
        }
        if MANIFEST not in contents:
            raise refused("there is no artifact here", folder, f"it needs a {MANIFEST}")
        raw, manifest = parse_manifest(contents.pop(MANIFEST), folder)
        for path in sorted(set(contents) ^ set(manifest.files)):
            raise corrupt("the manifest and the files of a part differ", folder, path)
        for path, data in contents.items():
            verified(data, path, manifest.files[path], folder)
        return _artifact(folder, raw, manifest, contents)


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
    fitted: Fitted | None = None,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> str:
    """Write an artifact in one step that succeeds or leaves no trace; returns its id.

    What was written is read back and checked as `load_artifact` checks it before the folder
    takes its name.

    kind: what it is, for example "din". config, feature_spec: plain JSON values.
    tensors: arrays of numbers or booleans, any shape and memory order.
    files: further files by relative name ("report.json", "adapter/a.json"); text is UTF-8.
    data_hash: hash of the data that it was made from. parents: ids of source artifacts. fitted: on
    what, kept in the config.
    clock: gives `created`, the machine's own by default.

    Raises ArtifactUnsafeError for a name that leaves the folder or a file that is a pickle,
    ArtifactError for content that cannot be stored, ArtifactCorruptError where the disk returns
    other bytes, ResourceError where it is full or the folder exists and `overwrite` is false.
    """
    folder = Path(folder)
    contents = {
        safe_name(name, folder): data.encode("utf-8") if isinstance(data, str) else bytes(data)
        for name, data in (files or {}).items()
    }
    for name, data in contents.items():
        refuse_pickle(name, data, folder)
    if tensors:
        contents[TENSORS] = _tensor_bytes(tensors, folder)
    created = (SystemClock() if clock is None else clock).now()
    manifest: dict[str, Any] = {
        "kind": kind,
        "format_version": FORMAT_VERSION,
        "config": {**config, **({} if fitted is None else {_FITTED: to_jsonable(fitted)})},
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
        raise refused(what, folder, hint) from error
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


def load_artifact(source: str | Path | Artifact, *, kind: str | None = None) -> Artifact:
    """Read an artifact, after checking every byte of it against its manifest.

    source: its folder; or the artifact, of which only the kind is checked then.
    kind: what the caller can use; another kind is an ArtifactError.

    Raises ArtifactError where there is no artifact, it cannot be read, or it is of another kind or
    a newer format, ArtifactCorruptError where a file is missing, changed or not in the manifest,
    ArtifactUnsafeError for pickles, symbolic links and names that leave the folder.
    """
    if isinstance(source, Artifact):
        _check_kind(source.kind, kind, source.folder)
        return source
    folder = Path(source)
    raw, manifest = read_manifest(folder)
    _check_kind(manifest.kind, kind, folder)
    check_names(folder, manifest.files)
    contents = {
        name: read_listed(folder, name, entry) for name, entry in sorted(manifest.files.items())
    }
    return _artifact(folder, raw, manifest, contents)


def _fitted(config: Mapping[str, Any]) -> Fitted | None:
    found = config.get(_FITTED)
    return None if found is None else from_jsonable(Fitted, found)


def _check_kind(found: str, wanted: str | None, folder: Path) -> None:
    if wanted is not None and found != wanted:
        what = f"the artifact is of kind {found!r}, not {wanted!r}"
        verbs = _TAKEN_BY.get(found)
        hint = f"; this one is for {verbs}" if verbs else ""
        raise refused(what, folder, f"pass the folder of the right one{hint}")


def _artifact(
    folder: Path, raw: dict[str, Any], manifest: ArtifactManifest, contents: dict[str, bytes]
) -> Artifact:
    """The artifact of a manifest and of all the files that it lists, verified."""
    data = contents.pop(TENSORS, None)
    try:
        tensors = {} if data is None else safetensors_numpy.load(data)
    except (SafetensorError, KeyError, ValueError) as error:
        raise corrupt(f"the tensors cannot be read ({error})", folder, TENSORS) from error
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
            raise refused(what, folder, "store text and objects as JSON in files")
    try:
        ordered = {name: np.asarray(array, order="C") for name, array in tensors.items()}
        return safetensors_numpy.save(ordered)
    except (SafetensorError, KeyError, ValueError) as error:
        hint = "use bool, integers of 8 to 64 bits and floats of 16 to 64 bits"
        raise refused(f"the tensors cannot be stored: {error}", folder, hint) from error


def _read_back(
    temporary: Path, folder: Path, identity: str, shapes: Mapping[str, list[int]]
) -> None:
    """Check in `temporary` what shall become `folder`: one file after the other, as loading does.

    shapes: name -> shape of each tensor that was to be stored.
    """
    try:
        _, manifest = read_manifest(temporary)
        if manifest.id != identity:
            raise corrupt("the manifest is not the one that was written", temporary, MANIFEST)
        check_names(temporary, manifest.files)
        found: dict[str, list[int]] = {}
        for name, entry in manifest.files.items():
            data = read_listed(temporary, name, entry)
            found |= _tensor_shapes(data, temporary) if name == TENSORS else {}
        if found != shapes:
            raise corrupt("the tensors differ in name or shape", temporary, TENSORS)
    except ArtifactError as error:
        raise type(error)(
            f"what was written cannot be read back, so nothing was kept: {error.what}",
            where=error.where.replace(str(temporary), str(folder)),
            hint="save it again, and to another disk if it happens again",
        ) from error


def _tensor_shapes(data: bytes, folder: Path) -> dict[str, list[int]]:
    """name -> shape, from the header of the tensor file `data`."""
    try:
        if not is_safetensors(data):
            raise ValueError("it does not begin with a header")
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        return {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise corrupt(f"the tensors cannot be read ({error})", folder, TENSORS) from error
