"""Judges of pictures that are formulas, so that what a search finds can be told by hand."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["ColourJudge", "SlopedColour"]


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
