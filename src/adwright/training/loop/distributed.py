"""One batch over several processes: the same sums, so the same result.

Each process reads the same stream and takes every world-th group of each batch. The loss is a
sum over rows divided by the rows of the whole batch, gradients are summed over processes, and
the moments of Dice are of the whole batch (`models.dice.sum_over_ranks`). The result is that
of one process up to the order of floating-point sums.

All processes must see the task's folder and the run's folder under the same paths.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, distributed, nn

from adwright.core.errors import ResourceError
from adwright.data.batches.batch import Batch
from adwright.training.loop.optimisers import row_sums


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
