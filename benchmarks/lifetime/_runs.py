"""The networks of the lifetime benchmark: what is compared, and each training, kept by its cell.

A cell is a variant (one head, two terms, their weights by clicks, an input left out, no remedy for
the split by time) and a seed. Its training keeps the model, so that a run that was stopped goes on
with what is missing.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from adwright.core.assets import cache_folder
from adwright.core.config import to_jsonable
from adwright.core.hashing import content_hash
from adwright.creative.lifetime.spell_table import SpellTable
from adwright.creative.lifetime.survival_curves import FittedLifetime, LifeCurves
from adwright.creative.lifetime.survival_fit import ClickWeights, LifetimeConfig, fit_lifetime
from adwright.creative.lifetime.survival_network import Vectors
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
    "with_clocks",
    "without_common_effects",
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
        return replace(config, **self._changes(spells))

    def _changes(self, spells: Spells) -> dict[str, Any]:
        """What the variant has otherwise than the full model."""
        found: dict[Variant, dict[str, Any]] = {
            "one_head": {"heads": 1},
            "two_terms": {},
            "two_ratio": {"clicks": ClickWeights("ratio")},
            "two_clipped": {"clicks": ClickWeights("clipped")},
            "two_smoothed": {"clicks": ClickWeights("smoothed")},
            "without_numbers": {"leave_out": ("numbers",)},
            "without_categories": {"leave_out": ("categories",)},
            "without_words": {"leave_out": ("words",)},
            "without_place": {"leave_out": spells.place},
            "with_clocks": {"clocks": "keep"},
            "without_common_effects": {"common_effects": False},
        }
        return found[self.variant]


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


def _folder(cell: LifetimeCell, config: LifetimeConfig, spells: Spells) -> Path:
    key = content_hash({"config": to_jsonable(config), "data": spells.data})
    return SCRATCH / f"{cell.variant}-{cell.seed}-{key[:12]}"
