"""LoRA: a low-rank update beside each frozen map; with rsLoRA's scale and LoRA+'s rates.

Hu et al., 2021, arXiv 2106.09685. With A [r, in], B [out, r], B = 0 at first:

    y = W x + s B (A x)        s = alpha / r;  rsLoRA: s = alpha / sqrt(r)
    count = sum over maps of r (in + out)

rsLoRA (Kalajdzievski, 2023, arXiv 2312.03732) keeps the size of the update when r grows. LoRA+
(Hayou et al., 2024, arXiv 2402.12354) trains B at a rate `rate_ratio` times that of A.

Ours: one autograd function. s multiplies the small product A x, the update is added in place to the
large one, and in mixed precision A and B are cast to the type of x, never x to theirs. It keeps x,
which the graph keeps anyway, and A x for the backward pass. W gets no gradient.

DoRA: magnitude and direction of a weight are tuned apart.

Liu et al., ICML 2024, arXiv 2402.09353. With s B A as in LoRA and norms over the inputs of each
output:

    W' = m * (W + s B A) / ||W + s B A||        m [out] = ||W||, B = 0 at first
    count = sum over maps of r (in + out) + out

As the paper proposes (section 4.3), no gradient goes through the norm. Ours: W' is not formed in
the forward pass; the output of the LoRA map is scaled by m / ||.||.

MoSLoRA: a learned mixer between the two matrices of LoRA.

Wu, Wang, Zhao & Wong, "Mixture-of-Subspaces in Low-Rank Adaptation", 2024, arXiv 2406.11909:

    y = W x + s B (M (A x))        M [r, r] orthogonal, B = 0 at first
    count = sum over maps of r (in + out) + r^2

With M the identity it is LoRA: M lets each of the r directions in meet each of those out.

DyLoRA: one training gives LoRAs of every rank up to r.

Valipour et al., EACL 2023, arXiv 2210.07558. In each step a rank b is drawn from 1 ... r, and

    y = W x + (alpha / b) B[:, :b] (A[:b] x)        B = 0 at first
    count = sum over maps of r (in + out)

so the first directions learn to do without the later ones. At inference b is `serve`.

SoRA: gates on the r directions of LoRA that a proximal step drives to exactly 0.

Ding et al., "Sparse Low-rank Adaptation of Pre-trained Language Models", EMNLP 2023, arXiv
2311.11696:

    y = W x + s B (g * (A x))        g [r] normal, B = 0 at first
    after step t: g <- sign(g) max(|g| - eta_t lambda, 0)        eta_t: the learning rate
    count = sum over maps of r (in + out) + r

The proximal step is that of an L1 penalty. After training `cut` removes the directions with g = 0,
which leaves the function as it is: count = sum over maps of r_i (in + out) + r_i.

Ours, as the paper's runs have some ten thousand steps and many others some hundred:

* The threshold of step t of T is threshold (1 + cos(pi t / T)) / (T + 1): it falls as the rate of
  `tune` does after its warm-up, and the sum over a run is `threshold`, however long that is. So
  without a gradient the gates with |g| < threshold at first are 0 in the end.
* Gates learn `rate_ratio` times as fast as A and B, or their initial values would decide which of
  them become 0.
* A gate that is 0 stays so: Adam moves a useless gate as far as any other, and would open it again
  as the threshold falls.
"""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Annotated, Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Count, Ge, Natural, settings
from adwright.core.errors import ConfigError
from adwright.tuning.modules import (
    LINEAR,
    Inputs,
    Sizes,
    Target,
    TunedLinear,
    Variant,
    Variants,
    zeros,
)
from adwright.tuning.tuned import Tuned, TuningMethod


