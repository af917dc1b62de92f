"""The networks of the lifetime benchmark: what is compared, and each training, kept by its cell.

A cell is a variant (one head, two terms, their weights by clicks, an input left out) and a seed.
Its training keeps the model, so that a run that was stopped goes on with what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.hazards.click_weights import ClickWeights
from adwright.creative.lifetime.hazards.curves import LifeCurves
from adwright.creative.lifetime.hazards.fit import LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.hazards.fitted import FittedLifetime
from adwright.creative.lifetime.hazards.inputs import Vectors
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.metrics.survival import Concordance, harrell_c
from benchmarks.common.next_basket import keep, read

Variant = Literal[
    "one_head",
    "two_terms",
    "two_ratio",
    "two_clipped",
    "two_smoothed",
    "without_numbers",
    "without_categories",
    "without_words",
    "without_place",
    "without_images",
]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
SCRATCH = cache_folder() / "bench" / "lifetime"


@dataclass(frozen=True)
class Spells:
    """The parts of a task. data: its name and hash. place: names of the columns that say where.
    vectors: of each part, by its name."""

    data: str
    train: SpellTable
    valid: SpellTable
    test: SpellTable
    place: tuple[str, ...] = ()
    vectors: Mapping[Literal["train", "valid", "test"], Vectors] | None = None

    def vectors_of(self, part: Literal["train", "valid", "test"]) -> Vectors:
        """Of a part."""
        return (self.vectors or {}).get(part, {})


@dataclass(frozen=True)
class LifetimeCell:
    """A training."""

    variant: Variant
    seed: int = 0

    def config(self, base: LifetimeConfig, spells: Spells) -> LifetimeConfig:
        """Of the variant; all else as in `base`."""
        config = replace(base, seed=self.seed)
        match self.variant:
            case "one_head":
                return replace(config, heads=1)
            case "two_terms":
                return config
            case "two_ratio":
                return replace(config, clicks=ClickWeights("ratio"))
            case "two_clipped":
                return replace(config, clicks=ClickWeights("clipped"))
            case "two_smoothed":
                return replace(config, clicks=ClickWeights("smoothed"))
            case "without_numbers":
                return replace(config, leave_out=("numbers",))
            case "without_categories":
                return replace(config, leave_out=("categories",))
            case "without_words":
                return replace(config, leave_out=("words",))
            case "without_place":
                return replace(config, leave_out=spells.place)
            case "without_images":
                return replace(config, leave_out=tuple(spells.vectors_of("train")))


class NotTrained(Exception):
    """A training that is not there, and was not to be made."""


def trained(
    cell: LifetimeCell, base: LifetimeConfig, spells: Spells, *, run: bool = True
) -> FittedLifetime:
    """The model of a cell, read back where it is there. run: train what is not there, else raise
    NotTrained."""
    config = cell.config(base, spells)
    folder = _folder(cell, config, spells)
    if not (folder / "model").exists():
        if not run:
            raise NotTrained(str(cell))
        start = time.process_time()
        model = fit_lifetime(
            spells.train,
            spells.valid,
            config,
            vectors=spells.vectors_of("train"),
            valid_vectors=spells.vectors_of("valid"),
            out=folder / "run",
            resume=(folder / "run" / "config.json").exists(),
        )
        seconds = time.process_time() - start
        keep(folder / "seconds.npz", {"valid": np.array(model.valid_loss)}, seconds)
        model.save(folder / "model")
        print(f"{cell} valid {model.valid_loss:.5f}, {seconds:.0f} CPU-s", flush=True)
    return FittedLifetime.load(folder / "model")


def seconds_of(cell: LifetimeCell, base: LifetimeConfig, spells: Spells) -> float:
    """Processor time of a cell's training (of its last start)."""
    folder = _folder(cell, cell.config(base, spells), spells)
    return float(read([folder / "seconds.npz"])[0]["seconds"])


def curves_of(
    cell: LifetimeCell, base: LifetimeConfig, spells: Spells, *, run: bool = True
) -> LifeCurves:
    """What the cell's model says of the test spells."""
    model = trained(cell, base, spells, run=run)
    return model.predict(spells.test, spells.vectors_of("test"))


def concordances(
    curves: LifeCurves, test: SpellTable, border: float, weights: NDArray[np.float64] | None = None
) -> dict[str, Concordance]:
    """Harrell's C of each term and of all.

    border: age at which the short term ends, the same for all that is compared. short: all spells,
    pairs whose first end came by then, ordered by the curve up to there. long: spells that lived
    on, ordered by the rest of their curve. all: all spells, whole curve. weights: multiplicities.
    """
    on = np.flatnonzero(test.time > border)
    rest = curves.given(border)
    kept = None if weights is None else weights[on]
    entry = np.maximum(test.entry, np.float32(border))[on]
    return {
        "short": harrell_c(
            test.time,
            test.ended,
            curves.risk(until=border),
            entry=test.entry,
            weights=weights,
            until=border,
            of="spells",
        ),
        "long": harrell_c(
            test.time[on],
            test.ended[on],
            rest.risk()[on],
            entry=entry,
            weights=kept,
            of=f"spells that lived beyond {border:g}",
        ),
        "all": harrell_c(
            test.time, test.ended, curves.risk(), entry=test.entry, weights=weights, of="spells"
        ),
    }


def by_seed(
    variant: Variant, seeds: Sequence[int], base: LifetimeConfig, spells: Spells, border: float
) -> dict[str, list[Concordance]]:
    """The C of each term, one a seed."""
    found: dict[str, list[Concordance]] = {}
    for seed in seeds:
        curves = curves_of(LifetimeCell(variant, seed), base, spells)
        for term, value in concordances(curves, spells.test, border).items():
            found.setdefault(term, []).append(value)
    return found


def _folder(cell: LifetimeCell, config: LifetimeConfig, spells: Spells) -> Path:
    key = content_hash({"config": to_jsonable(config), "data": spells.data})
    return SCRATCH / f"{cell.variant}-{cell.seed}-{key[:12]}"
