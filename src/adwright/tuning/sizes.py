"""The linear maps of a Llama-type model that methods attach to, and the sizes of their counts.

A Llama-type model has, in `model.model`, an embedding, decoder layers with `self_attn` (q_proj,
k_proj, v_proj, o_proj) and `mlp` (gate_proj, up_proj, down_proj), two norms per layer and one at
the end; its head is `lm_head`. Llama, Mistral, SmolLM2, Qwen2 and Qwen3 are of this type.

Letters: N decoder layers, D width, F width of the MLP's hidden layer, V words of the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, cast, get_args

from torch import nn

from adwright.core.config import settings
from adwright.core.errors import ConfigError

__all__ = [
    "ATTENTION",
    "LINEAR",
    "MLP",
    "LinearPlace",
    "Sizes",
    "Target",
    "decoder_layers",
    "norms",
    "places",
]

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
