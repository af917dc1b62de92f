"""Approximate indexes of faiss: inverted lists (flat, or of 4-bit codes) and HNSW graphs.

`ivf_fast`, the default, is the fastest. Vectors are first turned to their principal directions
and cut to `directions` of them; each direction becomes a code of 4 bits, scanned from registers
(André et al., "Cache locality is not enough", VLDB 2015; faiss calls it fast scan). Codes are of
the difference from the centre of a list; the proposals are then scored with the vectors. Cutting
pays where vectors fill few of their dimensions, and then only.

A vector goes to the list of the nearest mean, by distance, and a query looks into the lists of
the highest product (`centres="means"`). With the highest product for both, as faiss does it,
lists of vectors of different lengths are bad ones: a common part of all vectors, such as the
popularity in the vectors of a two-tower, decides who goes where. For vectors of one length
`centres="directions"` does that; it is a little better there.

- `ivf_flat`: inverted lists that hold the vectors.
- `hnsw`, `hnsw_bf16`, `hnsw_int8`: a navigable graph (Malkov and Yashunin, 2016) whose nodes
  hold float32, bfloat16 or 8-bit integers. No training, no lists to choose, a slow build; for
  vectors of one length only, for a graph of inner products leads to the longest vectors.

100,000 vectors of 64 numbers are built, or built again when an index is loaded, in some 2
CPU-seconds with lists and 10 with a graph. faiss comes with the extra `delivery`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import MissingExtraError
from adwright.delivery.index.approximate import NearIndex, check_near

__all__ = ["Centres", "FaissConfig", "FaissIndex", "Structure"]

Structure = Literal["ivf_fast", "ivf_flat", "hnsw", "hnsw_bf16", "hnsw_int8"]
Centres = Literal["means", "directions"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

_CODES = 16
_LEAST_TRAINING = 10_000


@settings
class FaissConfig:
    """Settings of the structure, then of the search.

    lists: inverted lists; 0 takes the power of two next to 2 sqrt(N), N vectors when built.
    centres: of the lists, their means or these scaled to one length, see the module.
    training, rounds: the lists are learned from so many vectors each, in so many rounds; more
    of both give better lists.
    directions: principal directions that the codes of `ivf_fast` keep; at most D are used.
    links, build_breadth: M and efConstruction of a graph.
    probes: lists that a search looks into; 0 takes a sixteenth of them.
    search_breadth: efSearch of a graph; at least the number of proposals is used.
    candidates: proposals per result, each scored with its vector.
    exact_below: up to so many allowed vectors the exact product answers; see `NearIndex`.
    seed: of the training. threads: of faiss, in building and searching.
    """

    structure: Structure = "ivf_fast"
    lists: int = 0
    centres: Centres = "means"
    training: int = 64
    rounds: int = 8
    directions: int = 64
    links: int = 16
    build_breadth: int = 64
    probes: int = 0
    search_breadth: int = 128
    candidates: float = 4.0
    exact_below: int = 20_000
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        breadths = ("links", "build_breadth", "search_breadth")
        check_near(
            self,
            positive=("directions", *breadths, "training", "rounds", "threads"),
            natural=("lists", "probes", "seed"),
        )


class FaissIndex(NearIndex[FaissConfig]):
    """Vectors by id, searched through a structure of faiss.

    Raises MissingExtraError where faiss is not installed.
    """

    kind = "index-faiss"
    config_class = FaissConfig

    def __init__(self, dimension: int, config: FaissConfig | None = None) -> None:
        super().__init__(dimension, config)
        _faiss()
        self._structure: Any = None
        #: [D, R], what `ivf_fast` turns vectors with; the unit matrix is left out for others.
        self._rotation: Floats | None = None

    @property
    def lists(self) -> int:
        """Inverted lists of the structure; 0 for a graph and before there is a structure."""
        return getattr(self._structure, "nlist", 0)

    @property
    def _lists(self) -> bool:
        return self.config.structure in ("ivf_fast", "ivf_flat")

    def structure(self) -> bytes:
        """The structure as faiss writes it, and what it turns vectors with."""
        rotation = b"" if self._rotation is None else self._rotation.tobytes()
        return np.asarray(_faiss().serialize_index(self._structure)).tobytes() + rotation

    def _least(self) -> int:
        return max(_CODES, self.config.lists) if self._lists else 1

    def _outgrown(self, slots: int) -> bool:
        # Graphs grow with their vectors, the number of lists does not.
        return self._lists and slots > 4 * self._built

    def _build(self, vectors: Floats) -> None:
        faiss = self._threaded()
        config = self.config
        self._rotation = None
        if config.structure == "ivf_fast":
            sample = vectors[:: max(1, len(vectors) // 100_000)]
            # Of the second moment, not the covariance: products, not distances, must stay.
            _, directions = np.linalg.eigh(sample.T @ sample)
            best = directions[:, ::-1][:, : config.directions]
            self._rotation = np.ascontiguousarray(best, np.float32)
        self._structure = self._empty(faiss, len(vectors))
        rng = np.random.default_rng(config.seed)
        wanted = min(len(vectors), max(config.training * (self.lists or 1), _LEAST_TRAINING))
        sample = vectors[np.sort(rng.choice(len(vectors), wanted, replace=False))]
        with self._assigning(faiss):
            self._structure.train(self._turned(sample))
            self._structure.add(self._turned(vectors))

    def _empty(self, faiss: Any, number: int) -> Any:
        config, product = self.config, faiss.METRIC_INNER_PRODUCT
        width = self.dimension if self._rotation is None else self._rotation.shape[1]
        if not self._lists:
            quantizer = faiss.ScalarQuantizer
            match config.structure:
                case "hnsw_bf16":
                    graph = faiss.IndexHNSWSQ(width, quantizer.QT_bf16, config.links, product)
                case "hnsw_int8":
                    graph = faiss.IndexHNSWSQ(width, quantizer.QT_8bit, config.links, product)
                case _:
                    graph = faiss.IndexHNSWFlat(width, config.links, product)
            graph.hnsw.efConstruction = config.build_breadth
            return graph
        lists = config.lists or 2 ** round(np.log2(2 * np.sqrt(number)))
        centres = faiss.IndexFlatIP(width)
        if config.structure == "ivf_flat":
            structure = faiss.IndexIVFFlat(centres, width, lists, product)
        else:
            structure = faiss.IndexIVFPQFastScan(centres, width, lists, width, 4, product)
            structure.by_residual = True
            structure.pq.cp.min_points_per_centroid = 1
        structure.cp.niter = config.rounds
        structure.cp.spherical = config.centres == "directions"
        structure.cp.max_points_per_centroid = max(config.training, _LEAST_TRAINING)
        structure.cp.seed = config.seed
        # A warning on the standard error about few vectors would help nobody.
        structure.cp.min_points_per_centroid = 1
        return structure

    def _extend(self, vectors: Floats) -> None:
        with self._assigning(self._threaded()):
            self._structure.add(self._turned(vectors))

    @contextmanager
    def _assigning(self, faiss: Any) -> Iterator[None]:
        """While vectors find their lists: by distance from the mean, not by product."""
        if not self._lists or self.config.centres == "directions":
            yield
            return
        centres = self._structure.quantizer
        centres.metric_type = faiss.METRIC_L2
        try:
            yield
        finally:
            centres.metric_type = faiss.METRIC_INNER_PRODUCT

    def _propose(self, queries: Floats, width: int) -> Ints:
        faiss, config = self._threaded(), self.config
        if self._lists:
            probes = config.probes or max(1, self.lists // 16)
            settings = faiss.SearchParametersIVF(nprobe=min(probes, self.lists))
        else:
            settings = faiss.SearchParametersHNSW(efSearch=max(config.search_breadth, width))
        _, slots = self._structure.search(self._turned(queries), width, params=settings)
        return np.asarray(slots, np.int64)

    def _scores(self, queries: Floats, slots: Ints) -> Floats:
        # As the method of the base, without a copy of the vectors.
        faiss = self._threaded()
        vectors, slots = self._rows.vectors, np.ascontiguousarray(slots)
        scores = np.zeros(slots.shape, np.float32)
        pointers = (faiss.swig_ptr(array) for array in (scores, queries, vectors, slots))
        faiss.fvec_inner_products_by_idx(*pointers, self.dimension, *slots.shape)
        return scores

    def _turned(self, vectors: Floats) -> Floats:
        return vectors if self._rotation is None else vectors @ self._rotation

    def _threaded(self) -> Any:
        """The package, with the number of threads of the calling thread's own work set."""
        faiss = _faiss()
        faiss.omp_set_num_threads(self.config.threads)
        return faiss


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingExtraError("the faiss index", "delivery") from error
    return faiss
