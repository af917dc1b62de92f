"""A search whose best plan is known: judges that are formulas, of a colour's mean, and a plan that
brings it to what they like."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from adwright.creative.editor.edit_kinds import Contrast, Exposure, Saturation, Temperature
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import PlanFitness

PLAN = EditPlan((Exposure(), Contrast(), Saturation(), Temperature()))
PICTURE = np.random.default_rng(5).integers(20, 200, (12, 16, 3)).astype(np.uint8)


@dataclass
class ColourJudge:
    """How near the mean of a colour is to what it likes: 1 - ((mean - likes) / 255)^2.

    seen: number of pictures of each call. shift: added to its answers.
    """

    likes: float = 200.0
    channel: int = 0
    name: str = "colour"
    shift: float = 0.0
    seen: list[int] = field(default_factory=list)

    def judge(self, pictures: np.ndarray) -> np.ndarray:
        """float [N]."""
        self.seen.append(len(pictures))
        mean = pictures[..., self.channel].mean((1, 2))
        return 1 - ((mean - self.likes) / 255) ** 2 + self.shift


class SlopedColour(ColourJudge):
    """The same, with its derivative."""

    def slopes(self, pictures: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float [N] and float [N, H, W, 3]."""
        mean = pictures[..., self.channel].mean((1, 2))
        made = np.zeros(pictures.shape)
        pixels = pictures.shape[1] * pictures.shape[2]
        made[..., self.channel] = (-2 * (mean - self.likes) / 255**2 / pixels)[:, None, None]
        return self.judge(pictures), made


def colour_fitness(*judges: object, **told: object) -> PlanFitness:
    """Of `PLAN` on `PICTURE`, by judges or by one that likes red at 200."""
    return PlanFitness(PLAN, PICTURE, judges=judges or (ColourJudge(),), **told)
