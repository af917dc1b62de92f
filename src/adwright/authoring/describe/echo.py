"""The guard against echoes: a description that repeats a query that somebody asks is found by it
and tells nobody anything.

    E(q, d) = share of the runs of n words of q that stand in d and hold a word that no fact of the
              product has

A description may use the words of a query where the product's facts have them: that is what a good
one does. What the facts have not, it has from the query, or has made up. Words that the facts of
many products have, such as "in" and "for", are no sign of either, in whatever language. n, the
share from which on a description counts as an echo, and how many are many, are our choice.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from adwright.authoring.describe.words import grams_of, words_of
from adwright.authoring.tasks import Product
from adwright.core.config import Count, Gt, Le, settings


@settings
class EchoConfig:
    """words: n, of a run; queries of fewer words are not looked at. share: from which on a
    description counts as an echo, above 0 to 1. common: share of the products whose facts have a
    word, from which on the word is no sign.

    Raises ConfigError that names the setting.
    """

    words: Count = 2
    share: Annotated[float, Gt(0), Le(1)] = 0.5
    common: Annotated[float, Gt(0), Le(1)] = 0.05


@dataclass(frozen=True)
class DescriptionEcho:
    """product: whose description echoes. query: the one that it echoes most. share: E, 0 to 1.
    words: of the query, which no fact has."""

    product: str
    query: str
    share: float
    words: tuple[str, ...]


class EchoGuard:
    """Finds descriptions that echo one of `queries`; those are looked up, not gone through, so a
    long log of them costs no more than a short one.

    catalogue: by whose facts it is told which words are common; without it none is.
    """

    def __init__(
        self,
        queries: Iterable[str],
        config: EchoConfig | None = None,
        *,
        catalogue: Sequence[Product] = (),
    ) -> None:
        self.config = config or EchoConfig()
        self._common = _common_words(catalogue, self.config.common)
        self._queries: list[str] = []
        self._sizes: list[int] = []
        self._of_gram: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for query in dict.fromkeys(queries):
            grams = grams_of(words_of(query), self.config.words)
            for gram in grams:
                self._of_gram[gram].append(len(self._queries))
            self._queries.append(query)
            self._sizes.append(len(grams))

    def echo_of(self, product: Product, description: str) -> DescriptionEcho | None:
        """The query that the description echoes most, where it counts as an echo."""
        known = _fact_words(product) | self._common
        taken: dict[int, set[str]] = defaultdict(set)
        number: dict[int, int] = defaultdict(int)
        for gram in grams_of(words_of(description), self.config.words):
            new = set(gram) - known
            if new:
                for query in self._of_gram.get(gram, ()):
                    number[query] += 1
                    taken[query] |= new
        if not number:
            return None
        most = max(number, key=lambda query: (number[query] / self._sizes[query], -query))
        share = number[most] / self._sizes[most]
        if share < self.config.share:
            return None
        text = self._queries[most]
        order = [word for word in dict.fromkeys(words_of(text)) if word in taken[most]]
        return DescriptionEcho(product.id, text, share, tuple(order))

    def echoes(
        self, products: Sequence[Product], descriptions: Mapping[str, str]
    ) -> tuple[DescriptionEcho, ...]:
        """Those among the descriptions, by product id."""
        found = (
            self.echo_of(product, descriptions[product.id])
            for product in products
            if descriptions.get(product.id)
        )
        return tuple(one for one in found if one is not None)


def _fact_words(product: Product) -> set[str]:
    return {word for fact in product.facts() for word in words_of(fact)}


def _common_words(catalogue: Sequence[Product], share: float) -> set[str]:
    number = Counter(word for product in catalogue for word in _fact_words(product))
    # Of a handful of products any word is in many.
    least = max(share * len(catalogue), 2)
    return {word for word, count in number.items() if count >= least}


def normal_query(text: str) -> str:
    """Two queries of the same words are one, whatever their case and signs."""
    return " ".join(words_of(text))
