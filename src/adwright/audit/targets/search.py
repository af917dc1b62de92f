"""Rankers as shops run them, a score a product: vectors, words and vectors, and an endpoint.

    target = search_target("mixture", shop, offline=True)
    target.rank([Ask(shop.listings, shop.request, range(len(shop)))])

embedding: the cosine of the request and of name, facts and texts, by the small sentence encoder,
which reads 256 tokens. mixture: half of that, and half of BM25, scaled into 0 to 1; how rare a word
is, and how long a text usually is, are counted in the facts of the catalogue that is certified,
since otherwise a seller's words would move the scores of others. endpoint: POST SERVER/rerank with
{"model", "query", "documents": [one]} answers {"results": [{"relevance_score"}]}, as servers of
cross-encoders do, and a shop's own ranker can in a few lines.

No score depends on another product, as a certificate needs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import numpy as np

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.targets.target import FunctionTarget
from adwright.core.errors import ConfigError, DataError
from adwright.lm.engine.http import HttpModel
from adwright.metrics.text.agreement import words_of

SearchKind = Literal["embedding", "mixture"]
_K1, _B, _HALF = 1.2, 0.75, 5.0


def document(listing: ShopListing) -> str:
    """What a search reads of a product: its name, its facts and its texts."""
    facts = [f"{name}: {value}" for name, value in listing.attributes.items() if value is not None]
    return ". ".join([listing.name, *facts, *filter(None, listing.texts.values())])


def search_target(
    kind: SearchKind, shop: ShopCatalogue, *, offline: bool = False
) -> FunctionTarget:
    """A ranker of this machine. Raises as `SentenceEncoder`."""
    from adwright.lm.sentence_encoder import SentenceEncoder

    encoder = SentenceEncoder(offline=offline)
    facts = [words_of(document(one.without_texts())) for one in shop.listings]
    holds = Counter(word for words in facts for word in set(words))
    usual = max(float(np.mean([len(words) for words in facts])), 1.0)

    def by_words(text: str, request: str) -> float:
        words = words_of(text)
        counts = Counter(words)
        total = 0.0
        for word in set(words_of(request)):
            if times := counts[word]:
                idf = np.log1p((len(facts) - holds[word] + 0.5) / (holds[word] + 0.5))
                total += (
                    idf * times * (_K1 + 1) / (times + _K1 * (1 - _B + _B * len(words) / usual))
                )
        return float(total / (total + _HALF))

    def scores(listings: Sequence[ShopListing], request: str) -> list[float]:
        asked = encoder.encode([request])[0].astype(np.float64)
        found = []
        for one in listings:
            text = document(one)
            near = float(encoder.encode([text])[0].astype(np.float64) @ asked)
            found.append(near if kind == "embedding" else (near + by_words(text, request)) / 2)
        return found

    what = "vectors" if kind == "embedding" else "BM25 and vectors"
    return FunctionTarget(scores, name=f"{what} ({encoder.name})")


def endpoint_target(model: HttpModel, name: str) -> FunctionTarget:
    """A server's scores, each product asked for by itself. model: an opened endpoint; name: of the
    model there. Raises DataError for a document that it refuses after others that it scored."""
    answered = False

    def scores(listings: Sequence[ShopListing], request: str) -> list[float]:
        nonlocal answered
        found = []
        for one in listings:
            body = {"model": name, "query": request, "documents": [document(one)]}
            try:
                told = model.ask("rerank", body)
                found.append(float(told["results"][0]["relevance_score"]))
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise ConfigError(
                    "the server's answer holds no relevance_score",
                    where=model.info.name,
                    hint='it is to answer {"results": [{"index": 0, "relevance_score": 0.5}]}',
                ) from error
            except ConfigError as error:
                if answered:
                    raise DataError(f"the server refuses this document: {error.what}") from error
                raise
            answered = True
        return found

    return FunctionTarget(scores, name=f"{name or 'the ranker'} behind an endpoint")
