"""Tuned parts of the tiny Llama that has a tokeniser, and the engine over them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.kinds import GatheredMethod
from adwright.lm.torch_engine.model import TorchModel
from adwright.tuning.additive.adapters import IA3, SSF, SerialAdapter
from adwright.tuning.efficient import LoRAFA
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.reparameterised.lora import DoRA, LoRA
from adwright.tuning.selective import BitFit
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens
from tests.support.lm.tuning_methods import shake

PARTS: dict[str, GatheredMethod] = {
    "lora": LoRA(rank=3),
    "lora-wide": LoRA(rank=6, rank_stabilised=True),
    "lora-few": LoRA(rank=4, targets=("q_proj", "v_proj", "up_proj")),
    "lora-fa": LoRAFA(rank=2),
    "dora": DoRA(rank=3),
    "houlsby": SerialAdapter(size=4),
    "pfeiffer": SerialAdapter(size=6, placement="pfeiffer", activation="gelu"),
    "wide": SerialAdapter(size=30, activation="silu"),
    "ia3": IA3(),
    "bitfit": BitFit(),
    "ssf": SSF(),
}
#: One page of the tiny model in float32: 3 layers, 2 heads of 12, 4 tokens.
BLOCK = 4
PAGE = 4 * 3 * 2 * 2 * 12 * BLOCK


def saved_parts(top: Path, methods: Mapping[str, GatheredMethod] = PARTS) -> dict[str, Path]:
    """Folders of parts that were shaken, not trained."""
    for seed, (name, method) in enumerate(methods.items(), start=1):
        tuned = apply(tiny_llama(), method, seed=seed)
        shake(tuned, seed)
        tuned.save(top / name)
    return {name: top / name for name in methods}


def models_of(
    folders: Mapping[str, Path], *, pages: int = 2000, config: ServingConfig | None = None
) -> AdapterModels:
    """The engine with these parts. pages: of the pool, page 0 included."""
    config = ServingConfig() if config is None else config
    fields = {**vars(config), "block": BLOCK, "pool_bytes": pages * PAGE}
    models = AdapterModels(tiny_llama(), tiny_tokens(), name="base", config=ServingConfig(**fields))
    for name, folder in folders.items():
        models.add(name, folder)
    return models


def alone(name: str, folders: Mapping[str, Path]) -> TorchModel:
    """The plain engine on one part by itself."""
    model: Any = tiny_llama()
    if name != "base":
        model = load_tuned(model, folders[name]).model
    return TorchModel(model, tiny_tokens(), name=name)


@cache
def odd_texts() -> tuple[str, ...]:
    """Prompts of different length."""
    words = ("the", "best", "tea", "in", "the", "world", "is", "a", "cup", "of", "tea", "with")
    generator = torch.Generator().manual_seed(1)
    lengths = torch.randint(1, 12, (32,), generator=generator).tolist()
    return tuple(" ".join((words * 2)[at % 7 :][:n]) for at, n in enumerate(lengths))
