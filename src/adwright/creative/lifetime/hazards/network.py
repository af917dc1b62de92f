"""Two hazard heads on one body: how long an ad will live, from what is known at its landmark.

Kitada, Iyatomi and Seki, "Ad Creative Discontinuation Prediction with Multi-Modal Multi-Task Neural
Survival Networks", Applied Sciences 12(7):3594, 2022. Numbers, categories, words and vectors (of
texts and images, encoded elsewhere and frozen) are concatenated; a shared MLP feeds a head of short
bins and one of long bins, each with the likelihood of `likelihood`:

    L = lambda L_short + (1 - lambda) L_long

What the paper leaves open is our choice: lambda is 1/2; words are the mean of their embeddings; a
vector passes through one layer of its own; numbers may, beside their scaled value, have a learned
vector for each of their bins, which is added to the first layer's sum. Whatever is missing has a
learned default. In training each modality of a unit is hidden behind its defaults at random, and so
is each single value: the defaults are learned where nothing is ever missing, and the network gets
on without a modality, and with values that it never saw.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from adwright.core.config import Gt, Lt, settings
from adwright.core.errors import ConfigError
from adwright.creative.lifetime.hazards.inputs import InputSpec, SpellInputs
from adwright.creative.lifetime.hazards.likelihood import BinTargets, hazard_loss
from adwright.creative.lifetime.hazards.terms import LifeTerms

__all__ = ["SurvivalConfig", "SurvivalNetwork"]


@settings
class SurvivalConfig:
    """Sizes and losses.

    hidden: units of the body's layers. width: of a category's embedding; word_width: of a word's;
    vector_width: of what a vector becomes. number_bins: learned bins of each number, at most so
    many; 0 reads the scaled value alone. scale: standard deviation of the first embeddings.
    dropout: of the hidden units. modality_dropout: probability that a modality of a unit is hidden
    in training, without which the model has not learned to do without it; value_dropout: likewise
    each number, and each value of a category. short_weight: lambda, the weight of the short head.

    In one pass over many spells nothing is learned by heart, and dropouts only slow it down; where
    spells are few, the validation ends the training in time.
    """

    hidden: tuple[int, ...] = (128, 64)
    width: int = 16
    word_width: int = 16
    vector_width: int = 32
    number_bins: int = 16
    scale: float = 0.1
    dropout: float = 0.0
    modality_dropout: float = 0.03
    value_dropout: float = 0.0
    short_weight: Annotated[float, Gt(0), Lt(1)] = 0.5

    def __post_init__(self) -> None:
        widths = (*self.hidden, self.width, self.word_width, self.vector_width)
        if not self.hidden or min(widths) < 1 or self.number_bins < 0 or self.scale <= 0:
            raise ConfigError(
                "a network has a layer, widths from 1 on, a scale above 0 and no negative bins",
                where=f"hidden {self.hidden}, number_bins {self.number_bins}, scale {self.scale}",
            )
        rates = (self.dropout, self.modality_dropout, self.value_dropout)
        if not all(0 <= rate < 1 for rate in rates):
            raise ConfigError("dropouts lie in [0, 1)", where=str(rates))


class SurvivalNetwork(nn.Module):
    """Encoded spells [B] to the logits [B, J, C] of the hazards of each head.

    spec: of the inputs. terms: edges of the heads. causes: C.
    """

    def __init__(
        self, config: SurvivalConfig, spec: InputSpec, terms: LifeTerms, causes: int = 1
    ) -> None:
        super().__init__()
        self.config, self.spec, self.terms, self.causes = config, spec, terms, causes
        first = config.hidden[0]
        self.numbers = nn.Parameter(torch.zeros(len(spec.numbers)))
        self.categories = _table(spec.code_offsets[-1], config.width, config.scale)
        self.words = _table(len(spec.words), config.word_width, config.scale)
        self.wordless = nn.Parameter(torch.zeros(config.word_width))
        self.bins = nn.Parameter(torch.zeros(spec.bin_offsets[-1], first))
        self.layers = nn.ModuleList(nn.Linear(v.width, config.vector_width) for v in spec.vectors)
        self.defaults = nn.ParameterList(
            nn.Parameter(torch.zeros(config.vector_width)) for _ in spec.vectors
        )
        inputs = (
            len(spec.numbers)
            + len(spec.categories) * config.width
            + (config.word_width if spec.words else 0)
            + len(spec.vectors) * config.vector_width
        )
        if not inputs:
            raise ConfigError("nothing is left for the network to read", where="leave_out")
        self.body = nn.ModuleList(
            nn.Linear(before, after) for before, after in pairwise((inputs, *config.hidden))
        )
        self.heads = nn.ModuleList(
            nn.Linear(config.hidden[-1], (len(edges) - 1) * causes) for edges in terms.heads
        )
        # Rows of the defaults, which stand in where a value is hidden.
        defaults = torch.tensor(spec.code_offsets[:-1], dtype=torch.int64)
        self.register_buffer("_code", defaults, persistent=False)
        unknown = torch.tensor(spec.bin_offsets[:-1], dtype=torch.int64)
        self.register_buffer("_bin", unknown, persistent=False)

    @torch.no_grad()
    def begin_at(self, logits: list[Tensor]) -> None:
        """Begin training at hazards [J, C] of each head, the same for all units: the heads'
        biases."""
        for head, values in zip(self.heads, logits, strict=True):
            head.get_parameter("bias").copy_(values.reshape(-1))

    def forward(self, inputs: SpellInputs) -> tuple[Tensor, ...]:
        """Logits [B, J, C] of each head."""
        x = self.hidden(inputs)
        return tuple(head(x).float().unflatten(1, (-1, self.causes)) for head in self.heads)

    def hidden(self, inputs: SpellInputs) -> Tensor:
        """What the heads read, [B, H]: the last layer of the body."""
        parts, added = self._parts(inputs)
        x: Tensor = torch.cat(parts, 1)
        for number, layer in enumerate(self.body):
            x = layer(x)
            if number == 0 and added is not None:
                x = x + added
            x = self._dropped(functional.relu(x))
        return x

    def loss(
        self,
        inputs: SpellInputs,
        targets: tuple[BinTargets, ...],
        weight: Tensor | None = None,
        added: tuple[Tensor, ...] | None = None,
    ) -> Tensor:
        """L summed over the units, []. targets: of each head. weight: [B], each unit's share in the
        loss; divided by its mean. added: [B, J * C] of each head, to the logits."""
        loss = self.losses(inputs, targets, added)
        total = loss[0]
        if len(loss) == 2:
            total = torch.lerp(loss[1], loss[0], self.config.short_weight)
        if weight is None:
            return total.sum()
        mean = weight.mean()
        return (total * weight / mean).sum() if float(mean) > 0 else total.sum()

    def losses(
        self,
        inputs: SpellInputs,
        targets: tuple[BinTargets, ...],
        added: tuple[Tensor, ...] | None = None,
    ) -> tuple[Tensor, ...]:
        """Minus the log-likelihood [B] of each head. added: [B, J * C] of each, to the logits."""
        logits = self(inputs)
        if added is not None:
            more = zip(logits, added, strict=True)
            logits = tuple(own + each.view_as(own) for own, each in more)
        found = zip(logits, targets, strict=True)
        return tuple(hazard_loss(each, target) for each, target in found)

    def _parts(self, inputs: SpellInputs) -> tuple[list[Tensor], Tensor | None]:
        """What is concatenated, [B, ...] each, and what is added to the first layer, [B, H]."""
        spec, parts, added = self.spec, [], None
        if spec.numbers:
            missing = _either(inputs.numbers.isnan(), self._hidden(inputs, len(spec.numbers)))
            parts.append(torch.where(missing, self.numbers, inputs.numbers))
            if len(self.bins):
                rows = torch.where(missing, self.get_buffer("_bin"), inputs.bins)
                added = _RowSums.apply(rows, self.bins)  # type: ignore[no-untyped-call]
        if spec.categories:
            codes, hidden = inputs.codes, self._hidden(inputs, len(spec.categories))
            if hidden is not None:
                codes = torch.where(hidden, self.get_buffer("_code"), codes)
            parts.append(self.categories(codes.long()).flatten(1))
        if spec.words:
            parts.append(self._words(inputs))
        for vector, layer, default in zip(inputs.vectors, self.layers, self.defaults, strict=True):
            missing = _either(vector.isnan().any(1, keepdim=True), self._hidden(inputs, 0))
            read = layer(torch.where(missing, 0.0, vector))
            parts.append(torch.where(missing, default, read))
        return parts, added

    def _words(self, inputs: SpellInputs) -> Tensor:
        """The mean of the words' embeddings [B, W], the default where there are none."""
        words = inputs.words
        mean = functional.embedding_bag(
            words.values.long(), self.words.weight, words.offsets[:-1], mode="mean", sparse=True
        )
        missing = _either((words.lengths == 0)[:, None], self._hidden(inputs, 0))
        return torch.where(missing, self.wordless, mean)

    def _hidden(self, inputs: SpellInputs, columns: int) -> Tensor | None:
        """bool [B, columns] or [B, 1]: what training hides of a modality of so many single values;
        None where it hides nothing."""
        whole, single = self.config.modality_dropout, self.config.value_dropout
        if not self.training or not (whole or (columns and single)):
            return None
        hidden = _chance(whole, len(inputs), 1)
        return hidden | _chance(single, len(inputs), columns) if columns else hidden

    def _dropped(self, x: Tensor) -> Tensor:
        """Hidden units [B, H] after dropout."""
        rate = self.config.dropout
        if not self.training or not rate:
            return x
        return x * (~_chance(rate, *x.shape)).to(x.dtype).mul_(1 / (1 - rate))


