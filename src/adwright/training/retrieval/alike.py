"""Which items are alike by what is known of them: categories, brands, lists, the words of titles.

    s(i, j) = cosine of x_i and x_j,    x_if = log(N / n_f) where item i has the value f, else 0

n_f counts the items that have the value: what all items have says nothing, and what one alone has
is shared with nobody. The n best of each item are a table as that of item-item, which is asked and
served as that is; an item without a single event has neighbours, too.

Vectors of a sentence encoder would also see that a sofa is a couch, but each item goes through a
network there: of a large catalogue that takes a good part of a cascade's minutes.
"""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray

from adwright.data.features import ItemTable
from adwright.models.retrieval.item_item import ItemItemConfig, Neighbours, keep_best

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]
#: Pairs of items that are added up at most, some seconds of one core: the values that most items
#: have are left out first. Pairs of items that are held at once.
PAIRS, HELD = 100_000_000, 4_000_000


def alike_config(rule: ItemItemConfig) -> ItemItemConfig:
    """A history fades as for item-item; what is alike is not the item itself."""
    return replace(rule, own=0.0)


def alike_neighbours(items: ItemTable, neighbours: int) -> Neighbours | None:
    """The neighbours of each item; None where nothing is known that two items share."""
    known = _values(items)
    if known is None:
        return None
    owner, value, weight, width = known
    rows = len(items)
    codes = np.zeros((rows, neighbours), np.int32)
    score = np.zeros((rows, neighbours), np.float32)
    turned = _matrix(value, owner, weight, (width, rows))
    pairs = np.bincount(owner, np.bincount(value, minlength=width)[value], minlength=rows)
    part = (np.cumsum(pairs) // HELD).astype(np.int64)
    bounds = [0, *(np.flatnonzero(np.diff(part)) + 1).tolist(), rows]
    for start, stop in pairwise(bounds):
        some = slice(*np.searchsorted(owner, (start, stop)))
        mine = _matrix(owner[some] - start, value[some], weight[some], (stop - start, width))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse CSR tensor support")
            found = torch.sparse.mm(mine, turned).coalesce()
        row, other = found.indices().numpy()
        apart = other != row + start
        cells = row[apart], other[apart], found.values().numpy()[apart]
        keep_best(*cells, codes[start:stop], score[start:stop])
    return Neighbours(codes, score)


def _matrix(row: Ints, column: Ints, values: Floats, shape: tuple[int, int]) -> torch.Tensor:
    cells = torch.from_numpy(np.stack([row, column]))
    found = torch.sparse_coo_tensor(cells, torch.from_numpy(values), shape, check_invariants=True)
    return found.coalesce()


def _values(items: ItemTable) -> tuple[Ints, Ints, Floats, int] | None:
    """x by its cells: items, rising; values; x, of length 1 an item; and how many values there are.
    None where nothing is shared."""
    pairs: list[tuple[Ints, Ints]] = []
    for name, codes in items.categorical.items():
        if name != "item_id":
            pairs.append((np.arange(len(codes)), codes))
    for codes, offsets in items.multi.values():
        pairs.append((np.repeat(np.arange(len(offsets) - 1), np.diff(offsets)), codes))
    owners, values, width = [], [], 0
    for owner, codes in pairs:
        owners.append(owner[codes > 0])
        values.append(width + codes[codes > 0])
        width += int(codes.max(initial=0)) + 1
    if not owners:
        return None
    owner, value = np.concatenate(owners), np.concatenate(values)
    cell = np.unique(owner * width + value)
    owner, value = cell // width, cell % width
    number = np.bincount(value, minlength=width).astype(np.float64)
    rare = np.argsort(number, kind="stable")
    usable = np.zeros(width, np.bool_)
    usable[rare[np.cumsum(number[rare] ** 2) <= PAIRS]] = True
    usable &= number > 1
    owner, value = owner[usable[value]], value[usable[value]]
    if not len(owner):
        return None
    weight = np.log(len(items) / number[value])
    length = np.sqrt(np.bincount(owner, weight**2, minlength=len(items)))
    weight = (weight / np.maximum(length[owner], 1e-12)).astype(np.float32)
    some = weight > 0
    return owner[some], value[some], weight[some], width
