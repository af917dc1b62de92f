"""The methods that benchmarks/lm/peft.py trains: ours, and peft's own where it ships the method.

rate: where the search for a learning rate begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

#: The maps of a decoder layer, as peft wants them named.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Variant:
    """A row of the table. by: "ours" through `tune`, "wrapped" peft's module through `tune`,
    "peft" peft's with transformers' own loss on padded batches. settings: of the method.
    twin: the row of ours that does the same. like: the row whose learning rate is taken over;
    twins have that of theirs."""

    by: Literal["ours", "wrapped", "peft"]
    settings: dict[str, Any] = field(default_factory=dict)
    rate: float = 1e-3
    twin: str = ""
    like: str = ""


def _ours(kind: str, rate: float, like: str = "", **settings: Any) -> Variant:
    return Variant("ours", {"kind": kind, **settings}, rate, like=like)


VARIANTS: dict[str, Variant] = {
    "lora": _ours("LoRA", 3e-3),
    "full": _ours("FullTuning", 9e-5),
    "ladder": _ours("LadderTuning", 3e-3),
    "bitfit": _ours("BitFit", 9e-3),
    "(ia)3": _ours("IA3", 3e-2),
    "serial adapter": _ours("SerialAdapter", 3e-3),
    "dora": _ours("DoRA", 3e-3, "lora"),
    "mezo": _ours("MeZO", 1e-6),
    "prompt": _ours("PromptTuning", 1e-2),
    "parallel adapter": _ours("ParallelAdapter", 3e-3, "serial adapter"),
    "lora-fa": _ours("LoRAFA", 6e-3, "lora"),
    "unipelt": _ours("UniPELT", 3e-3, "lora"),
    "ssf": _ours("SSF", 9e-3),
    "fishmask": _ours("FishMask", 1e-3),
    "pafi": _ours("PaFi", 1e-3, "fishmask"),
    "mam": _ours("MAM", 3e-3, "serial adapter"),
    "mezo on lora": _ours("MeZO", 1e-3, rank=8),
    "prefix": _ours("PrefixTuning", 1e-2),
    "peqa": _ours("PEQA", 1e-4),
    "vera": _ours("VeRA", 3e-2),
    "diff pruning": _ours("DiffPruning", 3e-4),
    "loha (peft)": Variant("wrapped", {"kind": "peft:loha"}, 1e-3),
    "adalora (peft)": Variant("wrapped", {"kind": "peft:adalora", "steps": 24}, 1e-3),
    "compacter": _ours("Compacter", 3e-3),
    "norms": _ours("NormTuning", 3e-3),
    "adapterdrop": _ours("AdapterDrop", 1e-3, drop=10, serve=5),
    "krona": _ours("KronA", 1e-3),
    "peft lora": Variant(
        "peft",
        {"config": "LoraConfig", "r": 8, "lora_alpha": 16, "target_modules": LINEAR},
        twin="lora",
    ),
    "peft dora": Variant(
        "peft",
        {
            "config": "LoraConfig",
            "r": 8,
            "lora_alpha": 16,
            "target_modules": LINEAR,
            "use_dora": True,
        },
        twin="dora",
    ),
    "peft ia3": Variant(
        "peft",
        {
            "config": "IA3Config",
            "target_modules": ["k_proj", "v_proj", "down_proj"],
            "feedforward_modules": ["down_proj"],
        },
        twin="(ia)3",
    ),
    "peft vera": Variant(
        "peft",
        {"config": "VeraConfig", "r": 64, "d_initial": 0.1, "target_modules": LINEAR},
        twin="vera",
    ),
    "peft prefix": Variant(
        "peft", {"config": "PrefixTuningConfig", "num_virtual_tokens": 20}, twin="prefix"
    ),
    # Begins as words of the vocabulary, as ours does; by default peft's is noise.
    "peft prompt": Variant(
        "peft",
        {
            "config": "PromptTuningConfig",
            "num_virtual_tokens": 20,
            "prompt_tuning_init": "SAMPLE_VOCAB",
        },
        twin="prompt",
    ),
    "peft norms": Variant(
        "peft",
        {
            "config": "LNTuningConfig",
            "target_modules": ["input_layernorm", "post_attention_layernorm", "norm"],
        },
        twin="norms",
    ),
}