@settings
class LowRankMethod(TuningMethod):
    """A method whose maps are a `LoRALinear` or one derived from it: LoRA and its kin.

    rank: r. alpha: over r, the scale s. targets: the maps that get an update.
    """

    default_rate: ClassVar[float] = 3e-3
    mergeable: ClassVar[bool] = True
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / self.rank

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out)."""
        return low_rank_count(sizes, self.targets, self.rank)

    def attach(self, tuned: Tuned) -> None:
        """Put what `linear` makes in the place of each map, with A drawn and B = 0."""
        for place in tuned.places(self.targets):
            a = tuned.uniform(self.rank, place.linear.in_features)
            b = zeros(place.linear.out_features, self.rank)
            place.put(self.linear(tuned, place.linear, a, b))

    @abstractmethod
    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """Make the module of one map. a: A [r, in]. b: B [out, r]."""


@settings
class LoRA(LowRankMethod):
    """W + s B A on the maps in `targets`.

    rank_stabilised: rsLoRA. rate_ratio: LoRA+; its paper takes 16. dropout: on the x that A sees,
    in training.
    Memory beside the base: 16 bytes per trainable parameter with Adam. Applies to any linear map.
    """

    variants: ClassVar[Variants] = (
        Variant("LoRA", "reparameterised: low rank"),
        Variant(
            "rsLoRA",
            "reparameterised: LoRA derivatives",
            "rank_stabilised",
            (("rank_stabilised", True),),
        ),
        Variant(
            "LoRA+", "reparameterised: LoRA derivatives", "rate_ratio", (("rate_ratio", 16.0),)
        ),
        Variant(
            "QLoRA",
            "efficient: quantisation",
            "--four-bits; never run on a CUDA device",
            instead="--method LoRA --four-bits",
        ),
    )
    packable: ClassVar[bool] = True
    plain_lora: ClassVar[bool] = True
    rank_stabilised: bool = False
    rate_ratio: Annotated[float, Ge(0)] = 1.0
    dropout: Annotated[float, Ge(0)] = 0.0

    @property
    def scale(self) -> float:
        """s."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A plain `LoRALinear`."""
        return LoRALinear(base, a, b, self.scale, self.dropout)

    def rate(self, name: str) -> float:
        """`rate_ratio` for B, 1 for A."""
        return self.rate_ratio if name.endswith(".b") else 1.0


class LoRALinear(TunedLinear):
    """y = W x + bias + s B A x. a: [r, in]. b: [out, r]."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__(base)
        self.a, self.b, self.scale, self.dropout = a, b, scale, dropout

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        dropping = self.training and self.dropout > 0
        if dropping or is_packed(self.base):
            seen = functional.dropout(x, self.dropout) if dropping else x
            low = functional.linear(seen, self.a.to(x.dtype)) * self.scale
            acts = self.acts(x)
            low = low if acts is None else low * acts
            return self.base(x) + functional.linear(low, self.b.to(x.dtype))  # type: ignore[no-any-return]
        weight, bias = self.base.weight, self.base.bias
        return _LowRank.apply(x, weight, bias, self.a, self.b, self.scale, self.acts(x))  # type: ignore[no-any-return, no-untyped-call]

    def acts(self, x: Tensor) -> Tensor | None:
        """Which tokens get the update, bool [..., 1]; None for all of x [..., in]."""
        return None

    def weight_update(self) -> Tensor:
        """s B A [out, in]; ConfigError where W lies in packed codes."""
        if is_packed(self.base):
            raise ConfigError(
                "an update cannot be added to a weight in packed codes",
                where=type(self.base).__name__,
                hint="load the base unpacked and attach the saved adapter to it, then merge",
            )
        return self.scale * self.b @ self.a


class _LowRank(torch.autograd.Function):
    """y = W x + bias + B (s A x), keeping x and s A x. acts: bool [..., 1], where there is the last
    term; None for everywhere."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        a: Tensor,
        b: Tensor,
        scale: float,
        acts: Tensor | None,
    ) -> Tensor:
        y = functional.linear(x, weight, bias)
        flat, into = x.reshape(-1, x.shape[-1]), y.view(-1, y.shape[-1])
        low = functional.linear(flat, a.to(flat.dtype)) * scale
        acts = None if acts is None else acts.reshape(-1, 1)
        low = low if acts is None else low * acts
        into.addmm_(low.to(y.dtype), b.to(y.dtype).T)
        ctx.save_for_backward(x, weight, a, b, low)
        ctx.scale, ctx.acts = scale, acts
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, a, b, low = ctx.saved_tensors
        near = above.reshape(-1, above.shape[-1])
        flat = x.reshape(-1, x.shape[-1]).to(near.dtype)
        d_low = (near @ b.to(near.dtype)) * ctx.scale
        d_low = d_low if ctx.acts is None else d_low * ctx.acts
        d_x = d_a = d_b = None
        if ctx.needs_input_grad[0]:
            d_x = near @ weight.to(near.dtype)
            d_x = d_x.addmm_(d_low, a.to(near.dtype)).view(x.shape).to(x.dtype)
        if ctx.needs_input_grad[3]:
            d_a = (d_low.T @ flat).to(a.dtype)
        if ctx.needs_input_grad[4]:
            d_b = (near.T @ low.to(near.dtype)).to(b.dtype)
        return d_x, None, None, d_a, d_b, None, None


