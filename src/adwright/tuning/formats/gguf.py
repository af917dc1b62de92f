"""Convert a tuned LoRA to a GGUF adapter, which llama.cpp loads beside a GGUF base, and back.

llama.cpp computes with the tensors `blk.N.NAME.weight.lora_a` [r, in] and `.lora_b` [out, r]

    y = W x + s B (A x)        s = alpha / r, where r is the rows of A

and alpha is the single value `adapter.lora.alpha`. So alpha = s r is written: alpha itself for
LoRA and LoRA-FA, alpha sqrt(r) for rsLoRA (papers in `lora` and `lora_fa`).

The trap: for the architecture `llama` GGUF has the base's q and k rows in another order. With
h heads of width d, transformers rotates the pairs (i, i + d/2) of a head, llama.cpp the pairs
(2i, 2i + 1), so that

    row 2i + j of a head in GGUF = row i + j d/2 of that head in transformers,  j in {0, 1}

The rows of B are rows of W and have to move with them. If that is forgotten nothing fails: the
adapter loads and answers slightly worse. Qwen's families keep the order of transformers.

The tensors of a whole model by the names and in the order of GGUF, for a merged model.

Matrices and vectors are those of transformers, but for the rows of q and k in the architecture
`llama`, see `gguf_lora`, and those of their biases. A head that is the embedding is not there
twice.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import ArtifactError, ConfigError, MissingExtraError
from adwright.tuning.methods import apply
from adwright.tuning.modules import ATTENTION, LINEAR, LinearPlace, Sizes, Target, places
from adwright.tuning.reparameterised.lora import ActivatedLoRA, LoRA, LoRALinear, LowRankMethod
from adwright.tuning.tuned import Tuned, fingerprint

#: How the adapter's values are stored.
GgufFloat = Literal["f32", "f16"]

_Matrix = npt.NDArray[np.float32]
#: Names of the maps in GGUF, after "blk.LAYER." and before ".weight".
GGUF_NAMES: dict[Target, str] = {
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}
#: What llama.cpp calls the families of transformers that it holds and that methods attach to.
_ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3"}
#: Architectures whose rows of q and k are in another order.
PERMUTED = ("llama",)
#: Ours: the base that the adapter was trained on. llama.cpp passes over keys that it does not know.
_BASE_KEY = "adwright.base"
#: llama.cpp's: the tokens from which on the adapter acts.
_CALL_KEY = "adapter.alora.invocation_tokens"


def to_rotary(rows: _Matrix, heads: int) -> _Matrix:
    """Rows of q or k in the order of llama.cpp, for the architecture `llama`.

    rows: [out, ...] in the order of transformers, out = heads * d, d even. heads: of q, or for k
    those of the keys. Raises ConfigError where out is no such product.
    """
    shape = rows.shape
    if shape[0] % (2 * heads):
        raise ConfigError(
            f"{shape[0]} rows are not {heads} heads of an even width",
            where="heads",
            hint="give the number of heads of these rows",
        )
    halves = rows.reshape(heads, 2, shape[0] // heads // 2, *shape[1:])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(shape)


def from_rotary(rows: _Matrix, heads: int) -> _Matrix:
    """The inverse of `to_rotary`: the same shapes, the same error."""
    order = to_rotary(np.arange(rows.shape[0], dtype=np.float32), heads).astype(np.int64)
    back = np.empty_like(rows)
    back[order] = rows
    return back


def to_gguf(tuned: Tuned, path: str | Path, *, dtype: GgufFloat = "f32") -> Path:
    """Write the adapter as a GGUF file, all of it or nothing; returns its path.

    tuned: a LoRA, rsLoRA, LoRA+ or LoRA-FA on a base of the families llama, mistral, qwen2, qwen3.
    path: ends in .gguf; an existing file is replaced. The file does not hold dropout.

    Raises ConfigError for another method (merge it, and convert the whole model instead), another
    family, a scale of 0, or another ending; ArtifactError where a value is not finite;
    ResourceError where the disk is full; MissingExtraError without gguf.
    """
    path = Path(path)
    alpha = _alpha_of(tuned)
    architecture = architecture_of(tuned.causal)
    if path.suffix != ".gguf":
        raise ConfigError("the file's name has to end in .gguf", where=str(path), hint="rename it")
    tensors: dict[str, _Matrix] = {}
    for place in tuned.places(LINEAR):
        if isinstance(place.linear, LoRALinear):
            a, b = _arrays(place, tuned.sizes, architecture)
            tensors[f"{_name(place)}.lora_a"] = a
            tensors[f"{_name(place)}.lora_b"] = b
    for name, values in tensors.items():
        with np.errstate(over="ignore"):
            stored = values.astype(_FLOATS[dtype])
        if not np.isfinite(stored).all():
            raise ArtifactError(
                f"the tensor {name!r} holds NaN or infinity as {dtype}",
                where=str(path),
                hint="the training diverged, or f16 is too narrow for it: store f32",
            )
    atomic_write_bytes(path, _written(tensors, architecture, alpha, tuned.base_fingerprint, dtype))
    return path


def from_gguf(model: nn.Module, path: str | Path) -> Tuned:
    """Attach to `model` the adapter in a GGUF file, written by `to_gguf` or by llama.cpp's tools.

    model: the base, an unchanged causal LM. The file does not say which method s comes from: the
    result is a LoRA with the file's alpha, which computes the same; an `ActivatedLoRA` where the
    file names an invocation.

    Raises ArtifactError, before the model is changed, where it is no LoRA adapter in GGUF, is for
    another architecture or base, lacks alpha or a tensor, or holds a wrong shape, type or value;
    ConfigError where the model is of an unknown family; MissingExtraError without gguf.
    """
    where = str(path)
    architecture = architecture_of(model)
    fields, tensors = _read(Path(path))
    _check_fields(fields, architecture, where)
    base = fields.get(_BASE_KEY, "")
    if base and base != fingerprint(model):
        raise _bad("the adapter belongs to another base model", where, "load its own base")
    targets, rank = _targets_and_rank(model, tensors, where)
    alpha, call = float(fields["adapter.lora.alpha"]), tuple(map(int, fields.get(_CALL_KEY, ())))
    method: LoRA | ActivatedLoRA = LoRA(rank, alpha, targets)
    if call:
        method = ActivatedLoRA(rank, alpha, targets, call)
    tuned = apply(model, method)
    with torch.no_grad():
        for place in tuned.places(targets):
            a, b = (tensors[f"{_name(place)}.{matrix}"] for matrix in ("lora_a", "lora_b"))
            heads = _heads(place, tuned.sizes, architecture)
            module = cast(LoRALinear, place.linear)
            module.a.copy_(torch.from_numpy(a))
            module.b.copy_(torch.from_numpy(from_rotary(b, heads) if heads else b))
    return tuned


def _alpha_of(tuned: Tuned) -> float:
    match tuned.method:
        case LowRankMethod(plain_lora=True) as method:
            alpha = method.scale * method.rank
        case method:
            raise ConfigError(
                "llama.cpp has no adapter for this method",
                where=type(method).__name__,
                hint="merge it into the base where it can be (`adwright tune merge`); or "
                "tune with LoRA, LoRAFA or LoRA(rank_stabilised=True)",
            )
    if alpha == 0:
        raise ConfigError(
            "llama.cpp takes an alpha of 0 for a scale of 1",
            where=f"{type(tuned.method).__name__}.alpha",
            hint="an adapter of scale 0 does nothing: leave it out",
        )
    return alpha


def architecture_of(model: Any) -> str:
    """What llama.cpp calls the family of `model`; ConfigError where it is not known here."""
    kind = str(getattr(model.config, "model_type", ""))
    if kind not in _ARCHITECTURES:
        raise ConfigError(
            f"models of the family {kind!r} cannot be put into GGUF here",
            where="model_type",
            hint=f"one of {sorted(_ARCHITECTURES)}",
        )
    return _ARCHITECTURES[kind]


def _name(place: LinearPlace) -> str:
    return f"blk.{place.layer}.{GGUF_NAMES[place.target]}.weight"


def _heads(place: LinearPlace, sizes: Sizes, architecture: str) -> int:
    """Count the heads of this map's rows where GGUF reorders them, else 0."""
    if architecture not in PERMUTED or place.target not in ("q_proj", "k_proj"):
        return 0
    return sizes.heads if place.target == "q_proj" else sizes.kv_heads


