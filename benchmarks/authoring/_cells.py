"""A cell: one system on one part with one seed, measured once and kept in the repository.

    benchmarks/results/authoring/pricerunner-one-0.json

A machine may be lost between two runs, and with it the cache; what was measured is not. Each file
holds the values of each test row, rounded, so that intervals can be made of them at any time.
Delete a file to have its cell measured again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from adwright.core.atomic import atomic_write_text
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.serving.engine import AdapterModels
from benchmarks.authoring._baselines import baseline, baselines_of
from benchmarks.authoring._labels import RULES, free_answers, judged_labels, label_scores
from benchmarks.authoring._models import BASE, adapter, asked_through, parts_of, training_of
from benchmarks.authoring._prompts import Asking, Style
from benchmarks.authoring._rows import PARTS, Part, part_named, rows_of
from benchmarks.authoring._texts import judged_pairs, judged_texts, reference_loss
from benchmarks.common.result import RESULTS

CELLS = RESULTS / "authoring"
SEEDS = (0, 1, 2)
_FREE = 60
#: Parts whose texts are also written with no numbers but those of the facts.
_BOUND = ("descriptions", "ads")


@dataclass(frozen=True)
class Cell:
    """system: of a baseline its name, else untuned, shots, one or each."""

    part: str
    system: str
    seed: int = 0

    @property
    def name(self) -> str:
        """As its file is called."""
        return f"{self.part}-{self.system}-{self.seed}"

    @property
    def file(self) -> Path:
        """Where it is kept."""
        return CELLS / f"{self.name}.json"

    @property
    def group(self) -> tuple[str, int]:
        """Cells of one group share a process and what is trained: a tuning, or the base."""
        tuned = f"each-{self.part}" if self.system == "each" else self.system
        by_model = self.system in ("untuned", "shots", "one", "each")
        return (tuned, self.seed) if by_model else ("baselines", 0)


def cells(only: Sequence[str] = (), seeds: Sequence[int] = SEEDS) -> Iterator[Cell]:
    """All of them, the cheap ones first. only: parts, systems or names of cells; none: all."""
    every = [Cell(part.name, name) for part in PARTS for name in baselines_of(part)]
    every += [Cell(part.name, "untuned") for part in PARTS]
    for seed in seeds:
        every += [Cell(part.name, "one", seed) for part in PARTS]
        every += [Cell(part.name, "each", seed) for part in PARTS if part.train]
        every += [Cell(part.name, "shots", seed) for part in PARTS if part.train]
    wanted = set(only)
    for cell in every:
        if not wanted or wanted & {cell.part, cell.system, cell.name}:
            yield cell


def kept(cell: Cell) -> dict[str, Any] | None:
    """What was found of a cell; None where it was not measured."""
    if not cell.file.is_file():
        return None
    found: dict[str, Any] = json.loads(cell.file.read_text("utf-8"))
    return found


def keep(cell: Cell, found: Mapping[str, Any]) -> None:
    """Keep what was found, whole or not at all."""
    CELLS.mkdir(parents=True, exist_ok=True)
    told = {"part": cell.part, "system": cell.system, "seed": cell.seed, **found}
    atomic_write_text(cell.file, json.dumps(told, ensure_ascii=False) + "\n")


def measure(group: Sequence[Cell], *, rows: int = 0) -> Iterator[tuple[Cell, dict[str, Any]]]:
    """The cells of one group, one after the other. rows: of training and of test, for a trial."""
    system, seed = group[0].group
    if system == "baselines":
        for cell in group:
            began = time.process_time()
            found = baseline(part_named(cell.part), cell.system)
            yield cell, {**found, "cpu_seconds": round(time.process_time() - began, 1)}
        return
    folders = [adapter(system, seed, rows=rows)] if parts_of(system) else []
    training = {**training_of(folders[0]), "adapter": folders[0].name} if folders else {}
    with asked_through(folders) as models:
        for cell in group:
            began = time.process_time()
            name = folders[0].name if folders else BASE
            found = _asked(models, name, cell, rows)
            spent = round(time.process_time() - began, 1)
            yield cell, {**found, "cpu_seconds": spent, "training": training}


def _asked(models: AdapterModels, name: str, cell: Cell, rows: int) -> dict[str, Any]:
    part = part_named(cell.part)
    model, sides = models[name], rows_of(part)
    test, valid = sides.test[: rows or None], sides.valid[: rows or None]
    asking = _asking(model, part, cell, rows)
    match part.form:
        case "label":
            found = judged_labels(model, asking, valid, test)
            free = {} if cell.seed else {"free": free_answers(model, asking, test[:_FREE])}
            return {**found, **free}
        case "pairs":
            return judged_pairs(models, name, asking, part, test)
        case _:
            bound = part.name in _BOUND and cell.system in ("untuned", "one") and not cell.seed
            return judged_texts(models, name, asking, part, test, constrained=bound)


def _asking(model: LanguageModel, part: Part, cell: Cell, rows: int) -> Asking:
    """How a system is asked; of the untuned one, which of two forms, by the valid rows."""
    if cell.system == "shots":
        return Asking.with_shots(part, cell.seed)
    valid = rows_of(part).valid[: rows or None]
    if cell.system != "untuned" or not valid:
        return Asking("full" if cell.system == "untuned" else "short")
    styles: tuple[Style, ...] = ("full", "short")
    worth = {}
    for style in styles:
        asking = Asking(style)
        if part.form == "label":
            gold = [one.request.labels.index(one.answer) for one in valid]
            scores = label_scores(model, asking, valid)
            worth[style] = max(
                float(
                    np.mean(
                        [int(row.argmax()) == at for row, at in zip(scores[r], gold, strict=True)]
                    )
                )
                for r in RULES
            )
        else:
            found = reference_loss(model, asking, valid)
            worth[style] = -sum(found["loss"]) / sum(found["tokens"])
    return Asking(max(styles, key=lambda style: worth[style]))
