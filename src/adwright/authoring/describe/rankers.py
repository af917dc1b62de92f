"""BM25: search by words.

    score(D, Q) = sum over words q of Q of idf(q) f(q, D) (k1 + 1) /
                  (f(q, D) + k1 (1 - b + b |D| / avgdl))
    idf(q) = ln(1 + (N - n(q) + 0.5) / (n(q) + 0.5))

f(q, D): how often the word stands in the document; |D|: its length in words, avgdl the mean of
that; N documents, n(q) of them with the word. A word that stands twice in the query counts twice.
Robertson and Zaragoza, "The Probabilistic Relevance Framework", 2009; the idf that is never below 0
is Lucene's. What N, n and avgdl are follows from the documents of that index, as in a real one: a
catalogue with other descriptions has another index.

Letters: Q queries, C documents.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Protocol

import numpy as np
import numpy.typing as npt

from adwright.core.config import Ge, Le, settings
from adwright.core.errors import DataError
from adwright.metrics.ranking import top_items

# --------------------------------------------------------------------------------------------------
# Words of a text, as search and the guard against echoes see them.
#
# words_of("Dish-washer, 24" wide") == ("dish", "washer", "24", "wide")
#
# No stemming and no list of stop words: both depend on the language, and the same words for every
# index are what a comparison needs (our choice).

_WORD = re.compile(r"[^\W_]+")


def words_of(text: str) -> tuple[str, ...]:
    """The words in order: runs of letters and digits, compatible forms made one (NFKC), casefolded.

    Scripts that write no spaces give one word a run, so that search by words finds little there;
    search by vectors does not need words.
    """
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def grams_of(words: Sequence[str], n: int) -> frozenset[tuple[str, ...]]:
    """The distinct runs of n words; none where there are fewer."""
    return frozenset(tuple(words[at : at + n]) for at in range(len(words) - n + 1))


_CELLS = 4_000_000  # scores held at once, 32 MB


@settings
class Bm25Ranker:
    """Lists of the best documents by BM25. k1: how much a word's second time counts; 0: nothing.
    b: 1 divides by the length of the document in full, 0 not at all. Defaults of Lucene.

    Raises ConfigError for k1 below 0 and b outside 0 to 1.
    """

    k1: Annotated[float, Ge(0)] = 1.2
    b: Annotated[float, Ge(0), Le(1)] = 0.75

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"BM25 (k1 {self.k1:g}, b {self.b:g})"

    def lists(
        self, documents: Sequence[Sequence[str]], queries: Sequence[str], k: int
    ) -> npt.NDArray[np.int64]:
        """The k best documents of each query, [Q, k]; -1 where no further one has a word of it.

        documents: each as its passages, which count as one text.
        """
        index = Bm25([" ".join(one) for one in documents], k1=self.k1, b=self.b)
        return index.lists(queries, k)


class Bm25:
    """An index of documents. k1, b: see `Bm25Ranker`."""

    def __init__(self, documents: Sequence[str], *, k1: float = 1.2, b: float = 0.75) -> None:
        found = [Counter(words_of(one)) for one in documents]
        length = np.array([one.total() for one in found], np.float64)
        mean = length.mean() if len(length) and length.any() else 1.0
        self.documents = len(found)
        self._norm = k1 * (1 - b + b * length / mean)
        self._k1 = k1
        self._words: dict[str, int] = {}
        word, document, times = [], [], []
        for at, counts in enumerate(found):
            for each, number in counts.items():
                word.append(self._words.setdefault(each, len(self._words)))
                document.append(at)
                times.append(number)
        # Postings of a word stand together.
        order = np.argsort(np.array(word, np.int64), kind="stable")
        ends = np.bincount(np.array(word, np.int64), minlength=len(self._words))
        self._bounds = np.concatenate([[0], np.cumsum(ends)])
        self._document = np.array(document, np.int64)[order]
        self._times = np.array(times, np.float64)[order]

    def scores(self, query: str) -> npt.NDArray[np.float64]:
        """Of every document, [C]; 0 where it has no word of the query."""
        total = np.zeros(self.documents)
        for word, number in Counter(words_of(query)).items():
            code = self._words.get(word)
            if code is None:
                continue
            part = slice(self._bounds[code], self._bounds[code + 1])
            where, times = self._document[part], self._times[part]
            holds = len(where)
            idf = np.log1p((self.documents - holds + 0.5) / (holds + 0.5))
            weight = times * (self._k1 + 1) / (times + self._norm[where])
            total[where] += number * idf * weight  # a document stands once in the postings
        return total

    def lists(self, queries: Sequence[str], k: int) -> npt.NDArray[np.int64]:
        """As `Bm25Ranker.lists`; equal scores stand in an order by hash, the same in any index."""
        found = np.full((len(queries), k), -1, np.int64)
        chunk = max(1, _CELLS // max(self.documents, 1))
        for start in range(0, len(queries) if self.documents else 0, chunk):
            scores = np.stack([self.scores(one) for one in queries[start : start + chunk]])
            found[start : start + chunk] = top_items(scores, k, seen=scores <= 0)
        return found


# --------------------------------------------------------------------------------------------------
# Search by vectors: a document is as near to a query as the nearest of its passages.
#
#     score(D, Q) = max over passages p of D of <v(p), v(Q)>
#
# v: a vector of length 1, so that the product is the cosine. An encoder reads so many tokens of a
# text and no more; with passages (title and one description) nothing that follows a long one is cut
# off (MaxP of Dai and Callan, SIGIR 2019).
#
# Letters: Q queries, C documents, P passages of all documents, D width.


class SentenceVectors(Protocol):
    """What makes vectors of texts, such as `lm.sentence_encoder.SentenceEncoder`."""

    @property
    def name(self) -> str:
        """Of all that the vectors depend on."""
        ...

    def encode(self, texts: Sequence[str], /) -> npt.NDArray[np.float32]:
        """float32 [B, D], each of length 1."""
        ...


class VectorRanker:
    """Lists of the best documents by vectors. A text is encoded once, in however many indexes it
    stands."""

    def __init__(self, encoder: SentenceVectors) -> None:
        self._encoder = encoder
        self._known: dict[str, npt.NDArray[np.float32]] = {}

    @property
    def name(self) -> str:
        """What a table calls it."""
        return f"vectors ({self._encoder.name})"

    def lists(
        self, documents: Sequence[Sequence[str]], queries: Sequence[str], k: int
    ) -> npt.NDArray[np.int64]:
        """The k best documents of each query, [Q, k]; -1 where there are fewer.

        documents: each as its passages, at least one of them, which may be empty.
        Raises DataError for a document without a passage.
        """
        found = np.full((len(queries), k), -1, np.int64)
        if not documents or not queries:
            return found
        sizes = np.array([len(one) for one in documents])
        if not sizes.all():
            raise DataError(
                "a document has no passage", row=int(np.argmin(sizes)), hint="give it its title"
            )
        passages = self._vectors([text for one in documents for text in one])  # [P, D]
        first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
        asked = self._vectors(queries)
        chunk = max(1, _CELLS // len(passages))
        for start in range(0, len(queries), chunk):
            near = np.maximum.reduceat(asked[start : start + chunk] @ passages.T, first, axis=1)
            found[start : start + chunk] = top_items(near, k)
        return found

    def _vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [B, D]."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._encoder.encode(new), strict=True))
        return np.stack([self._known[text] for text in texts])
