"""Checkpoints as files: safetensors, or torch's own format, of which tensors alone are read.

    tensors = read_checkpoint("550000.pt")      # {"g_ema.conv1.conv.weight": ..., ...}

Dictionaries within dictionaries become dotted names; what is no tensor is left out. A pickle that
holds anything but tensors and plain values is refused, for loading it could run code: NVIDIA's own
.pkl files hold whole networks, and have to be written as a state dict where they were made.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from adwright.core.errors import ArtifactUnsafeError, DataError, FileUnreadableError

__all__ = ["Named", "prefix_before", "read_checkpoint"]

#: A file of safetensors begins with the length of a JSON object, in 8 bytes.
_LENGTH = 8


@dataclass(frozen=True, eq=False)
class Named:
    """Tensors of a file by name. file: as it was named, for errors."""

    tensors: Mapping[str, Tensor]
    file: str = ""

    def __contains__(self, name: str) -> bool:
        """Whether there is a tensor of that name."""
        return name in self.tensors

    def shape(self, name: str, axes: int) -> tuple[int, ...]:
        """Of a tensor with so many axes. Raises DataError where it is not there, or has others."""
        if name not in self.tensors:
            raise DataError(
                "the checkpoint lacks a tensor",
                file=self.file,
                column=name,
                hint="name the layout that it has, or convert it again",
            )
        found = tuple(self.tensors[name].shape)
        if len(found) != axes:
            raise DataError(
                f"a tensor has shape {found}",
                file=self.file,
                column=name,
                hint=f"it should have {axes} axes",
            )
        return found

    def get(self, name: str, *shape: int) -> Tensor:
        """The tensor as float32, brought to that shape, which has as many numbers.

        Raises DataError where it is not there, or has another number of numbers.
        """
        if name not in self.tensors:
            self.shape(name, 0)
        found = self.tensors[name].detach().float()
        if found.numel() != torch.Size(shape).numel():
            raise DataError(
                f"a tensor has shape {tuple(found.shape)}",
                file=self.file,
                column=name,
                hint=f"it should have {' x '.join(map(str, shape)) or 'one number'}",
            )
        return found.reshape(shape).clone()

    def below(self, prefix: str) -> Named:
        """Those whose name begins with prefix, without it."""
        own = {n.removeprefix(prefix): t for n, t in self.tensors.items() if n.startswith(prefix)}
        return Named(own, self.file)

    def count(self, pattern: str, first: int = 0) -> int:
        """How many names there are of "PATTERN", with {} a number from `first` on."""
        at = first
        while pattern.format(at) in self.tensors:
            at += 1
        return at - first


def read_checkpoint(path: str | Path) -> Named:
    """See the module. Raises FileUnreadableError where there is no such file or it is damaged,
    ArtifactUnsafeError where it holds more than tensors and plain values, DataError where it holds
    no tensor.
    """
    path = Path(path)
    try:
        tensors = load_file(path) if _is_safetensors(path) else dict(_flat(_read_torch(path), ""))
    except (OSError, SafetensorError, EOFError, RuntimeError, ValueError) as error:
        raise FileUnreadableError(
            f"the checkpoint cannot be read: {error}", file=str(path), hint="check the path"
        ) from error
    if not tensors:
        raise DataError("the checkpoint holds no tensor", file=str(path), hint="check the path")
    return Named(tensors, str(path))


def prefix_before(names: Iterator[str] | Mapping[str, Tensor], marker: str) -> str | None:
    """What stands before `marker` in the one name that ends with it; None where none does.

    Of several a running mean ("ema") is preferred, then the shortest.
    """
    found = [name.removesuffix(marker) for name in names if name.endswith(marker)]
    found = [prefix for prefix in found if not prefix or prefix.endswith(".")]
    return min(found, key=lambda p: ("ema" not in p, len(p), p)) if found else None


def _is_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        begin = file.read(_LENGTH + 1)
    return begin[_LENGTH:] == b"{"


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ArtifactUnsafeError(
            "the checkpoint holds more than tensors and plain values",
            where=str(path),
            hint="write its state dict, best as safetensors, where it was made",
        ) from error


def _flat(values: object, prefix: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(values, Tensor):
        yield prefix.removesuffix("."), values
    elif isinstance(values, Mapping):
        for name, value in values.items():
            yield from _flat(value, f"{prefix}{name}.")
