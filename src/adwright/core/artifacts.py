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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors import numpy as safetensors_numpy

from adwright.core.atomic import atomic_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.manifest import (
    FORMAT_VERSION,
    MANIFEST,
    TENSORS,
    ArtifactManifest,
    check_names,
    corrupt,
    is_safetensors,
    parse_manifest,
    read_listed,
    read_manifest,
    refuse_pickle,
    refused,
    safe_name,
    verified,
)

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST",
    "TENSORS",
    "Artifact",
    "Fitted",
    "load_artifact",
    "read_fitted",
    "save_artifact",
]

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
    what, kept in the config; see `read_fitted`.
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


def read_fitted(folder: str | Path) -> Fitted | None:
    """What a saved model was fitted on, as its manifest alone says; None where it does not.
    Raises as `load_artifact` for what is no artifact."""
    return _fitted(read_manifest(Path(folder))[1].config)


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
