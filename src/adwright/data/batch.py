"""What a model receives: people, each with one history and all of their targets.

A person's history is read, embedded and projected once for all of that person's targets, so a
batch is a list of groups: U groups, each one person with one history and T_u targets. Targets
of one group may be days apart, so each row says which stretch of the group's history it may
see: from `begin` to before `end`, and `end` never reaches past the row's own request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from adwright.core.errors import ValueInvalidError
from adwright.data.jagged import Jagged

__all__ = ["Batch", "Distinct", "distinct_history"]


@dataclass(frozen=True)
class Batch:
    """U groups and their T rows (targets).

    history: Jagged int64, U lists of item codes, oldest first.
    offsets: int64 [U + 1], rows of group u are offsets[u] to offsets[u + 1].
    item: int64 [T], item codes of the targets.
    begin, end: int64 [T], the row sees history events begin to end - 1 of its group; neither
        falls from row to row of a group.
    categorical: feature name to int64 [T] codes (user and context features).
    multi: feature name to Jagged int64, T lists of codes.
    numeric: float32 [T, F], numeric features in the order of the feature spec.
    label: float32 [T], 0 or 1.
    row: int64 [T], position of the row in its Parquet file, to line scores up with rows.
    """

    history: Jagged
    offsets: Tensor
    item: Tensor
    begin: Tensor
    end: Tensor
    categorical: Mapping[str, Tensor]
    multi: Mapping[str, Jagged]
    numeric: Tensor
    label: Tensor
    row: Tensor

    def __post_init__(self) -> None:
        rows = self.item.numel()
        if int(self.offsets[-1]) != rows or self.offsets.numel() != len(self.history) + 1:
            raise ValueInvalidError(
                "a batch needs one history a group and offsets that end at its rows",
                value=f"{len(self.history)} histories, {self.offsets.numel() - 1} groups, "
                f"{rows} rows, offsets to {int(self.offsets[-1])}",
            )
        seen = torch.repeat_interleave(self.history.lengths, self.group_sizes)
        inside = (self.begin >= 0) & (self.begin <= self.end) & (self.end <= seen)
        if not bool(inside.all()):
            raise ValueInvalidError("a row sees events outside its group's history")

    def __len__(self) -> int:
        return self.item.numel()

    @property
    def group_sizes(self) -> Tensor:
        """int64 [U], rows of each group."""
        return self.offsets[1:] - self.offsets[:-1]

    def groups(self, chosen: Tensor) -> Batch:
        """The batch of the groups `chosen` (int64), in that order."""
        rows = Jagged(torch.arange(len(self)), self.offsets).select(chosen)
        take = rows.values
        return replace(
            self,
            history=self.history.select(chosen),
            offsets=rows.offsets,
            item=self.item[take],
            begin=self.begin[take],
            end=self.end[take],
            categorical={name: codes[take] for name, codes in self.categorical.items()},
            multi={name: lists.select(take) for name, lists in self.multi.items()},
            numeric=self.numeric[take],
            label=self.label[take],
            row=self.row[take],
        )


@dataclass(frozen=True)
class Distinct:
    """The histories of a batch with each item once, and how often each visit sees it.

    Groceries repeat: a history of 571 events holds some 340 different products. What a model
    computes of an item, or of a pair of target and item, is the same at each repeat, so it is
    computed once and counted. Sums over events equal sums over distinct items weighted by
    `counts`: nothing is approximated.

    items: Jagged int64, U lists of the distinct items of each history, ascending.
    visit_rows: int64 [V + 1]; a visit is a run of rows of one group that see the same events.
    visit_groups: int64 [U + 1], visits of group u.
    counts: U float32 tensors [V_u, N_u], how often each visit sees each distinct item.
    """

    items: Jagged
    visit_rows: Tensor
    visit_groups: Tensor
    counts: tuple[Tensor, ...]


def distinct_history(history: Jagged, offsets: Tensor, begin: Tensor, end: Tensor) -> Distinct:
    """Collapse repeats; see `Distinct`. Cost: one sort of the E events of the batch.

    history: U lists. offsets: int64 [U + 1] rows of each group. begin, end: int64 [T].
    """
    bounds, events = history.offsets.numpy(), history.values.numpy()
    rows, low, high = offsets.numpy(), begin.numpy(), end.numpy()
    n_groups = len(rows) - 1
    width = int(events.max(initial=0)) + 1
    owner = np.repeat(np.arange(n_groups), np.diff(bounds))
    keys, inverse = np.unique(owner * width + events, return_inverse=True)
    item_offsets = np.searchsorted(keys, np.arange(n_groups + 1) * width)
    changes = np.zeros(len(low), dtype=bool)
    changes[rows[:-1][rows[:-1] < rows[1:]]] = True
    changes[1:] |= (low[1:] != low[:-1]) | (high[1:] != high[:-1])
    first_rows = np.flatnonzero(changes)
    visit_groups = np.searchsorted(first_rows, rows)
    counts = []
    for group in range(n_groups):
        local = inverse[bounds[group] : bounds[group + 1]] - item_offsets[group]
        n_items = int(item_offsets[group + 1] - item_offsets[group])
        visits = first_rows[visit_groups[group] : visit_groups[group + 1]]
        seen = _counts_before(local, n_items, high[visits])
        if low[visits].any():
            seen = seen - _counts_before(local, n_items, low[visits])
        counts.append(torch.from_numpy(seen))
    return Distinct(
        items=Jagged(torch.from_numpy(keys % width), torch.from_numpy(item_offsets)),
        visit_rows=torch.from_numpy(np.append(first_rows, len(low))),
        visit_groups=torch.from_numpy(visit_groups),
        counts=tuple(counts),
    )


def _counts_before(
    local: NDArray[np.int64], n_items: int, ends: NDArray[np.int64]
) -> NDArray[np.float32]:
    """float32 [V, N]: how often each item occurs before ends[v]; ends ascends."""
    first_visit = np.searchsorted(ends, np.arange(len(local)), side="right")
    inside = first_visit < len(ends)
    flat = first_visit[inside] * n_items + local[inside]
    fresh = np.bincount(flat, minlength=len(ends) * n_items).reshape(len(ends), n_items)
    return np.cumsum(fresh, axis=0).astype(np.float32)
