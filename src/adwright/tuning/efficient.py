"""Methods that save memory or compute while tuning or serving."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Count, Ge, Natural, settings
from adwright.core.errors import ConfigError
from adwright.tuning.additive.adapters import Activation, AdapterLinear, Placement, SerialAdapter
from adwright.tuning.modules import (
    LINEAR,
    DeltaLinear,
    Inputs,
    Sizes,
    Target,
    TunedLinear,
    Variant,
    Variants,
    ones,
    zeros,
)
from adwright.tuning.reparameterised.lora import LoRA, LoRALinear, LowRankMethod
from adwright.tuning.selective import FullTuning
from adwright.tuning.tuned import Tuned, TuningMethod


@settings
class LoRAFA(LowRankMethod):
    """Memory: half the parameters of LoRA, and r activations per token and map."""

    variants: ClassVar[Variants] = (Variant("LoRA-FA", "efficient: memory"),)
    packable: ClassVar[bool] = True
    plain_lora: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """Sum of r out."""
        return self.rank * sum(rows for rows, _ in sizes.of_linear(self.targets))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `FrozenALinear`."""
        a.requires_grad = False
        return FrozenALinear(base, a, b, self.scale)


class FrozenALinear(LoRALinear):
    """W x + bias + B (s A x), which keeps only s A x for the backward pass."""

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = _Through.apply(x, self.a, self.scale)  # type: ignore[no-untyped-call]
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(low.dtype))
        return y


class _Through(torch.autograd.Function):
    """s A x, keeping nothing of x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, a: Tensor, scale: float) -> Tensor:
        ctx.save_for_backward(a)
        ctx.scale = scale
        return functional.linear(x, a.to(x.dtype)) * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        (a,) = ctx.saved_tensors
        return (above @ a.to(above.dtype)) * ctx.scale, None, None


@settings
class AdapterDrop(TuningMethod):
    """drop: the most layers that training leaves out; None for all but the last one, 0 for a
    plain serial adapter. serve: how many are left out at inference.

    size, placement, activation: of the adapters. Memory: that of serial adapters at most.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("AdapterDrop", "efficient: pruning"),)
    packable: ClassVar[bool] = True
    drop: Natural | None = None
    serve: Natural = 0
    size: Count = 16
    placement: Placement = "houlsby"
    activation: Activation = "relu"

    @property
    def serial(self) -> SerialAdapter:
        """The adapters without dropping."""
        return SerialAdapter(self.size, self.placement, self.activation)

    def count(self, sizes: Sizes) -> int:
        """That of the serial adapter."""
        return self.serial.count(sizes)

    def attach(self, tuned: Tuned) -> None:
        """Put serial adapters and their schedule; ConfigError where no adapter would be left."""
        drop = tuned.sizes.layers - 1 if self.drop is None else self.drop
        if max(drop, self.serve) >= tuned.sizes.layers:
            raise ConfigError(
                f"at most {tuned.sizes.layers - 1} layers can be left out",
                where=f"AdapterDrop.drop = {self.drop}, serve = {self.serve}",
                hint="lower both below the number of layers",
            )
        places = tuned.places(self.serial.targets)
        self.serial.attach(tuned)
        adapters = [(place.layer, place.linear) for place in places]
        tuned.schedule = DropSchedule(adapters, drop, self.serve, tuned.seed)


