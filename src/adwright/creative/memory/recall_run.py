"""A run that trains a judge of recall in its encoder form, measures it, and keeps both.

    run = train_recall(read_recall("slogans.csv"), Path("runs/recall"))
    print("\n".join(run.sentences()))

RUN/model is the artifact, RUN/report.json what folds said of it.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import to_jsonable
from adwright.creative.memory.ad_blocks import AdBlocks, BlockConfig
from adwright.creative.memory.fitted import FittedMemory, fit_memory
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.memory.protocol import MemoryReport, measure_memory
from adwright.creative.records.encoders.store import VectorStore
from adwright.training.run_settings import require_free

__all__ = ["RecallRun", "train_recall"]

_MODEL, _REPORT = "model", "report.json"


@dataclass(frozen=True, eq=False)
class RecallRun:
    """model: trained on all ads. id: of its artifact. report: of folds, as `measure_memory`."""

    model: FittedMemory
    id: str
    folder: Path
    report: MemoryReport

    def sentences(self) -> list[str]:
        """What the folds say of it."""
        found = self.report
        said = [
            f"{found.ads:,} ads of {found.brands:,} brands; Spearman's rho by five folds, "
            f"{len(found.seeds)} times:",
            f"brands held out: {found.brands_out.text('.3f')}",
        ]
        if found.brands < found.ads:
            said += [
                f"brands seen: {found.brands_seen.text('.3f')}",
                f"of the brand's name alone, brands held out: {found.brand_rho.text('.3f')}",
                f"of the content, beyond its brand: {found.content_lift.text('.3f')}",
            ]
            if not math.isnan(found.brand_share):
                said.append(f"the brand explains {found.brand_share:.0%} of what is explained")
            if not found.content_lift.excludes(0) or found.content_lift.value < 0:
                said.append("beyond the brand, nothing of the content was found that holds")
        if not found.brands_out.excludes(0) or found.brands_out.value < 0:
            said.append("for a new brand this is no better than chance")
        return said


def train_recall(
    table: RecallTable,
    out: Path,
    config: BlockConfig | None = None,
    *,
    store: VectorStore | None = None,
    coverage: float = 0.9,
    seed: int = 0,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> RecallRun:
    """Train, measure and save. store, coverage: as of `fit_memory`. overwrite: replace a model.

    Raises ResourceError where there is a model (without `overwrite`), and as `fit_memory`.
    """
    if not overwrite:
        require_free(out / _MODEL, "a model")
    model = fit_memory(table, config, store=store, coverage=coverage, seed=seed)
    blocks = AdBlocks(config or BlockConfig(), store).of(table.records)
    report = measure_memory(table, blocks, rng=np.random.default_rng(seed))
    identity = model.save(out / _MODEL, overwrite=overwrite, clock=clock)
    told = {"model": identity, **to_jsonable(report)}
    if math.isnan(report.brand_share):
        told["brand_share"] = None
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1, allow_nan=False) + "\n")
    return RecallRun(model, identity, out / _MODEL, report)
