"""Which products of a shop a request is about, by words.

    WordRetrieval().retrieve(listings, "an espresso machine for two", 5)     # rows, the best first

A catalogue of thousands does not fit into a prompt, so an assistant finds some products first. What
a seller writes moves that step too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from adwright.audit.catalogue.listing import ShopListing
from adwright.authoring.describe.bm25 import Bm25
from adwright.core.config import require_count


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