def _arrays(place: LinearPlace, sizes: Sizes, architecture: str) -> tuple[_Matrix, _Matrix]:
    module = cast(LoRALinear, place.linear)
    a, b = (one.detach().float().cpu().numpy() for one in (module.a, module.b))
    heads = _heads(place, sizes, architecture)
    return a, to_rotary(b, heads) if heads else b


def _written(
    tensors: dict[str, _Matrix], architecture: str, alpha: float, base: str, dtype: GgufFloat
) -> bytes:
    gguf = _gguf()
    # The package writes to a path only; the target gets all bytes at once.
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "adapter.gguf"
        writer = gguf.GGUFWriter(file, architecture)
        writer.add_type("adapter")
        writer.add_string("adapter.type", "lora")
        writer.add_float32("adapter.lora.alpha", alpha)
        writer.add_string(_BASE_KEY, base)
        for name, values in tensors.items():
            writer.add_tensor(name, np.ascontiguousarray(values.astype(_FLOATS[dtype])))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return file.read_bytes()


def _read(path: Path) -> tuple[dict[str, Any], dict[str, _Matrix]]:
    """Read the fields of a file and its tensors as float32, dimensions in their order there."""
    gguf = _gguf()
    general = ("general.architecture", "general.type")
    known = (*general, "adapter.type", "adapter.lora.alpha", _BASE_KEY, _CALL_KEY)
    try:
        reader = gguf.GGUFReader(path)
        fields = {key: reader.fields[key].contents() for key in known if key in reader.fields}
        tensors = {}
        for one in reader.tensors:
            if one.tensor_type.name.lower() not in get_args(GgufFloat):
                raise _bad(f"the tensor {one.name!r} is {one.tensor_type.name}", str(path), _AGAIN)
            tensors[str(one.name)] = np.array(one.data, dtype=np.float32)
    except (OSError, ValueError, IndexError, KeyError, OverflowError, TypeError) as error:
        reason = str(error).strip().splitlines()
        raise _bad(
            f"the GGUF file cannot be read: {reason[0] if reason else 'it is cut off'}",
            str(path),
            "name the file that was written by `to_gguf` or llama.cpp's converter",
        ) from error
    return fields, tensors


