"""Which products of a shop a request is about: by words, by meaning, or by a recommender of ours.

    WordRetrieval().retrieve(listings, "an espresso machine for two", 5)     # rows, the best first

A catalogue of thousands does not fit into a prompt, so an assistant finds some products first. What
a seller writes moves that step too, and so a retriever is audited with the rest (`ShopTarget`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.recommending import RecommenderTarget
from adwright.audit.targets.target import Ask
from adwright.authoring.describe.bm25 import Bm25
from adwright.core.config import require_count

__all__ = ["RecommenderRetrieval", "Retrieval", "VectorRetrieval", "WordRetrieval", "document"]

#: Vectors of B texts, each of length 1: float32 [B, D].
Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]
_REMEMBERED = 50_000


class Retrieval(Protocol):
    """Finds products for a request."""

    @property
    def name(self) -> str:
        """Names how."""

    def retrieve(self, listings: Sequence[ShopListing], request: str, k: int) -> tuple[int, ...]:
        """The rows of at most k listings, the best first."""


def document(listing: ShopListing) -> str:
    """The text by which a listing is found: its name, its facts and its texts."""
    facts = [f"{name}: {value}" for name, value in listing.attributes.items() if value is not None]
    return ". ".join([listing.name, *facts, *filter(None, listing.texts.values())])


class WordRetrieval:
    """By words, BM25 over name, facts and texts. Where fewer than k listings have a word of the
    request, others follow in the order of the catalogue."""

    name = "BM25"

    def retrieve(self, listings: Sequence[ShopListing], request: str, k: int) -> tuple[int, ...]:
        """The rows of at most k listings, the best first; of equals the earlier one first."""
        require_count("k", k)
        scores = Bm25([document(one) for one in listings]).scores(request)
        return tuple(int(row) for row in np.argsort(-scores, kind="stable")[:k])


class VectorRetrieval:
    """By meaning: the cosine of the vectors of request and document.

    encode: such as `SentenceEncoder.encode` of `lm`. name: of the encoder. Vectors of documents
    are remembered.
    """

    def __init__(self, encode: Encode, *, name: str = "vectors") -> None:
        self._encode = encode
        self._name = name
        self._known: OrderedDict[str, npt.NDArray[np.float32]] = OrderedDict()

    @property
    def name(self) -> str:
        """The encoder."""
        return self._name

    def retrieve(self, listings: Sequence[ShopListing], request: str, k: int) -> tuple[int, ...]:
        """The rows of at most k listings, the best first; of equals the earlier one first."""
        require_count("k", k)
        texts = [document(one) for one in listings]
        vectors = self._vectors(texts)  # [n, D]
        (asked,) = self._encode([request])
        return tuple(int(row) for row in np.argsort(-(vectors @ asked), kind="stable")[:k])

    def _vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known.update(zip(new, self._encode(new), strict=True))
        found = np.stack([self._known[text] for text in texts])
        while len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)
        return found


class RecommenderRetrieval:
    """By a recommender of ours, whatever the texts say. target: the recommender as a target, with
    the ids of the listings."""

    def __init__(self, target: RecommenderTarget) -> None:
        self._target = target

    @property
    def name(self) -> str:
        """The recommender."""
        return self._target.name

    def retrieve(self, listings: Sequence[ShopListing], request: str, k: int) -> tuple[int, ...]:
        """The rows of at most k listings, the best first. Raises what the recommender does."""
        require_count("k", k)
        (ranking,) = self._target.rank([Ask(listings, request, range(len(listings)))])
        return ranking.order[:k]
