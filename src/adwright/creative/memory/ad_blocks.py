"""What the encoder form reads of ads: blocks of numbers by frozen encoders.

    blocks = AdBlocks(BlockConfig()).of(records)
    blocks["sentence"]                             # float32 [N, 384]

    block       of which text        what
    sentence    title and words,     vector of all-MiniLM-L6-v2, or of hashed n-grams
                else what is shown
    state       the same             mean hidden state of a middle layer of a language model
    surprisal   the same             how expected its tokens are, and how rare
    surface     the same             length, words, marks
    scenes      captions, speech,    vector of sentences
                emotions, tags, words
    facts       the record           seconds, scenes, pace, faces
    brand       the brand            vector of sentences

The language model reads the text once, between quotation marks that follow a few neutral words: on
slogans that predicts recall better than the bare text. An ad that lacks a text has NaN there; a
block that no ad has is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Literal, cast

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.creative.memory.text_numbers import (
    SURPRISALS,
    ad_facts,
    surprisal_numbers,
    text_numbers,
)
from adwright.creative.records.encoders.hashed_text import HashedText
from adwright.creative.records.encoders.store import Encoder, VectorStore
from adwright.creative.records.verbal.record import AdRecord
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import open_model
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import fitting_dtype, quick_dtype

__all__ = ["BRAND_BLOCKS", "AdBlocks", "BlockConfig", "Blocks"]

#: Block -> float32 [N, D].
Blocks = Mapping[str, NDArray[np.float32]]

#: Blocks that tell the brand alone.
BRAND_BLOCKS = ("brand",)
_BEFORE = 'The slogan of a company: "'
_SCENES = 300


@settings
class BlockConfig:
    """What reads ads.

    sentences: the encoder of sentences; hashed needs no extra. language: a causal model as
    `adwright lm generate --model` takes it, which torch runs; empty for none, and then the blocks
    state and surprisal are missing. layer: whose state is taken, from 0. longest: characters of a
    text that the language model reads. offline: never download.

    Raises ConfigError for other choices and for a `longest` below 1.
    """

    sentences: Literal["minilm", "hashed"] = "minilm"
    language: str = SMOLLM2
    layer: int = 16
    longest: int = 200
    offline: bool = False

    def __post_init__(self) -> None:
        if self.longest < 1 or self.layer < 0:
            raise ConfigError(
                "a text has at least 1 character and a layer is 0 or more",
                where=f"longest {self.longest}, layer {self.layer}",
                hint="BlockConfig(longest=200, layer=16)",
            )


class AdBlocks:
    """The encoders of a config, opened when they are first asked. store: where vectors are kept
    between runs; None computes them anew.

    Raises when first asked as `core.assets.asset` and `open_model` do; MissingExtraError without
    the extra `lm` where an encoder needs it.
    """

    def __init__(self, config: BlockConfig, store: VectorStore | None = None) -> None:
        self.config, self._store = config, store
        self._sentences: Encoder[str] | None = None
        self._language: _TextReader | None = None

    def of(self, ads: Sequence[AdRecord]) -> dict[str, NDArray[np.float32]]:
        """The blocks of N ads, float32 [N, D] each; NaN in the row of an ad that lacks what a block
        reads."""
        if not ads:
            return {}
        texts = [_text(ad) for ad in ads]
        found: dict[str, NDArray[Any]] = {
            "sentence": self._vectors(texts),
            "surface": _rows([text_numbers(text) if text else None for text in texts]),
            "brand": self._vectors([ad.brand.strip() for ad in ads]),
            "scenes": self._vectors([_scenes(ad) for ad in ads]),
            "facts": _rows([None if ad.kind == "text" else ad_facts(ad) for ad in ads]),
        }
        if self.config.language:
            numbers = len(SURPRISALS)
            read = self._read([text[: self.config.longest].strip() for text in texts])
            found["surprisal"], found["state"] = read[:, :numbers], read[:, numbers:]
        there = {name: block for name, block in found.items() if np.isfinite(block).any()}
        return {name: block.astype(np.float32) for name, block in there.items()}

    def close(self) -> None:
        """Free the language model. Any number of times."""
        if self._language is not None:
            self._language.close()
            self._language = None

    def _vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._sentences is None:
            self._sentences = _sentence_encoder(self.config)
        return self._by(self._sentences, texts)

    def _read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self._language is None:
            self._language = _TextReader(self.config)
        return self._by(self._language, texts)

    def _by(self, encoder: Encoder[str], texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors of N texts [N, D], each text encoded once; NaN for an empty one."""
        if self._store is not None:
            return self._store.vectors(list(texts), encoder)
        names = list(dict.fromkeys(text for text in texts if text))
        made = np.full((len(texts), encoder.width), np.nan, np.float32)
        if names:
            place = {name: at for at, name in enumerate(names)}
            vectors = encoder.encode(names)
            rows = [row for row, text in enumerate(texts) if text]
            made[rows] = vectors[[place[texts[row]] for row in rows]]
        return made


class _TextReader:
    """An `Encoder` of texts by what a language model makes of them: surprisals, then the state."""

    def __init__(self, config: BlockConfig) -> None:
        # Many rows are read at once, for which the type has to be the quick one.
        asked = TorchConfig(
            config.language,
            dtype="auto" if quick_dtype() == fitting_dtype() else "float32",
            offline=config.offline,
        )
        # Only the torch engine shows inner states, so the model is one of its.
        self._model = cast(Any, open_model(asked))
        self._layer = config.layer
        (first,) = self._model.read(["a"], before=_BEFORE, layer=config.layer)
        self.width = len(SURPRISALS) + len(first.state)
        short = config.language.rstrip("/").rsplit("/", 1)[-1]
        self.name = f"read-{short}-{config.layer}-{config.longest}"

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [B, D]."""
        tokens = [self._model.tokens.encode(text, special=False) for text in texts]
        found = self._model.read(texts, before=_BEFORE, layer=self._layer)
        rows = [
            np.concatenate([surprisal_numbers(one.log_probabilities, ids), one.state])
            for one, ids in zip(found, tokens, strict=True)
        ]
        return np.stack(rows).astype(np.float32)

    def close(self) -> None:
        with closing(self._model):
            pass


def _sentence_encoder(config: BlockConfig) -> Encoder[str]:
    if config.sentences == "hashed":
        return HashedText()
    from adwright.lm.sentence_encoder import SentenceEncoder

    return SentenceEncoder(offline=config.offline)


def _text(ad: AdRecord) -> str:
    """What the ad says in writing; of one without title and words, what is on its pictures."""
    return "\n".join(part for part in (ad.title, ad.words) if part).strip() or ad.text.strip()


def _scenes(ad: AdRecord) -> str:
    """What is seen and said, the captions of all scenes first, up to so many characters that its
    vector costs no more than that of the text."""
    seen = [scene.caption for scene in ad.scenes]
    words = [" ".join((*one.emotions, *one.tags, *one.words)) for one in ad.scenes]
    parts = (*seen, ad.speech, *words)
    return "\n".join(filter(None, map(str.strip, parts)))[:_SCENES].strip()


def _rows(found: Sequence[NDArray[np.float64] | None]) -> NDArray[np.float64]:
    """[N, D] of rows [D]; NaN where there is none."""
    width = next((len(row) for row in found if row is not None), 1)
    none = np.full(width, np.nan)
    return np.stack([none if row is None else row for row in found])
