"""The nearest vectors by inner product: one `Index`, two ways to keep it.

- `ExactConfig`: every vector is scored. The default, and the oracle of the other.
- `FaissConfig`: approximate structures of faiss, which pay from some hundred thousand vectors on.
  Filters are exact with them too: what may not be returned never is, and nothing is lost to a
  filter. "usearch" still names the graph that faiss builds in its place.

Ids are codes of a catalogue. Letters: N vectors, D numbers each, Q queries, K vectors a query.
"""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import Clock
from adwright.core.config import Ge, Le, from_jsonable, settings, to_jsonable
from adwright.core.errors import (
    AdwrightError,
    ArtifactCorruptError,
    ArtifactError,
    MissingExtraError,
    SchemaError,
    ValueInvalidError,
)

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

LARGEST_ID = 2**28
_LARGEST_NUMBER = 1e15


@dataclass(frozen=True)
class ExactConfig:
    """The exact product has no settings."""


@dataclass(frozen=True, eq=False)
class Found:
    """ids int64 [Q, k], best first, -1 where there is nothing more; scores float32 [Q, k],
    inner products, -inf there."""

    ids: Ints
    scores: Floats


class Index(ABC):
    """Vectors by id. Many threads may search while nobody adds."""

    #: Kind of the artifact.
    kind: ClassVar[str]
    config: ExactConfig | FaissConfig

    def __init__(self, dimension: int) -> None:
        self.dimension = checked_count(dimension, "dimension")
        self._size = 0
        # Twice as long as needed, so that adding one vector at a time copies each a few times only.
        self._ids = np.zeros(0, np.int64)
        self._vectors = np.zeros((0, dimension), np.float32)
        self._norms = np.zeros(0, np.float32)

    def __len__(self) -> int:
        return self._size

    @property
    def ids(self) -> Ints:
        """int64 [N], in the order in which they were added."""
        return self._ids[: self._size]

    @property
    def vectors(self) -> Floats:
        """float32 [N, D]."""
        return self._vectors[: self._size]

    @property
    def norms(self) -> Floats:
        """float32 [N]: lengths of the vectors."""
        return self._norms[: self._size]

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        """Add vectors [N, D] under ids int64 [N], from 0 on.

        Raises SchemaError for arrays of another shape or type, ValueInvalidError for an id or
        a number that cannot be, and for an id that is there already.
        """
        codes = _checked_ids(ids)
        rows = _checked_vectors(vectors, self.dimension, "vectors")
        if len(codes) != len(rows):
            raise SchemaError(
                "there must be one id per vector",
                column="ids",
                value=f"{len(codes)} ids, {len(rows)} vectors",
                hint="pass arrays of one length",
            )
        if len(np.unique(codes)) < len(codes) or np.isin(codes, self.ids).any():
            raise ValueInvalidError("each vector needs an id of its own", column="ids")
        end = self._size + len(codes)
        if end > len(self._ids):
            room = max(end, 2 * len(self._ids)) - self._size
            self._ids = np.concatenate([self.ids, np.zeros(room, np.int64)])
            self._norms = np.concatenate([self.norms, np.zeros(room, np.float32)])
            empty = np.zeros((room, self.dimension), np.float32)
            self._vectors = np.concatenate([self.vectors, empty])
        self._ids[self._size : end], self._vectors[self._size : end] = codes, rows
        self._norms[self._size : end] = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        self._size = end

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
        """Write the index, whole or not at all; returns its id. Raises as `save_artifact`.

        A structure is not saved, but built again: faiss trusts what it reads.
        """
        return save_artifact(
            folder,
            kind=self.kind,
            config={"dimension": self.dimension} | to_jsonable(self.config),
            tensors={"ids": self.ids, "vectors": self.vectors},
            overwrite=overwrite,
            clock=clock,
        )

    def _may_return(self, places: Ints, allowed: Mask) -> Mask:
        """bool, shaped as `places` of vectors: whether their ids are allowed; false for place -1.

        Raises SchemaError where `allowed` is no vector of booleans.
        """
        if not isinstance(allowed, np.ndarray) or allowed.dtype != np.bool_ or allowed.ndim != 1:
            raise SchemaError(
                "a filter is one boolean an id",
                column="allowed",
                value=getattr(allowed, "dtype", type(allowed).__name__),
                hint="pass a bool array, true at the ids that may be returned",
            )
        # One more entry, false: where no place and too large ids lead.
        ids = np.where(places >= 0, self.ids[places], LARGEST_ID)
        may: Mask = np.append(allowed, False)[np.minimum(ids, len(allowed))]
        return may

    def _selected(self, allowed: Mask | None) -> Ints | None:
        """Places that a search may return, ascending; None stands for all."""
        if allowed is None:
            return None
        return np.flatnonzero(self._may_return(np.arange(self._size), allowed))


