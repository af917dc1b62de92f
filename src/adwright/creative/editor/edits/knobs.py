"""Knobs: the numbers of an edit, each with its bounds and the value that changes nothing.

A search moves an edit by its knobs alone:

    edit.knobs()                     # (Knob("stops", -1.0, 1.0, 0.0),)
    edit.values()                    # (0.0,)
    edit.with_values((0.3,))         # the same edit, otherwise set
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.context import EditContext

__all__ = ["Knob", "PictureEdit", "check_values"]

E = TypeVar("E", bound="PictureEdit")


@dataclass(frozen=True)
class Knob:
    """name: of the number. low, high: its bounds, both allowed. neutral: changes nothing."""

    name: str
    low: float
    high: float
    neutral: float = 0.0

    def __post_init__(self) -> None:
        if not self.low <= self.neutral <= self.high or not self.low < self.high:
            raise ConfigError(
                f"bounds {self.low} to {self.high} with neutral {self.neutral}",
                where=f"knob {self.name}",
                hint="low <= neutral <= high",
            )


class PictureEdit:
    """What all edits share; an edit is a frozen dataclass whose fields its knobs name.

    An edit never changes a pixel that the context protects. It says by `why_not` where it cannot do
    anything, and then leaves the picture as it is.
    """

    def knobs(self) -> tuple[Knob, ...]:
        """Its numbers, in their order."""
        raise NotImplementedError

    def values(self) -> tuple[float, ...]:
        """The value of each knob."""
        return tuple(float(getattr(self, knob.name)) for knob in self.knobs())

    def with_values(self: E, values: Sequence[float]) -> E:
        """The same edit with these values. Raises ConfigError where they are not within bounds."""
        knobs = self.knobs()
        if len(values) != len(knobs):
            raise ConfigError(
                f"{len(values)} values for {len(knobs)} knobs",
                where=type(self).__name__,
                hint=f"pass {', '.join(knob.name for knob in knobs)}",
            )
        # A search does this for each edit of each plan. What the knobs do not name was checked when
        # `self` was made, so the bounds alone are checked again.
        made: E = object.__new__(type(self))
        told = {knob.name: float(value) for knob, value in zip(knobs, values, strict=True)}
        vars(made).update(vars(self) | told)
        _check_bounds(made)
        return made

    def is_neutral(self) -> bool:
        """Whether it changes nothing, whatever the picture."""
        return all(getattr(self, knob.name) == knob.neutral for knob in self.knobs())

    def why_not(self, picture: NDArray[np.uint8], context: EditContext) -> str:
        """Why it cannot be done to this picture; empty where it can."""
        return ""

    def apply(self, picture: NDArray[np.uint8], context: EditContext) -> NDArray[np.uint8]:
        """The picture uint8 [H, W, 3], edited; the argument stays as it is."""
        raise NotImplementedError

    def followed(self, picture: NDArray[np.uint8], context: EditContext) -> EditContext:
        """The context of the edited picture, where that has other places."""
        return context


def check_values(edit: PictureEdit) -> None:
    """Raise ConfigError where a value of an edit is outside its bounds, or no number."""
    check_literals(edit)
    _check_bounds(edit)


def _check_bounds(edit: PictureEdit) -> None:
    for knob, value in zip(edit.knobs(), edit.values(), strict=True):
        if not math.isfinite(value) or not knob.low <= value <= knob.high:
            raise ConfigError(
                f"{knob.name} {value:g} is not in [{knob.low:g}, {knob.high:g}]",
                where=f"{type(edit).__name__}.{knob.name}",
                hint=f"{knob.neutral:g} changes nothing",
            )
