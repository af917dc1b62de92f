"""The cloud of latents that a generator draws, and how far a face lies outside it.

cloud = LatentCloud.of(sample)            # w of float [S, D], of the mapping network
cloud.distance(plus)                      # float64 [N] of W+ [N, R, D]

An edit that leaves the cloud shows what the generator was never trained to show, and judges were
never trained to see.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adwright.core.errors import DataError
from adwright.creative.editor.search.picture_judge import Floats

__all__ = ["LatentCloud"]


@dataclass(frozen=True, eq=False)
class LatentCloud:
    """mean: float [D]. precision: float [D, D], the inverse of the covariance."""

    mean: Floats
    precision: Floats

    @classmethod
    def of(cls, sample: Floats, *, shrink: float = 0.1) -> LatentCloud:
        """The cloud of a sample [S, D] of w.

        shrink: the covariance is (1 - shrink) C + shrink (tr C / D) I, which can be inverted where
        S is below D too, 0 < shrink <= 1. Raises DataError for a sample of fewer than two, for one
        without spread and for another shrink.
        """
        drawn = np.asarray(sample, np.float64)
        if drawn.ndim != 2 or len(drawn) < 2 or not np.isfinite(drawn).all() or not 0 < shrink <= 1:
            raise DataError(
                f"a sample of shape {drawn.shape}, shrink {shrink}",
                hint="pass finite latents [S, D], two or more, and 0 < shrink <= 1",
            )
        covariance = np.cov(drawn, rowvar=False).reshape(drawn.shape[1], -1)
        scale = float(np.trace(covariance)) / len(covariance)
        if not scale > 0:
            raise DataError("all latents of the sample are the same", hint="draw others")
        shrunk = (1 - shrink) * covariance + shrink * scale * np.eye(len(covariance))
        return cls(
            np.asarray(drawn.mean(0), np.float64), np.asarray(np.linalg.inv(shrunk), np.float64)
        )

    def distance(self, plus: Floats) -> Floats:
        """float64 [N] of W+ [N, R, D]: the squared Mahalanobis distance of a row, divided by D,
        averaged over rows,

            sum_r (w_r - mean)^T precision (w_r - mean) / (R D)

        about 1 for a latent of the sample. Raises DataError for another width.
        """
        rows = np.asarray(plus, np.float64)
        if rows.ndim != 3 or rows.shape[2] != len(self.mean):
            raise DataError(f"latents of shape {rows.shape}", hint=f"[N, R, {len(self.mean)}]")
        away = rows - self.mean
        return np.asarray(np.einsum("nrd,de,nre->nr", away, self.precision, away).mean(1)) / len(
            self.mean
        )
