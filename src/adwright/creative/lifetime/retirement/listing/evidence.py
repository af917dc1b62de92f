"""Why a unit is on the list: what moved its risk, and past units that were like it.

What an input adds is the expected number of periods to come, less what is expected where that
input alone is hidden behind its learned default. So it is relative to an average unit, and inputs
that tell the same share what they say. Past units are those whose lives ended before the period, as
they were known at an earlier one, nearest in what the heads of the network read (its last hidden
layer), by the euclidean distance; all of them are looked at.

Letters: N units, I inputs, P past units, H hidden units.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from adwright.creative.lifetime.hazards.fitted import FittedLifetime, predicted_curves
from adwright.creative.lifetime.hazards.inputs import InputSpec, SpellInputs, Vectors
from adwright.creative.lifetime.retirement.lives import LifeRecord
from adwright.creative.lifetime.retirement.rule import outlook_of
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.data.batches.jagged import Jagged

__all__ = ["Influences", "PastUnits", "hidden_of", "influences", "past_units", "vectors_of"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: Units whose distances to all past ones are in memory at once; units of a prediction.
_ROWS, _BATCH = 256, 8192
#: A change of fewer periods is no reason.
_LEAST = 0.05


@dataclass(frozen=True, eq=False)
class Influences:
    """names: I inputs. values: [N] texts of each, "" where missing. change: float64 [N, I], periods
    that the value adds to those expected (below 0: it shortens the life)."""

    names: tuple[str, ...]
    values: tuple[list[str], ...]
    change: Floats

    def strongest(self, count: int, unit: str) -> list[list[str]]:
        """For each unit the inputs that moved it most, in words: "impressions_now 12: -3.1 weeks".
        unit: of a period, "week" or "day"."""
        order = np.argsort(-np.abs(self.change), axis=1, kind="stable")[:, :count]
        return [
            [
                f"{f'{self.names[i]} {self.values[i][row]}'.rstrip()}: {change:+.1f} {unit}s"
                for i in inputs
                if abs(change := float(self.change[row, i])) >= _LEAST
            ]
            for row, inputs in enumerate(order.tolist())
        ]


def influences(
    model: FittedLifetime,
    table: SpellTable,
    vectors: Vectors | None = None,
    *,
    horizon: int,
) -> Influences:
    """What each input adds to the expected periods of N units. horizon: periods that count."""
    spec = model.network.spec
    inputs = spec.encode(table, vectors)

    def expected(seen: SpellInputs) -> Floats:
        curves = predicted_curves(model.network, seen, table.entry, model.causes, batch=_BATCH)
        return outlook_of(curves, horizon).further

    whole = expected(inputs)
    names, texts, change = [], [], []
    for name, hidden in _each_hidden(inputs, spec):
        names.append(name)
        texts.append(_texts(name, table))
        change.append(whole - expected(hidden))
    return Influences(tuple(names), tuple(texts), np.stack(change, 1))


@dataclass(frozen=True, eq=False)
class PastUnits:
    """life: int64 [P], places in the log, each once; hidden: float32 [P, H]."""

    life: Ints
    hidden: npt.NDArray[np.float32]

    def nearest(self, hidden: npt.NDArray[np.float32], count: int) -> tuple[Ints, Floats]:
        """(places in the log [N, K], distances [N, K]) of the nearest, nearest first; equally near
        ones by place. K is `count`, or P where that is less. hidden: of N units."""
        count = min(count, len(self.life))
        found = np.empty((len(hidden), count), np.int64)
        far = np.empty((len(hidden), count))
        past = self.hidden.astype(np.float64)
        square = (past**2).sum(1)
        for start in range(0, len(hidden) if count else 0, _ROWS):
            part = hidden[start : start + _ROWS].astype(np.float64)
            distance = (part**2).sum(1)[:, None] - 2 * part @ past.T + square
            near = np.argpartition(distance, count - 1, axis=1)[:, :count]
            of = np.take_along_axis(distance, near, 1)
            order = np.lexsort((self.life[near], of), axis=1)
            near = np.take_along_axis(near, order, 1)
            found[start : start + _ROWS] = self.life[near]
            far[start : start + _ROWS] = np.take_along_axis(distance, near, 1)
        return found, np.sqrt(np.maximum(far, 0))


def past_units(
    model: FittedLifetime,
    lives: LifeRecord,
    period: int,
    vectors: Vectors | None = None,
    *,
    most: int = 20_000,
) -> PastUnits:
    """Lives whose end is known by `period`, as they were known 1, 2, 4, 8 ... periods before it,
    each as of the latest of these; at most so many, the latest.

    vectors: name -> float32 [R, D], of all lives of the log.
    """
    log = lives.log
    begin = int(log.first.min(initial=period))
    ended, known = log.last + log.gap < period, np.zeros(len(log), np.bool_)
    life, hidden, step, count = [np.zeros(0, np.int64)], [], 1, 0
    while (at := period - step) >= begin and count < most:
        step *= 2
        if not ((log.first <= at) & (log.last >= at) & ended & ~known).any():
            continue
        ran = lives.running(at)
        rows = np.flatnonzero(ended[ran.life] & ~known[ran.life])[: most - count]
        chosen = ran.life[rows]
        known[chosen] = True
        count += len(rows)
        life.append(chosen)
        hidden.append(hidden_of(model, ran.table.take(rows), vectors_of(vectors, chosen)))
    width = model.network.config.hidden[-1]
    empty = np.zeros((0, width), np.float32)
    return PastUnits(np.concatenate(life), np.concatenate([empty, *hidden]))


def hidden_of(
    model: FittedLifetime, table: SpellTable, vectors: Vectors | None = None
) -> npt.NDArray[np.float32]:
    """[N, H]: what the heads of the network read of N units."""
    inputs = model.network.spec.encode(table, vectors)
    with torch.inference_mode():
        parts = [
            model.network.hidden(inputs.between(slice(start, start + _BATCH))).float().numpy()
            for start in range(0, len(table), _BATCH)
        ]
    return np.concatenate([np.zeros((0, model.network.config.hidden[-1]), np.float32), *parts])


def vectors_of(vectors: Mapping[str, npt.NDArray[np.float32]] | None, life: Ints) -> Vectors:
    """Those [N, D] of the lives [N], out of those [R, D] of all."""
    return {name: x[life] for name, x in (vectors or {}).items()}


def _each_hidden(inputs: SpellInputs, spec: InputSpec) -> Iterator[tuple[str, SpellInputs]]:
    """(name, the inputs with it hidden) of each input."""
    for i, number in enumerate(spec.numbers):
        numbers, bins = inputs.numbers.clone(), inputs.bins.clone()
        numbers[:, i] = torch.nan
        if bins.shape[1]:
            bins[:, i] = spec.bin_offsets[i]
        yield number.name, replace(inputs, numbers=numbers, bins=bins)
    for i, known in enumerate(spec.categories):
        codes = inputs.codes.clone()
        codes[:, i] = spec.code_offsets[i]
        yield known.name, replace(inputs, codes=codes)
    if spec.words:
        none = Jagged(inputs.words.values[:0], torch.zeros_like(inputs.words.offsets))
        yield "words", replace(inputs, words=none)
    for i, vector in enumerate(spec.vectors):
        hidden = list(inputs.vectors)
        hidden[i] = torch.full_like(hidden[i], torch.nan)
        yield vector.name, replace(inputs, vectors=tuple(hidden))


def _texts(name: str, table: SpellTable) -> list[str]:
    """The values of an input [N], as they are read by people."""
    if name in table.number_names:
        column = table.numbers[:, table.number_names.index(name)]
        return [f"{x:.4g}" if np.isfinite(x) else "" for x in column.tolist()]
    if name in table.category_names:
        place = table.category_names.index(name)
        texts = (*table.category_values[place], "")  # the last is what -1 finds
        return [texts[code] for code in table.categories[:, place].tolist()]
    if name == "words":
        ends = table.offsets.tolist()
        return [
            " ".join(table.vocabulary[word] for word in table.words[start : min(start + 4, stop)])
            for start, stop in pairwise(ends)
        ]
    return [""] * len(table)
