"""One batch over several processes: the same sums, so the same result.

Each process reads the same stream and takes every world-th group of each batch. The loss is a
sum over rows divided by the rows of the whole batch, gradients are summed over processes, and
the moments of Dice are of the whole batch (`models.dice.sum_over_ranks`). The result is that
of one process up to the order of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, distributed

from adwright.data.batch import Batch

__all__ = ["is_distributed", "rank", "share_of", "sum_gradients", "world_size"]


def is_distributed() -> bool:
    """Whether a process group of more than one process is at work."""
    return distributed.is_available() and distributed.is_initialized() and world_size() > 1


def rank() -> int:
    """This process's number, 0 without a process group."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_rank() if ready else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


def share_of(batch: Batch) -> Batch:
    """The groups of `batch` that this process computes."""
    if not is_distributed():
        return batch
    return batch.groups(torch.arange(rank(), len(batch.history), world_size()))


def sum_gradients(parameters: Sequence[Tensor]) -> None:
    """Replace each gradient by its sum over the processes, dense and sparse alike.

    A sparse gradient is gathered as (rows, values) of whatever length each process has.
    """
    if not is_distributed():
        return
    for parameter in parameters:
        gradient = parameter.grad
        if gradient is None:
            gradient = torch.zeros_like(parameter)
        if gradient.is_sparse:
            parameter.grad = _sum_sparse(gradient.coalesce())
        else:
            distributed.all_reduce(gradient)
            parameter.grad = gradient


def _sum_sparse(gradient: Tensor) -> Tensor:
    rows = _gather(gradient.indices()[0])
    values = _gather(gradient.values())
    return torch.sparse_coo_tensor(rows[None], values, gradient.shape, check_invariants=False)


def _gather(values: Tensor) -> Tensor:
    """Tensors [n_r, ...] of all processes, one after another."""
    sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(world_size())]
    distributed.all_gather(sizes, torch.tensor([len(values)]))
    longest = max(int(size) for size in sizes)
    padded = values.new_zeros(longest, *values.shape[1:])
    padded[: len(values)] = values
    parts = [torch.zeros_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[: int(size)] for part, size in zip(parts, sizes, strict=True)])
