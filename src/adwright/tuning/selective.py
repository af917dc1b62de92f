"""Methods that train some of the base's weights."""

from __future__ import annotations

import logging
import math
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from adwright.core.config import Count, Ge, settings
from adwright.core.errors import ArtifactError, ConfigError
from adwright.tuning.modules import (
    ATTENTION,
    LINEAR,
    MLP,
    DeltaLinear,
    LinearPlace,
    Sizes,
    Target,
    TunedLinear,
    Variant,
    Variants,
    norms,
    ones,
    places,
    zeros,
)
from adwright.tuning.tuned import Tuned, TuningMethod


@settings
class SparseMethod(TuningMethod):
    """A method that trains the k weights with the highest scores of all maps together.

    fraction: of the targets' weights that are trained. Memory and place: see the module.
    """

    default_rate: ClassVar[float] = 3e-3
    mergeable: ClassVar[bool] = True
    fraction: float = 0.005
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """k."""
        return kept(sizes, self.targets, self.fraction)

    def attach(self, tuned: Tuned) -> None:
        """Score the weights, and train the k with the highest scores.

        Raises ConfigError where the method needs calibration losses and has none.
        """
        places = tuned.places(self.targets)
        weights: list[Tensor] = [place.linear.weight for place in places]
        if tuned.blank:
            scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        else:
            scores = self.scores(tuned, weights)
        tuned.model.requires_grad_(False)
        plant_highest(places, scores, self.count(tuned.sizes))

    @abstractmethod
    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """Score each weight [out, in] of each map; the weights themselves stay as they are."""


