"""Item-item by regression: what is taken near an item, less what the items around it explain.

    B = (G + shrink I)^-1 C,    s(i, j) = max(B_ij, 0) / n_j^target

    C_ij   how often j is taken near i: the c of `neighbours`, also for j = i
    G_ij   how often i and j stand in one history, worth memory^d at a distance of d moments, and
           G_ii beside this how often i is taken

Item-item adds up what each item of a history is usually taken with, as if it stood alone: two items
that are always taken together then count twice. B is the ridge regression of what comes near on
all that was there, which shares it out among them. With all pairs of a user in C and G, whatever
their distance, this is SLIM's least squares in closed form (Ning and Karypis, ICDM 2011; EASE of
Steck, WWW 2019, without its rule for the diagonal); with distances it is the linear session model
of Choi et al. (SLIST, WWW 2021).

Only the n best of each item are kept, as a table of `item_item`: it is saved, asked and served as
that is. Items beyond the MOST most frequent have no row: a regression needs them often, and its
cost grows with their number to the third power.

Letters: M items that have a row, E events.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.models.retrieval.neighbours import REACH, NeighbourConfig, Neighbours

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
#: Items that have a row, at most: 5,000 take some ten seconds of one core and half a gigabyte.
MOST = 5_000
#: A pair that is worth less counts for nothing.
_LEAST = 0.01


@dataclass(frozen=True, eq=False)
class LinearCounts:
    """kept: int64 [M], codes of the items that have a row, rising. near, together: C and G of the
    module, float32 [M, M]. count: int64 [N + 1], events of each item."""

    kept: Ints
    near: Floats
    together: Floats
    count: Ints


def count_linear(
    item: Ints,
    moment: Ints,
    offsets: Ints,
    items: int,
    config: NeighbourConfig,
    *,
    memory: float,
    most: int = MOST,
) -> LinearCounts:
    """C and G of the events of U users over N = `items` items.

    item: int64 [E], codes from 1; moment: int64 [E], rising, see `moment_numbers`; user u has the
    events offsets[u] to offsets[u + 1]. config: window, decay and backward of C. memory: of G, in
    [0, 1]. An event meets at most REACH others on each side, the nearest.
    """
    count = np.bincount(item, minlength=items + 1)
    count[0] = 0
    first = np.argsort(-count, kind="stable")[:most]
    kept = np.sort(first[count[first] > 0])
    row = np.full(items + 1, -1)
    row[kept] = np.arange(len(kept))
    near, together = (np.zeros((len(kept), len(kept)), np.float32) for _ in range(2))
    code, owner = row[item], np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    reach = max(config.window, _reach(memory))
    for step in range(1, REACH + 1):
        apart = moment[step:] - moment[:-step]
        close = (owner[step:] == owner[:-step]) & (apart <= reach)
        if not close.any():
            break
        close &= (code[step:] >= 0) & (code[:-step] >= 0)
        early, late, apart = code[:-step][close], code[step:][close], apart[close]
        _add(together, early, late, memory ** apart.astype(np.float32))
        inside = apart <= config.window
        worth = (config.decay ** apart.astype(np.float32))[inside]
        early, late, apart = early[inside], late[inside], apart[inside]
        _add(near, early, late, worth)
        # What is in one moment has no order.
        _add(near, late, early, np.where(apart == 0, 1, config.backward * worth))
    together += together.T.copy()
    together[np.diag_indices(len(kept))] += count[kept]
    return LinearCounts(kept, near, together, count)


def regression(counts: LinearCounts, shrink: float) -> Floats:
    """B: [M, M]. shrink: above 0, in events."""
    whole = torch.from_numpy(counts.together).clone()
    whole.diagonal().add_(shrink)
    factor, failed = torch.linalg.cholesky_ex(whole)
    if failed:
        # Pairs beyond REACH lack in the sums, which are then those of no histories quite.
        solved = torch.linalg.solve(whole.double(), torch.from_numpy(counts.near).double()).float()
    else:
        solved = torch.cholesky_solve(torch.from_numpy(counts.near), factor)
    found: Floats = solved.numpy()
    return found


def linear_neighbours(
    counts: LinearCounts, weights: Floats, neighbours: int, *, target: float
) -> Neighbours:
    """The best of each row of B [M, M], positive ones alone, as s of the module; ties by code. No
    item is its own neighbour: how much an own one counts is a setting of `item_item`."""
    scale = counts.count[counts.kept].astype(np.float32) ** np.float32(target)
    score = np.maximum(weights / scale, 0)
    score[np.diag_indices(len(score))] = 0
    size = min(neighbours, len(counts.kept))
    codes = np.zeros((len(counts.count), neighbours), np.int32)
    best = np.zeros((len(counts.count), neighbours), np.float32)
    if size:
        # The best first by partition: to sort whole rows takes ten times as long.
        order = np.sort(np.argpartition(-score, size - 1, axis=1)[:, :size], axis=1)
        value = np.take_along_axis(score, order, 1)
        place = np.argsort(-value, axis=1, kind="stable")
        order, value = (np.take_along_axis(one, place, 1) for one in (order, value))
        codes[counts.kept, :size] = np.where(value > 0, counts.kept[order], 0)
        best[counts.kept, :size] = value
    return Neighbours(codes, best)


def _reach(memory: float) -> int:
    """The largest distance at which a pair of G is worth something."""
    if memory == 0:
        return 0
    if memory == 1:
        return 1 << 30
    return int(np.log(_LEAST) / np.log(memory))


def _add(table: Floats, row: Ints, column: Ints, worth: NDArray[np.floating]) -> None:
    """Add up the numbers of pairs in their cells of `table` [M, M]."""
    np.add.at(table.reshape(-1), row * table.shape[1] + column, worth.astype(np.float32))
