"""Optimisers for embedding tables whose gradients are sparse.

A step touches the rows that occur in the batch and no others, and keeps one number a row
instead of one an element (row-wise state), so a table of n rows of width d costs n floats of
state and not n d.

Adagrad   v_j <- v_j + mean(g_j^2),                w_j <- w_j - lr g_j / (sqrt(v_j) + eps)
Adam      m_j <- b1 m_j + (1 - b1) g_j,  v_j <- b2 v_j + (1 - b2) mean(g_j^2), then
          w_j <- w_j - lr m^_j / (sqrt(v^_j) + eps), each row with a step count of its own

Mini-batch aware regularisation (Zhou et al., KDD 2018, equation 8) is a decay of the rows
that occur in the batch, scaled by how often they occur in the training set:

    w_j <- w_j - lr lambda w_j / n_j

so that the penalty a row receives in an epoch does not grow with its frequency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import torch
from torch import Tensor

from adwright.core.errors import ConfigError

__all__ = ["RowWise"]

RowState = Literal["adagrad", "adam"]


class RowWise(torch.optim.Optimizer):
    """Row-wise sparse Adagrad or Adam for the weights [n, d] of embedding tables.

    parameters: weights with sparse gradients. learning_rate: of a row's step.
    decay: lambda of the mini-batch aware regulariser; 0 switches it off.
    counts: weight to float [n], occurrences of each row in the training set; needed where
    decay is above 0, rows of count 0 are treated as seen once.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        rule: RowState = "adagrad",
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
        super().__init__(list(parameters), {"lr": learning_rate})
        self._rule, self._decay, self._betas, self._eps = rule, decay, betas, eps
        self._counts = dict(counts or {})
        for weight in self._weights():
            if decay and weight not in self._counts:
                raise ConfigError(
                    "mini-batch aware regularisation needs the training counts of each table",
                    where=f"a table of {weight.shape[0]} rows",
                    hint="pass counts, or set decay to 0",
                )
            state = self.state[weight]
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
                if weight.grad is None:
                    continue
                gradient = weight.grad.coalesce()
                self._update(weight, gradient.indices()[0], gradient.values(), group["lr"])

    def _update(self, weight: Tensor, rows: Tensor, gradient: Tensor, lr: float) -> None:
        state, square = self.state[weight], gradient.square().mean(1)
        if self._rule == "adagrad":
            total = state["square"][rows] + square
            state["square"][rows] = total
            step = gradient / (total.sqrt() + self._eps)[:, None]
        else:
            b1, b2 = self._betas
            steps = state["steps"][rows] + 1
            mean = b1 * state["mean"][rows] + (1 - b1) * gradient
            spread = b2 * state["square"][rows] + (1 - b2) * square
            state["steps"][rows], state["mean"][rows], state["square"][rows] = steps, mean, spread
            root = (spread / (1 - b2**steps)).sqrt() + self._eps
            step = mean / (1 - b1**steps)[:, None] / root[:, None]
        if self._decay:
            seen = self._counts[weight][rows].clamp(min=1)
            step = step + self._decay * weight[rows] / seen[:, None]
        weight.index_add_(0, rows, step, alpha=-lr)
