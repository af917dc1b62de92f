"""Load the base model that a method tunes: in the type that is quick, or in four bits.

In four bits, under an adapter that is trained in float32: QLoRA (Dettmers, Pagnoni, Holtzman &
Zettlemoyer, 2023, arXiv 2305.14314). Each group of 64 weights w is kept as codes of NF4, the 16
quantiles of a normal distribution, and one scale,

    w ~ s * q[c],  c in 0..15,      4 bits a weight and 0.127 for the scales, themselves quantised

and W x is computed in bfloat16 from the codes, forward and backward. The codes do not move.

bitsandbytes does this by kernels for CUDA. We never ran it on a CUDA device: what is tested is that
it is refused where one is missing, and that the methods listed here train on a stand-in whose
weight lies in codes too.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.data.sources.bounds import memory_left
from adwright.lm.engine.weights import load_hf_model, load_hf_tokenizer, locate, quiet
from adwright.lm.torch_engine.model import fitting_dtype, quick_dtype, require_device
from adwright.tuning.methods import METHODS, Method
from adwright.tuning.tuned import Tuned

#: Empty: the base as it is.
Quantise = Literal["", "nf4"]

#: Methods that ask a map for W x and never for W: their base may lie in codes.
PACKABLE = frozenset(name for name, method in METHODS.items() if method.packable)


def require_four_bit(method: Method) -> None:
    """Raise ConfigError where the base cannot be kept in four bits: the method reads the weights
    themselves, there is no CUDA device, or bitsandbytes is not installed."""
    if not method.packable:
        raise ConfigError(
            f"{type(method).__name__} reads the base's weights, which four bits do not give",
            where="quantise = nf4",
            hint=f"tune by one of {', '.join(sorted(PACKABLE))}, or leave --four-bits (quantise) "
            "out",
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            "a base in four bits needs a CUDA device, and torch finds none",
            where="quantise = nf4",
            hint="leave --four-bits (quantise) out, or use a machine with CUDA and a torch for it",
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "a base in four bits needs bitsandbytes, which is not installed",
            where="quantise = nf4",
            hint="pip install bitsandbytes",
        )


def load_base(
    model: str,
    method: Method | None = None,
    *,
    quantise: Quantise = "",
    dtype: torch.dtype | str | None = None,
    device: str = "cpu",
    offline: bool = False,
) -> tuple[Any, Any, str]:
    """Load a causal language model, its tokenizer, and the note on its figures.

    model: as `adwright lm generate --model` takes it. method: what will tune it, for its checks.
    quantise: "nf4" for four bits on the first CUDA device. dtype: None for float32 where the method
    moves the base's own weights, whose steps are small, and else for `quick_dtype`, unless that
    is float32 and would take more than a quarter of the memory that is left: then `fitting_dtype`.
    device: as torch names it; four bits are on the first CUDA device.
    Raises ConfigError for a device that is not there, and as `require_four_bit`, `locate` and
    `load_hf_model`: neither code that a folder brings is run, nor are pickled weights read.
    """
    device_map, quantization = None, None
    on = require_device(device)
    if quantise:
        if method is not None:
            require_four_bit(method)
        device_map, quantization = {"": 0}, _four_bits()
        dtype = torch.bfloat16
    tokenizer = load_tokenizer(model, offline=offline)
    place, note = locate(model, offline=offline)
    if dtype is None:
        whole = method is not None and method.trains_base
        dtype = torch.float32 if whole else _dtype_of(place, device)
    with quiet():
        loaded = load_hf_model(place, dtype=dtype, device_map=device_map, quantization=quantization)
    if not quantise:
        loaded = loaded.to(on)
    return loaded, tokenizer, note


def _dtype_of(place: str, device: str) -> torch.dtype:
    quick = quick_dtype(device)
    # Weights are stored with two bytes at least; those of a name on a hub are not known yet.
    stored = sum(file.stat().st_size for file in Path(place).glob("*.safetensors"))
    fits = 0 < 2 * stored <= memory_left() // 4
    return quick if fits or quick != torch.float32 else fitting_dtype(device)


def in_tokens(method: Method, tokenizer: Any) -> Method:
    """The method with its texts as tokens of this base, see `TuningMethod.in_tokens`."""

    def encode(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False)["input_ids"])

    return method.in_tokens(encode, _opening(tokenizer))


def _opening(tokenizer: Any) -> str:
    """What the chat template puts before an answer; empty where there is no template."""
    if not getattr(tokenizer, "chat_template", None):
        return ""
    asked = [{"role": "user", "content": "?"}]
    without, whole = (
        str(tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=adding))
        for adding in (False, True)
    )
    return whole.removeprefix(without) if whole.startswith(without) else ""


def _four_bits() -> Any:
    try:
        from transformers import BitsAndBytesConfig
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    return BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )


def load_tokenizer(model: str, *, offline: bool = False) -> Any:
    """Load the tokenizer of a base; raises as `load_base`."""
    return load_hf_tokenizer(locate(model, offline=offline)[0], local_files_only=offline)


def beside_base(tuned: Tuned) -> None:
    """Move the weights that a method has added to the base's device."""
    device = tuned.causal.lm_head.weight.device
    for tensor in tuned.state().values():
        tensor.data = tensor.data.to(device)
