"""What a model receives: users, each with one history and all of their targets.

A user's history is read, embedded and projected once for all of that user's targets, so a
batch is a list of groups: U groups, each one user with one history and T_u targets. Targets
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
from adwright.data.batches.jagged import Jagged

#: Column of a task's rows with what is known of how a row was drawn, see `Batch.offset`.
DRAW_OFFSET = "draw_offset"


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
    offset: float32 [T], known part of the rows' logits: how much rarer than by uniform drawing a
        row's item is a negative; None where rows were shown, not drawn.
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
    offset: Tensor | None = None

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

    def of_rows(self, logits: Tensor) -> Tensor:
        """A model's logits [T] as those of the rows: with `offset`, where there is one."""
        return logits if self.offset is None else logits + self.offset

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
            offset=None if self.offset is None else self.offset[take],
        )


@dataclass(frozen=True)
class Distinct:
    """The histories of a batch with each item once, and how often each visit sees it.

    Groceries repeat: a history of 571 events holds some 340 different products. What a model
    computes of an item, or of a pair of target and item, is the same at each repeat, so it is
    computed once and counted. Sums over events equal sums over distinct items weighted by
    their counts: nothing is approximated.

    items: Jagged int64, U lists of the distinct items of each history, ascending.
    visit_rows: int64 [V + 1]; a visit is a run of rows of one group that see the same events.
    visit_groups: int64 [U + 1], visits of group u.
    counts: float32 [C], how often each visit sees each distinct item of its group: U matrices
        [V_u, N_u] end to end; matrix u begins at count_offsets[u] (int64 [U + 1]).
    """

    items: Jagged
    visit_rows: Tensor
    visit_groups: Tensor
    counts: Tensor
    count_offsets: Tensor


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
    place = np.arange(len(events)) - bounds[owner]
    n_items = np.diff(item_offsets)
    layout = _Layout(visit_groups, n_items, owner, place, inverse - item_offsets[owner])
    seen = layout.count(high[first_rows])
    if low.any():
        seen -= layout.count(low[first_rows])
    return Distinct(
        items=Jagged(torch.from_numpy(keys % width), torch.from_numpy(item_offsets)),
        visit_rows=torch.from_numpy(np.append(first_rows, len(low))),
        visit_groups=torch.from_numpy(visit_groups),
        counts=torch.from_numpy(seen),
        count_offsets=torch.from_numpy(layout.offsets),
    )


class _Layout:
    """The count matrices [V_u, N_u] of all groups, end to end in one array.

    visit_groups: int64 [U + 1]. n_items: int64 [U]. For each event: its group (owner), its
    place in the group's history and its distinct item within the group (local).
    """

    def __init__(
        self,
        visit_groups: NDArray[np.int64],
        n_items: NDArray[np.int64],
        owner: NDArray[np.int64],
        place: NDArray[np.int64],
        local: NDArray[np.int64],
    ) -> None:
        self._visits, self._n_items = visit_groups, n_items
        self._owner, self._place, self._local = owner, place, local
        self.offsets = np.concatenate(([0], np.cumsum(np.diff(visit_groups) * n_items)))

    def count(self, ends: NDArray[np.int64]) -> NDArray[np.float32]:
        """How often each item occurs before the place ends[v] of each visit [V]; within a
        group ends ascends."""
        groups = np.repeat(np.arange(len(self._n_items)), np.diff(self._visits))
        longest = int(max(self._place.max(initial=0), ends.max(initial=0))) + 1
        # The first visit of its group that sees the event.
        first = np.searchsorted(
            groups * longest + ends, self._owner * longest + self._place, side="right"
        )
        seen = first < self._visits[self._owner + 1]
        owner, first = self._owner[seen], first[seen]
        flat = self.offsets[owner] + (first - self._visits[owner]) * self._n_items[owner]
        fresh = np.bincount(flat + self._local[seen], minlength=int(self.offsets[-1]))
        counts = fresh.astype(np.float32)
        visits = np.diff(self._visits)
        for group in np.flatnonzero((visits > 1) & (self._n_items > 0)).tolist():
            table = counts[self.offsets[group] : self.offsets[group + 1]]
            table = table.reshape(visits[group], -1)
            np.cumsum(table, axis=0, out=table)
        return counts


# --------------------------------------------------------------------------------------------------
# What a retrieval model receives: users, each with one history, and what they took next.
#
# A ranking batch asks about given items; a retrieval batch asks about the whole catalogue, so it
# names no candidates. A query is a user at a moment: everything before it, how long ago that
# was, and codes of the profile and of the moment.


@dataclass(frozen=True)
class QueryBatch:
    """U queries.

    history: Jagged int64, U lists of item codes, oldest first; code 0 is an unknown item.
    age: float32 [E], days between each event of the histories and its query, not negative.
    profile: int64 [U, F], codes of the profile and context features; 0 is unknown.
    targets: Jagged int64, the distinct items that were taken next; empty lists when serving.
    """

    history: Jagged
    age: Tensor
    profile: Tensor
    targets: Jagged

    def __post_init__(self) -> None:
        rows = len(self.history)
        if self.profile.shape[0] != rows or len(self.targets) != rows:
            raise ValueInvalidError(
                "a query batch needs one history, profile and list of targets a query",
                value=f"{rows} histories, {self.profile.shape[0]} profiles, "
                f"{len(self.targets)} lists of targets",
            )
        if self.age.shape != self.history.values.shape:
            raise ValueInvalidError(
                "a query batch needs one age an event",
                value=f"{self.age.numel()} ages, {self.history.values.numel()} events",
            )

    def __len__(self) -> int:
        return len(self.history)

    def by_place(self) -> QueryBatch:
        """The same with places for ages, where data has no times: 1 for a user's latest event."""
        bounds = self.history.offsets
        end = torch.repeat_interleave(bounds[1:], bounds[1:] - bounds[:-1])
        return replace(self, age=(end - torch.arange(len(end))).float())

    @classmethod
    def serving(cls, history: Jagged, age: Tensor, profile: Tensor) -> QueryBatch:
        """Queries whose outcome is not known yet."""
        nothing = Jagged(
            torch.zeros(0, dtype=torch.int64), torch.zeros(len(history) + 1, dtype=torch.int64)
        )
        return cls(history, age, profile, nothing)