class DropSchedule(nn.Module):
    """Switches adapters on and off. adapters: layer and module of each."""

    def __init__(
        self, adapters: Sequence[tuple[int, nn.Module]], drop: int, serve: int, seed: int
    ) -> None:
        super().__init__()
        # In a tuple torch does not register them: they are modules of the model already.
        self.adapters = tuple(adapters)
        self.drop, self.serve, self.seed = drop, serve, seed
        self.leave_out(serve)

    def leave_out(self, layers: int) -> None:
        """Switch off the adapters of the first `layers` layers, and the others on."""
        for layer, module in self.adapters:
            if isinstance(module, AdapterLinear):
                module.active = layer >= layers

    def before_step(self, step: int, steps: int) -> None:
        """Draw n from the seed and the step, so that a resumed training draws the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        self.leave_out(int(torch.randint(self.drop + 1, (1,), generator=generator)))

    def after_step(self, step: int, steps: int) -> None:
        """Leave out the layers that inference leaves out."""
        self.leave_out(self.serve)


_TEMPERATURE = 0.1
_EPS = 1e-6


@settings
class LadderTuning(TuningMethod):
    """reduction: D / S. Applies to any backbone that returns its hidden states."""

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("LST", "efficient: memory"),)
    packable: ClassVar[bool] = True
    reduction: Count = 8

    def count(self, sizes: Sizes) -> int:
        """See the module."""
        side = max(1, sizes.width // self.reduction)
        block = 4 * side**2 + 6 * side**2 + 2 * side
        rungs = sizes.layers * (side * sizes.width + 1 + block)
        return rungs + 2 * side * sizes.width + side

    def attach(self, tuned: Tuned) -> None:
        """Put a `Ladder` around the backbone."""
        tuned.outer = Ladder(tuned, max(1, tuned.sizes.width // self.reduction))


class Ladder(nn.Module):
    """The side network. side: S."""

    def __init__(self, tuned: Tuned, side: int) -> None:
        super().__init__()
        width, layers = tuned.sizes.width, tuned.sizes.layers
        self.foot = tuned.uniform(side, width)
        self.down = nn.ParameterList(tuned.uniform(side, width) for _ in range(layers))
        self.mu = nn.ParameterList(zeros(1) for _ in range(layers))
        self.blocks = nn.ModuleList(_SideBlock(tuned, side) for _ in range(layers))
        self.norm, self.up = ones(side), zeros(width, side)

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D]."""
        with torch.no_grad():
            output = backbone(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                position_ids=inputs.positions,
                output_hidden_states=True,
                use_cache=False,
            )
        first, *states = (state.detach() for state in output.hidden_states)
        # The last state is after the final norm, and serves as h_N too.
        seen = visible(inputs)
        z = functional.linear(first, self.foot.to(first.dtype))
        for state, down, mu, block in zip(states, self.down, self.mu, self.blocks, strict=True):
            a = torch.sigmoid(mu / _TEMPERATURE).to(state.dtype)
            z = block(a * functional.linear(state, down.to(state.dtype)) + (1 - a) * z, seen)
        last: Tensor = output.last_hidden_state.detach()
        z = functional.rms_norm(z, z.shape[-1:], self.norm.to(z.dtype), _EPS)
        return last + functional.linear(z, self.up.to(z.dtype))


class _SideBlock(nn.Module):
    """z + attention(norm(z)), then z + MLP(norm(z)), all S wide."""

    def __init__(self, tuned: Tuned, side: int) -> None:
        super().__init__()
        self.heads = max(heads for heads in (1, 2, 4) if side % heads == 0)
        self.norms = nn.ParameterList([ones(side), ones(side)])
        self.qkv, self.o = tuned.uniform(3 * side, side), tuned.uniform(side, side)
        self.gate_up, self.down = tuned.uniform(4 * side, side), tuned.uniform(side, 2 * side)

    def forward(self, z: Tensor, seen: Tensor) -> Tensor:
        qkv, o, gate_up, down, *norms = (
            each.to(z.dtype) for each in (self.qkv, self.o, self.gate_up, self.down, *self.norms)
        )
        x = functional.rms_norm(z, z.shape[-1:], norms[0], _EPS)
        heads = functional.linear(x, qkv).view(*z.shape[:-1], 3, self.heads, -1)
        q, k, v = heads.permute(2, 0, 3, 1, 4)  # each [B, heads, T, S / heads]
        made = functional.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        z = z + functional.linear(made.transpose(1, 2).flatten(2), o)
        x = functional.rms_norm(z, z.shape[-1:], norms[1], _EPS)
        gate, up = functional.linear(x, gate_up).chunk(2, -1)
        return z + functional.linear(functional.silu(gate) * up, down)


def visible(inputs: Inputs) -> Tensor:
    """Say whether query t sees key s, bool [B or 1, 1, T, T]: earlier, no padding, the same text.

    A text starts wherever a position is not one more than the one before. Every token sees itself,
    also padding, or its softmax would be over nothing.
    """
    input_ids, attention_mask, position_ids = inputs
    tokens = input_ids.shape[1]
    seen = torch.ones(tokens, tokens, dtype=torch.bool, device=input_ids.device).tril()[None]
    if attention_mask is not None:
        seen = seen & (attention_mask[:, None, :] > 0)
    if position_ids is not None:
        text = functional.pad((position_ids.diff(dim=1) != 1).cumsum(1), (1, 0))
        if attention_mask is None:
            seen = seen & (text[:, :, None] == text[:, None, :])
    itself = torch.eye(tokens, dtype=torch.bool, device=input_ids.device)
    return (seen | itself)[:, None]


