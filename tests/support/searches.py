"""A search whose best plan is known: a colour's mean is brought to what a judge likes."""

from __future__ import annotations

import numpy as np

from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.edits.tones import Contrast, Exposure, Saturation, Temperature
from adwright.creative.editor.search.fitness import PlanFitness
from tests.support.picture_judges import ColourJudge

__all__ = ["PICTURE", "PLAN", "colour_fitness"]

PLAN = EditPlan((Exposure(), Contrast(), Saturation(), Temperature()))
PICTURE = np.random.default_rng(5).integers(20, 200, (12, 16, 3)).astype(np.uint8)


def colour_fitness(*judges: object, **told: object) -> PlanFitness:
    """Of `PLAN` on `PICTURE`, by judges or by one that likes red at 200."""
    return PlanFitness(PLAN, PICTURE, judges=judges or (ColourJudge(),), **told)
