"""Keys and values of one beginning in a file: what a process has read is there for the next one.

The blocks are one array [blocks, L, e], bit by bit as they lie in the pool. A file belongs to the
base, and the adapter, whose keys it holds: with others, or pages of another form, it is refused.

It tells the tokens of the beginning and whom it may be shared with; keep it as the text itself.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import ArtifactError

__all__ = ["StoredPrefix", "read_prefix", "write_prefix"]

_FORMAT = "adwright-prefix-1"


@dataclass(frozen=True)
class StoredPrefix:
    """identity: of the base and the adapter, whatever else has other keys. tokens: of all of the
    blocks. pages [blocks, L, e]: on the CPU. adapter, salt: as of the row that read it."""

    identity: str
    tokens: tuple[int, ...]
    pages: Tensor
    adapter: str | None = None
    salt: str = ""


def write_prefix(file: str | Path, prefix: StoredPrefix) -> None:
    """Write the file whole or not at all; raises ResourceError where it cannot be written."""
    told = {"format": _FORMAT, "identity": prefix.identity, "salt": prefix.salt}
    told |= {"adapter": json.dumps(prefix.adapter)}
    tensors = {
        "tokens": torch.tensor(prefix.tokens, dtype=torch.int64),
        "pages": prefix.pages.contiguous(),
    }
    atomic_write_bytes(Path(file), save(tensors, told))


def read_prefix(file: str | Path) -> StoredPrefix:
    """Read it, its pages as they were. Raises ArtifactError where it is no such file."""
    try:
        with safe_open(str(file), "pt") as opened:
            told = opened.metadata() or {}
            if told.get("format") != _FORMAT:
                raise ArtifactError(
                    "the file holds no prefix", where=str(file), hint="name what was saved as one"
                )
            tokens = tuple(opened.get_tensor("tokens").tolist())
            pages = opened.get_tensor("pages")
    except (SafetensorError, OSError, ValueError) as error:
        raise ArtifactError(
            f"the file cannot be read: {error}", where=str(file), hint="save the prefix anew"
        ) from error
    return StoredPrefix(
        told.get("identity", ""),
        tokens,
        pages,
        json.loads(told.get("adapter", "null")),
        told.get("salt", ""),
    )