def _check_fields(fields: dict[str, Any], architecture: str, where: str) -> None:
    if (fields.get("general.type"), fields.get("adapter.type")) != ("adapter", "lora"):
        raise _bad("the file is no LoRA adapter", where, "name an adapter, not a model")
    if fields.get("general.architecture") != architecture:
        raise _bad(
            f"the adapter is for {fields.get('general.architecture')!r}, the model is "
            f"{architecture!r}",
            where,
            "load the base that it was tuned on",
        )
    alpha = fields.get("adapter.lora.alpha")
    if not isinstance(alpha, int | float) or not np.isfinite(alpha) or alpha == 0:
        raise _bad(f"adapter.lora.alpha is {alpha!r}", where, _AGAIN)


def _targets_and_rank(
    model: nn.Module, tensors: dict[str, _Matrix], where: str
) -> tuple[tuple[Target, ...], int]:
    """Check that everything fits, and return the maps of the tensors and their common rank."""
    ranks = {values.shape[0] for name, values in tensors.items() if name.endswith(".lora_a")}
    if len(ranks) != 1 or 0 in ranks:
        raise _bad(f"the ranks are {sorted(ranks)}, not one rank", where, _AGAIN)
    (rank,) = ranks
    wanted: dict[str, tuple[int, ...]] = {}
    found: list[Target] = []
    for place in places(model, LINEAR):
        if not isinstance(place.linear, nn.Linear):
            raise ConfigError("the model is tuned already", where=where, hint="merge it first")
        name = _name(place)
        # A map that is tuned in one layer is tuned in all of them.
        if f"blk.0.{GGUF_NAMES[place.target]}.weight.lora_a" in tensors:
            found += [] if place.target in found else [place.target]
            wanted[f"{name}.lora_a"] = (rank, place.linear.in_features)
            wanted[f"{name}.lora_b"] = (place.linear.out_features, rank)
    differ = sorted(set(wanted) ^ set(tensors))
    if differ:
        side = "is missing" if differ[0] in wanted else "is for no map of the model"
        raise _bad(f"the tensor {differ[0]!r} {side}", where, _AGAIN)
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise _bad(f"{name!r} is {list(tensors[name].shape)}, not {list(shape)}", where, _AGAIN)
        if not np.isfinite(tensors[name]).all():
            raise _bad(f"the tensor {name!r} holds NaN or infinity", where, _AGAIN)
    return tuple(found), rank


def _bad(what: str, where: str, hint: str) -> ArtifactError:
    return ArtifactError(what, where=where, hint=hint)


def _gguf() -> ModuleType:
    try:
        import gguf
    except ImportError as error:
        raise MissingExtraError("adapters in GGUF", "lm") from error
    return gguf


_FLOATS = {"f32": np.float32, "f16": np.float16}
_AGAIN = "export the adapter again, from the base that it was tuned on"


_ENDS = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_INSIDE = {
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
} | {
    f"{'self_attn' if target in ATTENTION else 'mlp'}.{target}": GGUF_NAMES[target]
    for target in LINEAR
}


def gguf_tensors(model: Any) -> dict[str, npt.NDArray[np.float32]]:
    """Name the tensors of `model`, a plain causal LM, as GGUF does; float32.

    Raises ConfigError for a family or a parameter that is not known here.
    """
    architecture, sizes = architecture_of(model), Sizes.of(model)
    heads = {"attn_q": sizes.heads, "attn_k": sizes.kv_heads}
    found = {}
    for name, value in model.named_parameters():
        owner, _, part = name.rpartition(".")
        theirs = _named(owner)
        if not theirs:
            raise ConfigError(
                f"the parameter {name} has no place in GGUF here",
                where=type(model).__name__,
                hint="write a folder, and let llama.cpp's own script convert it",
            )
        values = _array(value)
        last = theirs.rpartition(".")[2]
        if architecture in PERMUTED and last in heads:
            values = to_rotary(values, heads[last])
        found[f"{theirs}.{part}"] = values
    return found


def _named(owner: str) -> str:
    """The name of a module, empty where it is not known."""
    if owner in _ENDS:
        return _ENDS[owner]
    head, _, inner = owner.removeprefix("model.layers.").partition(".")
    return f"blk.{head}.{_INSIDE[inner]}" if head.isdigit() and inner in _INSIDE else ""


def _array(value: Tensor) -> npt.NDArray[np.float32]:
    found: npt.NDArray[np.float32] = value.detach().float().cpu().numpy()
    return np.ascontiguousarray(found)
