"""How much of a text was copied: from the ads that the writer read, or from its own brief.

    index = CopyIndex(["Just do it, every day.", ...])
    index.share("Just do it!")          # 1.0
    index.share("Do it on Sundays.")    # 0.0

The share of the words of a text that lie in runs of n words which stand in a reference in the same
order; a text of fewer than n words counts whole. A writer that is tuned on few ads learns some by
heart, and what people remember well is what they have seen before: without this, a round would
reward it.
"""

from __future__ import annotations

from collections.abc import Iterable

from adwright.core.config import require_count
from adwright.core.hashing import content_hash
from adwright.metrics.text.rouge import rouge_l
from adwright.metrics.text.words import ngrams, words_of

__all__ = ["CopyIndex", "echo_share"]


class CopyIndex:
    """The references as sets of runs of words. n: words of a run. Raises ConfigError below 1."""

    def __init__(self, references: Iterable[str], *, n: int = 4) -> None:
        require_count("n", n)
        self.n = n
        self._words = [tuple(words_of(text)) for text in references]
        # Runs of fewer words are looked for only where a text is as short: made when asked for.
        self._runs: dict[int, set[tuple[str, ...]]] = {}

    @property
    def digest(self) -> str:
        """Hash of the references, in any order."""
        return content_hash(sorted({" ".join(words) for words in self._words}))

    def share(self, text: str) -> float:
        """Share of the words that lie in a copied run, 0 to 1; 0 for a text without words."""
        words = words_of(text)
        if not words:
            return 0.0
        size = min(self.n, len(words))
        known = self._of(size)
        copied = [False] * len(words)
        for at, run in enumerate(ngrams(words, size)):
            if run in known:
                copied[at : at + size] = [True] * size
        return sum(copied) / len(words)

    def _of(self, size: int) -> set[tuple[str, ...]]:
        if size not in self._runs:
            self._runs[size] = {run for words in self._words for run in ngrams(words, size)}
        return self._runs[size]


def echo_share(text: str, told: Iterable[str]) -> float:
    """The largest ROUGE-L of a text with one of the texts that the brief tells, 0 to 1."""
    return max((rouge_l(text, one) for one in told), default=0.0)
