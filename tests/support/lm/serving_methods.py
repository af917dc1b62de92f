"""Every method with settings that fit the tiny Llama with a tokeniser, saved as a part of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from adwright.tuning.additive.adapters import AdapterFusion, SerialAdapter
from adwright.tuning.additive.prompts import DePT
from adwright.tuning.efficient import BitDelta
from adwright.tuning.methods import Method, PeftKind, Wrapped, apply
from adwright.tuning.reparameterised.factors import LoRAHub
from adwright.tuning.reparameterised.lora import ActivatedLoRA
from adwright.tuning.selective import FullTuning
from adwright.tuning.tuned import Tuned
from tests.support.lm.tiny_llama import VOCABULARY, tiny_llama, tiny_tokens
from tests.support.lm.tuning_methods import OURS, SOURCE, WRAPPED, shake

#: As in the tests of tuning, but for texts that are longer here, and maps of other widths.
SERVED: dict[str, Method] = {
    **OURS,
    **WRAPPED,
    "dept": DePT(length=3, longest=64, rank=2),
    "alora": ActivatedLoRA(rank=3, invocation=tuple(tiny_tokens().encode(" best"))),
    "peft-vblora": Wrapped(PeftKind.VBLORA, rank=4, block=8, number=12),
    "peft-c3a": Wrapped(PeftKind.C3A, block=8),
    "peft-road": Wrapped(PeftKind.ROAD, block=8),
}


def tuned_and_saved(method: Method, folder: Path, seed: int = 1) -> Tuned:
    """A part that was shaken, not trained, and saved in `folder`; its sources beside it."""
    beside = folder.parent / f"{folder.name}-sources"
    sources: list[Path] = []
    match method:
        case AdapterFusion():
            serial = SerialAdapter(method.size, "pfeiffer", method.activation)
            sources = [_source(serial, beside / str(at), at) for at in range(method.adapters)]
        case LoRAHub():
            sources = [_source(SOURCE, beside / str(at), at) for at in range(method.adapters)]
        case BitDelta():
            sources = [_source(FullTuning(), beside / "full", 0)]
    tuned = apply(tiny_llama(), method, seed=seed, losses=_losses, sources=sources)
    shake(tuned, seed, 0.15 if not method.trains_base else 0.05)
    tuned.save(folder)
    return tuned


def _source(method: Method, folder: Path, seed: int) -> Path:
    tuned = apply(tiny_llama(), method, seed=seed)
    shake(tuned, seed, 0.1)
    tuned.save(folder)
    return folder


def _losses(tuned: Tuned) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(5)
    while True:
        tokens = torch.randint(VOCABULARY, (1, 9), generator=generator)
        hidden = tuned(tokens)[:, :-1].flatten(0, 1)
        yield functional.cross_entropy(tuned.logits(hidden), tokens[:, 1:].flatten())