@settings
class MeZO(TuningMethod):
    """epsilon: e. rank: 0 for all parameters, or r of the LoRA that is tuned instead; alpha and
    targets are LoRA's. There is no optimizer: each step is a `search`.
    """

    variants: ClassVar[Variants] = (Variant("MeZO", "efficient: memory"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    gradient_free: ClassVar[bool] = True
    mixed_precision: ClassVar[bool] = False
    epsilon: Annotated[float, Ge(0)] = 1e-3
    rank: Natural = 0
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    @property
    def default_rate(self) -> float:  # type: ignore[override]
        """Far less where all weights are moved at once."""
        return 1e-3 if self.rank else 9e-6

    def count(self, sizes: Sizes) -> int:
        """All, or those of LoRA."""
        return self._low().count(sizes) if self.rank else sizes.parameters

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze everything, or attach LoRA."""
        if self.rank:
            self._low().attach(tuned)
        else:
            tuned.model.requires_grad_(True)

    @torch.no_grad()
    def search(self, tuned: Tuned, loss: Callable[[], Tensor], *, rate: float, seed: int) -> float:
        """Take one step; returns the mean of both losses. loss: of `tuned` on the batch of this
        step, a scalar. seed: of z; another one for each step. Dropout must be the same in both
        passes: use eval mode.
        """
        _move(tuned, seed, self.epsilon)
        above = float(loss())
        _move(tuned, seed, -2 * self.epsilon)
        below = float(loss())
        gradient = (above - below) / (2 * self.epsilon)
        # Back to w and on to the new w at once.
        _move(tuned, seed, self.epsilon - rate * gradient)
        return (above + below) / 2

    def _low(self) -> LoRA:
        return LoRA(rank=self.rank, alpha=self.alpha, targets=self.targets)


def _move(tuned: Tuned, seed: int, scale: float) -> None:
    for parameter, z in _draws(tuned, seed):
        parameter.add_(z, alpha=scale)


def _draws(tuned: Tuned, seed: int) -> Iterator[tuple[nn.Parameter, Tensor]]:
    generator: torch.Generator | None = None
    for parameter in tuned.parameters():
        if generator is None:
            generator = torch.Generator(parameter.device).manual_seed(seed)
        z = torch.randn(
            parameter.shape, generator=generator, device=parameter.device, dtype=parameter.dtype
        )
        yield parameter, z


# --------------------------------------------------------------------------------------------------
# PEQA: the base is quantised once, its integers are frozen, and the scales are trained.
#
# Kim et al., "Memory-Efficient Fine-Tuning of Compressed Large Language Models via sub-4-bit
# Integer Quantization", NeurIPS 2023, arXiv 2305.14152. For each group of g inputs of an output:
#
#     W' = s * (q - z)        q integer in [0, 2^bits - 1], z the zero point, s trained
#     s_0 = (max w - min w) / (2^bits - 1),  z = -min w / s_0
#     count = sum over maps of out * in / g
#
# The model is at first the quantised one: each weight differs by at most s_0 / 2 from w rounded to
# bfloat16. Ours: w is rounded so in any base. A saved adapter has scales and no codes; codes of w
# itself would differ between a base in float32 and the same base in bfloat16, which have the same
# fingerprint.
#
# Memory: bits / 8 bytes per weight, codes of 4 bits being packed in pairs, and 8 bytes per group;
# W'
# exists for one map at a time. After training the model is still quantised; `merge` unpacks it.
#
# BitDelta: a fully tuned model is stored as one bit per weight beside its base.
#
# Liu et al., "BitDelta: Your Fine-Tune May Only Be Worth One Bit", NeurIPS 2024, arXiv 2402.10193.
# With D = W_tuned - W_base of each map:
#
#     W' = W_base + a sign(D)        a_0 = mean |D|, then trained; sign(0) = -1
#     y = W_base x + a (sign(D) x)
#     count = maps
#
# `sources` names the folder of a `FullTuning` of the same base. The model is not at first what the
# base was, as it stands for the tuned model. Memory: 1/8 byte per weight beside the base.
#
# Ours: the factors are trained on whatever loss the loop has, in `tune` the cross-entropy of the
# answers; the paper distils them from the tuned model's logits, and the loop has no such teacher.
# Weights outside the targets (norms, embedding, head) are those of the base; the paper
# keeps them as tuned.
#
# A base in bfloat16: the two products are added, not the weights, where an update below the spacing
# of W would be lost. D is the difference in float32 of the stored weights and the given base: where
# the source was tuned on a base in float32, D contains what rounding the base lost, and small
# updates get the sign of the rounding. Attach to the base in float32 and save: that adapter has the
# bits of the true D, and loads on both.


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
