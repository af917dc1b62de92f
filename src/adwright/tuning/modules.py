"""What the modules of methods have in common: linear maps that replace the base's, and what a
module may do beside its forward pass.

`Tuned` finds the protocols at run time: a module that has `penalty` adds to the loss, one that has
`before_step` and `after_step` follows the training, and so on.

The linear maps of a Llama-type model that methods attach to, and the sizes of their counts.

A Llama-type model has, in `model.model`, an embedding, decoder layers with `self_attn` (q_proj,
k_proj, v_proj, o_proj) and `mlp` (gate_proj, up_proj, down_proj), two norms per layer and one at
the end; its head is `lm_head`. Llama, Mistral, SmolLM2, Qwen2 and Qwen3 are of this type.

Letters: N decoder layers, D width, F width of the MLP's hidden layer, V words of the vocabulary.

The branches of the taxonomy of parameter-efficient tuning, and under which names a method has
its place there.

Han, Gao, Liu, Zhang & Zhang, "Parameter-Efficient Fine-Tuning for Large Models: A Comprehensive
Survey", 2024, arXiv 2403.14608. `taxonomy` has the whole tree.

From what a head's map gives to logits: some families scale the product, or bound it.

With h [D] the last hidden state, W [V, D] the head, c the bound:

    z = f h W'        logits = z, or c tanh(z / c) where there is a bound

f: `logit_scale` of Cohere, 1 / `logits_scaling` of Granite. c: `final_logit_softcapping` of Gemma.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, cast, get_args, runtime_checkable

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import settings
from adwright.core.errors import ConfigError


class Inputs(NamedTuple):
    """What a backbone reads. ids: tokens, int64 [B, T]. mask: [B, T], 0 at padding, or None.
    positions: [B, T], 0 where a text begins, or None for one text per row.
    """

    ids: Tensor
    mask: Tensor | None
    positions: Tensor | None


@runtime_checkable
class Penalised(Protocol):
    """A module that adds a scalar to the loss."""

    def penalty(self) -> Tensor:
        """The scalar, already weighted."""


@runtime_checkable
class Scheduled(Protocol):
    """A module that changes with the steps of the training."""

    def before_step(self, step: int, steps: int) -> None:
        """Prepare the forward pass of step `step` of `steps`, counted from 0."""

    def after_step(self, step: int, steps: int) -> None:
        """Follow the optimizer's step, while the gradients are still there."""