def is_packed(base: nn.Linear) -> bool:
    """Say whether the weight is codes that only the map's own forward pass can read, as in
    bitsandbytes' Linear4bit, and not a matrix [out, in] of floats."""
    weight = base.weight
    whole = weight.shape == (base.out_features, base.in_features)
    return not (whole and weight.is_floating_point())


def low_rank_count(sizes: Sizes, targets: tuple[Target, ...], rank: int) -> int:
    """Sum of r (in + out) over the maps of all layers."""
    return rank * sum(rows + columns for rows, columns in sizes.of_linear(targets))


@settings
class DoRA(LowRankMethod):
    """Memory: that of LoRA, and for a moment W + s B A of one map."""

    variants: ClassVar[Variants] = (Variant("DoRA", "reparameterised: low rank"),)

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + out."""
        return super().count(sizes) + sum(rows for rows, _ in sizes.of_linear(self.targets))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `DoRALinear`."""
        return DoRALinear(base, a, b, self.scale)


class DoRALinear(LoRALinear):
    """m * (W + s B A) x / ||W + s B A|| + bias. magnitude: m [out]."""

    def __init__(self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float) -> None:
        super().__init__(base, a, b, scale)
        self.magnitude = nn.Parameter(torch.linalg.vector_norm(base.weight.detach().float(), dim=1))

    def factor(self) -> Tensor:
        """m / ||W + s B A|| [out], the norm being a constant for the gradient."""
        with torch.no_grad():
            weight = self.base.weight + self.weight_update().to(self.base.weight.dtype)
            norm = torch.linalg.vector_norm(weight.float(), dim=1)
        factor: Tensor = self.magnitude / norm
        return factor

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        y = super().forward(x)
        factor = self.factor().to(y.dtype)
        if self.base.bias is None:
            return y * factor
        return (y - self.base.bias) * factor + self.base.bias

    def merged(self) -> nn.Linear:
        """The base with weight W'."""
        factor = self.factor().detach()
        base = super().merged()
        with torch.no_grad():
            base.weight.mul_(factor.to(base.weight.dtype)[:, None])
        return base


@settings
class MoSLoRA(LowRankMethod):
    """Memory and place: those of LoRA, and r^2 parameters per map."""

    variants: ClassVar[Variants] = (Variant("MoSLoRA", "reparameterised: LoRA derivatives"),)
    packable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """Sum of r (in + out) + r^2."""
        return super().count(sizes) + len(sizes.of_linear(self.targets)) * self.rank**2

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `MixedLinear` with a random orthogonal mixer."""
        drawn = torch.randn(self.rank, self.rank, generator=tuned.generator)
        mixer = nn.Parameter(torch.linalg.qr(drawn).Q.contiguous())
        return MixedLinear(base, a, b, mixer, self.scale)


class MixedLinear(LoRALinear):
    """W x + bias + s B M A x. mixer: M [r, r]."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, mixer: nn.Parameter, scale: float
    ) -> None:
        super().__init__(base, a, b, scale)
        self.mixer = mixer

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        # M A is as small as A: the rest is LoRA.
        low = functional.linear(x, (self.mixer @ self.a).to(x.dtype)) * self.scale
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y

    def weight_update(self) -> Tensor:
        """s B M A [out, in]."""
        return self.scale * self.b @ self.mixer @ self.a


