"""Vectors of texts by hashed n-grams: what is taken where no encoder of sentences is installed.

A text in lower case has its words, pairs of neighbouring words, and three to five letters in a row
within words. Each gram has a sign and one of D places, both from its hash (Weinberger et al., ICML
2009): v_d = sum of sign * (1 + log count), divided by its length. Nothing is learned.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError

__all__ = ["HashedText"]

_WORD = re.compile(r"\w+")
_LETTERS = (3, 4, 5)


class HashedText:
    """Hashed n-grams in `width` places. Raises ConfigError where it is below 1."""

    def __init__(self, width: int = 256) -> None:
        if width < 1:
            raise ConfigError("a vector has at least 1 place", where=f"width = {width}", hint="256")
        self.width, self.name = width, f"hashed-grams-{width}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [B, D] of B texts, of length 1; zeros for a text without a word."""
        made = np.zeros((len(texts), self.width), np.float32)
        for row, text in enumerate(texts):
            for gram, count in Counter(_grams(text)).items():
                code = zlib.crc32(gram.encode("utf-8"))
                sign = 1.0 if code & 1 else -1.0
                made[row, (code >> 1) % self.width] += sign * (1 + np.log(count))
        lengths = np.linalg.norm(made, axis=1, keepdims=True)
        made /= np.where(lengths > 0, lengths, 1)
        return made


def _grams(text: str) -> Iterator[str]:
    words = _WORD.findall(text.lower())
    yield from (f"w {word}" for word in words)
    yield from (f"p {one} {other}" for one, other in pairwise(words))
    for word in words:
        padded = f"<{word}>"
        for n in _LETTERS:
            yield from (f"c {padded[at : at + n]}" for at in range(len(padded) - n + 1))
