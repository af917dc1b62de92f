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

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt

from adwright.authoring.describe.words import words_of
from adwright.core.config import Ge, Le, settings
from adwright.metrics.ranking import top_items

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