@settings
class DyLoRA(LowRankMethod):
    """serve: b at inference, 0 for r. Memory and place: those of LoRA."""

    variants: ClassVar[Variants] = (
        Variant("DyLoRA", "reparameterised: LoRA derivatives"),
        Variant(
            "QDyLoRA",
            "efficient: quantisation",
            "--four-bits; never run on a CUDA device",
            instead="--method DyLoRA --four-bits",
        ),
    )
    packable: ClassVar[bool] = True
    serve: Natural = 0

    def __post_init__(self) -> None:
        if self.serve > self.rank:
            raise ConfigError(
                f"rank {self.serve} is served and {self.rank} are trained",
                where="DyLoRA.serve",
                hint="serve at most `rank`",
            )

    def attach(self, tuned: Tuned) -> None:
        """Put a `NestedLinear` in the place of each map, and one schedule beside all of them."""
        super().attach(tuned)
        found = (place.linear for place in tuned.places(self.targets))
        linears = tuple(module for module in found if isinstance(module, NestedLinear))
        tuned.schedule = RankSchedule(linears, self.rank, self.serve or self.rank, tuned.seed)

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `NestedLinear`."""
        return NestedLinear(base, a, b, self.alpha, self.serve or self.rank)


class NestedLinear(LoRALinear):
    """W x + bias + (alpha / b) B[:, :b] A[:b] x. used: b."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, alpha: float, used: int
    ) -> None:
        super().__init__(base, a, b, alpha)
        self.used = used

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = functional.linear(x, self.a[: self.used].to(x.dtype)) * (self.scale / self.used)
        y: Tensor = self.base(x) + functional.linear(low, self.b[:, : self.used].to(x.dtype))
        return y

    def weight_update(self) -> Tensor:
        """The update [out, in] of rank b."""
        return self.scale / self.used * self.b[:, : self.used] @ self.a[: self.used]


class RankSchedule(nn.Module):
    """Sets b of all maps. linears: a tuple, so that torch does not register them twice."""

    def __init__(self, linears: tuple[NestedLinear, ...], rank: int, used: int, seed: int) -> None:
        super().__init__()
        self.linears, self.rank, self.used, self.seed = linears, rank, used, seed

    def before_step(self, step: int, steps: int) -> None:
        """Draw b from the seed and the step, so that a resumed training draws the same."""
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + step)
        drawn = int(torch.randint(1, self.rank + 1, (1,), generator=generator))
        for linear in self.linears:
            linear.used = drawn

    def after_step(self, step: int, steps: int) -> None:
        """Restore the rank that inference uses."""
        for linear in self.linears:
            linear.used = self.used


