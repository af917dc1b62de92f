"""What approximate indexes have in common: a structure proposes, the vectors decide.

A structure (lists of short codes, a graph) names a few slots that may be near; these are scored
with the vectors themselves, so scores are inner products whatever the structure stores. It never
hears of filters and removals: what may not be returned is struck from its proposals, and it is
asked for more of them in proportion. Three times the exact product answers instead, so that a
filter never loses a result:

- where so few vectors are allowed that scoring them all is cheap,
- where so many proposals would be needed that it is cheaper, sooner with a filter, which
  strikes good ones,
- for each query whose proposals leave fewer than k results although there are more.

A structure is built once there are vectors enough, and built anew when more than half of its
slots are dead or its subclass has outgrown it. It is never saved: the native libraries trust
what they read, and a changed byte could end the process. Loading builds it again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from adwright.core.artifacts import Artifact
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.delivery.index.base import Index, fitting
from adwright.delivery.index.exact import best_products
from adwright.delivery.index.ordering import best_of
from adwright.delivery.index.vectors import Found, VectorRows, checked_count, checked_queries

__all__ = ["NearConfig", "NearIndex", "check_near"]

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]


class NearConfig(Protocol):
    """exact_below: up to so many allowed vectors the exact product answers, and there is no
    structure before there are more. candidates: proposals per result."""

    @property
    def exact_below(self) -> int: ...
    @property
    def candidates(self) -> float: ...


Config = TypeVar("Config", bound=NearConfig)


#: Beyond these a library asks for memory that no machine has; some end the process then.
_MOST = {"links": 1024, "threads": 1024, "rounds": 10_000}
_MOST_OF_OTHERS = 2**20


def check_near(config: NearConfig, *, positive: Sequence[str], natural: Sequence[str] = ()) -> None:
    """Raise ConfigError where `candidates` or a setting of `positive` is below 1, or
    `exact_below` or one of `natural` below 0, or where one of them is beyond all use."""
    least = dict.fromkeys(("candidates", *positive), 1) | dict.fromkeys(
        ("exact_below", *natural), 0
    )
    for name, bound in least.items():
        value = getattr(config, name)
        most = 2**31 - 1 if name in ("exact_below", "seed") else _MOST.get(name, _MOST_OF_OTHERS)
        if not value >= bound:  # NaN is not
            raise ConfigError(f"{name} must be at least {bound}", where=str(value))
        if value > most:
            raise ConfigError(f"{name} must be at most {most:,}", where=str(value))


class NearIndex(Index, Generic[Config]):
    """Vectors by id, searched through a structure that a subclass provides.

    config: settings of the search (not those of the structure) may be changed at any time by
    setting another one.
    """

    #: The class of the config.
    config_class: type[Config]
    #: Proposals are scored in groups whose vectors have at most so many elements.
    gather: ClassVar[int] = 2_000_000
    #: With proposals for more than this share of the slots the exact product is cheaper.
    widest: ClassVar[float] = 0.1
    #: A proposal costs about as much as so many products of a batch: a filter that allows fewer
    #: vectors than that per proposal is better answered by the exact product.
    products_per_proposal: ClassVar[int] = 64

    def __init__(self, dimension: int, config: Config | None = None) -> None:
        super().__init__(dimension)
        self.config = self.config_class() if config is None else config
        self._built = 0

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
        config = dict(artifact.config)
        with fitting(artifact):
            dimension, built = config.pop("dimension"), config.pop("built")
            index = cls(dimension, from_jsonable(cls.config_class, config))
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

    def _scores(self, queries: Floats, slots: Ints) -> Floats:
        """Inner products [Q, C] of queries and slots [Q, C]; -inf for slot -1."""
        scores = np.zeros(slots.shape, np.float32)
        step = max(1, self.gather // max(1, slots.shape[1] * self.dimension))
        for start in range(0, len(queries), step):
            part = slice(start, start + step)
            vectors = self._rows.vectors[slots[part]]
            scores[part] = np.matmul(vectors, queries[part, :, None])[:, :, 0]
        scores[slots < 0] = -np.inf
        return scores

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

    @abstractmethod
    def structure(self) -> bytes:
        """The structure as its library writes it: to be measured and compared. Nothing reads it."""

    @abstractmethod
    def _least(self) -> int:
        """Vectors that the structure needs to be built."""

    @abstractmethod
    def _outgrown(self, slots: int) -> bool:
        """Whether a structure for so many slots should be built anew."""

    @abstractmethod
    def _build(self, vectors: Floats) -> None:
        """Make the structure of vectors [S, D], slots 0 to S - 1, in place of any other."""

    @abstractmethod
    def _extend(self, vectors: Floats) -> None:
        """Add the vectors [N, D] of the next N slots."""

    @abstractmethod
    def _propose(self, queries: Floats, width: int) -> Ints:
        """Slots int64 [Q, width] that may be near, distinct, -1 where there are no more."""