@runtime_checkable
class Remembering(Protocol):
    """A module whose schedule depends on what it saw in earlier steps. A resumed run needs that
    memory; a saved adapter does not."""

    def memory(self) -> dict[str, Tensor]:
        """What it saw, by name."""

    def recall(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `memory` returned."""


@runtime_checkable
class Resizable(Protocol):
    """A module whose tensors have a length that a saved state decides."""

    def resize(self, tensors: dict[str, Tensor]) -> None:
        """Take the lengths of the module's own tensors in a saved state."""

    def check_loaded(self, where: str) -> None:
        """Raise ArtifactError where the loaded values make no sense."""


@runtime_checkable
class Ahead(Protocol):
    """A module around the backbone that does no more than put vectors before each text, and
    perhaps move its embedded words: whoever keeps keys and values can do the same by themselves."""

    def ahead(self) -> Tensor:
        """The vectors [L, D]."""

    def shift(self, places: Tensor) -> Tensor | None:
        """What is added to the embedded words at `places` int64 [..., T] of their text: [..., T,
        D]; None for nothing."""


class TunedLinear(nn.Module):
    """Replaces a linear map. base: the frozen map itself."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base

    def weight_update(self) -> Tensor:
        """What the adapter adds to the base's weight [out, in]; ConfigError where no such update
        gives the same function."""
        raise ConfigError(
            "this module cannot be folded into the base's weights",
            where=type(self).__name__,
            hint="keep it beside the base, or tune with a mergeable method",
        )

    def merged(self) -> nn.Linear:
        """The base with the adapter in its weight: a plain map of the same function."""
        with torch.no_grad():
            self.base.weight.add_(self.weight_update().to(self.base.weight.dtype))
        return self.base


class DeltaLinear(TunedLinear):
    """A linear map whose weight [out, in] is computed in each forward pass."""

    def weight_now(self) -> Tensor:
        """The weight [out, in], adapter included."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in] to [..., out]."""
        return functional.linear(x, self.weight_now().to(x.dtype), self.base.bias)

    def merged(self) -> nn.Linear:
        """The base with its present weight."""
        with torch.no_grad():
            self.base.weight.copy_(self.weight_now())
        return self.base


def zeros(*shape: int) -> nn.Parameter:
    """Make a parameter of zeros."""
    return nn.Parameter(torch.zeros(shape))


def ones(*shape: int) -> nn.Parameter:
    """Make a parameter of ones."""
    return nn.Parameter(torch.ones(shape))


Target = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

LINEAR: tuple[Target, ...] = get_args(Target)
ATTENTION: tuple[Target, ...] = LINEAR[:4]
MLP: tuple[Target, ...] = LINEAR[4:]


class LinearPlace(NamedTuple):
    """The place of a linear map: index of its decoder layer, the module that holds it, its name
    there."""

    layer: int
    parent: nn.Module
    target: Target

    @property
    def name(self) -> str:
        """Its dotted name in the causal LM."""
        side = "self_attn" if self.target in ATTENTION else "mlp"
        return f"model.layers.{self.layer}.{side}.{self.target}"

    @property
    def linear(self) -> nn.Linear:
        """The module that is there now: the base's own, or what has replaced it."""
        return cast(nn.Linear, getattr(self.parent, self.target))

    def put(self, module: nn.Module) -> None:
        """Put `module` there."""
        setattr(self.parent, self.target, module)


@settings
class Sizes:
    """Sizes of a model. shapes: (rows, columns) of each linear map of a decoder layer.

    parameters: of the whole base, a tied head counted once. linear_bias: targets that have a bias.
    norms: parameters of the norms around attention and MLP and of the last one.
    """

    layers: int
    width: int
    vocabulary: int
    heads: int
    kv_heads: int
    head_width: int
    shapes: dict[Target, tuple[int, int]]
    linear_bias: tuple[Target, ...]
    parameters: int
    norms: int

    @staticmethod
    def of(model: nn.Module) -> Sizes:
        """Read them from a causal LM of transformers; ConfigError where it is of another type."""
        first = [place for place in places(model, LINEAR) if place.layer == 0]
        config = cast(Any, model).config
        heads = int(config.num_attention_heads)
        width = int(config.hidden_size)
        return Sizes(
            layers=len(decoder_layers(model)),
            width=width,
            vocabulary=int(config.vocab_size),
            heads=heads,
            kv_heads=int(config.num_key_value_heads),
            head_width=int(getattr(config, "head_dim", None) or width // heads),
            shapes={
                place.target: (place.linear.out_features, place.linear.in_features)
                for place in first
            },
            linear_bias=tuple(place.target for place in first if place.linear.bias is not None),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            norms=sum(p.numel() for norm in norms(model) for p in norm.parameters()),
        )

    def of_linear(self, targets: tuple[Target, ...]) -> list[tuple[int, int]]:
        """List (rows, columns) of every map named in `targets`, over all layers."""
        return [self.shapes[target] for target in targets] * self.layers


def decoder_layers(model: nn.Module) -> nn.ModuleList:
    """Find the decoder layers of a causal LM; ConfigError where it has none."""
    layers = getattr(getattr(model, "model", None), "layers", None)
    if not isinstance(layers, nn.ModuleList) or not hasattr(model, "lm_head"):
        raise ConfigError(
            "the model is not a Llama-type causal language model",
            where=type(model).__name__,
            hint="it needs model.layers and lm_head, as LlamaForCausalLM has them",
        )
    return layers


def norms(model: nn.Module) -> list[nn.Module]:
    """Find the norms of a causal LM that have weights: those that stand in a decoder layer beside
    attention and MLP, however many a family has, and the last one. Norms within an attention, of
    queries and keys, are not among them."""
    inside = [child for layer in decoder_layers(model) for child in layer.children()]
    backbone = cast(nn.Module, model.model)
    return [
        child
        for child in (*inside, *backbone.children())
        if type(child).__name__.endswith("Norm") and any(True for _ in child.parameters())
    ]


def places(model: nn.Module, targets: tuple[Target, ...]) -> Iterator[LinearPlace]:
    """Find the maps named in `targets`, layer by layer; ConfigError where a layer lacks one."""
    for number, layer in enumerate(decoder_layers(model)):
        for target in targets:
            parent = getattr(layer, "self_attn" if target in ATTENTION else "mlp", None)
            if not isinstance(parent, nn.Module) or not hasattr(parent, target):
                raise ConfigError(
                    f"layer {number} has no {target}",
                    where=type(model).__name__,
                    hint="only models with separate q, k, v and gate, up, down maps can be tuned",
                )
            yield LinearPlace(number, parent, target)


Branch = Literal[
    "additive: adapters",
    "additive: soft prompts",
    "additive: other",
    "selective: unstructured",
    "selective: structured",
    "reparameterised: low rank",
    "reparameterised: LoRA derivatives",
    "hybrid",
    "efficient: pruning",
    "efficient: quantisation",
    "efficient: memory",
    "references",
    "beyond the survey",
]
BRANCHES: tuple[Branch, ...] = get_args(Branch)


@settings
class Variant:
    """A name that a method has in the literature. note: the settings that give it, or what differs
    from the paper. settings: pairs of name and value that the name stands for where somebody asks
    for it. instead: what to write where the name alone does not give it.
    """

    name: str
    branch: Branch
    note: str = ""
    settings: tuple[tuple[str, Any], ...] = ()
    instead: str = ""


Variants = tuple[Variant, ...]


@dataclass(frozen=True)
class HeadLogits:
    """factor: f. cap: c, 0 for none."""

    factor: float = 1.0
    cap: float = 0.0

    def __call__(self, products: Tensor) -> Tensor:
        """Compute the logits of products h W', both [..., V]."""
        z = products if self.factor == 1 else products * self.factor
        return torch.tanh(z / self.cap) * self.cap if self.cap else z

    def slope(self, logits: Tensor) -> Tensor | float:
        """Compute the derivative of the logits by the products, at these logits [..., V]."""
        if not self.cap:
            return self.factor
        return self.factor * (1 - (logits / self.cap).square())


def head_logits(config: Any) -> HeadLogits:
    """Read factor and bound from a config of transformers."""
    factor = float(getattr(config, "logit_scale", None) or 1.0)
    factor /= float(getattr(config, "logits_scaling", None) or 1.0)
    return HeadLogits(factor, float(getattr(config, "final_logit_softcapping", None) or 0.0))
