"""A tiny random Llama, a batch for it, and every method with settings that fit it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from adwright.tuning.additive.adapters import (
    IA3,
    SSF,
    AdaMix,
    AdapterFusion,
    ParallelAdapter,
    SerialAdapter,
)
from adwright.tuning.additive.prompts import MAM, DePT, PrefixTuning, PromptTuning, UniPELT
from adwright.tuning.efficient import PEQA, AdapterDrop, BitDelta, LadderTuning, LoRAFA, MeZO
from adwright.tuning.methods import Method, PeftKind, Wrapped, apply
from adwright.tuning.reparameterised.factors import SAID, Compacter, KronA, LoRAHub, VeRA
from adwright.tuning.reparameterised.lora import ActivatedLoRA, DoRA, DyLoRA, LoRA, MoSLoRA, SoRA
from adwright.tuning.selective import (
    LTSFT,
    BitFit,
    DiffPruning,
    FishMask,
    FullTuning,
    HeadOnly,
    NormTuning,
    PaFi,
)
from adwright.tuning.tuned import Tuned

#: Four texts of twelve words.
TOKENS = torch.randint(64, (4, 12), generator=torch.Generator().manual_seed(7))
SOURCE = LoRA(rank=2)
#: Stands in two of the texts, among the first eight words.
INVOCATION = (55,)
OURS: dict[str, Method] = {
    "houlsby": SerialAdapter(size=4),
    "pfeiffer": SerialAdapter(size=4, placement="pfeiffer", activation="gelu"),
    "parallel": ParallelAdapter(size=4),
    "parallel-both": ParallelAdapter(size=4, beside="both", activation="silu"),
    "adapter-fusion": AdapterFusion(size=4),
    "adamix": AdaMix(size=4, experts=3),
    "prompt": PromptTuning(length=5),
    "prefix": PrefixTuning(length=3),
    "prefix-mlp": PrefixTuning(length=3, made_by="mlp", hidden=6),
    "dept": DePT(length=3, longest=16, rank=2),
    "ia3": IA3(),
    "ssf": SSF(),
    "diff-pruning": DiffPruning(),
    "diff-pruning-structured": DiffPruning(structured=True),
    "fish-mask": FishMask(fraction=0.02, samples=4),
    "sam": FishMask(fraction=0.02, samples=4, criterion="gradient"),
    "pafi": PaFi(fraction=0.02),
    "lt-sft": LTSFT(fraction=0.02, steps=3, learning_rate=1e-3),
    "bitfit": BitFit(),
    "norms": NormTuning(),
    "lora": LoRA(rank=3),
    "rslora": LoRA(rank=3, rank_stabilised=True, targets=("q_proj", "v_proj")),
    "lora-plus": LoRA(rank=3, rate_ratio=4.0),
    "lora-dropout": LoRA(rank=3, dropout=0.1),
    "dora": DoRA(rank=3),
    "vera": VeRA(rank=5),
    "krona": KronA(factor=5),
    "said-sketch": SAID(dimension=50),
    "said-fastfood": SAID(dimension=50, projection="fastfood"),
    "compacter": Compacter(size=8, blocks=4),
    "mos-lora": MoSLoRA(rank=3),
    "dylora": DyLoRA(rank=3),
    "sora": SoRA(rank=3),
    "lorahub": LoRAHub(rank=2),
    "alora": ActivatedLoRA(rank=3, invocation=INVOCATION),
    "mam": MAM(length=3, size=4),
    "unipelt": UniPELT(rank=2, length=3, size=4),
    "adapter-drop": AdapterDrop(drop=1, size=4),
    "ladder": LadderTuning(reduction=4),
    "mezo": MeZO(),
    "mezo-lora": MeZO(rank=2),
    "lora-fa": LoRAFA(rank=3),
    "peqa": PEQA(group=8),
    "peqa-3-bit": PEQA(group=16, bits=3),
    "bit-delta": BitDelta(),
    "full": FullTuning(),
    "head": HeadOnly(),
}
#: Settings of peft's kinds where the defaults do not fit the tiny model.
_FIT: dict[PeftKind, dict[str, Any]] = {
    PeftKind.BOFT: {"block": 4},
    PeftKind.C3A: {"block": 16},
    PeftKind.OFT: {"block": 8},
    PeftKind.ROAD: {"block": 16},
    PeftKind.VBLORA: {"block": 16, "number": 12},
    PeftKind.TINYLORA: {"number": 20},
    PeftKind.CPT: {"tokens": (3, 4, 5)},
    PeftKind.TOKENS: {"tokens": tuple(range(0, 64, 2))},
    PeftKind.ADALORA: {"steps": 20},
}
WRAPPED: dict[str, Method] = {
    f"peft-{kind}": Wrapped(kind, **{"rank": 4, "length": 5} | _FIT.get(kind, {}))
    for kind in PeftKind
}


@cache
def _master(tied: bool) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            vocab_size=64,
            max_position_embeddings=64,
            tie_word_embeddings=tied,
            # Larger than usual, so that a tiny model has something to say.
            initializer_range=0.2,
        )
        return LlamaForCausalLM(config).eval()


def tiny_llama(*, tied: bool = False) -> Any:
    """A fresh copy; always the same weights. tied: the head is the embedding."""
    return copy.deepcopy(_master(tied))


def loss_of(tuned: Tuned, tokens: Tensor = TOKENS) -> Tensor:
    """Next-word cross-entropy, a mean."""
    hidden = tuned(tokens)[:, :-1].flatten(0, 1)
    return functional.cross_entropy(tuned.logits(hidden), tokens[:, 1:].flatten())


def losses(tuned: Tuned) -> Iterator[Tensor]:
    """Calibration losses, one text each, for ever."""
    while True:
        for text in TOKENS:
            yield loss_of(tuned, text[None])


def logits_of(tuned: Tuned, tokens: Tensor = TOKENS) -> Tensor:
    """Logits [B, T, V] without a graph, as in use."""
    tuned.eval()
    with torch.no_grad():
        return tuned.logits(tuned(tokens))


def base_logits(tokens: Tensor = TOKENS) -> Tensor:
    """Logits [B, T, V] of the model as it came."""
    with torch.no_grad():
        logits: Tensor = _master(tied=False)(tokens).logits
    return logits


def shake(tuned: Tuned, seed: int = 3, size: float = 0.05) -> None:
    """Move what is trainable away from where it started."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in tuned.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))


