"""A base in four bits, under a part that is trained in float32.

QLoRA (Dettmers, Pagnoni, Holtzman & Zettlemoyer, 2023, arXiv 2305.14314): each group of 64
weights w is kept as codes of NF4, the 16 quantiles of a normal distribution, and one scale,

    w ~ s * q[c],  c in 0..15,      4 bits a weight and 0.127 for the scales, themselves quantised

and W x is computed in bfloat16 from the codes, forward and backward. The codes do not move.

bitsandbytes does this by kernels for CUDA. Nothing of it was ever run by us on a CUDA device: what
is tested is that it is refused where one is missing, and that the methods listed here train on a
stand-in whose weight lies in codes too.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Literal

import torch

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.tuning.methods import METHODS, Method
from adwright.tuning.tuned import Tuned

__all__ = ["PACKABLE", "Quantise", "beside_base", "load_four_bit", "require_four_bit"]

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
            hint=f"tune by one of {', '.join(sorted(PACKABLE))}, or leave quantise empty",
        )
    if not torch.cuda.is_available():
        raise ConfigError(
            "a base in four bits needs a CUDA device, and torch finds none",
            where="quantise = nf4",
            hint="leave quantise empty, or use a machine with CUDA and a torch built for it",
        )
    if find_spec("bitsandbytes") is None:
        raise ConfigError(
            "a base in four bits needs bitsandbytes, which is not installed",
            where="quantise = nf4",
            hint="pip install bitsandbytes",
        )


def load_four_bit(place: str) -> Any:
    """The causal language model of this folder in NF4, on the first CUDA device.

    place: as transformers takes it. Check `require_four_bit` first. Never run by us, see above.
    Raises MissingExtraError without transformers.
    """
    try:
        from transformers import AutoModelForCausalLM, BitsAndBytesConfig
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    config = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16,
    )
    return AutoModelForCausalLM.from_pretrained(
        place, quantization_config=config, device_map={"": 0}, dtype=torch.bfloat16
    )


def beside_base(tuned: Tuned) -> None:
    """Move what a method has added to where the base is."""
    device = tuned.causal.lm_head.weight.device
    for tensor in tuned.state().values():
        tensor.data = tensor.data.to(device)
