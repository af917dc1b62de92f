"""AutoInt: the fields of an ad attend to each other, and what they say together is added up.

Song et al., "AutoInt: Automatic Feature Interaction Learning via Self-Attentive Neural Networks",
CIKM 2019 (arXiv 1810.11921), the click rate predictor of AdSEE (Jiang et al., KDD 2023). Field m
is embedded in the width D as

    e_m = V_m x_m        a category, x_m one-hot
    e_m = mean of V_m    over the values of a bag
    e_m = v_m x_m        a number
    e_m = W_m x_m        a dense vector, of a text or an image

A layer has H heads, with D / H places each; head h and the layer's output are

    a_mk = softmax_k <Q_h e_m, K_h e_k>,  f_m = concat_h sum_k a_mk V_h e_k
    e'_m = ReLU(f_m + R e_m)

and after L layers y = w . [e'_1; ..; e'_M] + b, plus the linear part and the deep branch.

The poster of AdSEE lets all modalities attend, which is dense="field" here; its released code gives
dense vectors to a plain network beside the attention alone, which is dense="deep". What the papers
leave open is our choice: a missing field has a learned embedding, a number also one that does not
grow with it, w begins at 0 so that training begins at the linear part, which `fit_click_rate`
solves before and passes in as `offset`.

Letters: B ads, M fields, D width, H heads.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Count, Ge, Lt, Natural, settings
from adwright.core.errors import ConfigError
from adwright.creative.response.inputs import AdFeatures, AdInputs


@settings
class AutoIntConfig:
    """width: D of a field. layers: L. heads: H, which divide D. dense: "field" lets dense vectors
    attend, "deep" gives them to the deep branch alone. deep: units of the branch that reads all
    fields, or with dense="deep" the vectors as they are; () has none, which "deep" needs.
    scaled: divide the products of attention by the root of D / H, which the paper does not.
    dropout: of the fields and of the layers' outputs."""

    width: Count = 16
    layers: Natural = 2
    heads: Count = 2
    dense: Literal["field", "deep"] = "field"
    deep: tuple[Count, ...] = ()
    scaled: bool = False
    dropout: Annotated[float, Ge(0), Lt(1)] = 0.2

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ConfigError(
                "heads share the width of a field evenly",
                where=f"width {self.width}, heads {self.heads}",
                hint="width 16, heads 2",
            )
        if self.dense == "deep" and not self.deep:
            raise ConfigError(
                "a deep branch that reads the vectors has layers",
                where=f"dense {self.dense!r}",
                hint="deep=(128, 64)",
            )

    def network(self, features: AdFeatures) -> AutoInt:
        """A new network that reads what `features` says."""
        return AutoInt(self, features)


class InteractingLayer(nn.Module):
    """One layer of attention among fields [B, M, D] to the same shape."""

    def __init__(self, config: AutoIntConfig) -> None:
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.scale = (width // config.heads) ** -0.5 if config.scaled else 1.0
        self.query, self.key, self.value, self.residual = (
            nn.Linear(width, width, bias=False) for _ in range(4)
        )

    def forward(self, fields: Tensor) -> Tensor:
        """e' of all fields."""
        query, key, value = (
            part(fields).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )  # [B, H, M, D / H]
        found = functional.scaled_dot_product_attention(query, key, value, scale=self.scale)
        joined = found.transpose(1, 2).flatten(2)  # [B, M, D]
        return functional.relu(joined + self.residual(fields))


class AutoInt(nn.Module):
    """Encoded ads [B] to log click rates [B], beside a linear part."""

    def __init__(self, config: AutoIntConfig, features: AdFeatures) -> None:
        super().__init__()
        self.config, self.features = config, features
        width, attends = config.width, config.dense == "field"
        projected = features.vectors if attends else ()
        self.vectors = nn.ModuleList(nn.Linear(v.width, width, bias=False) for v in projected)
        self.vector_defaults = _drawn(len(features.vectors) if attends else 0, width)
        self.numbers, self.number_levels = (_drawn(len(features.numbers), width) for _ in range(2))
        self.number_defaults = _drawn(len(features.numbers), width)
        self.categories = nn.ModuleList(_table(size, width) for size in features.sizes)
        self.bags = nn.ModuleList(_table(len(b.values), width) for b in features.bags)
        self.bag_defaults = _drawn(len(features.bags), width)
        self.layers = nn.ModuleList(InteractingLayer(config) for _ in range(config.layers))
        #: M.
        self.fields = len(projected) + len(features.numbers) + len(features.categories)
        self.fields += len(features.bags)
        self.out = nn.Linear(self.fields * width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        read = self.fields * width if attends else sum(v.width for v in features.vectors)
        self.deep = _branch(read, config.deep) if config.deep and read else None

    def forward(self, inputs: AdInputs, offset: Tensor | None = None) -> Tensor:
        """Log click rates [B]. offset: [B], of the linear part."""
        fields = self._dropped(self.embed(inputs))
        x = fields
        for layer in self.layers:
            x = self._dropped(layer(x))
        y: Tensor = self.out(x.flatten(1)).squeeze(1)
        if self.deep is not None:
            read = fields.flatten(1) if self.config.dense == "field" else self._dense(inputs)
            y = y + self.deep(read).squeeze(1)
        return y if offset is None else y + offset

    def embed(self, inputs: AdInputs) -> Tensor:
        """The fields e [B, M, D]."""
        made = []
        for place, layer in enumerate(self.vectors):
            vector = inputs.vectors[place]
            missing = vector.isnan().any(1, keepdim=True)
            read = layer(torch.where(missing, 0.0, vector))
            made.append(torch.where(missing, self.vector_defaults[place], read)[:, None])
        if len(self.numbers):
            missing = inputs.numbers.isnan()[..., None]  # [B, N, 1]
            value = torch.where(missing, 0.0, inputs.numbers[..., None])
            read = value * self.numbers + self.number_levels
            made.append(torch.where(missing, self.number_defaults, read))
        for place, table in enumerate(self.categories):
            made.append(table(inputs.codes[:, place])[:, None])
        for place, table in enumerate(self.bags):
            share = inputs.bags[place]
            missing = share.sum(1, keepdim=True) == 0
            read = torch.where(
                missing, self.bag_defaults[place], share @ table.get_parameter("weight")
            )
            made.append(read[:, None])
        if not made:
            return inputs.numbers.new_zeros(len(inputs), 0, self.config.width)
        return torch.cat(made, 1)

    def _dense(self, inputs: AdInputs) -> Tensor:
        """All vectors as they are, 0 where missing, [B, sum of widths]."""
        return torch.nan_to_num(torch.cat(inputs.vectors, 1))

    def _dropped(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.config.dropout, self.training)


def _drawn(rows: int, width: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(rows, width) * 0.1)


def _table(rows: int, width: int) -> nn.Embedding:
    table = nn.Embedding(rows, width)
    nn.init.normal_(table.weight, std=0.1)
    return table


def _branch(read: int, units: tuple[int, ...]) -> nn.Sequential:
    """The deep branch; its last layer begins at 0, as w does."""
    layers: list[nn.Module] = []
    for before, after in pairwise((read, *units)):
        layers += [nn.Linear(before, after), nn.ReLU()]
    last = nn.Linear(units[-1], 1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(*layers, last)
