"""Vectors that are computed once: a folder of shards, by the SHA-256 of what was encoded.

A run over a million ads is cut off sometime, and most ads of the next export were there before. So
each content is known by its hash, whatever ad it belongs to; a shard is written whole after so many
contents, and a run that begins again finds all shards of its encoder.

    vectors = VectorStore(folder).vectors(texts, encoder)        # [N, D], NaN where a text is None

A shard is an Arrow file: key (32 bytes) and vector (D numbers, float16 as their noise allows).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import FileUnreadableError
from adwright.core.hashing import sha256_bytes
from adwright.core.progress import progress

__all__ = ["Encoder", "VectorStore"]

Content = TypeVar("Content", str, bytes)
_Content_contra = TypeVar("_Content_contra", str, bytes, contravariant=True)
_SHARD = 1024
_KEY = pa.binary(32)


class Encoder(Protocol[_Content_contra]):
    """What makes vectors. name: of all that they depend on, fit for a folder's name. width: D."""

    @property
    def name(self) -> str:
        """See the class."""
        ...

    @property
    def width(self) -> int:
        """See the class."""
        ...

    def encode(self, contents: Sequence[_Content_contra], /) -> NDArray[np.float32]:
        """float32 [B, D]."""
        ...


class VectorStore:
    """Vectors in `folder`, which is made. Any number of encoders and processes may share it: each
    encoder has a folder there, each shard a name of its own.

    shard: contents that are encoded between two writes.
    """

    def __init__(self, folder: str | Path, *, shard: int = _SHARD) -> None:
        self.folder, self._shard = Path(folder), shard

    def vectors(
        self, contents: Sequence[Content | None], encoder: Encoder[Content]
    ) -> NDArray[np.float32]:
        """float32 [N, D] of N contents; NaN where one is None or empty.

        Raises as the encoder does, with what was encoded before kept; FileUnreadableError for a
        shard that is damaged.
        """
        made = np.full((len(contents), encoder.width), np.nan, np.float32)
        rows: dict[bytes, list[int]] = {}
        first: dict[bytes, Content] = {}
        for row, content in enumerate(contents):
            if content:
                key = _key(content)
                rows.setdefault(key, []).append(row)
                first.setdefault(key, content)
        home = self.folder / encoder.name
        for key, vector in self._kept(home, encoder.width):
            for row in rows.pop(key, ()):
                made[row] = vector
            first.pop(key, None)
        missing = list(first)
        if not missing:
            return made
        with progress(len(missing), f"encode by {encoder.name}", "contents") as bar:
            for start in range(0, len(missing), self._shard):
                keys = missing[start : start + self._shard]
                found = encoder.encode([first[key] for key in keys]).astype(np.float16)
                self._keep(home, keys, found)
                for key, vector in zip(keys, found, strict=True):
                    made[rows[key]] = vector
                bar.advance(len(keys))
        return made

    def _keep(self, home: Path, keys: Sequence[bytes], vectors: NDArray[np.float16]) -> None:
        table = pa.table(
            {
                "key": pa.array(keys, _KEY),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors.reshape(-1)), vectors.shape[1]
                ),
            }
        )
        sink = pa.BufferOutputStream()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        home.mkdir(parents=True, exist_ok=True)
        name = f"{sha256_bytes(b''.join(keys))[:16]}.arrow"
        atomic_write_bytes(home / name, sink.getvalue().to_pybytes())

    def _kept(self, home: Path, width: int) -> Iterator[tuple[bytes, NDArray[np.float16]]]:
        for path in sorted(home.glob("*.arrow")) if home.is_dir() else ():
            try:
                with pa.memory_map(os.fspath(path)) as source:
                    table = pa.ipc.open_file(source).read_all()
                    keys = table["key"].to_pylist()
                    values = table["vector"].combine_chunks().flatten().to_numpy()
                    vectors = values.reshape(len(keys), width)
            except (OSError, pa.ArrowInvalid, KeyError, ValueError) as error:
                raise FileUnreadableError(
                    f"a file of vectors is damaged: {error}",
                    file=os.fspath(path),
                    hint="remove it; what it held is encoded again",
                ) from error
            yield from zip(keys, vectors, strict=True)


def _key(content: str | bytes) -> bytes:
    data = content.encode("utf-8") if isinstance(content, str) else content
    return bytes.fromhex(sha256_bytes(data))
