"""A cell of the benchmark of memorability: one system on one part with one seed, measured once.

    benchmarks/results/cells/memorability/slogans-encoder-0.json

A tuning of the language form serves all three parts, so its cells are folds: language-FOLD-SEED.
Each holds the answer on each row, rounded, so that intervals can be made of them at any time.
Delete a file to have its cell measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adwright.core.atomic import atomic_write_text
from benchmarks.common.result import RESULTS
from benchmarks.memory._memory_data import FOLDS, PARTS
from benchmarks.memory._memory_systems import (
    encoder,
    few,
    language_fold,
    minilm,
    speed,
    tfidf,
    zero,
)

CELLS = RESULTS / "cells" / "memorability"
SEEDS = (0, 1, 2)
#: By how much they cost. Nothing is drawn in the untuned model's answers but the folds' examples.
_SYSTEMS: Mapping[str, Callable[[str, int], dict[str, Any]]] = {
    "encoder": encoder,
    "minilm": minilm,
    "tfidf": tfidf,
    "zero": zero,
    "few": few,
}


@dataclass(frozen=True)
class MemoryCell:
    """part: of the data, a fold of the language form, or empty. system: what is measured."""

    system: str
    part: str = ""
    seed: int = 0

    @property
    def name(self) -> str:
        """As its file is called."""
        return f"{self.part}-{self.system}-{self.seed}" if self.part else self.system


def memory_cells(only: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> Iterator[MemoryCell]:
    """All of them, the cheap ones first. only: systems, parts or names of cells; none: all."""
    every = [MemoryCell("speed")]
    for system in _SYSTEMS:
        drawn = (0,) if system == "zero" else seeds
        every += [MemoryCell(system, part, seed) for seed in drawn for part in PARTS]
    every += [MemoryCell("language", str(fold), seed) for seed in seeds for fold in range(FOLDS)]
    wanted = set(only)
    for cell in every:
        if not wanted or wanted & {cell.part, cell.system, cell.name}:
            yield cell


def kept(cell: MemoryCell) -> dict[str, Any] | None:
    """What was found of a cell; None where it was not measured."""
    file = CELLS / f"{cell.name}.json"
    if not file.is_file():
        return None
    found: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return found


def keep(cell: MemoryCell, found: Mapping[str, Any]) -> None:
    """Keep what was found, whole or not at all."""
    CELLS.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, ensure_ascii=False) + "\n"
    atomic_write_text(CELLS / f"{cell.name}.json", text)


def measured(cell: MemoryCell, *, rows: int = 0) -> dict[str, Any]:
    """The cell, anew. rows: of the language form, for a trial."""
    began = time.process_time()
    match cell.system:
        case "speed":
            found: dict[str, Any] = speed()
        case "language":
            found = language_fold(int(cell.part), cell.seed, rows=rows)
        case system:
            found = _SYSTEMS[system](cell.part, cell.seed)
    return {**found, "cpu_seconds": round(time.process_time() - began, 1)}
