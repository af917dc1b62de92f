"""Optimisers for embedding tables whose gradients are sparse.

A step touches the rows that occur in the batch and no others. The size of a step is kept per
row and not per element, so Adagrad on a table of n rows of width d costs n floats of state:

SGD       w_j <- w_j - lr g_j
Adagrad   v_j <- v_j + mean(g_j^2),                w_j <- w_j - lr g_j / (sqrt(v_j) + eps)
Adam      m_j <- b1 m_j + (1 - b1) g_j,  v_j <- b2 v_j + (1 - b2) mean(g_j^2), then
          w_j <- w_j - lr m^_j / (sqrt(v^_j) + eps)

g_j is the gradient of row j, the sum over its occurrences in the batch. Adam's m keeps the
width of the table; a row that does not occur keeps its m and v, and the corrections m^, v^ of
their start at zero count the row's own steps.

Mini-batch aware regularisation (Zhou et al., KDD 2018, equation 8) is a decay of the rows
that occur in the batch, divided by how often they occur in the training set:

    w_j <- w_j - lr lambda w_j / n_j

so that the penalty a row receives in an epoch does not grow with its frequency. With SGD, and n_j
counted as the paper's equations 4 to 6 have it, this is the paper's update (what counts as one
occurrence is up to who counts, see `adwright.training.ranking.counts`); the other rules leave the
decay out of their statistics, as AdamW does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from adwright.core.errors import ConfigError

__all__ = ["RowWise", "Rule", "row_sums"]

Rule = Literal["sgd", "adagrad", "adam"]


class RowWise(torch.optim.Optimizer):
    """Row-wise sparse SGD, Adagrad or Adam for the weights [n, d] of embedding tables.

    parameters: weights with sparse gradients; may be none. learning_rate: of a row's step.
    decay: lambda of the mini-batch aware regulariser; 0 switches it off.
    counts: weight to float [n], occurrences of each row in the training set; needed where
    decay is above 0, rows counted less than once are treated as seen once.
    Raises ConfigError for settings out of range and for missing counts.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        rule: Rule = "adagrad",
        decay: float = 0.0,
        counts: Mapping[Tensor, Tensor] | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        if learning_rate <= 0 or decay < 0:
            raise ConfigError(
                "the learning rate must be above 0 and the decay not below it",
                where=f"learning_rate {learning_rate}, decay {decay}",
            )
        if not all(0 < beta < 1 for beta in betas):
            raise ConfigError("betas lie between 0 and 1", where=f"{betas}")
        super().__init__([{"params": list(parameters)}], {"lr": learning_rate})
        self._rule, self._decay, self._betas, self._eps = rule, decay, betas, eps
        self._counts: dict[Tensor, Tensor] = {}
        for weight in self._weights():
            if decay:
                self._counts[weight] = _count_of(weight, counts or {})
            state = self.state[weight]
            if rule != "sgd":
                state["square"] = torch.zeros(weight.shape[0])
            if rule == "adam":
                state["mean"] = torch.zeros_like(weight)
                state["steps"] = torch.zeros(weight.shape[0])

    def _weights(self) -> list[Tensor]:
        return [weight for group in self.param_groups for weight in group["params"]]

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the rows that have a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, *row_sums(weight.grad), group["lr"])

    def _update(self, weight: Tensor, rows: Tensor, gradient: Tensor, lr: float) -> None:
        match self._rule:
            case "sgd":
                step = gradient
            case "adagrad":
                step = self._adagrad(self.state[weight], rows, gradient)
            case "adam":
                step = self._adam(self.state[weight], rows, gradient)
        values = weight.index_select(0, rows)
        if self._decay:
            seen = self._counts[weight].index_select(0, rows)
            step = step.addcdiv(values, seen[:, None], value=self._decay)
        # The rows are distinct, so copying them back is the same as adding, and faster.
        weight.index_copy_(0, rows, values.sub_(step, alpha=lr))

    def _adagrad(self, state: dict[str, Tensor], rows: Tensor, gradient: Tensor) -> Tensor:
        square = state["square"].index_select(0, rows).add_(gradient.square().mean(1))
        state["square"].index_copy_(0, rows, square)
        return gradient / square.sqrt_().add_(self._eps)[:, None]

    def _adam(self, state: dict[str, Tensor], rows: Tensor, gradient: Tensor) -> Tensor:
        b1, b2 = self._betas
        steps = state["steps"].index_select(0, rows).add_(1)
        mean = state["mean"].index_select(0, rows).lerp_(gradient, 1 - b1)
        square = state["square"].index_select(0, rows).lerp_(gradient.square().mean(1), 1 - b2)
        for name, value in (("steps", steps), ("mean", mean), ("square", square)):
            state[name].index_copy_(0, rows, value)
        # 1 - b^t by expm1: taken literally, float32 would lose four digits of it for t = 1.
        short_mean, short_square = (-torch.expm1(steps * math.log(b)) for b in (b1, b2))
        root = (square / short_square).sqrt_().add_(self._eps)
        return mean / (short_mean * root)[:, None]


def row_sums(gradient: Tensor) -> tuple[Tensor, Tensor]:
    """A sparse gradient [n, d] as (rows int64 [R], each once, ascending; their sums [R, d]).

    Cost: one sort of the E entries, or where E is large and the table is not much larger (the
    usual case) one pass over a mark a row, which is several times faster.
    """
    if gradient.is_coalesced():
        return gradient.indices()[0], gradient.values()
    at, values = gradient._indices()[0], gradient._values()
    n = gradient.shape[0]
    if len(at) < 256 or n > 64 * len(at):
        summed = gradient.coalesce()
        return summed.indices()[0], summed.values()
    marks = torch.zeros(n, dtype=torch.bool)
    marks[at] = True
    rows = marks.nonzero().squeeze(1)
    place = torch.empty(n, dtype=torch.int64)
    place[rows] = torch.arange(len(rows))
    sums = values.new_zeros(len(rows), *values.shape[1:])
    return rows, sums.index_add_(0, place[at], values)


def _count_of(weight: Tensor, counts: Mapping[Tensor, Tensor]) -> Tensor:
    if weight not in counts:
        raise ConfigError(
            "mini-batch aware regularisation needs the training counts of each table",
            where=f"a table of {weight.shape[0]} rows",
            hint="pass counts, or set decay to 0",
        )
    return counts[weight].to(weight.dtype).clamp(min=1)