def checked_count(value: int, name: str) -> int:
    """A positive integer; ValueInvalidError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ValueInvalidError(
            f"{name} must be a positive integer", value=value, hint="use 1 or more"
        )
    return int(value)


def _checked_ids(ids: npt.ArrayLike) -> Ints:
    array = np.asarray(ids)
    if array.size == 0:
        array = array.astype(np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise SchemaError(
            "ids are one integer per vector",
            column="ids",
            value=f"{array.dtype} {list(array.shape)}",
            hint="pass an int64 array [N]",
        )
    outside = (array < 0) | (array > LARGEST_ID)
    if outside.any():
        raise ValueInvalidError(
            f"an id lies outside 0 to {LARGEST_ID:,}",
            column="ids",
            row=int(np.argmax(outside)),
            value=int(array[np.argmax(outside)]),
            hint="use the item codes of the catalogue",
        )
    return array.astype(np.int64)


def _checked_vectors(vectors: npt.ArrayLike, dimension: int, name: str) -> Floats:
    array = np.asarray(vectors)
    if array.ndim != 2 or array.shape[1] != dimension or array.dtype.kind not in "fiu":
        raise SchemaError(
            f"{name} must be numbers [N, {dimension}]",
            column=name,
            value=f"{array.dtype} {list(array.shape)}",
            hint="pass a float32 array of that width",
        )
    # Written so that NaN counts as too large; before the cast, which could overflow.
    fine = np.abs(array).max(axis=1, initial=0) <= _LARGEST_NUMBER
    if not fine.all():
        row = int(np.argmin(fine))
        raise ValueInvalidError(
            f"a number is not finite, or larger than {_LARGEST_NUMBER:g}",
            column=name,
            row=row,
            value=array[row].tolist(),
            hint="check the model that made it",
        )
    return np.ascontiguousarray(array, np.float32)


# --------------------------------------------------------------------------------------------------
# Pairs of id and score in order: the highest score first, of equal scores the lowest id. Both fit
# into one integer of 64 bits; sorting those is several times faster than sorting by two keys.
#

_SIGN = np.uint32(1 << 31)
_HALF = np.uint64(32)
#: The key of id -1 and score -inf, the last of all.
_NONE = np.uint64(0xFF800000_FFFFFFFF)


def ordered_bits(values: Floats) -> NDArray[np.uint32]:
    """float32 numbers as integers in the same order; 0 and -0 are the same."""
    bits = (values + np.float32(0)).view(np.uint32)
    return np.where(bits >> 31, ~bits, bits | _SIGN)


def unordered_bits(bits: NDArray[np.uint32]) -> Floats:
    """The numbers of which `ordered_bits` made the integers."""
    return np.where(bits >> 31, bits ^ _SIGN, ~bits).view(np.float32)


def best_of(ids: Ints, scores: Floats, k: int) -> Found:
    """The k best of each row of ids int64 [Q, C] and scores float32 [Q, C].

    A pair that is none has id -1 and score -inf. The result is padded to k with such pairs.
    """
    return _found(_joined(~ordered_bits(scores), ids.astype(np.uint32)), k)


def best_distinct(ids: Ints, scores: Floats, k: int) -> Found:
    """As `best_of`, where an id may come several times: its best score counts."""
    keys = np.sort(_joined(ids.astype(np.uint32), ~ordered_bits(scores)), axis=1)
    codes = (keys >> _HALF).astype(np.uint32)
    keys = _joined(keys.astype(np.uint32), codes)
    keys[:, 1:][codes[:, 1:] == codes[:, :-1]] = _NONE
    return _found(keys, k)


def first_by_query(query: Ints, score: Floats, ids: Ints, k: int) -> tuple[Ints, Ints]:
    """The k best pairs of each query, of pairs in any order.

    query, score, ids: [P]. Returns (which pairs [R], their places among those of their query,
    from 0 [R]), by query and place.
    """
    order = np.lexsort((ids, -score, query))
    ordered = query[order]
    place = np.arange(len(order)) - np.searchsorted(ordered, ordered)
    return order[place < k], place[place < k]


def _joined(high: NDArray[np.uint32], low: NDArray[np.uint32]) -> NDArray[np.uint64]:
    return (high.astype(np.uint64) << _HALF) | low


def _found(keys: NDArray[np.uint64], k: int) -> Found:
    rows, width = keys.shape
    if width > k:
        keys = np.partition(keys, k - 1, axis=1)[:, :k]
    best = np.full((rows, k), _NONE)
    best[:, : keys.shape[1]] = np.sort(keys, axis=1)
    # Through int32, so that 2^32 - 1 is -1 again.
    ids = best.astype(np.uint32).astype(np.int32).astype(np.int64)
    return Found(ids, unordered_bits(~(best >> _HALF).astype(np.uint32)))


# --------------------------------------------------------------------------------------------------
# The exact product: every allowed vector is scored. The score of a vector x for a query q is their
# inner product, summed in double precision and
# rounded to float32; equal scores go to the lower id. That says the result to the last bit, for
# any batch of queries, block size and number of threads.
#
# It is found in two steps. Blocks of products in float32 (one matrix product each) are held
# against the k-th best so far, and what could still be among the k best is kept; then the few
# that remain are scored in double precision. A float32 product errs by at most
#
#     e = D u |q| |x|,  u = 2^-24    (Higham 2002, section 3.1, for any order of summation)
#
# so a vector whose product lies more than e below the k-th best lower bound is out for certain.

# A block of products should stay in the second-level cache: so many queries and products.
_QUERIES = 256
_PRODUCTS = 256 * 2048
_SMALLEST_BLOCK, _LARGEST_BLOCK = 1024, 65_536
_PAIRS = 65_536
_UNIT = 2.0**-24


class ExactIndex(Index):
    """Vectors by id, searched by the exact product.

    >>> index = ExactIndex(2)
    >>> index.add(np.array([3, 5, 4]), np.array([[1, 0], [0, 1], [1, 0]], np.float32))
    >>> index.search(np.array([[2, 1]], np.float32), 2).ids
    array([[3, 4]])
    """

    kind = "index-exact"
    config = ExactConfig()

    def search(self, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None) -> Found:
        """The k best of the allowed vectors, see `Index`."""
        checked = _checked_vectors(queries, self.dimension, "queries")
        return best_products(self, checked, k, self._selected(allowed))


def best_products(rows: Index, queries: Floats, k: int, slots: Ints | None) -> Found:
    """The k best of some vectors for each query [Q, D], by the rule above.

    slots: places of the candidates, ascending; None for all.
    Raises ValueInvalidError for a k below 1.
    """
    k = checked_count(k, "k")
    found = Found(
        np.full((len(queries), k), -1, np.int64), np.full((len(queries), k), -np.inf, np.float32)
    )
    for start in range(0, len(queries), _QUERIES):
        part = queries[start : start + _QUERIES]
        query, slot = _candidates(rows, part, k, slots)
        score = _double_products(rows.vectors, part, query, slot)
        ids = rows.ids[slot]
        order, place = first_by_query(query, score, ids, k)
        at = start + query[order], place
        found.ids[at], found.scores[at] = ids[order], score[order]
    return found


def _candidates(rows: Index, queries: Floats, k: int, slots: Ints | None) -> tuple[Ints, Ints]:
    """Pairs (query, slot) [P] that hold the k best of each query for certain."""
    total = len(rows.ids) if slots is None else len(slots)
    error = rows.dimension * _UNIT * 2 * np.sqrt(np.einsum("qd,qd->q", queries, queries))
    kept = _Kept(len(queries), k)
    for start, end in _blocks(total, len(queries), k):
        if slots is None:
            vectors, norms = rows.vectors[start:end], rows.norms[start:end]
        else:
            vectors, norms = rows.vectors[slots[start:end]], rows.norms[slots[start:end]]
        # Candidates first: with few queries the other way round takes thrice as long.
        kept.offer(vectors @ queries.T, (error * norms.max()).astype(np.float32), start)
    query, place = kept.pairs()
    return query, place if slots is None else slots[place]


def _blocks(total: int, queries: int, k: int) -> Iterator[tuple[int, int]]:
    """Bounds of the blocks; the first holds k candidates if there are as many."""
    size = min(max(_PRODUCTS // max(queries, 1), _SMALLEST_BLOCK), _LARGEST_BLOCK)
    start, end = 0, min(total, max(size, 2 * k))
    while start < end:
        yield start, end
        start, end = end, min(total, end + size)


class _Kept:
    """What could be among the k best so far, of each of Q queries."""

    def __init__(self, queries: int, k: int) -> None:
        self.queries, self.k = queries, k
        self.floor = np.full(queries, -np.inf, np.float32)
        self._pairs: list[tuple[Ints, Ints, Floats, Floats]] = []
        self._waiting = 0

    def offer(self, products: Floats, error: Floats, start: int) -> None:
        """products [B, Q] of the candidates start to start + B, each wrong by at most
        error [Q]."""
        block = len(products)
        if not self._pairs and block > self.k:
            best = np.partition(products.T, block - self.k, axis=1)[:, block - self.k]
            self.floor = best - error
        flat = np.flatnonzero(products >= self.floor - error)
        place, query = np.divmod(flat, self.queries)
        product = products.ravel()[flat]
        self._pairs.append((query, place + start, product, error[query]))
        self._waiting += len(flat)
        # Sorting costs more than carrying along: only when they have doubled.
        if self._waiting > 2 * self.queries * self.k:
            self._prune()

    def pairs(self) -> tuple[Ints, Ints]:
        """(query [P], candidate [P])."""
        if not self._pairs:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        self._prune()
        return self._pairs[0][:2]

    def _prune(self) -> None:
        query, place, product, error = (
            np.concatenate(parts) for parts in zip(*self._pairs, strict=True)
        )
        # Sorted by query, then by the least that the score can be: one key of 64 bits.
        keys = np.sort((query.astype(np.uint64) << 32) | ordered_bits(product - error))
        end = np.cumsum(np.bincount(query, minlength=self.queries))
        full = np.diff(end, prepend=0) >= self.k
        bound = unordered_bits(keys[end[full] - self.k].astype(np.uint32))
        self.floor[full] = np.maximum(self.floor[full], bound)
        keep = product + error >= self.floor[query]
        self._pairs = [(query[keep], place[keep], product[keep], error[keep])]
        # Ties can leave more than k each; they wait for twice as many again.
        self._waiting = 0


def _double_products(vectors: Floats, queries: Floats, query: Ints, slot: Ints) -> Floats:
    """Inner products [P] of pairs, summed in double precision in an order that depends on D
    alone."""
    score = np.zeros(len(query), np.float32)
    for start in range(0, len(query), _PAIRS):
        part = slice(start, start + _PAIRS)
        # Products of two float32 numbers are exact in float64.
        products = vectors[slot[part]].astype(np.float64) * queries[query[part]]
        score[part] = products.sum(axis=1)
    return score


# --------------------------------------------------------------------------------------------------
# Approximate indexes of faiss: inverted lists (flat, or of 4-bit codes) and HNSW graphs.
#
# The structure names a few vectors that may be near; these are scored as they are, so scores are
# inner products whatever the structure stores. It never hears of filters: what may not be returned
# is struck from its proposals, and it is asked for more. The exact product answers instead
# where few vectors are allowed, where so many proposals would be needed that it is cheaper, and for
# each query whose proposals leave fewer than k results although there are more: so a filter never
# loses a result. A structure is built once there are vectors enough, lists anew when outgrown.
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
# 100,000 vectors of 64 numbers are built in some 2 CPU-seconds with lists and 10 with a graph.

Structure = Literal["ivf_fast", "ivf_flat", "hnsw", "hnsw_bf16", "hnsw_int8"]
Centres = Literal["means", "directions"]


_CODES = 16
_LEAST_TRAINING = 10_000
#: Beyond these faiss asks for memory that no machine has; some end the process then.
_Few = Annotated[int, Ge(1), Le(1024)]
_Many = Annotated[int, Ge(1), Le(2**20)]
_Lists = Annotated[int, Ge(0), Le(2**20)]
_Any = Annotated[int, Ge(0), Le(2**31 - 1)]


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
    lists: _Lists = 0
    centres: Centres = "means"
    training: _Many = 64
    rounds: Annotated[int, Ge(1), Le(10_000)] = 8
    directions: _Many = 64
    links: _Few = 16
    build_breadth: _Many = 64
    probes: _Lists = 0
    search_breadth: _Many = 128
    candidates: Annotated[float, Ge(1), Le(2**20)] = 4.0
    exact_below: _Any = 20_000
    seed: _Any = 0
    threads: _Few = 1

    @property
    def inverted(self) -> bool:
        """Whether the structure has lists."""
        return self.structure.startswith("ivf")


class FaissIndex(Index):
    """Vectors by id, searched through a structure of faiss.

    config: settings of the search (not those of the structure) may be changed at any time by
    setting another one. built: vectors that the structure was built from; 0 where there is none,
    and every search is exact.

    Raises MissingExtraError where faiss is not installed.
    """

    kind = "index-faiss"
    config: FaissConfig
    #: Beyond this share of the vectors the exact product is cheaper.
    widest: ClassVar[float] = 0.1
    #: A proposal costs about as much as so many products of a batch: a filter that allows fewer
    #: vectors than that per proposal is better answered by the exact product.
    products_per_proposal: ClassVar[int] = 64

    def __init__(self, dimension: int, config: FaissConfig | None = None) -> None:
        super().__init__(dimension)
        self.config = FaissConfig() if config is None else config
        self.built = 0
        _faiss()
        self._structure: Any = None
        #: [D, R], what `ivf_fast` turns vectors with; the unit matrix is left out for others.
        self._rotation: Floats | None = None

    def search(self, queries: npt.ArrayLike, k: int, *, allowed: Mask | None = None) -> Found:
        """The k best of the allowed vectors, as far as they are found, see `Index`."""
        queries = _checked_vectors(queries, self.dimension, "queries")
        k, places = checked_count(k, "k"), self._selected(allowed)
        number = len(self) if places is None else len(places)
        width = int(np.ceil(k * self.config.candidates * len(self) / max(number, 1)))
        cheap = self.config.exact_below
        if allowed is not None:
            cheap = max(cheap, self.products_per_proposal * width)
        if not self.built or number <= cheap or width > self.widest * len(self):
            return best_products(self, queries, k, places)
        proposed = self._propose(queries, width)
        if allowed is not None:
            proposed = np.where(self._may_return(proposed, allowed), proposed, -1)
        scores = self._scores(queries, proposed)
        found = best_of(np.where(proposed >= 0, self.ids[proposed], -1), scores, k)
        short = np.flatnonzero(found.ids[:, min(k, number) - 1] < 0)
        if len(short):
            exact = best_products(self, queries[short], k, places)
            found.ids[short], found.scores[short] = exact.ids, exact.scores
        return found

    @property
    def lists(self) -> int:
        """Inverted lists of the structure; 0 for a graph and before there is a structure."""
        return getattr(self._structure, "nlist", 0)

    def structure(self) -> bytes:
        """The structure as faiss writes it, and what it turns vectors with: to be measured."""
        rotation = b"" if self._rotation is None else self._rotation.tobytes()
        return np.asarray(_faiss().serialize_index(self._structure)).tobytes() + rotation

    def add(self, ids: npt.ArrayLike, vectors: npt.ArrayLike) -> None:
        before = len(self)
        super().add(ids, vectors)
        if self.built and len(self) > before:
            self._extend(self.vectors[before:])
        least = max(_CODES, self.config.lists) if self.config.inverted else 1
        # Graphs grow with their vectors, the number of lists does not.
        outgrown = self.config.inverted and len(self) > 4 * self.built
        if len(self) >= max(self.config.exact_below + 1, least) and (outgrown or not self.built):
            self._build(self.vectors)
            self.built = len(self)

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
        if not self.config.inverted:
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
        structure.cp.min_points_per_centroid = 1
        return structure

    def _extend(self, vectors: Floats) -> None:
        with self._assigning(self._threaded()):
            self._structure.add(self._turned(vectors))

    @contextmanager
    def _assigning(self, faiss: Any) -> Iterator[None]:
        """While vectors find their lists: by distance from the mean, not by product."""
        if not self.config.inverted or self.config.centres == "directions":
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
        if self.config.inverted:
            probes = config.probes or max(1, self.lists // 16)
            settings = faiss.SearchParametersIVF(nprobe=min(probes, self.lists))
        else:
            settings = faiss.SearchParametersHNSW(efSearch=max(config.search_breadth, width))
        _, slots = self._structure.search(self._turned(queries), width, params=settings)
        return np.asarray(slots, np.int64)

    def _scores(self, queries: Floats, slots: Ints) -> Floats:
        """Inner products [Q, C] of queries and places [Q, C]; -inf for place -1, without a copy of
        the vectors."""
        faiss = self._threaded()
        vectors, slots = self.vectors, np.ascontiguousarray(slots)
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


def build_index(config: IndexConfig | IndexKind, dimension: int) -> Index:
    """An empty index of vectors of `dimension` numbers.

    config: its settings, or the name of a kind.
    Raises MissingExtraError where the kind needs a package that is not installed.

    >>> index = build_index("exact", 2)
    >>> index.add([5, 7], [[1.0, 0.0], [0.0, 1.0]])
    >>> index.search([[0.5, 1.0]], 2).ids
    array([[7, 5]])
    """
    match config:
        case ExactConfig() | "exact":
            return ExactIndex(dimension)
        case FaissConfig():
            return FaissIndex(dimension, config)
        case "faiss":
            return FaissIndex(dimension)
        case "usearch":
            return FaissIndex(dimension, from_jsonable(FaissConfig, _in_place_of_usearch({})))


def _in_place_of_usearch(config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the graph of faiss that does what usearch did."""
    warnings.warn(
        'there is no index of usearch any more: faiss builds its graph; name it "faiss"',
        stacklevel=2,
    )
    structure = {"f32": "hnsw", "i8": "hnsw_int8"}.get(config.get("storage", ""), "hnsw_bf16")
    kept = {name: value for name, value in config.items() if name != "storage"}
    return {"candidates": 1.5} | kept | {"structure": structure}


