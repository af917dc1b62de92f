"""Search by vectors: a document is as near to a query as the nearest of its passages.

    score(D, Q) = max over passages p of D of <v(p), v(Q)>

v: a vector of length 1, so that the product is the cosine. An encoder reads so many tokens of a
text and no more; with passages (title and one description) nothing that follows a long one is cut
off (MaxP of Dai and Callan, SIGIR 2019).

Letters: Q queries, C documents, P passages of all documents, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from adwright.core.errors import DataError
from adwright.metrics.ranking import top_items

_CELLS = 4_000_000


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
