"""What an edit has to know of its picture, beside its pixels.

    context = EditContext(protected=protected_mask([box], picture.shape), places=places)

    protected   pixels that no edit changes: logo, price, legal line
    subject     how much each pixel belongs to what the ad shows, for a blur of the rest
    places      where faces are
    mover       moves crops of faces, see `faces.aligning.mover`

A context belongs to a picture of one size; where an edit cuts the picture, it cuts the context.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError
from adwright.creative.faces.aligning import FacePlace, require_picture
from adwright.creative.faces.pasting import PasteSettings

__all__ = ["EditContext", "FaceMover", "ProtectedBox", "kept", "protected_mask"]

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


class FaceMover(Protocol):
    """Moves crops along named directions. names: of K directions. side: of its crops, pixels."""

    names: tuple[str, ...]
    side: int

    def moved(self, crops: Pixels, amounts: NDArray[np.float64]) -> Pixels:
        """uint8 [N, side, side, 3] of crops of that shape and amounts [N, K]."""
        ...

    def vector(self, name: str) -> NDArray[np.float64]:
        """float64 [D]: the direction of one of its names, in the space in which it moves faces."""
        ...


@settings
class ProtectedBox:
    """A box that stays: edges as in slices, pixels. what: it shows."""

    left: int
    top: int
    right: int
    bottom: int
    what: Literal["logo", "price", "legal", "other"] = "other"

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right and 0 <= self.top < self.bottom):
            raise ConfigError(
                "the box has no area, or begins outside the picture",
                where=f"ProtectedBox {self.what}",
                hint="0 <= left < right, 0 <= top < bottom",
            )


@dataclass(frozen=True, eq=False)
class EditContext:
    """See the module. protected: bool [H, W]. subject: float [H, W], 0 to 1. paste: how faces are
    put back."""

    protected: Mask | None = None
    subject: NDArray[np.float32] | None = None
    places: tuple[FacePlace, ...] = ()
    mover: FaceMover | None = None
    paste: PasteSettings = field(default_factory=PasteSettings)

    def require_size_of(self, picture: Pixels) -> None:
        """Raise DataError where a picture is none, or of another size than the context."""
        require_picture(picture)
        for name in ("protected", "subject"):
            mask = getattr(self, name)
            if mask is not None and mask.shape != picture.shape[:2]:
                raise DataError(
                    f"{name} has shape {mask.shape}",
                    hint=f"pass one of {picture.shape[:2]}, the picture's",
                )
        if self.protected is not None and self.protected.dtype != bool:
            raise DataError(f"protected has type {self.protected.dtype}", hint="pass truth values")

    def cut(self, left: int, top: int, right: int, bottom: int) -> EditContext:
        """The context of the part of the picture with these edges, as in slices."""
        part = (slice(top, bottom), slice(left, right))
        return replace(
            self,
            protected=None if self.protected is None else self.protected[part],
            subject=None if self.subject is None else self.subject[part],
            places=tuple(place.moved(left, top) for place in self.places),
        )


def protected_mask(boxes: Iterable[ProtectedBox], shape: tuple[int, ...]) -> Mask:
    """bool [H, W]: the pixels of the boxes in a picture of shape (H, W, ...).

    Raises DataError for a box that ends outside it: it was measured on another picture.
    """
    made = np.zeros(shape[:2], bool)
    for box in boxes:
        if box.right > shape[1] or box.bottom > shape[0]:
            raise DataError(
                f"the box of the {box.what} ends outside the picture",
                value=(box.right, box.bottom),
                hint=f"the picture has {shape[1]} x {shape[0]} pixels",
            )
        made[box.top : box.bottom, box.left : box.right] = True
    return made


def kept(picture: Pixels, new: Pixels, context: EditContext) -> Pixels:
    """The new picture, with the old one's pixels where they are protected."""
    if context.protected is None or not context.protected.any():
        return new
    return np.where(context.protected[..., None], picture, new)