@settings
class SoRA(LowRankMethod):
    """rank: r at first. threshold: what all steps of a run together subtract from |g|.
    rate_ratio: of the gates' rate to that of A and B. ranks: r of each map, layer by layer; set by
    `cut`. Memory and place: those of LoRA.
    """

    variants: ClassVar[Variants] = (Variant("SoRA", "reparameterised: LoRA derivatives"),)
    packable: ClassVar[bool] = True
    rank: Count = 16
    threshold: Annotated[float, Ge(0)] = 1.0
    rate_ratio: Annotated[float, Ge(0)] = 3.0
    ranks: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not all(0 <= rank <= self.rank for rank in self.ranks):
            raise ConfigError(
                f"ranks after the cut lie in 0 ... {self.rank}",
                where="SoRA.ranks",
                hint="leave them empty; `cut` sets them",
            )

    def count(self, sizes: Sizes) -> int:
        """Sum of r_i (in + out) + r_i."""
        shapes = sizes.of_linear(self.targets)
        maps = zip(self._ranks(len(shapes)), shapes, strict=True)
        return sum(rank * (rows + columns + 1) for rank, (rows, columns) in maps)

    def attach(self, tuned: Tuned) -> None:
        """Put a `GatedLinear` of its own rank in the place of each map."""
        places = tuned.places(self.targets)
        for place, rank in zip(places, self._ranks(len(places)), strict=True):
            a = tuned.uniform(rank, place.linear.in_features)
            b = zeros(place.linear.out_features, rank)
            place.put(self.linear(tuned, place.linear, a, b))

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """A `GatedLinear` with random gates."""
        gate = tuned.normal(len(a), std=1.0)
        return GatedLinear(base, a, b, gate, self.scale, self.threshold)

    def rate(self, name: str) -> float:
        """`rate_ratio` for the gates, 1 for A and B."""
        return self.rate_ratio if name.endswith(".gate") else 1.0

    def then(self, tuned: Tuned) -> bool:
        """`cut`; the rest is trained already."""
        cut(tuned)
        return False

    def _ranks(self, maps: int) -> tuple[int, ...]:
        if self.ranks and len(self.ranks) != maps:
            raise ConfigError(
                f"{len(self.ranks)} ranks are given for {maps} maps",
                where="SoRA.ranks",
                hint="leave them empty; `cut` sets them",
            )
        return self.ranks or (self.rank,) * maps


