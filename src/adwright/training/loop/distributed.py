"""One batch over several processes: the same sums, so the same result.

Each process reads the same stream and takes every world-th group of each batch. The loss is a
sum over rows divided by the rows of the whole batch, gradients are summed over processes, and
the moments of Dice are of the whole batch (`models.dice.sum_over_ranks`). The result is that
of one process up to the order of floating-point sums.

All processes must see the task's folder and the run's folder under the same paths.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, distributed, nn

from adwright.core.errors import ConfigError, ResourceError
from adwright.data.batches.batch import Batch

# --------------------------------------------------------------------------------------------------
# Optimisers for embedding tables whose gradients are sparse.
#
# A step touches the rows that occur in the batch and no others. The size of a step is kept per
# row and not per element, so Adagrad on a table of n rows of width d costs n floats of state:
#
# SGD       w_j <- w_j - lr g_j
# Adagrad   v_j <- v_j + mean(g_j^2),                w_j <- w_j - lr g_j / (sqrt(v_j) + eps)
# Adam      m_j <- b1 m_j + (1 - b1) g_j,  v_j <- b2 v_j + (1 - b2) mean(g_j^2), then
#           w_j <- w_j - lr m^_j / (sqrt(v^_j) + eps)
#
# g_j is the gradient of row j, the sum over its occurrences in the batch. Adam's m keeps the
# width of the table; a row that does not occur keeps its m and v, and the corrections m^, v^ of
# their start at zero count the row's own steps.
#
# Mini-batch aware regularisation (Zhou et al., KDD 2018, equation 8) is a decay of the rows
# that occur in the batch, divided by how often they occur in the training set:
#
#     w_j <- w_j - lr lambda w_j / n_j
#
# so that the penalty a row receives in an epoch does not grow with its frequency. With SGD, and n_j
# counted as the paper's equations 4 to 6 have it, this is the paper's update (what counts as one
# occurrence is up to who counts, see `adwright.training.ranking.frames`); the other rules leave the
# decay out of their statistics, as AdamW does.
#
# AdamW for embedding tables with 2 bytes of state a float instead of 8.
#
# The second moment is one float32 a row, the first one bfloat16. With g_j the gradient of row j of
# a table [N, D], lambda the decay and t the number of steps,
#
#     w_j <- (1 - lr lambda) w_j
#     m_j <- b1 m_j + (1 - b1) g_j
#     v_j <- b2 v_j + (1 - b2) mean(g_j^2)
#     w_j <- w_j - lr m^_j / (sqrt(v^_j) + eps),    m^_j = m_j / (1 - b1^t),  v^_j = v_j / (1 -
# b2^t)
#
# so the numbers of a row share the size of their step, and AdamW (Loshchilov and Hutter, ICLR 2019)
# is the case D = 1. m_j is rounded to the nearest bfloat16 when it is kept; the step reads it
# before. A step changes m_j by a tenth of its distance to the gradient, so rounding to the nearest
# hides no change that counts: on MovieLens 1M it leaves less error in m and in the sum of all steps
# than stochastic rounding, and costs less (benchmarks/sequential/hstu_optimiser.py). To carry the
# error along would take the bytes that bfloat16 saves.
#
# Sparse gradients touch the rows of the batch alone. To the others AdamW would go on doing what a
# gradient of zero does; that is made up for when a row next occurs, or by `settle`. A row last
# seen at step s, of which n steps were missed since, first becomes
#
#     w_j <- (1 - lr lambda)^n w_j - (r + r^2 + ... + r^n) lr m^_j / (sqrt(v^_j) + eps)
#     m_j <- b1^n m_j,  v_j <- b2^n v_j,            r = b1 / sqrt(b2),  corrections of step s
#
# in which only the corrections, which change little after the first hundred steps, and the product
# of decay and movement differ from n steps of AdamW. lr is the present one. Until then a row reads
# as it was: call `settle` before all rows are used (validation, saving).
#
# Zhai et al. (ICML 2024, arXiv 2402.17152) train with a row-wise AdamW whose state lies outside the
# accelerator's memory, which leaves 2 of 12 bytes a float in it; they give no formula, this is
# ours.

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


State = dict[str, Tensor]
Group = dict[str, Any]
#: Numbers of a table that are updated at once, so that what is between takes little memory.
BLOCK = 1 << 18


class RowWiseAdamW(torch.optim.Optimizer):
    """AdamW whose steps have one size a row, for float32 tables [N, D].

    parameters: weights with dense or sparse gradients; may be none. learning_rate, betas, eps,
    weight_decay: as of AdamW. moment: how the first moment is kept. State, in bytes a float of a
    table: 2 + 4 / D, or 4 + 4 / D for float32; 4 / D more once it had a sparse gradient.
    Raises ConfigError for settings out of range (b1^2 < b2 is needed: what a row misses has to
    end) and for weights that are no tables.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        *,
        learning_rate: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        moment: Literal["bfloat16", "float32"] = "bfloat16",
    ) -> None:
        if not 0 < learning_rate < math.inf or not 0 <= weight_decay * learning_rate < 1:
            raise ConfigError(
                "the learning rate is above 0, and its product with the decay lies in [0, 1)",
                where=f"learning_rate {learning_rate}, weight_decay {weight_decay}",
            )
        if not (betas[0] >= 0 and betas[0] ** 2 < betas[1] < 1) or eps <= 0:
            raise ConfigError(
                "betas are 0 <= b1 with b1^2 < b2 < 1, and eps is above 0",
                where=f"{betas}, {eps}",
            )
        weights = list(parameters)
        for weight in weights:
            if weight.dim() != 2 or weight.dtype != torch.float32:
                raise ConfigError(
                    "only float32 tables [N, D] have rows",
                    where=f"{weight.dtype} {list(weight.shape)}",
                    hint="give the other weights to AdamW",
                )
        settings = {"lr": learning_rate, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__([{"params": weights}], settings)
        kinds = {"bfloat16": torch.bfloat16, "float32": torch.float32}
        self._types = {
            "steps": torch.int64,
            "mean": kinds[moment],
            "square": torch.float32,
            "last": torch.int32,
        }
        for weight in weights:
            self.state[weight] = {
                "steps": torch.zeros((), dtype=torch.int64),
                "mean": torch.zeros_like(weight, dtype=kinds[moment]),
                "square": weight.new_zeros(len(weight)),
            }

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update all rows of the weights with a dense gradient, the batch's of a sparse one."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                state["steps"] += 1
                if weight.grad.is_sparse:
                    _update_rows(weight, weight.grad, state, group)
                else:
                    _update_all(weight, weight.grad, state, group)

    @torch.no_grad()
    def settle(self) -> None:
        """Bring every row to the present step: what it missed is made up for."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if "last" in state:
                    _settle(weight, state, int(state["steps"]), group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up a state and the settings beside it, whatever type its numbers came in.

        Raises ConfigError for the state of other tables.
        """
        given: Mapping[int, Mapping[str, Tensor]] = state_dict["state"]
        # torch would give every number the type of the weight.
        super().load_state_dict({"state": {}, "param_groups": state_dict["param_groups"]})
        weights = [weight for group in self.param_groups for weight in group["params"]]
        sizes = [list(given[n]["mean"].shape) if n in given else None for n in range(len(weights))]
        if sizes != [list(weight.shape) for weight in weights]:
            raise ConfigError(
                "the state is of other tables",
                where=f"{sizes}",
                hint="load it into an optimiser of the same weights",
            )
        for number, weight in enumerate(weights):
            self.state[weight] = {
                name: value.to(weight.device, self._types[name], copy=True)
                for name, value in given[number].items()
            }


def _update_all(weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    now = int(state["steps"])
    if "last" in state:
        _settle(weight, state, now - 1, group)
        state["last"].fill_(now)
    rows = max(1, BLOCK // max(weight.shape[1], 1))
    for start in range(0, len(weight), rows):
        part = slice(start, start + rows)
        mean = state["mean"][part].float()
        _advance(weight[part], mean, state["square"][part], gradient[part], now, group)
        state["mean"][part] = mean


def _update_rows(weight: Tensor, gradient: Tensor, state: State, group: Group) -> None:
    now, (rows, summed) = int(state["steps"]), row_sums(gradient)
    if "last" not in state:
        state["last"] = torch.full((len(weight),), now - 1, dtype=torch.int32)
    missed = now - 1 - state["last"].index_select(0, rows)
    value, square = (x.index_select(0, rows) for x in (weight, state["square"]))
    mean = state["mean"].index_select(0, rows).float()
    _catch_up(value, mean, square, missed, now - 1, group)
    _advance(value, mean, square, summed, now, group)
    # The rows are distinct, so copying them back is the same as adding, and faster.
    weight.index_copy_(0, rows, value)
    state["mean"].index_copy_(0, rows, mean.to(state["mean"].dtype))
    state["square"].index_copy_(0, rows, square)
    state["last"].index_fill_(0, rows, now)


def _settle(weight: Tensor, state: State, now: int, group: Group) -> None:
    """Bring all rows to step `now`."""
    mean = state["mean"].float()
    _catch_up(weight, mean, state["square"], now - state["last"], now, group)
    state["mean"].copy_(mean)
    state["last"].fill_(now)


def _advance(
    weight: Tensor, mean: Tensor, square: Tensor, gradient: Tensor, now: int, group: Group
) -> None:
    """Step `now` of some rows, in place: weight, mean and gradient [R, D], square [R]."""
    b1, b2 = group["betas"]
    # No [R, D] of squares: the norm of each row.
    size = torch.linalg.vector_norm(gradient, dim=1)
    square.lerp_(size.square_().div_(gradient.shape[1]), 1 - b2)
    mean.lerp_(gradient, 1 - b1)
    root = (square / (1 - b2**now)).sqrt_().add_(group["eps"])
    if group["weight_decay"]:
        weight.mul_(1 - group["lr"] * group["weight_decay"])
    weight.addcmul_(mean, (group["lr"] / (1 - b1**now) / root)[:, None], value=-1)


def _catch_up(
    weight: Tensor, mean: Tensor, square: Tensor, missed: Tensor, now: int, group: Group
) -> None:
    """What rows did that missed so many steps, int [R], up to step `now`; in place."""
    b1, b2 = group["betas"]
    n = missed.double()
    # A row that was never seen has moments of zero: its corrections do not matter.
    seen = (now - n).clamp(min=1)
    short_mean, short_square = (-torch.expm1(seen * math.log(b)) if b else 1.0 for b in (b1, b2))
    ratio = b1 / math.sqrt(b2)
    reach = group["lr"] * ratio * (1 - ratio**n) / (1 - ratio)
    size = reach / short_mean / ((square / short_square).sqrt() + group["eps"])
    decay = (1 - group["lr"] * group["weight_decay"]) ** n
    weight.mul_(decay.to(weight.dtype)[:, None])
    weight.addcmul_(mean, size.to(mean.dtype)[:, None], value=-1)
    mean.mul_((b1**n).to(mean.dtype)[:, None])
    square.mul_((b2**n).to(square.dtype))


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that torchrun started, over gloo; nothing where there are none or
    where they are joined already."""
    wanted = int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ
    if not wanted or not distributed.is_available() or distributed.is_initialized():
        yield
        return
    distributed.init_process_group("gloo")
    try:
        yield
        # Leave together: a process that closes its connections while another still uses them
        # can abort that one.
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def is_distributed() -> bool:
    """Whether a process group of more than one process is at work."""
    return world_size() > 1


def rank() -> int:
    """This process's number, 0 without a process group."""
    return distributed.get_rank() if _joined() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return distributed.get_world_size() if _joined() else 1


def _joined() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def broadcast(model: nn.Module) -> None:
    """Give every process the weights and buffers of process 0."""
    if is_distributed():
        for value in model.state_dict().values():
            distributed.broadcast(value, src=0)


def on_first(action: Callable[[], None]) -> None:
    """Do `action` in process 0 while the others wait for it.

    What it raises is raised in process 0, and a ResourceError in the others: nobody waits for
    a process that has given up.
    """
    failed = torch.ones(1)
    try:
        if rank() == 0:
            action()
        failed.zero_()
    finally:
        if is_distributed():
            distributed.all_reduce(failed)
    if float(failed):
        raise ResourceError("the first process of the run failed", hint="see its own error")


def told_by_first(ask: Callable[[], Any]) -> Any:
    """What `ask` returns in process 0, plain values, in every process; errors as of `on_first`."""
    found: list[bytes] = []
    on_first(lambda: found.append(json.dumps(ask()).encode()))
    sent = torch.tensor(list(b"".join(found)), dtype=torch.uint8)
    return json.loads(bytes(gather(sent).tolist()))


def share_of(batch: Batch) -> Batch:
    """The groups of `batch` that this process computes; may be none."""
    if not is_distributed():
        return batch
    return batch.groups(torch.arange(rank(), len(batch.history), world_size()))


def sum_gradients(dense: Sequence[Tensor], tables: Sequence[Tensor], loss: Tensor) -> float:
    """Replace each gradient by its sum over the processes; returns the sum of `loss` [].

    dense: weights with dense gradients, summed in one message. tables: weights with sparse
    gradients, of which each process has rows of its own; they travel in three messages.
    A weight that a process did not use counts as a gradient of zero.
    """
    if not is_distributed():
        return float(loss)
    parts = [p.grad if p.grad is not None else torch.zeros_like(p) for p in dense]
    flat = torch.cat([loss.reshape(1), *(part.reshape(-1) for part in parts)])
    distributed.all_reduce(flat)
    sums = torch.split(flat[1:], [part.numel() for part in parts])
    for parameter, part in zip(dense, sums, strict=True):
        parameter.grad = part.view_as(parameter)
    if tables:
        _sum_tables(tables)
    return float(flat[0])


def _sum_tables(tables: Sequence[Tensor]) -> None:
    mine = [_rows_of(table) for table in tables]
    sizes = torch.tensor([len(rows) for rows, _ in mine])
    all_sizes = gather(sizes).view(world_size(), len(tables)).tolist()
    all_rows = gather(torch.cat([rows for rows, _ in mine]))
    all_values = gather(torch.cat([values.reshape(-1) for _, values in mine]))
    # One process after another, and for each its tables one after another.
    widths = [table[0].numel() for table in tables]
    rows = torch.split(all_rows, [n for s in all_sizes for n in s])
    values = torch.split(
        all_values, [n * w for s in all_sizes for n, w in zip(s, widths, strict=True)]
    )
    for index, table in enumerate(tables):
        table.grad = torch.sparse_coo_tensor(
            torch.cat(rows[index :: len(tables)])[None],
            torch.cat(values[index :: len(tables)]).view(-1, *table.shape[1:]),
            table.shape,
            check_invariants=False,
        )


def _rows_of(table: Tensor) -> tuple[Tensor, Tensor]:
    if table.grad is None:
        return torch.zeros(0, dtype=torch.int64), table.new_zeros(0, *table.shape[1:])
    return row_sums(table.grad)


def gather(values: Tensor) -> Tensor:
    """Tensors [n_r, ...] of all processes, in their order, as one [sum of n_r, ...]."""
    if not is_distributed():
        return values
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    distributed.all_gather(sizes, torch.tensor([len(values)]))
    longest = max(int(size) for size in sizes)
    padded = values.new_zeros(longest, *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.zeros_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])
