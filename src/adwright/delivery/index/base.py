"""What every index is: vectors by id, searched by inner product, saved and loaded.

Letters: N vectors, D numbers each, Q queries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError, ArtifactCorruptError, MissingExtraError
from adwright.delivery.index.vectors import Found, VectorRows

__all__ = ["Index", "fitting"]

Mask = NDArray[np.bool_]


class Index(ABC):
    """Vectors by id. Many threads may search while nobody adds or removes."""

    #: Kind of the artifact.
    kind: ClassVar[str]

    def __init__(self, dimension: int) -> None:
        self._rows = VectorRows(dimension)

    @property
    def dimension(self) -> int:
        """D."""
        return self._rows.dimension

    @property
    def slots(self) -> int:
        """Slots of the vectors, those of replaced and removed ones included."""
        return len(self._rows.ids)

    def __len__(self) -> int:
        """Vectors that are present."""
        return len(self._rows)

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors [N, D] under ids int64 [N], from 0 on; a present id is replaced.

        Raises SchemaError for arrays of another shape or type, ValueInvalidError for an id or
        a number that cannot be.
        """
        self._changed(self._rows.add(ids, vectors))

    def remove(self, ids: npt.ArrayLike) -> int:
        """Take out the vectors of ids int64 [N], absent ones passed over; how many there were."""
        removed = self._rows.remove(ids)
        self._changed(np.zeros(0, np.int64))
        return removed

    @abstractmethod
    def search(self, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None) -> Found:
        """The k vectors of the highest inner product with each of queries [Q, D].

        allowed: bool [M] by id, the ids that may be returned; an id from M on is not. A query
        gets min(k, number that is present and allowed) results. Equal scores: lower id first.
        Raises as `add`, and ValueInvalidError for a k below 1.
        """

    def save(
        self, folder: str | Path, *, overwrite: bool = False, clock: Clock | None = None
    ) -> str:
        """Write the index, whole or not at all; returns its id. Raises as `save_artifact`."""
        config, tensors = self._saved()
        return save_artifact(
            folder, kind=self.kind, config=config, tensors=tensors, overwrite=overwrite, clock=clock
        )

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """The index of a folder, after every byte was checked.

        Raises as `load_artifact` and `of_artifact`.
        """
        return cls.of_artifact(load_artifact(folder, kind=cls.kind))

    @classmethod
    @abstractmethod
    def of_artifact(cls, artifact: Artifact) -> Self:
        """The index of an artifact of this kind."""

    @abstractmethod
    def _changed(self, added: NDArray[np.int64]) -> None:
        """Take note of new slots int64 [N], and drop dead ones where there are too many."""

    @abstractmethod
    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """Config and tensors of the artifact."""


@contextmanager
def fitting(artifact: Artifact) -> Iterator[None]:
    """While an index is made of its artifact: what does not fit is an ArtifactCorruptError."""
    try:
        yield
    except MissingExtraError:
        raise
    except (AdwrightError, LookupError, TypeError, RuntimeError, ValueError, MemoryError) as error:
        raise ArtifactCorruptError(
            f"the parts of the index do not fit together: {error}",
            where=str(artifact.folder),
            hint="build the index again, or use the version that wrote it",
        ) from error
