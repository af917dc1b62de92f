"""The nearest vectors by inner product: one `Index`, two ways to keep it.

- `ExactConfig`: every vector is scored. The default, and the oracle of the other. A thousand
  vectors of 64 numbers take 2 microseconds per query in a batch.
- `FaissConfig`: approximate structures of faiss, which pay from some hundred thousand vectors on.
  Filters and removals are exact with them too: what may not be returned never is, and nothing is
  lost to a filter. "usearch" still names the graph that faiss builds in its place.

Which vectors are near enough to matter is the business of whoever made them; here the best k by
inner product are found, each id once. Letters: N vectors, D numbers each, Q queries, K vectors
a query.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact, load_artifact
from adwright.core.config import from_jsonable, settings, to_jsonable
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    MissingExtraError,
    SchemaError,
    ValueInvalidError,
)
from adwright.delivery.index.exact import (
    LARGEST_ID,
    ExactConfig,
    ExactIndex,
    Found,
    Index,
    VectorRows,
    best_distinct,
    best_of,
    best_products,
    checked_count,
    checked_queries,
    fitting,
)

# --------------------------------------------------------------------------------------------------
# What approximate indexes have in common: a structure proposes, the vectors decide.
#
# A structure (lists of short codes, a graph) names a few slots that may be near; these are scored
# with the vectors themselves, so scores are inner products whatever the structure stores. It never
# hears of filters and removals: what may not be returned is struck from its proposals, and it is
# asked for more of them in proportion. Three times the exact product answers instead, so that a
# filter never loses a result:
#
# - where so few vectors are allowed that scoring them all is cheap,
# - where so many proposals would be needed that it is cheaper, sooner with a filter, which
#   strikes good ones,
# - for each query whose proposals leave fewer than k results although there are more.
#
# A structure is built once there are vectors enough, and built anew when more than half of its
# slots are dead or its subclass has outgrown it. It is never saved: the native libraries trust
# what they read, and a changed byte could end the process. Loading builds it again.

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# --------------------------------------------------------------------------------------------------
# Approximate indexes of faiss: inverted lists (flat, or of 4-bit codes) and HNSW graphs.
#
# `ivf_fast`, the default, is the fastest. Vectors are first turned to their principal directions
# and cut to `directions` of them; each direction becomes a code of 4 bits, scanned from registers
# (André et al., "Cache locality is not enough", VLDB 2015; faiss calls it fast scan). Codes are of
# the difference from the centre of a list; the proposals are then scored with the vectors. Cutting
# pays where vectors fill few of their dimensions, and then only.
#
# A vector goes to the list of the nearest mean, by distance, and a query looks into the lists of
# the highest product (`centres="means"`). With the highest product for both, as faiss does it,
# lists of vectors of different lengths are bad ones: a common part of all vectors, such as the
# popularity in the vectors of a two-tower, decides who goes where. For vectors of one length
# `centres="directions"` does that; it is a little better there.
#
# - `ivf_flat`: inverted lists that hold the vectors.
# - `hnsw`, `hnsw_bf16`, `hnsw_int8`: a navigable graph (Malkov and Yashunin, 2016) whose nodes
#   hold float32, bfloat16 or 8-bit integers. No training, no lists to choose, a slow build; for
#   vectors of one length only, for a graph of inner products leads to the longest vectors.
#
# 100,000 vectors of 64 numbers are built, or built again when an index is loaded, in some 2
# CPU-seconds with lists and 10 with a graph. faiss comes with the extra `delivery`.

Structure = Literal["ivf_fast", "ivf_flat", "hnsw", "hnsw_bf16", "hnsw_int8"]
Centres = Literal["means", "directions"]


_CODES = 16
_LEAST_TRAINING = 10_000
#: The least of each setting.
_LEAST = dict.fromkeys(
    ("candidates", "directions", "links", "build_breadth", "search_breadth", "training"), 1
) | {"rounds": 1, "threads": 1, "exact_below": 0, "lists": 0, "probes": 0, "seed": 0}
#: Beyond these faiss asks for memory that no machine has; some end the process then.
_MOST = {"links": 1024, "threads": 1024, "rounds": 10_000}
_MOST |= dict.fromkeys(("exact_below", "seed"), 2**31 - 1)
_MOST_OF_OTHERS = 2**20


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
    exact_below: up to so many allowed vectors the exact product answers; see the module.
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
        for name, least in _LEAST.items():
            value, most = getattr(self, name), _MOST.get(name, _MOST_OF_OTHERS)
            if not value >= least:  # NaN is not
                raise ConfigError(f"{name} must be at least {least}", where=str(value))
            if value > most:
                raise ConfigError(f"{name} must be at most {most:,}", where=str(value))


class FaissIndex(Index):
    """Vectors by id, searched through a structure of faiss.

    config: settings of the search (not those of the structure) may be changed at any time by
    setting another one.

    Raises MissingExtraError where faiss is not installed.
    """

    kind = "index-faiss"
    #: With proposals for more than this share of the slots the exact product is cheaper.
    widest: ClassVar[float] = 0.1
    #: A proposal costs about as much as so many products of a batch: a filter that allows fewer
    #: vectors than that per proposal is better answered by the exact product.
    products_per_proposal: ClassVar[int] = 64

    def __init__(self, dimension: int, config: FaissConfig | None = None) -> None:
        super().__init__(dimension)
        self.config = FaissConfig() if config is None else config
        self._built = 0
        _faiss()
        self._structure: Any = None
        #: [D, R], what `ivf_fast` turns vectors with; the unit matrix is left out for others.
        self._rotation: Floats | None = None

    @property
    def ready(self) -> bool:
        """Whether there is a structure; before, every search is exact."""
        return self._built > 0

    @property
    def built(self) -> int:
        """Vectors that the structure was built from; 0 where there is none."""
        return self._built

    def search(self, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None) -> Found:
        """The k best of the allowed vectors, as far as they are found, see `Index`."""
        queries, k = checked_queries(queries, self.dimension), checked_count(k, "k")
        rows = self._rows
        slots = rows.selected(allowed) if allowed is not None else None
        number = len(rows) if slots is None else len(slots)
        width = int(np.ceil(k * self.config.candidates * len(rows.ids) / max(number, 1)))
        cheap = self.config.exact_below
        if allowed is not None:
            cheap = max(cheap, self.products_per_proposal * width)
        if not self.ready or number <= cheap or width > self.widest * len(rows.ids):
            return best_products(rows, queries, k, self._slots(slots))
        found = self._found(queries, k, self._propose(queries, width), allowed)
        short = np.flatnonzero(found.ids[:, min(k, number) - 1] < 0)
        if len(short):
            exact = best_products(rows, queries[short], k, self._slots(slots))
            found.ids[short], found.scores[short] = exact.ids, exact.scores
        return found

    @classmethod
    def of_artifact(cls, artifact: Artifact) -> Self:
        """The index of an artifact of this kind, its structure built as it was: the settings, and
        the vectors in their order, say all of it.

        Raises ArtifactCorruptError where its parts do not fit together.
        """
        with fitting(artifact):
            config = dict(artifact.config)
            dimension, built = config.pop("dimension"), config.pop("built")
            if artifact.kind == _USEARCH:
                config = _in_place_of_usearch(config)
            index = cls(dimension, from_jsonable(FaissConfig, config))
            index._rows = rows = VectorRows.restored(
                artifact.tensors["ids"], artifact.tensors["vectors"]
            )
            if rows.dimension != dimension:
                raise ValueError(f"vectors of {rows.dimension} numbers instead of {dimension}")
            if built != 0:
                if not index._least() <= checked_count(built, "built") <= len(rows.ids):
                    raise ValueError(f"a structure of {built} of {len(rows.ids)} vectors")
                index._build(rows.vectors[:built])
                index._built = built
                index._extend(rows.vectors[built:])
        return index

    def _saved(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        config = {"dimension": self.dimension, "built": self._built} | to_jsonable(self.config)
        return config, {"ids": self._rows.ids, "vectors": self._rows.vectors}

    def _slots(self, slots: Ints | None) -> Ints | None:
        return self._rows.selected(None) if slots is None else slots

    def _found(self, queries: Floats, k: int, proposed: Ints, allowed: Mask | None) -> Found:
        """The k best of the proposed slots [Q, C], -1 where there is none, that may be
        returned."""
        rows = self._rows
        if rows.dead or allowed is not None:
            proposed = np.where(rows.may_return(proposed, allowed), proposed, -1)
        scores = self._scores(queries, proposed)
        return best_of(np.where(proposed >= 0, rows.ids[proposed], -1), scores, k)

    def _changed(self, added: Ints) -> None:
        rows = self._rows
        if self.ready and len(added):
            self._extend(rows.vectors[added])
        if rows.dead > len(rows):
            self._rows = rows = rows.compacted()
            self._built = 0
        enough = max(self.config.exact_below + 1, self._least())
        if len(rows) >= enough and (not self.ready or self._outgrown(len(rows.ids))):
            self._rows = rows = rows.compacted() if rows.dead else rows
            self._build(rows.vectors)
            self._built = len(rows)

    @property
    def lists(self) -> int:
        """Inverted lists of the structure; 0 for a graph and before there is a structure."""
        return getattr(self._structure, "nlist", 0)

    @property
    def _lists(self) -> bool:
        return self.config.structure in ("ivf_fast", "ivf_flat")

    def structure(self) -> bytes:
        """The structure as faiss writes it, and what it turns vectors with: to be measured and
        compared. Nothing reads it."""
        rotation = b"" if self._rotation is None else self._rotation.tobytes()
        return np.asarray(_faiss().serialize_index(self._structure)).tobytes() + rotation

    def _least(self) -> int:
        """Vectors that the structure needs to be built."""
        return max(_CODES, self.config.lists) if self._lists else 1

    def _outgrown(self, slots: int) -> bool:
        """Whether a structure for so many slots should be built anew."""
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
        """Inner products [Q, C] of queries and slots [Q, C]; -inf for slot -1, without a copy of
        the vectors."""
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


IndexConfig = ExactConfig | FaissConfig
IndexKind = Literal["exact", "faiss", "usearch"]
#: Of saved indexes that earlier versions built with usearch.
_USEARCH = "index-usearch"


def build_index(config: IndexConfig | IndexKind, dimension: int) -> Index:
    """An empty index of vectors of `dimension` numbers.

    config: its settings, or the name of a kind for that kind's own.
    Raises MissingExtraError where the kind needs a package that is not installed.

    >>> index = build_index("exact", 2)
    >>> index.add([5, 7], [[1.0, 0.0], [0.0, 1.0]])
    >>> index.search([[0.5, 1.0]], 2).ids
    array([[7, 5]])
    """
    match config:
        case ExactConfig():
            return ExactIndex(dimension, config)
        case FaissConfig():
            return FaissIndex(dimension, config)
        case "exact":
            return ExactIndex(dimension)
        case "faiss":
            return FaissIndex(dimension)
        case "usearch":
            return FaissIndex(dimension, from_jsonable(FaissConfig, _in_place_of_usearch({})))


def _in_place_of_usearch(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the graph of faiss that does what usearch did with these."""
    warnings.warn(
        'there is no index of usearch any more: faiss builds its graph; name it "faiss"',
        stacklevel=2,
    )
    structure = {"f32": "hnsw", "i8": "hnsw_int8"}.get(config.get("storage", ""), "hnsw_bf16")
    kept = {name: value for name, value in config.items() if name != "storage"}
    return {"candidates": 1.5} | kept | {"structure": structure}