class SparseLinear(TunedLinear):
    """W' x + bias. index: int64 [k], flat positions in W [out, in]. values: [k], 0 at first."""

    index: Tensor

    def __init__(self, base: nn.Linear, index: Tensor) -> None:
        super().__init__(base)
        self.register_buffer("index", index)
        self.values = nn.Parameter(torch.zeros(len(index)))

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        arguments = (x, self.base.weight, self.base.bias, self.index, self.values)
        return _Sparse.apply(*arguments)  # type: ignore[no-any-return, no-untyped-call]

    def merged(self) -> nn.Linear:
        """The base with W'."""
        with torch.no_grad():
            self.base.weight.copy_(_added(self.base.weight, self.index, self.values))
        return self.base

    def resize(self, tensors: dict[str, Tensor]) -> None:
        """Take the length of a saved state: how many trained weights this map has.

        Where it is the same the parameter stays, since an optimizer may hold it already.
        """
        index, values = tensors.get("index"), tensors.get("values")
        if index is None or values is None or index.shape != values.shape:
            return
        if values.shape != self.values.shape:
            self.index = index.new_zeros(index.shape)
            self.values = nn.Parameter(torch.zeros(values.shape))

    def check_loaded(self, where: str) -> None:
        """Raise ArtifactError where positions are out of range or occur twice."""
        index = self.index
        size = self.base.weight.numel()
        if len(index) and not (int(index.min()) >= 0 and int(index.max()) < size):
            raise ArtifactError(
                f"a position of a sparse update is outside a map of {size} weights",
                where=where,
                hint="the file was made for another base or tampered with",
            )
        if bool((index.sort().values.diff() == 0).any()):
            raise ArtifactError(
                "a position of a sparse update occurs twice", where=where, hint="save it again"
            )


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, index: Tensor, values: Tensor
    ) -> Tensor:
        ctx.save_for_backward(x, weight, index, values)
        return functional.linear(x, _added(weight, index, values).to(x.dtype), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, above: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, index, values = ctx.saved_tensors
        near = above.reshape(-1, above.shape[-1])
        d_x = d_values = None
        if ctx.needs_input_grad[0]:
            d_x = (near @ _added(weight, index, values).to(near.dtype)).view(x.shape)
        if ctx.needs_input_grad[4]:
            dense = near.T @ x.reshape(-1, x.shape[-1]).to(near.dtype)
            d_values = dense.reshape(-1)[index].to(values.dtype)
        return d_x, None, None, None, d_values


def kept(sizes: Sizes, targets: tuple[Target, ...], fraction: float) -> int:
    """Count the weights that are trained, k, at least one."""
    return max(
        1, round(fraction * sum(rows * columns for rows, columns in sizes.of_linear(targets)))
    )


def plant_highest(places: list[LinearPlace], scores: list[Tensor], k: int) -> None:
    """Train the k weights with the highest scores of all maps together.

    scores: one per place, each [out, in]. Of equal scores the earlier weight is taken.
    """
    flat = torch.cat([score.reshape(-1) for score in scores])
    order = torch.sort(flat, descending=True, stable=True).indices[:k]
    chosen, positions, start = order.sort().values, [], 0
    for score in scores:
        inside = chosen[(chosen >= start) & (chosen < start + score.numel())]
        positions.append(inside - start)
        start += score.numel()
    for place, position in zip(places, positions, strict=True):
        place.put(SparseLinear(place.linear, position))


def calibration_losses(tuned: Tuned, most: int, *, again: bool = False) -> Iterator[Tensor]:
    """Yield the first `most` calibration losses, or all where there are fewer.

    again: where there are fewer, go through them anew, computed by the model as it is then, until
    there were `most`. Raises ConfigError where the caller gave none, or the stream is empty.
    """
    if tuned.losses is None:
        raise ConfigError(
            "the method looks at data before it trains",
            where=type(tuned.method).__name__,
            hint="pass `losses` to `apply`: a function that yields losses of the model",
        )
    left = most
    while left:
        before = left
        for loss in tuned.losses(tuned):
            yield loss
            left -= 1
            if not left:
                return
        if left == before:
            raise ConfigError(
                "there are no calibration losses",
                where=type(tuned.method).__name__,
                hint="let `losses` yield a loss for each text, each time that it is called",
            )
        if not again:
            return


def _added(weight: Tensor, index: Tensor, values: Tensor) -> Tensor:
    flat = weight.reshape(-1).index_add(0, index, values.to(weight.dtype))
    return flat.view_as(weight)


@settings
class LTSFT(SparseMethod):
    """steps, learning_rate: of phase 1, whose memory the module states."""

    variants: ClassVar[Variants] = (Variant("LT-SFT", "selective: unstructured"),)
    steps: Count = 100
    learning_rate: float = 5e-5

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """|theta_1 - theta_0| [out, in] in float32; the weights are theta_0 again afterwards."""
        before = [weight.detach().clone() for weight in weights]
        masters = [first.to(torch.float32, copy=True) for first in before]
        optimizer = torch.optim.AdamW(masters, lr=self.learning_rate, weight_decay=0.0)
        for weight in weights:
            weight.requires_grad_(True)
        for loss in calibration_losses(tuned, self.steps, again=True):
            loss.backward()  # type: ignore[no-untyped-call]
            for master, weight in zip(masters, weights, strict=True):
                master.grad = None if weight.grad is None else weight.grad.float()
                weight.grad = None
            optimizer.step()
            optimizer.zero_grad()
            _fill(weights, masters)
        _fill(weights, before)
        return [
            (master - first.float()).abs() for master, first in zip(masters, before, strict=True)
        ]


def _fill(weights: list[Tensor], values: list[Tensor]) -> None:
    with torch.no_grad():
        for weight, value in zip(weights, values, strict=True):
            weight.copy_(value)


@settings
class PaFi(SparseMethod):
    """The scores are -|w|."""

    variants: ClassVar[Variants] = (Variant("PaFi", "selective: unstructured"),)

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """-|w| [out, in] in float32."""
        return [-weight.detach().abs().float() for weight in weights]


@settings
class FishMask(SparseMethod):
    """samples: how many calibration losses are taken, one per example; all of them where there are
    fewer. criterion: see the module.
    """

    variants: ClassVar[Variants] = (
        Variant("FishMask", "selective: unstructured"),
        Variant(
            "SAM",
            "selective: unstructured",
            "criterion gradient; curvatures taken as 1",
            (("criterion", "gradient"),),
        ),
        Variant(
            "Child-tuning D",
            "selective: unstructured",
            "the same choice; here the other weights have no gradient to mask",
        ),
    )
    samples: Count = 128
    criterion: Literal["fisher", "gradient"] = "fisher"

    def scores(self, tuned: Tuned, weights: list[Tensor]) -> list[Tensor]:
        """F [out, in] in float32, or the squared mean gradient."""
        scores = [torch.zeros_like(weight, dtype=torch.float32) for weight in weights]
        for weight in weights:
            weight.requires_grad_(True)
        for loss in calibration_losses(tuned, self.samples):
            gradients = torch.autograd.grad(loss, weights)
            for score, gradient in zip(scores, gradients, strict=True):
                slope = gradient.float()
                score.add_(slope.square() if self.criterion == "fisher" else slope)
        return scores if self.criterion == "fisher" else [score.square() for score in scores]


_LOG = logging.getLogger("adwright")


@dataclass(frozen=True)
class BitFit(TuningMethod):
    """A learned bias on the maps in `targets`.

    Memory: one vector per map. Merged, the maps have biases, see `foresee_biases`.
    """

    default_rate: ClassVar[float] = 9e-3
    variants: ClassVar[Variants] = (
        Variant("BitFit", "selective: structured", "adds the biases that a Llama lacks"),
    )
    mergeable: ClassVar[bool] = True
    targets: tuple[Target, ...] = LINEAR

    def count(self, sizes: Sizes) -> int:
        """Sum of out."""
        return sum(rows for rows, _ in sizes.of_linear(self.targets))

    def attach(self, tuned: Tuned) -> None:
        """Put a `Biased` in the place of each map."""
        for place in tuned.places(self.targets):
            place.put(Biased(place.linear))

    def fold(self, tuned: Tuned) -> nn.Module:
        """Put the biases into the maps, and into the model's config that there are some."""
        return foresee_biases(super().fold(tuned))


class Biased(TunedLinear):
    """W x + b + v. shift: v [out]."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__(base)
        self.shift = zeros(base.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        shift = self.shift.to(x.dtype)
        bias = shift if self.base.bias is None else self.base.bias + shift
        return functional.linear(x, self.base.weight, bias)

    def merged(self) -> nn.Linear:
        """A map with the bias b + v."""
        return with_bias(self.base, ones(len(self.shift)), self.shift)


def foresee_biases(model: nn.Module) -> nn.Module:
    """Tell the config of `model`, a plain causal LM, of biases that its maps have got, or
    transformers would load the saved model without them; returns the model.

    A config speaks of all maps of an attention, or of an MLP, at once: those that have no bias get
    one of zeros. Where a config has no such setting it is said in a warning.
    """
    config = cast(Any, model).config
    for setting, targets in (("attention_bias", ATTENTION), ("mlp_bias", MLP)):
        maps = [place.linear for place in places(model, targets)]
        if all(one.bias is None for one in maps) or getattr(config, setting, False):
            continue
        if not hasattr(config, setting):
            _LOG.warning(
                "%s has no setting %s: transformers may load the merged model without its biases",
                type(config).__name__,
                setting,
            )
            continue
        setattr(config, setting, True)
        for one in maps:
            if one.bias is None:
                one.bias = nn.Parameter(one.weight.new_zeros(one.out_features))
    return model


def with_bias(base: nn.Linear, factor: Tensor, shift: Tensor) -> nn.Linear:
    """Write the map factor * (W x + b) + shift into `base`; factor, shift: [out]."""
    with torch.no_grad():
        bias = shift.to(base.weight.dtype)
        if base.bias is not None:
            bias = bias + base.bias * factor.to(base.weight.dtype)
        base.weight *= factor.to(base.weight.dtype)[:, None]
        base.bias = nn.Parameter(bias.clone())
    return base


_TAU, _LOW, _HIGH = 2 / 3, -0.1, 1.1


@settings
class DiffPruning(TuningMethod):
    """penalty: c n, the penalty while all gates are open. start: a at first. fraction: what
    `prune` keeps. gate_rate_ratio: what the learning rate is multiplied with for gates; a rate of
    5e-4 becomes 0.1. pruned: set by `prune`.
    """

    variants: ClassVar[Variants] = (
        Variant("U-Diff pruning", "selective: unstructured"),
        Variant(
            "S-Diff pruning",
            "selective: structured",
            "structured: gates of maps",
            (("structured", True),),
        ),
    )
    mergeable: ClassVar[bool] = True
    structured: bool = False
    penalty: Annotated[float, Ge(0)] = 40.0
    start: float = 5.0
    fraction: float = 0.005
    gate_rate_ratio: Annotated[float, Ge(0)] = 200.0
    targets: tuple[Target, ...] = LINEAR
    pruned: bool = False

    def count(self, sizes: Sizes) -> int:
        """2 n, with gates of maps where structured; k after `prune`."""
        if self.pruned:
            return kept(sizes, self.targets, self.fraction)
        shapes = sizes.of_linear(self.targets)
        gates = len(shapes) if self.structured else 0
        return 2 * sum(rows * columns for rows, columns in shapes) + gates

    def attach(self, tuned: Tuned) -> None:
        """Put a `DiffLinear` in the place of each map."""
        places = tuned.places(self.targets)
        if self.pruned:
            if not tuned.blank:
                raise ConfigError(
                    "only a trained diff vector can be pruned",
                    where="DiffPruning.pruned",
                    hint="attach it with pruned=False, train, and call `prune`",
                )
            scores = [torch.zeros_like(place.linear.weight) for place in places]
            plant_highest(places, scores, self.count(tuned.sizes))
            return
        weights = sum(rows * columns for rows, columns in tuned.sizes.of_linear(self.targets))
        for place in places:
            cost = self.penalty / weights
            place.put(DiffLinear(place.linear, self.start, cost, structured=self.structured))

    def rate(self, name: str) -> float:
        """`gate_rate_ratio` for gates, of weights and of maps, 1 for w."""
        return self.gate_rate_ratio if name.endswith((".gate", ".whole")) else 1.0

    def then(self, tuned: Tuned) -> bool:
        """`prune`, unless that is done; what it keeps is to be trained further."""
        if not self.pruned:
            prune(tuned)
        return not self.pruned


class DiffLinear(DeltaLinear):
    """W + z * w. update: w [out, in]. gate: a [out, in]. whole: a of the map, or None."""

    def __init__(self, base: nn.Linear, start: float, penalty: float, *, structured: bool) -> None:
        super().__init__(base)
        self.update = zeros(*base.weight.shape)
        self.gate = nn.Parameter(torch.full(base.weight.shape, start))
        self.whole = nn.Parameter(torch.tensor([start])) if structured else None
        self.cost = penalty

    def difference(self) -> Tensor:
        """z * w [out, in], z drawn in training."""
        z = _hard_concrete(self.gate, drawn=self.training)
        if self.whole is not None:
            z = z * _hard_concrete(self.whole, drawn=self.training)
        return z * self.update

    def weight_now(self) -> Tensor:
        """[out, in]."""
        return self.base.weight + self.difference().to(self.base.weight.dtype)

    def penalty(self) -> Tensor:
        """Compute c times the expected count of weights that change."""
        open_ = _chance_of_open(self.gate)
        if self.whole is not None:
            open_ = open_ * _chance_of_open(self.whole)
        return self.cost * open_.sum()


def prune(tuned: Tuned) -> None:
    """Keep the largest `fraction` of the learned differences; changes `tuned` in place.

    Raises ConfigError where the method is another, or pruned already.
    """
    method = tuned.method
    if not isinstance(method, DiffPruning) or method.pruned:
        raise ConfigError("only an unpruned diff vector can be pruned", where=type(method).__name__)
    places = tuned.places(method.targets)
    tuned.eval()
    differences: list[Tensor] = []
    for place in places:
        old = place.linear
        if isinstance(old, DiffLinear):
            differences.append(old.difference().detach())
            place.put(old.base)
    tuned.method = replace(method, pruned=True)
    plant_highest(places, [each.abs() for each in differences], tuned.method.count(tuned.sizes))
    with torch.no_grad():
        for place, difference in zip(places, differences, strict=True):
            now = place.linear
            if isinstance(now, SparseLinear):
                now.values.copy_(difference.reshape(-1)[now.index])


def _hard_concrete(a: Tensor, *, drawn: bool) -> Tensor:
    if drawn:
        u = torch.rand_like(a).clamp(1e-6, 1 - 1e-6)
        soft = torch.sigmoid((u.log() - (1 - u).log() + a) / _TAU)
    else:
        soft = torch.sigmoid(a)
    return (soft * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def _chance_of_open(a: Tensor) -> Tensor:
    return torch.sigmoid(a - _TAU * math.log(-_LOW / _HIGH))


# --------------------------------------------------------------------------------------------------
# References that methods are measured against: train everything, the head, or the norms.
#
# Full tuning is the reference of every paper on the subject. Norm tuning is a method in its own
# right: Zhao et al., "Tuning LayerNorm in Attention", ICLR 2024, arXiv 2312.11420.
#
#     full: count = all parameters        head: V D        norms: (2 N + 1) D in a Llama
#
# They train parameters of the base itself, in its own type: load it in float32.


@dataclass(frozen=True)
class FullTuning(TuningMethod):
    """All parameters. Memory: 16 bytes per parameter with Adam in float32."""

    default_rate: ClassVar[float] = 2.7e-4
    variants: ClassVar[Variants] = (Variant("full tuning", "references"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """All, a tied head counted once."""
        return sizes.parameters

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze everything."""
        tuned.model.requires_grad_(True)


@dataclass(frozen=True)
class HeadOnly(TuningMethod):
    """The head. No gradient goes through the backbone. A tied head is untied first, or the
    embedding would be trained with it; merged, such a model is stored with both.
    """

    variants: ClassVar[Variants] = (Variant("head only", "references"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """V D."""
        return sizes.vocabulary * sizes.width

    def attach(self, tuned: Tuned) -> None:
        """Give the head its own weight, and unfreeze it."""
        head = tuned.causal.lm_head
        head.weight = nn.Parameter(head.weight.detach().clone())


@dataclass(frozen=True)
class NormTuning(TuningMethod):
    """The weights of the norms around attention and MLP, and of the last one. Families differ in
    how many a layer has. Memory: next to none. Applies to any model whose norms have weights."""

    default_rate: ClassVar[float] = 3e-3
    variants: ClassVar[Variants] = (Variant("LayerNorm tuning", "selective: structured"),)
    trains_base: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True

    def count(self, sizes: Sizes) -> int:
        """All of their weights: (2 N + 1) D in a Llama."""
        return sizes.norms

    def attach(self, tuned: Tuned) -> None:
        """Unfreeze the norms of each layer and the last one."""
        found = norms(tuned.causal)
        if not found:
            raise ConfigError(
                "the norms of this model have no weights",
                where=type(tuned.causal).__name__,
                hint="tune it with another method, such as BitFit",
            )
        for norm in found:
            norm.requires_grad_(True)
