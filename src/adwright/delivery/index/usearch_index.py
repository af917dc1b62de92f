"""The approximate index of usearch: an HNSW graph with nodes of few bytes.

The graph is that of Malkov and Yashunin (2016), nodes hold float32, bfloat16, float16 or 8-bit
integers. It needs no training and takes single vectors well. 8-bit nodes hold directions only
(usearch scales each vector to the range), so they suit vectors of one length; whatever the
nodes hold, proposals are scored with the vectors. A graph is built, or built again when an index
is loaded, in some 10 CPU-seconds for 100,000 vectors of 64 numbers. usearch comes with the extra
`delivery`.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import MissingExtraError
from adwright.delivery.index.approximate import NearIndex, check_near

__all__ = ["Storage", "UsearchConfig", "UsearchIndex"]

Storage = Literal["f32", "bf16", "f16", "i8"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


@settings
class UsearchConfig:
    """Settings of the structure, then of the search.

    storage: what a node holds. links, build_breadth: M and efConstruction of the graph.
    search_breadth: efSearch; at least the number of proposals is used.
    candidates: proposals per result, each scored with its vector.
    exact_below: up to so many allowed vectors the exact product answers; see `NearIndex`.
    threads: of usearch, in building and searching.
    """

    storage: Storage = "f16"
    links: int = 16
    build_breadth: int = 64
    search_breadth: int = 128
    candidates: float = 1.5
    exact_below: int = 20_000
    threads: int = 1

    def __post_init__(self) -> None:
        check_near(self, positive=("links", "build_breadth", "search_breadth", "threads"))


class UsearchIndex(NearIndex[UsearchConfig]):
    """Vectors by id, searched through a graph of usearch.

    Raises MissingExtraError where usearch is not installed.
    """

    kind = "index-usearch"
    config_class = UsearchConfig

    def __init__(self, dimension: int, config: UsearchConfig | None = None) -> None:
        super().__init__(dimension, config)
        self._graph = self._empty()

    def _empty(self) -> Any:
        config = self.config
        return _usearch().Index(
            ndim=self.dimension,
            metric="ip",
            dtype=config.storage,
            connectivity=config.links,
            expansion_add=config.build_breadth,
            expansion_search=config.search_breadth,
        )

    def structure(self) -> bytes:
        """The graph as usearch writes it."""
        return bytes(self._graph.save())

    def _least(self) -> int:
        return 1

    def _outgrown(self, slots: int) -> bool:
        return False

    def _build(self, vectors: Floats) -> None:
        self._graph = self._empty()
        self._extend(vectors)

    def _extend(self, vectors: Floats) -> None:
        first = len(self._graph)
        slots = np.arange(first, first + len(vectors), dtype=np.uint64)
        self._graph.add(slots, vectors, threads=self.config.threads)

    def _propose(self, queries: Floats, width: int) -> Ints:
        breadth = max(self.config.search_breadth, width)
        if self._graph.expansion_search != breadth:
            self._graph.expansion_search = breadth
        found = self._graph.search(queries, width, threads=self.config.threads)
        # One query gives one list without counts.
        keys = np.asarray(found.keys).reshape(len(queries), -1).astype(np.int64)
        counts = np.asarray(getattr(found, "counts", keys.shape[1]))
        slots = np.full((len(queries), width), -1, np.int64)
        slots[:, : keys.shape[1]] = keys
        slots[np.arange(width) >= counts.reshape(-1, 1)] = -1
        return slots


def _usearch() -> Any:
    try:
        import usearch.index
    except ImportError as error:
        raise MissingExtraError("the usearch index", "delivery") from error
    return usearch.index