def load_index(folder: str | Path) -> Index:
    """The index that `save` wrote, of whatever kind.

    Raises ArtifactError where the folder holds none, ArtifactCorruptError where a file was
    changed, MissingExtraError where its kind needs a package that is not installed.
    """
    artifact = load_artifact(folder)
    if artifact.kind == ExactIndex.kind:
        return ExactIndex.of_artifact(artifact)
    if artifact.kind in (FaissIndex.kind, _USEARCH):
        return FaissIndex.of_artifact(artifact)
    raise ArtifactError(
        f"the artifact is of kind {artifact.kind!r}, no index",
        where=str(folder),
        hint="pass the folder of an index",
    )


def search_many(
    index: Index, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None
) -> Found:
    """The k best items of users with K vectors each, queries [Q, K, D].

    An item's score is the best of its K inner products; each id comes once. With an exact
    index the result is exact: an item among the best k of a user is among the best k of the
    vector that it is nearest to.
    Raises as `Index.search`, and SchemaError where `queries` has not three axes.
    """
    queries = np.asarray(queries)
    if queries.ndim != 3 or queries.shape[1] == 0:
        raise SchemaError(
            "users are vectors [Q, K, D] with K from 1 on",
            column="queries",
            value=list(queries.shape),
            hint="use Index.search for one vector a query",
        )
    users, vectors, width = queries.shape
    found = index.search(queries.reshape(-1, width), k, allowed=allowed)
    ids = found.ids.reshape(users, vectors * k)
    scores = found.scores.reshape(users, vectors * k)
    return best_distinct(ids, scores, k)


def recall_against_exact(index: Index, exact: Index, queries: npt.ArrayLike, k: int) -> float:
    """Share of the exact k best that `index` finds too, averaged over queries [Q, D].

    exact: an exact index of the same vectors.
    Raises ValueInvalidError where there is nothing to find.
    """
    checked_count(k, "k")
    truth, found = exact.search(queries, k).ids, index.search(queries, k).ids
    if not (truth >= 0).any():
        raise ValueInvalidError(
            "there is nothing to recall",
            value=f"{len(truth)} queries, {len(exact)} vectors",
            hint="add vectors, and pass at least one query",
        )
    query = np.arange(len(truth))[:, None] * (LARGEST_ID + 1)
    there = np.isin(truth + query, (found + query)[found >= 0]) & (truth >= 0)
    return float((there.sum(axis=1) / (truth >= 0).sum(axis=1)).mean())
