"""KronA: the update of a weight is a Kronecker product of two small matrices.

Edalati et al., 2022, arXiv 2212.10650:

    W' = W + s A (x) B        A [p, q], B [out / p, in / q], B = 0 at first
    count = sum over maps of p q + (out / p) (in / q)

(A (x) B) x needs no Kronecker product: with X [q, in / q] the x cut into rows, it is A X B^T read
row by row. Ours: p and q are the largest divisors of out and in that are at most `factor`.

VeRA: one random pair of matrices for all layers, and two learned vectors for each map.

Kopiczko et al., ICLR 2024, arXiv 2310.11454:

    y = W x + b * (B (d * (A x)))        A [r, in], B [out, r] random, shared, frozen
    count = sum over maps of r + out     d [r] = d_0, b [out] = 0 at first

A and B are drawn for the largest map; a smaller one takes their first columns and rows. Ours:
they are saved with the vectors, as a seed draws the same values only in one version of torch.

Compacter: adapters whose matrices are sums of Kronecker products with low-rank factors.

Karimi Mahabadi, Henderson & Ruder, NeurIPS 2021, arXiv 2106.04647. Placed as Houlsby's adapters,
each of their matrices is

    W = sum_i A_i (x) (s_i t_i)        A_i [n, n], the same in all of the model; i = 1 ... n
                                       s_i [in / n, r], t_i [r, out / n], of this matrix
    count = n^3 + 2 N (2 r (D + m) + m + D)

with y = x W. The t of the second matrix are 0 at first, so the model is what it was.

Intrinsic SAID: all weights move along one random subspace, with one factor for each layer.

Aghajanyan, Zettlemoyer & Gupta, "Intrinsic Dimensionality Explains the Effectiveness of Language
Model Fine-Tuning", ACL 2021, arXiv 2012.13255:

    W_i' = W_i + lambda_l P_i t        t [d - N] = 0, lambda [N] = 1 at first, P_i random
    count = d

"fastfood" (Le, Sarlos & Smola, ICML 2013, arXiv 1408.3060) has for each block of d' coordinates,
d' the power of 2 above d - N, P = H G Pi H S / d': random signs S, a permutation Pi, normal G,
and the Walsh-Hadamard transform H. "sketch", ours for speed: each weight takes one coordinate of
t with a random sign, so P has orthogonal columns and costs one look-up per weight.

Both keep random values of the size of the model while training: 4 bytes per weight for the sketch,
9 for fastfood. They are drawn again from the seed when an adapter is loaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.tuning.additive.adapters import Activation, AdapterLinear, activated
from adwright.tuning.modules import (
    LINEAR,
    DeltaLinear,
    Sizes,
    Target,
    TunedLinear,
    Variant,
    Variants,
    ones,
    zeros,
)
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned, TuningMethod


@settings
class KronA(TuningMethod):
    """factor: bound of p and q; near the root of the width the count is least. scale: s.

    Memory: the two small matrices. The rank is rank(A) rank(B), up to full. Any linear map.
    """

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("KronA", "reparameterised: low rank"),)
    packable: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    factor: Count = 32
    scale: float = 1.0
    targets: tuple[Target, ...] = LINEAR

    def divisor(self, size: int) -> int:
        """The largest divisor of `size` that is at most `factor`."""
        return max(each for each in range(1, self.factor + 1) if size % each == 0)

    def count(self, sizes: Sizes) -> int:
        """Sum of p q + (out / p) (in / q)."""
        total = 0
        for rows, columns in sizes.of_linear(self.targets):
            left = self.divisor(rows) * self.divisor(columns)
            total += left + rows * columns // left
        return total

    def attach(self, tuned: Tuned) -> None:
        """Put a `KronALinear` in the place of each map."""
        for place in tuned.places(self.targets):
            rows, columns = place.linear.out_features, place.linear.in_features
            p, q = self.divisor(rows), self.divisor(columns)
            right = zeros(rows // p, columns // q)
            place.put(KronALinear(place.linear, tuned.uniform(p, q), right, self.scale))


class KronALinear(TunedLinear):
    """W x + bias + s (A (x) B) x. left: A [p, q]. right: B [out / p, in / q]."""

    def __init__(
        self, base: nn.Linear, left: nn.Parameter, right: nn.Parameter, scale: float
    ) -> None:
        super().__init__(base)
        self.left, self.right, self.scale = left, right, scale

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        rows = x.reshape(*x.shape[:-1], self.left.shape[1], -1)  # X [..., q, in / q]
        product = self.scale * self.left.to(x.dtype) @ (rows @ self.right.to(x.dtype).T)
        y: Tensor = self.base(x) + product.flatten(-2)
        return y

    def weight_update(self) -> Tensor:
        """s A (x) B [out, in]."""
        return self.scale * torch.kron(self.left, self.right)


@settings
class VeRA(TuningMethod):
    """rank: r, larger than in LoRA. start: d_0. Memory: two vectors per map, one random pair."""

    default_rate: ClassVar[float] = 3e-2
    variants: ClassVar[Variants] = (Variant("VeRA", "reparameterised: low rank"),)
    mergeable: ClassVar[bool] = True
    rank: Count = 64
    start: float = 0.1
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of r + out."""
        return sum(self.rank + rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `VeRALinear` in the place of each map."""
        shapes = tuned.sizes.of_linear(self.targets)
        rows, columns = max(rows for rows, _ in shapes), max(columns for _, columns in shapes)
        # He's initialisation, as in the paper.
        a = tuned.normal(self.rank, columns, std=math.sqrt(2 / columns))
        b = tuned.normal(rows, self.rank, std=math.sqrt(2 / self.rank))
        a.requires_grad = b.requires_grad = False
        for place in tuned.places(self.targets):
            place.put(VeRALinear(place.linear, a, b, self.start))


class VeRALinear(TunedLinear):
    """W x + bias + b * (B (d * (A x))). inner: d [r]. outer: b [out]."""

    def __init__(self, base: nn.Linear, a: nn.Parameter, b: nn.Parameter, start: float) -> None:
        super().__init__(base)
        self.a, self.b = a, b
        self.inner, self.outer = nn.Parameter(torch.full((len(a),), start)), zeros(len(base.weight))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        a, b = self.a[:, : self.base.in_features], self.b[: self.base.out_features]
        low = functional.linear(x, a.to(x.dtype)) * self.inner.to(x.dtype)
        y: Tensor = self.base(x) + functional.linear(low, b.to(x.dtype)) * self.outer.to(x.dtype)
        return y

    def weight_update(self) -> Tensor:
        """diag(b) B diag(d) A [out, in]."""
        a, b = self.a[:, : self.base.in_features], self.b[: self.base.out_features]
        return self.outer[:, None] * (b @ (self.inner[:, None] * a))


@settings
class Compacter(TuningMethod):
    """size: m. blocks: n, a divisor of m and D. rank: r. Not mergeable.

    Memory: a matrix has r (D + m) parameters for any n, where that of a serial adapter of the same
    m has m D: it is m D / (r (D + m)) times smaller, about m / r times. The n^3 parameters of the
    A_i are shared by all.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (Variant("Compacter", "reparameterised: low rank"),)
    packable: ClassVar[bool] = True
    size: Count = 16
    blocks: Count = 4
    rank: Count = 1
    activation: Activation = "gelu"

    def count(self, sizes: Sizes) -> int:
        """n^3 + 2 N (2 r (D + m) + m + D)."""
        ends = sizes.width + self.size
        return self.blocks**3 + 2 * sizes.layers * (2 * self.rank * ends + ends)

    def attach(self, tuned: Tuned) -> None:
        """Put an adapter after each o_proj and down_proj."""
        width = tuned.sizes.width
        if width % self.blocks or self.size % self.blocks:
            raise ConfigError(
                f"{self.blocks} blocks do not divide width {width} and size {self.size}",
                where="Compacter.blocks",
                hint="take a common divisor of both",
            )
        rules = tuned.normal(self.blocks, self.blocks, self.blocks, std=self.blocks**-0.5)
        for place in tuned.places(("o_proj", "down_proj")):
            down = _PHM(tuned, rules, width, self.size, self.rank, start_at_zero=False)
            up = _PHM(tuned, rules, self.size, width, self.rank, start_at_zero=True)
            place.put(AdapterLinear(place.linear, _Adapter(down, up, self.activation)))


class _PHM(nn.Module):
    """y = x sum_i A_i (x) (s_i t_i) + b, x [..., in]. rules: A [n, n, n]."""

    def __init__(
        self,
        tuned: Tuned,
        rules: nn.Parameter,
        width_in: int,
        width_out: int,
        rank: int,
        *,
        start_at_zero: bool,
    ) -> None:
        super().__init__()
        n = len(rules)
        self.rules, self.bias = rules, zeros(width_out)
        self.s = tuned.normal(n, width_in // n, rank, std=(width_in // n) ** -0.5)
        shape = (n, rank, width_out // n)
        self.t = zeros(*shape) if start_at_zero else tuned.normal(*shape, std=rank**-0.5)

    def forward(self, x: Tensor) -> Tensor:
        n = len(self.rules)
        rows = x.reshape(*x.shape[:-1], n, -1)  # [..., n, in / n]
        rules, s, t = (each.to(x.dtype) for each in (self.rules, self.s, self.t))
        low = torch.einsum("...jk,ikr->...ijr", rows, s)
        mixed = torch.einsum("...ijr,ijl->...ilr", low, rules)
        made = torch.einsum("...ilr,iro->...lo", mixed, t)
        return made.flatten(-2) + self.bias.to(x.dtype)


class _Adapter(nn.Module):
    def __init__(self, down: _PHM, up: _PHM, activation: Activation) -> None:
        super().__init__()
        self.down, self.up, self.activation = down, up, activation

    def forward(self, h: Tensor) -> Tensor:
        update: Tensor = self.up(activated(self.down(h), self.activation))
        return update


@dataclass(frozen=True)
class SAID(TuningMethod):
    """dimension: d, the factors of the layers included. Applies to any linear map."""

    variants: ClassVar[Variants] = (Variant("intrinsic SAID", "reparameterised: low rank"),)
    mergeable: ClassVar[bool] = True
    dimension: int = 1000
    projection: Literal["fastfood", "sketch"] = "sketch"
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """d."""
        return self.dimension

    def attach(self, tuned: Tuned) -> None:
        """Put a `SAIDLinear` in the place of each map, all with the same t."""
        inner = self.dimension - tuned.sizes.layers
        if inner < 1:
            raise ConfigError(
                f"of {self.dimension} dimensions {tuned.sizes.layers} are factors of layers",
                where="SAID.dimension",
                hint=f"set it above {tuned.sizes.layers}",
            )
        shared, factors = zeros(inner), ones(tuned.sizes.layers)
        for place in tuned.places(self.targets):
            size = place.linear.weight.numel()
            projection: nn.Module
            if self.projection == "sketch":
                projection = _Sketch(inner, size, tuned.generator)
            else:
                projection = _Fastfood(inner, size, tuned.generator)
            place.put(SAIDLinear(place.linear, projection, shared, factors, place.layer))


class SAIDLinear(DeltaLinear):
    """W + lambda_l P t. shared: t [d - N]. factors: lambda [N]. layer: l."""

    def __init__(
        self,
        base: nn.Linear,
        projection: nn.Module,
        shared: nn.Parameter,
        factors: nn.Parameter,
        layer: int,
    ) -> None:
        super().__init__(base)
        self.projection, self.shared, self.factors, self.layer = projection, shared, factors, layer

    def weight_now(self) -> Tensor:
        """[out, in]."""
        update: Tensor = self.factors[self.layer] * self.projection(self.shared)
        now: Tensor = self.base.weight + update.view_as(self.base.weight).to(self.base.weight.dtype)
        return now


class _Sketch(nn.Module):
    """t [d] to [n]: +-t at a random coordinate, whose sign is that of the stored index."""

    place: Tensor

    def __init__(self, inner: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        place = torch.randint(1, inner + 1, (size,), generator=generator, dtype=torch.int32)
        sign = torch.randint(0, 2, (size,), generator=generator, dtype=torch.int32) * 2 - 1
        self.register_buffer("place", place * sign, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        signed = torch.cat([t, -t])
        at = torch.where(self.place > 0, self.place - 1, len(t) - 1 - self.place)
        return signed[at]


class _Fastfood(nn.Module):
    """t [d] to [n] by blocks of H G Pi H S t / d'."""

    sign: Tensor
    order: Tensor
    gauss: Tensor

    def __init__(self, inner: int, size: int, generator: torch.Generator) -> None:
        super().__init__()
        width = 1 << (inner - 1).bit_length()
        blocks = -(-size // width)
        sign = torch.randint(0, 2, (blocks, width), generator=generator, dtype=torch.int8) * 2 - 1
        order = torch.rand(blocks, width, generator=generator).argsort(1).to(torch.int32)
        self.size, self.width = size, width
        self.register_buffer("sign", sign, persistent=False)
        self.register_buffer("order", order, persistent=False)
        gauss = torch.randn(blocks, width, generator=generator)
        self.register_buffer("gauss", gauss, persistent=False)

    def forward(self, t: Tensor) -> Tensor:
        padded = torch.cat([t, t.new_zeros(self.width - len(t))])
        mixed = hadamard(padded * self.sign).gather(1, self.order.long())
        # Each H multiplies by sqrt(d'): divided by d', the update is of the size of t.
        made = hadamard(mixed * self.gauss) / self.width
        return made.reshape(-1)[: self.size]


def hadamard(x: Tensor) -> Tensor:
    """Compute the Walsh-Hadamard transform of [..., n], n a power of 2: entries +-1, not normed."""
    width, step = x.shape[-1], 1
    shape = x.shape
    while step < width:
        pairs = x.reshape(*shape[:-1], width // (2 * step), 2, step)
        first, second = pairs[..., 0, :], pairs[..., 1, :]
        x = torch.stack([first + second, first - second], -2)
        step *= 2
    return x.reshape(shape)


# --------------------------------------------------------------------------------------------------
# LoRAHub: trained LoRAs are mixed by a few weights that a search without gradients finds.
#
# Huang et al., COLM 2024, arXiv 2307.13269. With n sources A_i, B_i and weights w [n], 0 at first:
#
#     W' = W + s (sum_i w_i B_i) (sum_i w_i A_i)        least L(w) + c sum |w_i|, |w_i| <= bound
#     count = n
#
# Memory: that of inference. Some twenty examples are enough for n weights.
#
# Ours: the paper searches with a package's mix of optimisers; here it is a (1 + lambda) evolution
# strategy. Each round tries lambda points around the best one; the spread grows where one of them
# is
# better and shrinks where none is, by the one-fifth rule. A step of `tune` is a round, always on
# the
# texts of the first batch: points can be compared only on the same texts.

#: The spread of the first round, in units of a weight.
FIRST_SPREAD = 0.3


@settings
class LoRAHub(TuningMethod):
    """adapters: n, how many sources. rank, alpha, targets: of each of them. penalty: c. bound:
    see the module. There is no optimizer: each step is a round of `search_weights`.
    """

    variants: ClassVar[Variants] = (Variant("LoRAHub", "reparameterised: LoRA derivatives"),)
    mergeable: ClassVar[bool] = True
    gradient_free: ClassVar[bool] = True
    same_batch: ClassVar[bool] = True
    adapters: Count = 2
    rank: Count = 8
    alpha: float = 16.0
    targets: tuple[Target, ...] = LINEAR
    penalty: float = 0.05
    bound: float = 1.5

    def count(self, sizes: Sizes) -> int:
        """n."""
        return self.adapters

    def attach(self, tuned: Tuned) -> None:
        """Put a `HubLinear` in the place of each map, all with the same weights."""
        tuned.schedule = Spread()
        settings = {
            "rank": self.rank,
            "alpha": self.alpha,
            "targets": list(self.targets),
            "rank_stabilised": False,
        }
        states = tuned.source_states(LoRA, self.adapters, settings)
        weights = zeros(self.adapters)
        for place in tuned.places(self.targets):
            linear = place.linear
            a = torch.zeros(self.adapters, self.rank, linear.in_features)
            b = torch.zeros(self.adapters, linear.out_features, self.rank)
            for at, state in enumerate(states):
                a[at], b[at] = (state[f"model.{place.name}.{matrix}"] for matrix in ("a", "b"))
            place.put(HubLinear(linear, a, b, weights, self.alpha / self.rank))

    def search(self, tuned: Tuned, loss: Callable[[], Tensor], *, rate: float, seed: int) -> float:
        """Take one round of `search_weights`; its loss is that after it, penalty included."""
        return search_weights(tuned, loss, rounds=1, seed=seed)


class HubLinear(TunedLinear):
    """a: [n, r, in]. b: [n, out, r]. weights: w [n], shared by all maps."""

    a: Tensor
    b: Tensor

    def __init__(
        self, base: nn.Linear, a: Tensor, b: Tensor, weights: nn.Parameter, scale: float
    ) -> None:
        super().__init__(base)
        self.weights, self.scale = weights, scale
        self.register_buffer("a", a)
        self.register_buffer("b", b)

    def mixed(self) -> tuple[Tensor, Tensor]:
        """Compute sum w_i A_i [r, in] and sum w_i B_i [out, r]."""
        return torch.tensordot(self.weights, self.a, 1), torch.tensordot(self.weights, self.b, 1)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        a, b = (each.to(x.dtype) for each in self.mixed())
        y: Tensor = self.base(x) + functional.linear(functional.linear(x, a) * self.scale, b)
        return y

    def weight_update(self) -> Tensor:
        """W' - W [out, in]."""
        a, b = self.mixed()
        return self.scale * b @ a


class Spread(nn.Module):
    """The spread of the next round, in units of a weight; a resumed run continues from it."""

    def __init__(self) -> None:
        super().__init__()
        self.value = FIRST_SPREAD

    def memory(self) -> dict[str, Tensor]:
        """The spread."""
        return {"spread": torch.tensor(self.value, dtype=torch.float64)}

    def recall(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `memory` returned."""
        if "spread" in tensors:
            self.value = float(tensors["spread"])


@torch.no_grad()
def search_weights(
    tuned: Tuned,
    loss: Callable[[], Tensor],
    *,
    rounds: int = 10,
    children: int = 4,
    seed: int | None = None,
) -> float:
    """Search from the present w and spread, set both, and return the loss of w with its penalty.

    loss: computes the loss of `tuned` on the few examples, a scalar, always the same ones.
    children: lambda. seed: of the draws, by default that of `tuned`. Takes rounds * lambda + 1
    evaluations.
    Raises ConfigError where the method is another.
    """
    method = tuned.method
    if not isinstance(method, LoRAHub):
        raise ConfigError("the model is not tuned by LoRAHub", where=type(method).__name__)
    (weights,) = tuned.parameters()
    width = tuned.schedule if isinstance(tuned.schedule, Spread) else Spread()
    generator = torch.Generator().manual_seed(tuned.seed if seed is None else seed)

    def judged(point: Tensor) -> float:
        weights.copy_(point)
        return float(loss()) + method.penalty * float(point.abs().sum())

    best = weights.clone()
    least = judged(best)
    for _ in range(rounds):
        better = False
        for _ in range(children):
            drawn = torch.randn(weights.shape, generator=generator).to(weights.device)
            point = (best + width.value * drawn).clamp(-method.bound, method.bound)
            found = judged(point)
            if found < least:
                best, least, better = point, found, True
        width.value *= 1.5 if better else 1.5**-0.25
    weights.copy_(best)
    return least
