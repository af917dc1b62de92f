"""Read a folder in the format of Hugging Face peft as a tuned part of ours; see `peft_format`.

What is read: LoRA with rsLoRA, DoRA and aLoRA, (IA)3, prompts and prefixes in safetensors. A
setting that changes the result and is not known here is refused by its name; pickled weights are
never read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.additive.ia3 import IA3
from adwright.tuning.additive.prefix import PrefixTuning
from adwright.tuning.additive.prompt import PromptTuning
from adwright.tuning.formats.peft_format import CONFIG_FILE, TENSOR_FILE, rotated
from adwright.tuning.methods import Method
from adwright.tuning.reparameterised.activated import ActivatedLoRA
from adwright.tuning.reparameterised.dora import DoRA
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.sizes import LINEAR, Sizes, Target, places
from adwright.tuning.tuned import Tuned

__all__ = ["from_peft"]

#: Settings that change nothing of what a saved part computes.
_HARMLESS = frozenset(
    {
        "auto_mapping",
        "base_model_name_or_path",
        "encoder_hidden_size",
        "ensure_weight_tying",
        "exclude_modules",
        "feedforward_modules",
        "inference_mode",
        "init_ia3_weights",
        "init_lora_weights",
        "init_weights",
        "lora_dropout",
        "megatron_core",
        "num_attention_heads",
        "num_layers",
        "num_virtual_tokens",
        "peft_type",
        "peft_version",
        "prefix_projection",
        "prompt_tuning_init",
        "prompt_tuning_init_state_dict_path",
        "prompt_tuning_init_text",
        "qalora_group_size",
        "revision",
        "runtime_config",
        "target_modules",
        "task_type",
        "token_dim",
        "tokenizer_kwargs",
        "tokenizer_name_or_path",
    }
)
#: Settings that are read.
_READ = frozenset({"r", "lora_alpha", "use_rslora", "use_dora", "alora_invocation_tokens"})
#: Ways to start that leave the base as it was; others take a part of it away.
_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
_KINDS = ("LORA", "IA3", "PROMPT_TUNING", "PREFIX_TUNING")
_BEFORE = "base_model.model."


def from_peft(model: nn.Module, folder: str | Path) -> Tuned:
    """Attach to `model` the adapter that peft wrote into `folder`.

    model: the base, an unchanged causal LM. The file does not say which base it belongs to: sizes
    are checked, its values cannot be.

    Raises ArtifactError, before the model is changed, where files are missing or damaged, or
    tensors do not fit; ConfigError for a kind or a setting that has no form here.
    """
    folder = Path(folder)
    where = str(folder)
    config = _config(folder)
    kind = config.get("peft_type")
    if kind not in _KINDS:
        raise ConfigError(
            f"parts of peft's kind {kind} cannot be read here",
            where=where,
            hint=f"one of {', '.join(_KINDS)}; or merge it into its base with peft",
        )
    _require_known(config, folder)
    tensors, sizes = _tensors(folder), Sizes.of(model)
    match kind:
        case "LORA":
            method, state = _low_rank(model, config, tensors, where)
        case "IA3":
            method, state = _rescaled(model, tensors, where)
        case "PROMPT_TUNING":
            method, state = _prompt(sizes, tensors, where)
        case _:
            method, state = _prefix(model, sizes, tensors, where)
    tuned = Tuned(model, method, blank=True)
    tuned.load_state(state, where)
    return tuned


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise _bad(f"{CONFIG_FILE} cannot be read: {error}", str(folder)) from error
    if not isinstance(config, dict):
        raise _bad(f"{CONFIG_FILE} is no object", str(folder))
    return config


def _require_known(config: dict[str, Any], folder: Path) -> None:
    """Raise ConfigError for a setting that changes the result and is not read."""
    if config.get("bias", "none") == "none":
        config.pop("bias", None)
    # A count of 1, which encoders with a decoder have twice.
    if config.get("num_transformer_submodules") in (None, 1):
        config.pop("num_transformer_submodules", None)
    unknown = [
        name
        for name, value in config.items()
        if name not in _HARMLESS | _READ and value not in (None, False, 0, "", [], {})
    ]
    if unknown:
        raise ConfigError(
            f"the setting {unknown[0]} of peft changes the result, and has no form here",
            where=f"{folder / CONFIG_FILE}: {unknown[0]} = {config[unknown[0]]!r}",
            hint="merge the part into its base with peft, and use the merged model",
        )
    start = config.get("init_lora_weights", True)
    if not any(start is known or start == known for known in _STARTS):
        raise ConfigError(
            f"a part that started by {start} belongs to a base that was changed",
            where=f"{folder / CONFIG_FILE}: init_lora_weights",
            hint="save it with peft's path_initial_model_for_weight_conversion",
        )


def _tensors(folder: Path) -> dict[str, Tensor]:
    where = str(folder)
    if not (folder / TENSOR_FILE).is_file():
        hint = f"save it in safetensors, as {TENSOR_FILE}; pickled weights (.bin) are not read"
        raise ArtifactError(f"there is no {TENSOR_FILE}", where=where, hint=hint)
    try:
        found = load_file(folder / TENSOR_FILE)
    except (OSError, SafetensorError) as error:
        raise _bad(f"{TENSOR_FILE} cannot be read: {error}", where) from error
    for name, value in found.items():
        if not value.is_floating_point() or not bool(value.isfinite().all()):
            raise _bad(f"the tensor {name!r} holds no numbers, NaN or infinity", where)
    return {name: value.float() for name, value in found.items()}


def _low_rank(
    model: nn.Module, config: Mapping[str, Any], tensors: dict[str, Tensor], where: str
) -> tuple[Method, dict[str, Tensor]]:
    dora = bool(config.get("use_dora"))
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float):
        raise _bad(f"r is {rank!r} and lora_alpha {alpha!r}", where)
    found: list[Target] = []
    state: dict[str, Tensor] = {}
    wanted: dict[str, tuple[int, ...]] = {}
    for place in places(model, LINEAR):
        name = f"{_BEFORE}{place.name}"
        # A map that is tuned in one layer is tuned in all of them.
        if f"{_BEFORE}{place._replace(layer=0).name}.lora_A.weight" not in tensors:
            continue
        found += [] if place.target in found else [place.target]
        inputs, outputs = place.linear.in_features, place.linear.out_features
        mine: dict[str, tuple[str, tuple[int, ...]]]
        mine = {"lora_A.weight": ("a", (rank, inputs)), "lora_B.weight": ("b", (outputs, rank))}
        if dora:
            mine["lora_magnitude_vector"] = ("magnitude", (outputs,))
        for theirs, (ours, shape) in mine.items():
            wanted[f"{name}.{theirs}"] = shape
            state[f"model.{place.name}.{ours}"] = tensors.get(f"{name}.{theirs}", torch.empty(0))
    _require(wanted, tensors, where)
    shared: dict[str, Any] = {"rank": rank, "alpha": float(alpha), "targets": tuple(found)}
    stable = bool(config.get("use_rslora"))
    # DoRA and aLoRA here have LoRA's scale alone: that of rsLoRA is alpha sqrt(r) / r.
    as_plain = {"alpha": float(alpha) * (rank**0.5 if stable else 1)}
    dropout = float(config.get("lora_dropout") or 0.0)
    invocation = _invocation(config, where)
    if dora:
        return DoRA(**shared | as_plain), state
    if invocation:
        own = shared | as_plain
        return ActivatedLoRA(**own, invocation=invocation, dropout=dropout), state
    return LoRA(**shared, rank_stabilised=stable, dropout=dropout), state


def _invocation(config: Mapping[str, Any], where: str) -> tuple[int, ...]:
    """The tokens from which on an aLoRA acts; none for another."""
    found = config.get("alora_invocation_tokens")
    if found is None:
        return ()
    if not isinstance(found, list) or not found or not all(type(one) is int for one in found):
        raise _bad(f"alora_invocation_tokens is {found!r}, no list of tokens", where)
    if config.get("use_dora"):
        raise ConfigError(
            "a part that is DoRA and aLoRA at once has no form here",
            where=f"{where}: alora_invocation_tokens, use_dora",
            hint="peft has none either: leave one of both out",
        )
    return tuple(found)


def _rescaled(
    model: nn.Module, tensors: dict[str, Tensor], where: str
) -> tuple[Method, dict[str, Tensor]]:
    """A map that peft left alone has factors of one here."""
    state: dict[str, Tensor] = {}
    wanted: dict[str, tuple[int, ...]] = {}
    for place in places(model, ("k_proj", "v_proj", "down_proj")):
        inner = place.target == "down_proj"
        size = place.linear.in_features if inner else place.linear.out_features
        name = f"{_BEFORE}{place.name}.ia3_l"
        if name in tensors:
            wanted[name] = (1, size) if inner else (size, 1)
        state[f"model.{place.name}.factor"] = tensors.get(name, torch.ones(size)).flatten()
    _require(wanted, tensors, where)
    return IA3(), state


def _prompt(
    sizes: Sizes, tensors: dict[str, Tensor], where: str
) -> tuple[Method, dict[str, Tensor]]:
    vectors = _embeddings(sizes.width, tensors, where)
    return PromptTuning(length=len(vectors)), {"outer.vectors": vectors}


def _prefix(
    model: nn.Module, sizes: Sizes, tensors: dict[str, Tensor], where: str
) -> tuple[Method, dict[str, Tensor]]:
    heads, width = sizes.kv_heads, sizes.head_width
    made = _embeddings(2 * sizes.layers * heads * width, tensors, where)
    length = len(made)
    state = {}
    for layer, both in enumerate(made.view(length, sizes.layers, 2, heads, width).unbind(1)):
        keys, values = both.permute(1, 2, 0, 3)  # each [heads, L, d]
        turned = rotated(model, keys, -length)
        name = f"model.model.layers.{layer}.self_attn.prefix.maker.values"
        state[name] = torch.stack([turned, values])
    return PrefixTuning(length=length), state


def _embeddings(width: int, tensors: dict[str, Tensor], where: str) -> Tensor:
    vectors = tensors.get("prompt_embeddings", torch.empty(0))
    if vectors.ndim != 2 or not len(vectors):
        raise _bad("prompt_embeddings is no matrix [tokens, width]", where)
    _require({"prompt_embeddings": (len(vectors), width)}, tensors, where)
    return vectors


def _require(
    wanted: Mapping[str, tuple[int, ...]], tensors: Mapping[str, Tensor], where: str
) -> None:
    """Raise ArtifactError where tensors are missing, unknown or of another shape."""
    differ = sorted(set(wanted) ^ set(tensors))
    if differ or not wanted:
        name = differ[0] if differ else "lora_A"
        side = "is missing" if name in wanted or not differ else "is for no map that is tuned here"
        raise _bad(f"the tensor {name!r} {side}", where)
    for name, shape in wanted.items():
        if tuple(tensors[name].shape) != shape:
            raise _bad(f"{name!r} is {list(tensors[name].shape)}, not {list(shape)}", where)


def _bad(what: str, where: str) -> ArtifactError:
    hint = "name a folder that peft wrote, and the base that it was tuned on"
    return ArtifactError(what, where=where, hint=hint)
