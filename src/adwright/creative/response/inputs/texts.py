"""Makers of text vectors for a click rate: MiniLM where transformers are installed, else n-grams.

    texts = encoded_texts()                     # says which; folder keeps what was encoded before
    texts.vectors(["Fresh bread", ""])          # float32 [2, 384], NaN for the empty one

Equal texts are encoded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.core.errors import MissingExtraError
from adwright.core.progress import say
from adwright.creative.records.encoders.hashed_text import HashedText
from adwright.creative.records.encoders.store import Encoder, VectorStore

__all__ = ["EncodedTexts", "TextEncoding", "encoded_texts", "texts_named"]

#: "auto" is MiniLM where its extra is installed, else n-grams.
TextEncoding = Literal["auto", "minilm", "hashed"]

#: Places of the hashed n-grams.
_PLACES = 1024


class EncodedTexts:
    """Vectors by an encoder. folder: where they are kept by the hash of their text; None keeps
    nothing."""

    def __init__(self, encoder: Encoder[str], folder: str | Path | None = None) -> None:
        self.encoder = encoder
        self._store = None if folder is None else VectorStore(folder)

    @property
    def name(self) -> str:
        """Of the encoder."""
        return self.encoder.name

    def vectors(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """float32 [N, W], NaN for an empty text."""
        if self._store is not None:
            return self._store.vectors(texts, self.encoder)
        made = np.full((len(texts), self.encoder.width), np.nan, np.float32)
        rows: dict[str, list[int]] = {}
        for row, text in enumerate(texts):
            if text:
                rows.setdefault(text, []).append(row)
        if rows:
            # Rounded as the store rounds them, so that keeping vectors changes no answer.
            found = self.encoder.encode(list(rows)).astype(np.float16)
            for vector, some in zip(found, rows.values(), strict=True):
                made[some] = vector
        return made


def encoded_texts(
    encoding: TextEncoding = "auto", folder: str | Path | None = None, *, offline: bool = False
) -> EncodedTexts:
    """The maker of text vectors that is asked for.

    Raises MissingExtraError where "minilm" is asked for without the extra `lm`, and as
    `core.assets.asset` where its weights cannot be had.
    """
    if encoding == "hashed":
        return EncodedTexts(HashedText(_PLACES), folder)
    try:
        from adwright.lm.sentence_encoder import SentenceEncoder

        return EncodedTexts(SentenceEncoder(offline=offline), folder)
    except MissingExtraError:
        if encoding == "minilm":
            raise
        say("texts are read by their n-grams: pip install 'adwright[lm]' for vectors of sentences")
        return EncodedTexts(HashedText(_PLACES), folder)


def texts_named(
    name: str, folder: str | Path | None = None, *, offline: bool = False
) -> EncodedTexts:
    """The maker of text vectors that a trained model names. Raises as `encoded_texts`."""
    encoding: TextEncoding = "hashed" if name == HashedText(_PLACES).name else "minilm"
    return encoded_texts(encoding, folder, offline=offline)
