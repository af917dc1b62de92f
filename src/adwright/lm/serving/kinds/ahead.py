"""Keys and values that stand before every text: what a prefix is, and what a prompt becomes.

A prefix is keys and values already. Learned vectors before the text pass through the base once,
at positions 0 ... L - 1; the words of every text then stand L positions later. Both end as pages
that a row begins with, so a pass costs what L more tokens in the cache cost, and nothing else.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from adwright.core.errors import ArtifactError
from adwright.lm.serving.kinds.shapes import GatheredMethod
from adwright.lm.torch_engine.tuned_network import tuned_over
from adwright.tuning.additive.prompts import Prefix, PrefixTuning, PromptTuning
from adwright.tuning.hybrid import MAM
from adwright.tuning.modules import Ahead
from adwright.tuning.peft_kinds import PeftKind, Wrapped
from adwright.tuning.tuned import Tuned

__all__ = ["NOTHING_AHEAD", "AheadTokens", "ahead_of", "keys_ahead"]


class AheadTokens(NamedTuple):
    """tokens: L, whose keys and values stand before a text. moved: by how many positions its own
    words stand later."""

    tokens: int = 0
    moved: int = 0


#: Of an adapter that is all at the maps.
NOTHING_AHEAD = AheadTokens()


def ahead_of(method: GatheredMethod) -> AheadTokens:
    """What stands before the text with these settings."""
    match method:
        case PrefixTuning() | MAM():
            return AheadTokens(method.length, 0)
        case PromptTuning():
            return AheadTokens(method.length, method.length)
        case Wrapped():
            length = len(method.tokens) if method.kind is PeftKind.CPT else method.length
            return AheadTokens(length, length)
        case _:
            return NOTHING_AHEAD


@torch.inference_mode()
def keys_ahead(model: nn.Module, folder: str | Path) -> Tensor:
    """Keys and values [N, 2, G, L, D] of N layers, float32. model: the plain base.

    Raises ArtifactError as `load_tuned` does, and where the adapter has none that are the same
    for every text.
    """
    tuned = tuned_over(model, folder)
    if isinstance(tuned.outer, Ahead):
        return _of_vectors(tuned, tuned.outer.ahead())
    found = []
    for layer in tuned.layers():
        prefix: Any = getattr(layer.self_attn, "prefix", None)
        if not isinstance(prefix, Prefix) or prefix.gate is not None:
            raise ArtifactError(
                "its prefix is not the same for every text",
                where=str(folder),
                hint="serve it alone",
            )
        found.append(prefix.maker().float())
    return torch.stack(found)


def _of_vectors(tuned: Tuned, vectors: Tensor) -> Tensor:
    from transformers import DynamicCache

    causal = tuned.causal
    kept: Any = DynamicCache(config=causal.config.get_text_config())
    # Renamed in transformers 5.x, where the old name warns.
    names = inspect.signature(causal.model.forward).parameters
    where = {"cache" if "cache" in names else "past_key_values": kept}
    kind = causal.lm_head.weight.dtype
    causal.model(inputs_embeds=vectors.to(kind)[None], use_cache=True, **where)
    return torch.stack([torch.cat([each.keys, each.values]).float() for each in kept.layers])