class _RowSums(torch.autograd.Function):
    """The sum of some rows of a table: rows int [B, F] and table [R, H] to [B, H].

    Its gradient is a product with the matrix [B, R] of how often a row was taken, which for a few
    hundred rows is several times faster than to add row after row.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, table: Tensor) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.size = len(table)
        return functional.embedding_bag(rows, table, mode="sum")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor]:
        (rows,), (gradient,) = ctx.saved_tensors, gradients
        taken = gradient.new_zeros(len(rows), ctx.size)
        taken.scatter_(1, rows.long(), 1.0)
        return None, taken.T @ gradient


def _chance(rate: float, *shape: int) -> Tensor:
    """bool of this shape, true with probability `rate` (to 1/65536): four draws a random number,
    since drawing takes as long as the layers."""
    cells = math.prod(shape)
    drawn = torch.empty(-(-cells // 4), dtype=torch.int64).random_(-(2**63), None)
    return (drawn.view(torch.int16)[:cells] < round(rate * 65536) - 32768).view(shape)


def _table(rows: int, width: int, scale: float) -> nn.Embedding:
    """With sparse gradients: a step touches the rows of its batch."""
    table = nn.Embedding(rows, width, sparse=True)
    nn.init.normal_(table.weight, std=scale)
    return table


def _either(missing: Tensor, hidden: Tensor | None) -> Tensor:
    return missing if hidden is None else missing | hidden
