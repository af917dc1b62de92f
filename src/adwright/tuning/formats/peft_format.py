"""Write a tuned part in the format of Hugging Face peft, and read theirs.

A folder with adapter_config.json and adapter_model.safetensors is what peft, vLLM, SGLang and the
hub take. What has the same form there:

    LoRA, rsLoRA, LoRA+, LoRA-FA    lora_A [r, in], lora_B [out, r]; use_rslora
    DoRA                            and lora_magnitude_vector [out]
    aLoRA                           and alora_invocation_tokens
    (IA)3                           ia3_l [out, 1], or [1, in] before down_proj
    prompt tuning                   prompt_embeddings [L, D]
    prefix tuning                   prompt_embeddings [L, 2 N K]: keys, values of layer 0, 1, ...

K is the width of all keys of a layer. Kinds of peft's own (`Wrapped`) are written by peft.

The trap is the prefix: with peft the text begins at position L behind it, here at 0. A query that
is rotated by t + L has with a key p the product that one rotated by t has with R(-L) p, R being the
rotation by position. So keys are written as R(L) p and read as R(-L) p.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import save_file
from torch import Tensor

from adwright.core.atomic import atomic_folder
from adwright.core.errors import ConfigError
from adwright.tuning.additive.ia3 import IA3, Rescaled
from adwright.tuning.additive.prefix import Prefix, PrefixTuning
from adwright.tuning.additive.prompt import Prompt, PromptTuning
from adwright.tuning.peft_wrapper import Wrapped
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.dora import DoRA, DoRALinear
from adwright.tuning.reparameterised.lora import LoRALinear, LowRankMethod
from adwright.tuning.sizes import LINEAR, Sizes
from adwright.tuning.tuned import Tuned

__all__ = ["CONFIG_FILE", "TENSOR_FILE", "rotated", "to_peft"]

CONFIG_FILE, TENSOR_FILE = "adapter_config.json", "adapter_model.safetensors"
#: Families whose attention rotates the pairs (i, i + d/2) of a whole head, alike in all layers.
_ROTATING = ("llama", "mistral", "qwen2", "qwen3", "granite", "olmo2", "smollm3")
#: Frequencies that do not depend on how long a text is.
_STEADY = ("default", "linear", "llama3", "yarn")


def to_peft(tuned: Tuned, folder: str | Path, *, base: str = "", overwrite: bool = False) -> Path:
    """Write the part as peft would, all of it or nothing; returns the folder.

    base: the name of the base model, which peft and vLLM look up. overwrite: replace what is there.
    Raises ConfigError for a method that peft has no form for, ResourceError where something is
    there or the disk is full.
    """
    folder = Path(folder)
    if isinstance(tuned.method, Wrapped):
        _by_peft(tuned, folder, base, overwrite=overwrite)
        return folder
    config, tensors = _described(tuned)
    plain = {"base_model_name_or_path": base or None, "inference_mode": True} | config
    stored = {name: value.detach().float().cpu().contiguous() for name, value in tensors.items()}
    with atomic_folder(folder, overwrite=overwrite) as made:
        text = json.dumps({"task_type": "CAUSAL_LM"} | plain, indent=2, sort_keys=True)
        (made / CONFIG_FILE).write_text(text + "\n", "utf-8")
        save_file(stored, made / TENSOR_FILE, metadata={"format": "pt"})
    return folder


def rotated(model: Any, keys: Tensor, places: int) -> Tensor:
    """Rotate keys [heads, L, d] by so many places, as the attention of `model` does; back where
    `places` is negative.

    Raises ConfigError for a family that rotates in another way, or differently in long texts.
    """
    rotary = getattr(model.model, "rotary_emb", None)
    family, kind = model.config.model_type, getattr(rotary, "rope_type", "default")
    if rotary is None or family not in _ROTATING or kind not in _STEADY:
        raise ConfigError(
            "a prefix of this family is not known to have a form in peft",
            where=f"model_type {family}, rope {kind}",
            hint=f"one of {', '.join(_ROTATING)}; or tune a LoRA, which every family has",
        )
    at = torch.tensor([[abs(places)]], device=keys.device)
    cos, sin = (x[0].float() / rotary.attention_scaling for x in rotary(keys.float(), at))
    first, second = keys.float().chunk(2, -1)
    turned = torch.cat([-second, first], -1)
    found: Tensor = keys.float() * cos + turned * sin * (1 if places > 0 else -1)
    return found


def _described(tuned: Tuned) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The config and the tensors, by peft's names."""
    match tuned.method:
        case DoRA() | ActivatedLoRA() | LowRankMethod(plain_lora=True) as method:
            return _low_rank(tuned, method)
        case IA3():
            return _rescaled(tuned)
        case PromptTuning(length=length):
            prompt = {"peft_type": "PROMPT_TUNING"} | _virtual(tuned.sizes, length)
            more = {"token_dim": tuned.sizes.width, "num_attention_heads": tuned.sizes.heads}
            return prompt | more, {"prompt_embeddings": cast(Prompt, tuned.outer).vectors}
        case PrefixTuning(length=length):
            return _prefix(tuned, length)
        case method:
            raise ConfigError(
                "peft has no form for this method",
                where=type(method).__name__,
                hint="merge it into the base where it can be (`adwright tune merge`), or tune with "
                "LoRA, DoRA, ActivatedLoRA, IA3, PromptTuning, PrefixTuning or a kind of peft",
            )


