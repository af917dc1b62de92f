"""PEQA: the base is quantised once, its integers are frozen, and the scales are trained.

Kim et al., "Memory-Efficient Fine-Tuning of Compressed Large Language Models via sub-4-bit
Integer Quantization", NeurIPS 2023, arXiv 2305.14152. For each group of g inputs of an output:

    W' = s * (q - z)        q integer in [0, 2^bits - 1], z the zero point, s trained
    s_0 = (max w - min w) / (2^bits - 1),  z = -min w / s_0
    count = sum over maps of out * in / g

The model is at first the quantised one: each weight differs by at most s_0 / 2 from w rounded to
bfloat16. Ours: w is rounded so in any base. A saved adapter has scales and no codes; codes of w
itself would differ between a base in float32 and the same base in bfloat16, which have the same
fingerprint.

Memory: bits / 8 bytes per weight, codes of 4 bits being packed in pairs, and 8 bytes per group; W'
exists for one map at a time. After training the model is still quantised; `merge` unpacks it.

BitDelta: a fully tuned model is stored as one bit per weight beside its base.

Liu et al., "BitDelta: Your Fine-Tune May Only Be Worth One Bit", NeurIPS 2024, arXiv 2402.10193.
With D = W_tuned - W_base of each map:

    W' = W_base + a sign(D)        a_0 = mean |D|, then trained; sign(0) = -1
    y = W_base x + a (sign(D) x)
    count = maps

`sources` names the folder of a `FullTuning` of the same base. The model is not at first what the
base was, as it stands for the tuned model. Memory: 1/8 byte per weight beside the base.

Ours: the factors are trained on whatever loss the loop has, in `tune` the cross-entropy of the
answers; the paper distils them from the tuned model's logits, and the loop has no such teacher.
Weights outside the targets (norms, embedding, head) are those of the base; the paper
keeps them as tuned.

A base in bfloat16: the two products are added, not the weights, where an update below the spacing
of W would be lost. D is the difference in float32 of the stored weights and the given base: where
the source was tuned on a base in float32, D contains what rounding the base lost, and small
updates get the sign of the rounding. Attach to the base in float32 and save: that adapter has the
bits of the true D, and loads on both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Ge, settings
from adwright.core.errors import ConfigError
from adwright.tuning.modules import (
    LINEAR,
    DeltaLinear,
    Sizes,
    Target,
    TunedLinear,
    Variant,
    Variants,
)
from adwright.tuning.references import FullTuning
from adwright.tuning.tuned import Tuned, TuningMethod


@settings
class PEQA(TuningMethod):
    """bits: of a code. group: g, a divisor of the inputs of each map. Applies to linear maps."""

    variants: ClassVar[Variants] = (Variant("PEQA", "efficient: quantisation"),)
    mergeable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    bits: Literal[2, 3, 4, 8] = 4
    group: Annotated[int, Ge(2)] = 64
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of out * in / g."""
        return sum(rows * columns // self.group for rows, columns in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `QuantisedLinear` in the place of each map, whose weight is dropped."""
        for place in tuned.places(self.targets):
            place.put(QuantisedLinear(place.linear, self.bits, self.group))


class Quantised(NamedTuple):
    """codes: uint8 [out, in / g, g]. scale, zero: float32 [out, in / g]."""

    codes: Tensor
    scale: Tensor
    zero: Tensor


def quantise(weight: Tensor, bits: int, group: int) -> Quantised:
    """Round a weight [out, in] to 2^bits levels between the ends of each group of g inputs.

    The weight is taken as it is in bfloat16, so both precisions of a base give the same codes,
    scales and zero points. A group of equal weights gets one level. ConfigError where g does not
    divide in.
    """
    rows, columns = weight.shape
    if columns % group:
        raise ConfigError(
            f"groups of {group} do not divide {columns} inputs",
            where="PEQA.group",
            hint="take a common divisor of the inputs of all maps",
        )
    groups = weight.detach().bfloat16().float().view(rows, -1, group)
    low, high = groups.amin(-1), groups.amax(-1)
    scale = (high - low) / (2**bits - 1)
    flat = scale == 0
    # One level only: s = |w| and z = -+1 restore it without a division by zero.
    scale = torch.where(flat, torch.where(low == 0, torch.ones_like(low), low.abs()), scale)
    zero = -low / scale
    codes = ((groups - low[..., None]) / scale[..., None]).round().clamp(0, 2**bits - 1)
    return Quantised(codes.to(torch.uint8), scale, zero)


class QuantisedLinear(TunedLinear):
    """s * (q - z) x + bias. scale: s [out, in / g]; codes and zero points are buffers that come
    from the base again when an adapter is loaded.
    """

    codes: Tensor
    zero: Tensor

    def __init__(self, base: nn.Linear, bits: int, group: int) -> None:
        # Not TunedLinear's own: the base's weight is dropped.
        nn.Module.__init__(self)
        codes, scale, zero = quantise(base.weight, bits, group)
        self.packed, self.group = bits == 4, group
        if self.packed:
            codes = codes[..., ::2] | (codes[..., 1::2] << 4)
        self.bias, self.kind = base.bias, base.weight.dtype
        self.scale = nn.Parameter(scale)
        self.register_buffer("codes", codes, persistent=False)
        self.register_buffer("zero", zero, persistent=False)

    def centred(self) -> Tensor:
        """q - z, float32 [out, in / g, g]."""
        codes = self.codes
        if self.packed:
            codes = torch.stack([codes & 15, codes >> 4], -1).flatten(-2)
        return codes.float() - self.zero[..., None]

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        return _ByScale.apply(x, self.scale, self.bias, self)  # type: ignore[no-any-return, no-untyped-call]

    def merged(self) -> nn.Linear:
        """A plain map with the weight s * (q - z)."""
        weight = (self.centred() * self.scale.detach()[..., None]).flatten(1).to(self.kind)
        plain = nn.Linear(weight.shape[1], len(weight), bias=self.bias is not None)
        plain.weight = nn.Parameter(weight)
        if self.bias is not None:
            plain.bias = self.bias
        return plain


class _ByScale(torch.autograd.Function):
    """Keeps x and s; the weight is unpacked in both passes."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, scale: Tensor, bias: Tensor | None, module: QuantisedLinear
    ) -> Tensor:
        ctx.save_for_backward(x, scale)
        ctx.module = module
        weight = (module.centred() * scale[..., None]).flatten(1)
        return functional.linear(x, weight.to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, scale = ctx.saved_tensors
        centred = ctx.module.centred()
        near = above.reshape(-1, above.shape[-1])
        d_x = None
        if ctx.needs_input_grad[0]:
            weight = (centred * scale[..., None]).flatten(1).to(near.dtype)
            d_x = (near @ weight).view(x.shape)
        dense = near.T @ x.reshape(-1, x.shape[-1]).to(near.dtype)
        d_scale = (dense.view_as(centred).float() * centred).sum(-1)
        return d_x, d_scale, None, None


@dataclass(frozen=True)
class BitDelta(TuningMethod):
    """One factor per map on frozen signs; needs one source."""

    variants: ClassVar[Variants] = (
        Variant(
            "BitDelta",
            "efficient: quantisation",
            "the targets' weights only; its factors learn from answers, without a teacher",
        ),
    )
    mergeable: ClassVar[bool] = True
    exact_start: ClassVar[bool] = False
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """One per map."""
        return len(sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `BitDeltaLinear` in the place of each map."""
        states = tuned.source_states(FullTuning, 1, {})
        for place in tuned.places(self.targets):
            linear = place.linear
            name = f"model.{place.name}.weight"
            difference = torch.zeros_like(linear.weight, dtype=torch.float32)
            if states:
                difference = states[0][name] - linear.weight.detach().float()
            place.put(BitDeltaLinear(linear, difference))


class BitDeltaLinear(DeltaLinear):
    """W x + bias + a sign(D) x. factor: a [1]. bits: uint8 [ceil(out in / 8)], a bit being D > 0.

    difference: D [out, in] in float32.
    """

    bits: Tensor

    def __init__(self, base: nn.Linear, difference: Tensor) -> None:
        super().__init__(base)
        self.factor = nn.Parameter(difference.abs().mean()[None])
        self.register_buffer("bits", _packed(difference.reshape(-1) > 0))

    def signs(self, kind: torch.dtype) -> Tensor:
        """sign(D) [out, in] in any floating type, all of which hold +-1 exactly."""
        weight = self.base.weight
        return (_unpacked(self.bits, weight.numel()).to(kind) * 2 - 1).view_as(weight)

    def weight_now(self) -> Tensor:
        """[out, in], in float32."""
        return self.base.weight.float() + self.factor * self.signs(self.factor.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y: Tensor = self.base(x)
        return y + (self.factor * functional.linear(x, self.signs(x.dtype))).to(y.dtype)


def _packed(bits: Tensor) -> Tensor:
    padded = torch.cat([bits, bits.new_zeros(-len(bits) % 8)]).view(-1, 8)
    return (padded.to(torch.uint8) << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def _unpacked(packed: Tensor, size: int) -> Tensor:
    places = torch.arange(8, dtype=torch.uint8, device=packed.device)
    return ((packed[:, None] >> places) & 1).reshape(-1)[:size]