class GatedLinear(LoRALinear):
    """W x + bias + s B (g * A x). gate: g [r]. threshold: of all steps of a run together."""

    def __init__(
        self,
        base: nn.Linear,
        a: nn.Parameter,
        b: nn.Parameter,
        gate: nn.Parameter,
        scale: float,
        threshold: float,
    ) -> None:
        super().__init__(base, a, b, scale)
        self.gate, self.threshold = gate, threshold
        self._shut = gate.detach() == 0

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        low = functional.linear(x, self.a.to(x.dtype)) * (self.scale * self.gate).to(x.dtype)
        y: Tensor = self.base(x) + functional.linear(low, self.b.to(x.dtype))
        return y

    def weight_update(self) -> Tensor:
        """s B diag(g) A [out, in]."""
        return self.scale * (self.b * self.gate) @ self.a

    def before_step(self, step: int, steps: int) -> None:
        """Note which gates are 0."""
        self._shut = self.gate.detach() == 0

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Take the proximal step."""
        threshold = self.threshold * (1 + math.cos(math.pi * step / steps)) / (steps + 1)
        shrunk = self.gate.sign() * (self.gate.abs() - threshold).clamp(min=0)
        self.gate.copy_(shrunk.masked_fill(self._shut.to(shrunk.device), 0))

    def cut(self) -> int:
        """Keep the directions with g other than 0, and return how many those are."""
        open_ = self.gate.detach() != 0
        self.a = nn.Parameter(self.a.detach()[open_])
        self.b = nn.Parameter(self.b.detach()[:, open_])
        self.gate = nn.Parameter(self.gate.detach()[open_])
        return len(self.gate)


def alive(tuned: Tuned) -> dict[str, int]:
    """Count the directions with g other than 0, by the name of the map."""
    return {
        name: int((module.gate != 0).sum())
        for name, module in tuned.named_modules()
        if isinstance(module, GatedLinear)
    }


def cut(tuned: Tuned) -> None:
    """Remove the directions with g = 0 from all maps; changes `tuned` in place.

    The function stays the same; `save` then writes the smaller matrices, and further training
    needs a new optimizer. Raises ConfigError where the method is another.
    """
    method = tuned.method
    if not isinstance(method, SoRA):
        raise ConfigError("only the directions of a SoRA can be cut", where=type(method).__name__)
    modules = [place.linear for place in tuned.places(method.targets)]
    ranks = tuple(module.cut() for module in modules if isinstance(module, GatedLinear))
    tuned.method = replace(method, ranks=ranks)


# --------------------------------------------------------------------------------------------------
# aLoRA, activated LoRA: a LoRA that acts from a sequence of tokens on, and not before it.
#
# Greenewald et al., 2025, arXiv 2504.12397. With p the place of the first token of the LAST
# occurrence of the invocation in a text, and the other letters of LoRA, at the token t
#
#     y_t = W x_t + [t >= p] s B (A x_t)          count = sum over maps of r (in + out)
#
# so that the keys and values before p are those of the base: whoever has read the text with the
# base,
# or with another such adapter, need not read it again (`lm.serving`). A text without the invocation
# is answered by the base, as with peft and vLLM; that is said once.
#
# Training sees whole texts, so p is looked for in prompt and answer, as peft does; whoever writes
# an
# answer looks in the prompt alone. Where answers never hold the invocation, both are the same. It
# cannot be merged, since the weights of a merged model act everywhere.
#
# The paper takes a rank of 32 on q, k and v where LoRA takes 6: what stands before p cannot adapt.

_log = logging.getLogger("adwright")


@settings
class ActivatedLoRA(LowRankMethod):
    """W + s B A on the maps in `targets`, from the last invocation of a text on.

    invocation: its tokens; or a text, which `in_tokens` encodes; empty for what the base's chat
    template puts before an answer. dropout: on the x that A sees, in training.
    Memory and place: those of `LoRA`.
    """

    mergeable: ClassVar[bool] = False
    packable: ClassVar[bool] = True
    variants: ClassVar[Variants] = (
        Variant(
            "aLoRA", "beyond the survey", "acts from the invocation on; shares the base's keys"
        ),
    )
    invocation: str | tuple[int, ...] = ""
    dropout: Annotated[float, Ge(0)] = 0.0

    @property
    def tokens(self) -> tuple[int, ...]:
        """The invocation in tokens; ConfigError where it is a text yet."""
        if isinstance(self.invocation, str) or not self.invocation:
            raise ConfigError(
                "the invocation has no tokens yet",
                where=f"ActivatedLoRA.invocation = {self.invocation!r}",
                hint="give tokens, or encode the text: ActivatedLoRA(...).in_tokens(encode)",
            )
        return self.invocation

    def in_tokens(self, encode: Callable[[str], Sequence[int]], opening: str = "") -> Self:
        """The same with the invocation as tokens."""
        if self.invocation and not isinstance(self.invocation, str):
            return self
        found = tuple(encode(str(self.invocation) if self.invocation else opening))
        if not found:
            raise ConfigError(
                "nothing says from where on the adapter is to act: the base has no chat template",
                where=f"ActivatedLoRA.invocation = {self.invocation!r}",
                hint="name a text that stands in every prompt: --set invocation='Answer:'",
            )
        return replace(self, invocation=found)

    def attach(self, tuned: Tuned) -> None:
        """As the others of low rank; what finds the invocation stands around the backbone."""
        most = tuned.sizes.vocabulary
        if not all(0 <= token < most for token in self.tokens):
            raise ConfigError(
                f"the base has tokens from 0 to {most - 1}",
                where=f"ActivatedLoRA.invocation = {list(self.tokens)}",
                hint="encode the invocation by the tokenizer of this base",
            )
        invoked = Invoked(self.tokens)
        tuned.outer = invoked
        super().attach(tuned)
        for place in tuned.places(self.targets):
            if isinstance(place.linear, ActivatedLinear):
                place.linear.now = invoked.now

    def linear(self, tuned: Tuned, base: nn.Linear, a: nn.Parameter, b: nn.Parameter) -> LoRALinear:
        """An `ActivatedLinear`."""
        return ActivatedLinear(base, a, b, self.scale, self.dropout)


class _Now:
    """Where the adapter acts in the pass that is under way: bool [B, T], or None for nowhere."""

    active: Tensor | None = None


class ActivatedLinear(LoRALinear):
    """W x + s B A x where `now` says so, else W x. By itself it is the base's map."""

    def __init__(
        self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, scale: float, dropout: float = 0.0
    ) -> None:
        super().__init__(base, a, b, scale, dropout)
        self.now = _Now()

    def acts(self, x: Tensor) -> Tensor | None:
        """bool [..., 1] for x [..., in]."""
        active = self.now.active
        if active is None or active.shape != x.shape[:-1]:
            return torch.zeros(*x.shape[:-1], 1, dtype=torch.bool, device=x.device)
        return active[..., None]

    def weight_update(self) -> Tensor:
        """ConfigError: no weight does the same."""
        return super(LoRALinear, self).weight_update()