def load_index(folder: str | Path) -> Index:
    """The index that `save` wrote, of whatever kind; its structure is built anew.

    Raises ArtifactError where the folder holds none, ArtifactCorruptError where a file was
    changed, MissingExtraError where its kind needs a package that is not installed.
    """
    artifact = load_artifact(folder)
    config = {name: value for name, value in artifact.config.items() if name != "built"}
    try:
        dimension = config.pop("dimension", 0)
        match artifact.kind:
            case "index-exact":
                index: Index = ExactIndex(dimension)
            case "index-faiss":
                index = FaissIndex(dimension, from_jsonable(FaissConfig, config))
            case "index-usearch":
                kept = _in_place_of_usearch(config)
                index = FaissIndex(dimension, from_jsonable(FaissConfig, kept))
            case kind:
                raise ArtifactError(
                    f"the artifact is of kind {kind!r}, no index",
                    where=str(folder),
                    hint="pass the folder of an index",
                )
        # Earlier versions kept the places of removed vectors.
        there = artifact.tensors["ids"] >= 0
        index.add(artifact.tensors["ids"][there], artifact.tensors["vectors"][there])
    except (ArtifactError, MissingExtraError):
        raise
    except (AdwrightError, LookupError, TypeError, RuntimeError, ValueError, MemoryError) as error:
        raise ArtifactCorruptError(
            f"the parts of the index do not fit together: {error}",
            where=str(folder),
            hint="build the index again, or use the version that wrote it",
        ) from error
    return index


def search_many(index: Index, queries: npt.ArrayLike, k: int) -> Found:
    """The k best items of users with K vectors each, queries [Q, K, D].

    An item's score is the best of its K inner products; each id comes once. With an exact index
    the result is exact. Raises as `Index.search`, and SchemaError for other than three axes.
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
    found = index.search(queries.reshape(-1, width), k)
    ids = found.ids.reshape(users, vectors * k)
    scores = found.scores.reshape(users, vectors * k)
    return best_distinct(ids, scores, k)


def recall_against_exact(index: Index, exact: Index, queries: npt.ArrayLike, k: int) -> float:
    """Share of the exact k best that `index` finds too, averaged over queries [Q, D].

    exact: of the same vectors. Raises ValueInvalidError where there is nothing to find.
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
