"""LoRA-FA: LoRA whose A stays as it was initialised.

Zhang et al., 2023, arXiv 2308.03303:

    y = W x + s B (A x)        A frozen, B = 0 at first        count = sum over maps of r out

The backward pass needs A x [r] of a token and not x, so activations shrink: the frozen W does not
need x either. Ours: the autograd function of `lora` keeps x, so this class has its own.

AdapterDrop: serial adapters that are left out of the lower layers.

Rueckle et al., EMNLP 2021, arXiv 2010.11918. In each step of training the first n layers have
no adapter, n drawn from 0 ... `drop`, by default from 0 ... N - 1 as in the paper, so that
adapters are trained which can be served with any number of layers left out. At inference the
first `serve` layers have none:

    count = that of the serial adapter: all of them are trained

Below the first adapter nothing needs a gradient, so the backward pass ends there: it saves n of N
layers, and serving saves as many adapters.

Ladder side-tuning: a small network beside the backbone, and no gradient through the backbone.

Sung, Cho & Bansal, NeurIPS 2022, arXiv 2206.06522. With h_l [T, D] the output of decoder layer
l (h_0 the embedding), detached from the graph, and a side width S = D / reduction:

    z_0 = D_0 h_0        z_l = block_l(a_l D_l h_l + (1 - a_l) z_{l-1}),  a_l = sigma(mu_l / T)
    hidden = h_final + U norm(z_N)                   D_l [S, D], U [D, S] = 0 at first, T = 0.1
    count = N (S D + 1 + 4 S^2 + 3 S M + 2 S) + 2 S D + S,  M = 2 S

Memory: activations of width S instead of D, and the hidden states, but not the backbone's
activations. The backward pass is that of the side network alone.

Ours: blocks of causal attention without positions (the states contain them) and a gated MLP; the
side network is random, not pruned out of the backbone; its output is added to the backbone's, so
the model is at first what it was. Decoding reads the whole text again for each token: the side
network has no cache.

MeZO: tuning by forward passes alone, in the memory of inference.

Malladi et al., "Fine-Tuning Language Models with Just Forward Passes", NeurIPS 2023, arXiv
2305.17333, after SPSA (Spall, 1992). With z normal, drawn from its seed whenever it is needed:

    g = (L(w + e z) - L(w - e z)) / (2 e)        w <- w - rate * g * z
    count = all parameters, or those of LoRA where rank > 0

Two forward passes per step; no activations, gradients or moments are kept, and the weights are
changed in place. The price is many steps, as g is one number for all parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Count, Ge, Natural, settings
from adwright.core.errors import ConfigError
from adwright.tuning.additive.adapters import Activation, AdapterLinear, Placement, SerialAdapter
from adwright.tuning.modules import LINEAR, Inputs, Sizes, Target, Variant, Variants, ones, zeros
from adwright.tuning.reparameterised.lora import LoRA, LoRALinear, LowRankMethod
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