def attached(
    method: Method,
    folder: Path,
    seed: int = 0,
    kind: torch.dtype = torch.float32,
    *,
    tied: bool = False,
) -> Tuned:
    """`method` on a fresh model; its sources, if it needs any, are made in `folder`."""
    sources: list[Path] = []
    match method:
        case AdapterFusion():
            serial = SerialAdapter(method.size, "pfeiffer", method.activation)
            sources = [saved(serial, folder / str(at), at, tied) for at in range(method.adapters)]
        case LoRAHub():
            sources = [saved(SOURCE, folder / str(at), at, tied) for at in range(method.adapters)]
        case BitDelta():
            sources = [saved(FullTuning(), folder / "full", 0, tied)]
    model = tiny_llama(tied=tied).to(kind)
    return apply(model, method, seed=seed, losses=losses, sources=sources)


def saved(method: Method, folder: Path, seed: int, tied: bool = False) -> Path:
    """The folder of a part that was shaken, not trained."""
    tuned = apply(tiny_llama(tied=tied), method, seed=seed, losses=losses)
    shake(tuned, seed)
    tuned.save(folder)
    return folder


def train(tuned: Tuned, steps: int = 8, rate: float = 5e-3) -> None:
    """A few steps on one batch, each method in its own way."""
    compute: Callable[[], Tensor] = lambda: loss_of(tuned)  # noqa: E731
    match tuned.method:
        case MeZO() | LoRAHub() as method:
            for step in range(40):
                method.search(tuned, compute, rate=2e-4, seed=step)
        case _:
            tuned.train()
            optimizer = torch.optim.AdamW(tuned.groups(rate), weight_decay=0.0)
            for step in range(steps):
                tuned.before_step(step, steps)
                (loss_of(tuned) + tuned.loss_extra()).backward()
                optimizer.step()
                tuned.after_step(step, steps)
                optimizer.zero_grad()