class Invoked(nn.Module):
    """Stands around the backbone, and tells the maps where they act. tokens: of the invocation."""

    def __init__(self, tokens: tuple[int, ...]) -> None:
        super().__init__()
        self.tokens = tokens
        self.now = _Now()
        self._told = False

    def forward(self, backbone: Callable[..., Any], inputs: Inputs) -> Tensor:
        """Hidden states [B, T, D]."""
        with self.acting(self.active(inputs)):
            output = backbone(
                input_ids=inputs.ids,
                attention_mask=inputs.mask,
                position_ids=inputs.positions,
                use_cache=False,
            )
        hidden: Tensor = output.last_hidden_state
        return hidden

    def train(self, mode: bool = True) -> Invoked:
        """Also forget the last pass: its backward pass is over."""
        super().train(mode)
        self.now.active = None
        return self

    @contextmanager
    def acting(self, active: Tensor | None) -> Iterator[None]:
        """Let the maps act at bool [B, T] within; a graph keeps it until the next pass, since its
        backward pass may compute layers again."""
        self.now.active = active
        try:
            yield
        finally:
            if not torch.is_grad_enabled():
                self.now.active = None

    def active(self, inputs: Inputs) -> Tensor:
        """The tokens from the last invocation of their text on: bool [B, T]."""
        ids = inputs.ids
        B, T = ids.shape
        text = torch.zeros_like(ids)
        if inputs.positions is not None:
            text = (inputs.positions.expand(B, T) == 0).cumsum(1)
        text = text - text[:, :1]
        real = torch.ones_like(ids, dtype=torch.bool) if inputs.mask is None else inputs.mask > 0
        place = torch.arange(T, device=ids.device).expand(B, T)
        # [B, T]: the place where an invocation begins, or -1
        begins = torch.where(self._begin(ids, text, real), place, -1)
        last = torch.full_like(ids, -1).scatter_reduce(1, text, begins, "amax")
        self._tell(last, text)
        own = last.gather(1, text)
        return (own >= 0) & (place >= own)

    def _begin(self, ids: Tensor, text: Tensor, real: Tensor) -> Tensor:
        """Whether all of the invocation stands at a place and behind it, in one text."""
        n = len(self.tokens)
        if ids.shape[1] < n:
            return torch.zeros_like(real)
        wanted = torch.tensor(self.tokens, device=ids.device)
        windows = ids.unfold(1, n, 1) == wanted  # [B, T - n + 1, n]
        seen = windows.all(-1) & real.unfold(1, n, 1).all(-1)
        seen &= text[:, : text.shape[1] - n + 1] == text[:, n - 1 :]
        return nn.functional.pad(seen, (0, n - 1))

    def _tell(self, last: Tensor, text: Tensor) -> None:
        if self._told:
            return
        texts = text[:, -1:] + 1  # [B, 1]
        held = torch.arange(last.shape[1], device=last.device) < texts
        lacking, all_of = int((held & (last < 0)).sum()), int(held.sum())
        if lacking:
            self.tell_lacking(lacking, all_of)

    def tell_lacking(self, lacking: int, texts: int) -> None:
        """Say, the first time, that the base answers these."""
        if not self._told:
            _log.warning(
                "%d of %d texts lack the invocation %s of the adapter: the base answers them",
                lacking,
                texts,
                list(self.tokens),
            )
        self._told = True


def invoked_from(ids: Sequence[int], invocation: Sequence[int]) -> int | None:
    """The place of the first token of the last `invocation` in `ids`; None where there is none."""
    n = len(invocation)
    wanted = list(invocation)
    places = range(len(ids) - n, -1, -1)
    return next((at for at in places if list(ids[at : at + n]) == wanted), None)
