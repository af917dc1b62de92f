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

Read a folder in the format of Hugging Face peft as a tuned part of ours; see `peft_format`.

What is read: LoRA with rsLoRA, DoRA and aLoRA, (IA)3, prompts and prefixes in safetensors. A
setting that changes the result and is not known here is refused by its name; pickled weights are
never read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from adwright.core.atomic import atomic_folder
from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.additive.adapters import IA3, Rescaled
from adwright.tuning.additive.prompts import Prefix, PrefixTuning, Prompt, PromptTuning
from adwright.tuning.methods import Method, Wrapped, taxonomy_file
from adwright.tuning.modules import LINEAR, Sizes, Target, places
from adwright.tuning.reparameterised.lora import (
    ActivatedLoRA,
    DoRA,
    DoRALinear,
    LoRA,
    LoRALinear,
    LowRankMethod,
)
from adwright.tuning.tuned import Tuned

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
        # peft writes its own kind.
        model = cast(Any, tuned.model if tuned.outer is None else tuned.outer.peft_model)
        for one in model.peft_config.values():
            one.base_model_name_or_path = base or None
        with atomic_folder(folder, overwrite=overwrite) as made:
            model.save_pretrained(str(made), save_embedding_layers=False)
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
            method, state = _read_low_rank(model, config, tensors, where)
        case "IA3":
            method, state = _read_rescaled(model, tensors, where)
        case "PROMPT_TUNING":
            vectors = _embeddings(sizes.width, tensors, where)
            method, state = PromptTuning(length=len(vectors)), {"outer.vectors": vectors}
        case _:
            method, state = _read_prefix(model, sizes, tensors, where)
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
        if name not in {*taxonomy_file()["peft_fields"]["harmless"], *_READ}
        and value not in (None, False, 0, "", [], {})
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


def _read_low_rank(
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


def _read_rescaled(
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


def _read_prefix(
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
