"""No edit of a minor's face: by what the manifest declares, or by an estimate with a margin.

    AgeCheck(estimate=model).refusal(entry, crop, 0)

An age that is estimated is a number with an error of years. So a face passes by its estimate alone
only where the estimate less the margin is 18 or more. What is declared weighs more in one
direction only: a minor who is declared is refused whatever the estimate says; an adult who is
declared is refused where the estimate plus the margin stays below 18. The margin, 7 years, is our
choice: about the mean error of open models (4 to 6 years) and a little more.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.consent import ConsentEntry
from adwright.creative.editor.guards.refusals import Refusal

__all__ = ["AgeCheck", "AgeEstimate"]

#: Years of a crop uint8 [S, S, 3]; not finite where it cannot tell.
AgeEstimate = Callable[[NDArray[np.uint8]], float]


@dataclass(frozen=True)
class AgeCheck:
    """estimate: None for none. margin: years. adult: the age from which on a face may be edited."""

    estimate: AgeEstimate | None = None
    margin: float = 7.0
    adult: float = 18.0

    def __post_init__(self) -> None:
        if not 0 <= self.margin <= 50 or not 0 < self.adult <= 30:
            raise ConfigError(
                f"margin {self.margin:g}, adult {self.adult:g}",
                where="AgeCheck",
                hint="margin 0 to 50, adult above 0 and at most 30",
            )

    def refusal(self, entry: ConsentEntry, crop: NDArray[np.uint8], face: int) -> Refusal | None:
        """Why the face of an entry is not edited for its age; None where it may be."""
        if entry.adult == "minor":
            return Refusal("minor", "the manifest declares a minor", face)
        years = math.nan if self.estimate is None else float(self.estimate(crop))
        known = math.isfinite(years)
        if known and years + self.margin < self.adult:
            return Refusal(
                "minor", f"the face looks like {years:.0f} years, far below {self.adult:g}", face
            )
        if entry.adult == "declared":
            return None
        if not known:
            return Refusal("age_unknown", "the age is neither declared nor estimated", face)
        if years - self.margin < self.adult:
            limit = self.adult + self.margin
            return Refusal(
                "minor", f"estimated {years:.0f} years, below {limit:g} and no age declared", face
            )
        return None
