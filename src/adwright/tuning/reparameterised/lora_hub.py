"""LoRAHub: trained LoRAs are mixed by a few weights that a search without gradients finds.

Huang et al., COLM 2024, arXiv 2307.13269. With n sources A_i, B_i and weights w [n], 0 at first:

    W' = W + s (sum_i w_i B_i) (sum_i w_i A_i)        least L(w) + c sum |w_i|, |w_i| <= bound
    count = n

Memory: that of inference. Some twenty examples are enough for n weights.

Ours: the paper searches with a package's mix of optimisers; here it is a (1 + lambda) evolution
strategy. Each round tries lambda points around the best one; the spread grows where one of them is
better and shrinks where none is, by the one-fifth rule. A step of `tune` is a round, always on the
texts of the first batch: points can be compared only on the same texts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.tuning.modules import LINEAR, Sizes, Target, TunedLinear, Variant, Variants, zeros
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Tuned, TuningMethod

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
