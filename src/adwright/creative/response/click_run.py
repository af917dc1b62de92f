"""A run that trains a judge of click rates, and the model that it leaves.

    run = train_clicks(read_outcomes("creatives.parquet", UPWORTHY), Path("runs/clicks"))
    print("\n".join(run.sentences()))

RUN/run holds curves and the checkpoint, RUN/model the artifact, RUN/report.json what the
validation says of it and of simpler rules.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.creative.response.fit import ClickRateConfig, fit_click_rate
from adwright.creative.response.fitted import FittedClickRate
from adwright.creative.response.inputs.features import TextVectors
from adwright.creative.response.measures import is_behind
from adwright.creative.response.protocol.outcomes import CreativeOutcomes
from adwright.training.run_settings import require_free

__all__ = ["ClickRun", "train_clicks"]

_MODEL, _RUN, _REPORT = "model", "run", "report.json"
_SAID = {
    "rho": "Spearman's rho of click rates",
    "best_of_test": "best of a test is picked",
    "pairs": "pairs in the right order",
    "rho_within": "rho within tests",
}


@dataclass(frozen=True, eq=False)
class ClickRun:
    """model: trained. id: of its artifact. folder: the artifact's."""

    model: FittedClickRate
    id: str
    folder: Path

    def sentences(self) -> list[str]:
        """What the validation says of the model, of its linear part and of the simple rule."""
        measures = self.model.measures
        said = ["on the stories for choices (model, its linear part, n-grams alone):"]
        for name, text in _SAID.items():
            if all(name in found for found in measures.values()):
                values = ", ".join(f"{found[name]:.3f}" for found in measures.values())
                said.append(f"{text}: {values}")
        if is_behind(measures["model"], measures["simple rule"]):
            said.append("n-grams order these creatives as well as the model does: take the rule")
        coverage = self.model.calibration.interval.coverage
        said.append(f"intervals are made to cover {coverage:.0%} of new creatives")
        return said


def train_clicks(
    outcomes: CreativeOutcomes,
    out: Path,
    config: ClickRateConfig | None = None,
    *,
    texts: TextVectors | None = None,
    vectors: Mapping[str, NDArray[np.float32]] | None = None,
    resume: bool = False,
    stop_now: bool = False,
    overwrite: bool = False,
    clock: Clock | None = None,
) -> ClickRun:
    """Train and save. texts, vectors, resume, stop_now: as of `fit_click_rate`. overwrite: replace
    a model and its run. Raises ResourceError where there is a model (without `overwrite`), and as
    `fit_click_rate`."""
    if not overwrite:
        require_free(out / _MODEL, "a model")
    if overwrite and not resume and (out / _RUN).exists():
        shutil.rmtree(out / _RUN)
    model = fit_click_rate(
        outcomes,
        config,
        texts=texts,
        vectors=vectors,
        out=out / _RUN,
        resume=resume,
        stop_now=stop_now,
    )
    identity = model.save(out / _MODEL, overwrite=overwrite, clock=clock)
    told = {"model": identity, "creatives": len(outcomes), "validation": model.measures}
    atomic_write_text(out / _REPORT, json.dumps(told, indent=1) + "\n")
    return ClickRun(model, identity, out / _MODEL)
