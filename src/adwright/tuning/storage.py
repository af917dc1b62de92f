"""A saved adapter: an artifact of safetensors and JSON, tied to its base.

An adapter means nothing without the base that it was trained on, so the artifact holds the base's
fingerprint. Names, shapes, types and values of the tensors are checked before they are used.
`core.artifacts` refuses pickles, links, and files that leave the folder.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactError, ArtifactUnsafeError, ConfigError

KIND = "lm-tuned"

#: Values per tensor that go into a fingerprint: enough to tell two bases apart, and few enough
#: that a base of 7 billion parameters is read in a second.
_SAMPLES = 4096
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


@dataclass(frozen=True)
class Stored:
    """A saved adapter. method: the name of its class. config: its fields as plain values. base: the
    fingerprint of its base."""

    folder: Path
    method: str
    config: dict[str, Any]
    seed: int
    base: str
    tensors: dict[str, Tensor]


def fingerprint(model: nn.Module) -> str:
    """SHA-256 over name, shape and up to 4,096 evenly spaced values of each parameter.

    The values are rounded to bfloat16 first, so a base has one fingerprint in both precisions.
    """
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        flat = parameter.detach().reshape(-1)
        step = max(1, len(flat) // _SAMPLES)
        values = flat[::step].to(torch.bfloat16).view(torch.int16).cpu().numpy()
        digest.update(f"{name} {tuple(parameter.shape)}\n".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()


def write_tuned(
    folder: str | Path,
    *,
    method: str,
    config: Mapping[str, Any],
    seed: int,
    base: str,
    tensors: Mapping[str, Tensor],
    overwrite: bool = False,
) -> str:
    """Write the artifact and return its id; floats are kept as float32. Errors: `save_artifact`."""
    arrays = {
        name: (tensor.float() if tensor.is_floating_point() else tensor).detach().cpu().numpy()
        for name, tensor in tensors.items()
    }
    content = {"method": method, "config": dict(config), "base": base}
    return save_artifact(
        folder, kind=KIND, config=content, tensors=arrays, seed=seed, overwrite=overwrite
    )


def read_tuned(folder: str | Path) -> Stored:
    """Read and check the artifact.

    Raises ArtifactError where it is none, is of another kind, or holds a value that is not
    finite; ArtifactCorruptError where bytes differ from the manifest; ArtifactUnsafeError for a
    pickle, a link, or a tensor name that is not a dotted name.
    """
    artifact = load_artifact(folder, kind=KIND)
    where = str(folder)
    content = artifact.config
    if not (
        isinstance(content.get("method"), str)
        and isinstance(content.get("config"), dict)
        and isinstance(content.get("base"), str)
    ):
        raise ArtifactError(
            "the manifest does not say which method and base it is for",
            where=where,
            hint="the folder was not written by `Tuned.save`; save the adapter again",
        )
    for name, array in artifact.tensors.items():
        if not _NAME.fullmatch(name):
            raise ArtifactUnsafeError(
                f"the tensor name {name!r} is not a dotted name",
                where=where,
                hint="do not use this file: such a name can only have been made on purpose",
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ArtifactError(
                f"the tensor {name!r} holds NaN or infinity",
                where=where,
                hint="the training diverged or the file was tampered with; use another one",
            )
    tensors = {name: torch.from_numpy(array.copy()) for name, array in artifact.tensors.items()}
    return Stored(
        Path(folder), content["method"], content["config"], artifact.seed, content["base"], tensors
    )


def read_sources(
    folders: Sequence[Path], *, count: int, method: str, config: Mapping[str, Any], base: str
) -> list[dict[str, Tensor]]:
    """Read the tensors of the adapters that a method builds on.

    count: how many it needs. method: which they have to be of, with these settings among theirs;
    base: the fingerprint of theirs. Raises ConfigError where they are not, and as `read_tuned`.
    """
    if len(folders) != count:
        raise ConfigError(
            f"{count} sources are needed, {len(folders)} were given",
            where="sources",
            hint=f"name saved adapters of {method}, one by one: --source FOLDER, or `sources` of "
            "`apply` and of run files",
        )
    states = []
    for stored in map(read_tuned, folders):
        fits = all(stored.config.get(name) == value for name, value in config.items())
        if not fits or stored.method != method or stored.base != base:
            raise ConfigError(
                f"the source is not a {method} of this base with these settings",
                where=str(stored.folder),
                hint="tune this base with "
                + " ".join([f"--method {method}", *(f"--set {k}={v}" for k, v in config.items())]),
            )
        states.append(stored.tensors)
    return states


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Select the tensors whose names begin with `prefix`, and name them by the rest."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def fill(into: Mapping[str, Tensor], stored: Mapping[str, Tensor], where: str) -> None:
    """Copy tensors by name into those of a model, in place.

    Raises ArtifactError where names, shapes or types differ; nothing is copied then.
    """
    missing, unknown = sorted(set(into) - set(stored)), sorted(set(stored) - set(into))
    if missing or unknown:
        raise ArtifactError(
            f"{len(missing)} tensors are missing and {len(unknown)} are unknown, "
            f"for example {(missing + unknown)[0]!r}",
            where=where,
            hint="load it with the method and base that it was saved with",
        )
    for name, tensor in into.items():
        found = stored[name]
        same_kind = found.is_floating_point() == tensor.is_floating_point()
        if found.shape != tensor.shape or not same_kind:
            raise ArtifactError(
                f"the tensor {name!r} is {found.dtype} {list(found.shape)}, "
                f"the model wants {tensor.dtype} {list(tensor.shape)}",
                where=where,
                hint="load it with the method and base that it was saved with",
            )
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(stored[name])
