"""Drift: how far an edit moved what it should not have, measured on the edited face itself.

    check = DriftCheck(reader, {"age": 2.0, "skin": 0.05})
    check.measured(before, after)          # Drift: of each attribute the change; those beyond it

A direction that is allowed may still move more than its name says. So attributes of the face are
estimated before and after by a reader, any callable from a crop to numbers by name; where one moves
further than its limit, the edit is stopped, whatever it was meant to do. Limits are in the units of
the reader, and belong to the reader: set each at what it says of the same face cut twice, or more.
What earlier edits of the same face changed counts too, so many small steps are one large one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.refusals import Refusal

__all__ = ["AttributeEstimate", "Drift", "DriftCheck"]

#: Numbers by name of a crop uint8 [S, S, 3].
AttributeEstimate = Callable[[NDArray[np.uint8]], Mapping[str, float]]


@dataclass(frozen=True)
class Drift:
    """changes: of each attribute that was read, after less before. over: those beyond their limit,
    and those with a limit that could not be read."""

    changes: Mapping[str, float]
    over: tuple[str, ...]


@dataclass(frozen=True)
class DriftCheck:
    """reader: see the module. limits: of each attribute that is watched."""

    reader: AttributeEstimate
    limits: Mapping[str, float]

    def __post_init__(self) -> None:
        if not self.limits:
            raise ConfigError("no attribute is watched", where="DriftCheck.limits")
        for name, limit in self.limits.items():
            if not 0 <= limit < math.inf:
                raise ConfigError(
                    f"the limit {limit} of {name} is none", where="DriftCheck.limits", hint=">= 0"
                )

    def measured(
        self,
        before: NDArray[np.uint8],
        after: NDArray[np.uint8],
        earlier: Mapping[str, float] | None = None,
    ) -> Drift:
        """The drift between two crops uint8 [S, S, 3] of one face, on top of what earlier edits
        changed. An attribute that is watched and not read, or not a number, counts as beyond its
        limit."""
        first, second = dict(self.reader(before)), dict(self.reader(after))
        told = dict(earlier or {})
        changes = {
            name: float(second[name] - first[name]) + told.get(name, 0.0)
            for name in first
            if name in second
        }
        over = [
            name
            for name, limit in self.limits.items()
            if not abs(changes.get(name, math.nan)) <= limit
        ]
        return Drift(changes, tuple(over))

    def refusal(self, drift: Drift, face: int) -> Refusal | None:
        """Why an edit with this drift is stopped; None where it may stay."""
        if not drift.over:
            return None
        parts = [
            f"{name} {drift.changes.get(name, math.nan):+.3g} (limit {self.limits[name]:g})"
            for name in drift.over
        ]
        return Refusal("drift", f"attributes drifted: {', '.join(parts)}", face)
