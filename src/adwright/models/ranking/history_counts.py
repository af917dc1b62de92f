"""Which history items each row of a batch sees, in the form that costs least.

A user with many rows and a long history is a matrix of counts; thousands of users with a few rows
and a few events each are one list of pairs. Models compute the first group by group
and the second for the whole batch at once.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from adwright.data.batches.batch import Distinct

__all__ = ["PAIRS", "HistoryGroup", "SeenItems", "seen_by"]

#: Groups of at most so many pairs (rows times distinct items) are written out pair by pair.
PAIRS = 1024


class HistoryGroup(NamedTuple):
    """One user's part of a batch: rows t0..t1, distinct items k0..k1, visit of each row
    [T_u] (int64, from 0), counts [V_u, L_u]."""

    t0: int
    t1: int
    k0: int
    k1: int
    visit: Tensor
    counts: Tensor


class SeenItems(NamedTuple):
    """What the rows of a batch see: large groups as matrices, and the pairs of all small
    groups written out as row, item (both int64 [P]) and times [P] above 0."""

    groups: list[HistoryGroup]
    row: Tensor
    item: Tensor
    times: Tensor


def seen_by(distinct: Distinct) -> SeenItems:
    """Divide the groups of a batch by their number of pairs."""
    visits, rows, items = distinct.visit_groups, distinct.visit_rows, distinct.items.offsets
    first_row, n_items = rows[visits], items[1:] - items[:-1]
    n_rows = first_row[1:] - first_row[:-1]
    number = torch.arange(int(visits[-1]))
    number -= torch.repeat_interleave(visits[:-1], visits[1:] - visits[:-1])
    visit_of_row = torch.repeat_interleave(number, rows[1:] - rows[:-1])
    pairs = n_rows * n_items
    large = torch.nonzero(pairs > PAIRS)[:, 0].tolist()
    groups = []
    for u in large:
        t0, t1, k0, k1 = *first_row[u : u + 2].tolist(), *items[u : u + 2].tolist()
        counts = distinct.counts[distinct.count_offsets[u] : distinct.count_offsets[u + 1]]
        groups.append(HistoryGroup(t0, t1, k0, k1, visit_of_row[t0:t1], counts.view(-1, k1 - k0)))
    # The rest, vectorised: each row of a small group once, then each item beside it.
    owner = torch.repeat_interleave(torch.arange(len(n_rows)), n_rows)
    row = torch.nonzero((pairs <= PAIRS)[owner])[:, 0]
    group = owner[row]
    width = n_items[group]
    pair = torch.repeat_interleave(torch.arange(len(row)), width)
    item = torch.arange(len(pair)) - torch.repeat_interleave(width.cumsum(0) - width, width)
    at = distinct.count_offsets[group] + visit_of_row[row] * width
    count = distinct.counts[at[pair] + item]
    kept = count > 0
    return SeenItems(groups, row[pair][kept], (items[group][pair] + item)[kept], count[kept])