def _low_rank(tuned: Tuned, method: LowRankMethod) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    targets: list[str] = []
    for place in tuned.places(LINEAR):
        module = place.linear
        if not isinstance(module, LoRALinear):
            continue
        targets += [] if place.target in targets else [place.target]
        name = f"base_model.model.{place.name}"
        tensors |= {f"{name}.lora_A.weight": module.a, f"{name}.lora_B.weight": module.b}
        if isinstance(module, DoRALinear):
            tensors[f"{name}.lora_magnitude_vector"] = module.magnitude
    config = {
        "peft_type": "LORA",
        "r": method.rank,
        "lora_alpha": method.alpha,
        "target_modules": targets,
        "lora_dropout": getattr(method, "dropout", 0.0),
        "use_rslora": bool(getattr(method, "rank_stabilised", False)),
        "use_dora": isinstance(method, DoRA),
        "bias": "none",
    }
    if isinstance(method, ActivatedLoRA):
        config["alora_invocation_tokens"] = list(method.tokens)
    return config, tensors


def _rescaled(tuned: Tuned) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors = {}
    for place in tuned.places(LINEAR):
        module = place.linear
        if isinstance(module, Rescaled):
            factor = module.factor[None] if module.side == "in" else module.factor[:, None]
            tensors[f"base_model.model.{place.name}.ia3_l"] = factor
    config = {
        "peft_type": "IA3",
        "target_modules": ["k_proj", "v_proj", "down_proj"],
        "feedforward_modules": ["down_proj"],
    }
    return config, tensors


def _prefix(tuned: Tuned, length: int) -> tuple[dict[str, Any], dict[str, Tensor]]:
    sizes, found = tuned.sizes, []
    for layer in tuned.layers():
        prefix = cast(Prefix, cast(Any, layer).self_attn.prefix)
        with torch.no_grad():
            keys, values = prefix.maker()
            both = torch.stack([rotated(tuned.causal, keys, length), values.float()])
        found.append(both.permute(2, 0, 1, 3).flatten(2))  # [L, 2, K]
    config = {
        "peft_type": "PREFIX_TUNING",
        "token_dim": sizes.kv_heads * sizes.head_width,
        "num_attention_heads": sizes.kv_heads,
        "encoder_hidden_size": sizes.kv_heads * sizes.head_width,
        "prefix_projection": False,
    }
    embeddings = torch.stack(found, 1).flatten(1)  # [L, N, 2, K] to [L, 2 N K]
    return config | _virtual(sizes, length), {"prompt_embeddings": embeddings}


def _virtual(sizes: Sizes, length: int) -> dict[str, Any]:
    return {
        "num_virtual_tokens": length,
        "num_layers": sizes.layers,
        "num_transformer_submodules": 1,
    }


def _by_peft(tuned: Tuned, folder: Path, base: str, *, overwrite: bool) -> None:
    """Let peft write its own kind."""
    model = cast(Any, tuned.model if tuned.outer is None else tuned.outer.peft_model)
    for config in model.peft_config.values():
        config.base_model_name_or_path = base or None
    with atomic_folder(folder, overwrite=overwrite) as made:
        model.save_pretrained(str(made), save_embedding_layers=False)
