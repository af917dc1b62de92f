"""A drawn scene with faces whose places are known, and a mover of faces that says what it does."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from adwright.creative.editor.edit_kinds import EditContext, ProtectedBox, protected_mask
from adwright.creative.faces.aligning import FacePlace
from tests.support.creative.drawn_ads import Shot, drawn

#: Of a logo and a legal line, in the scene of 320 x 240.
BOXES = (ProtectedBox(4, 4, 44, 24, "logo"), ProtectedBox(60, 220, 300, 236, "legal"))
PLACES = (FacePlace.of_box(70, 60, 118, 108), FacePlace.of_box(200, 90, 248, 138))


#: Directions of a made-up space of 8 dimensions, by which the mover's names are known.
VECTORS = {
    "smile": np.eye(8)[0],
    "gaze": np.eye(8)[1],
    "pose": np.eye(8)[2],
    # Lean to the same locked direction, age, by little enough each.
    "glow": 0.96 * np.eye(8)[3] + 0.28 * np.eye(8)[5],
    "calm": -0.96 * np.eye(8)[3] + 0.28 * np.eye(8)[5],
    "age": np.eye(8)[5],
    "feminine": np.eye(8)[4],
}
LOCKED = {"gender": np.eye(8)[4], "age": np.eye(8)[5], "skin": np.eye(8)[6]}


@dataclass(frozen=True)
class ShadeMover:
    """Moves a crop by adding 40 grey levels times each amount: of its first, third ... name to red,
    of the second, fourth ... to blue."""

    names: tuple[str, ...] = ("smile", "gaze")
    side: int = 32

    def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
        """uint8 [N, 32, 32, 3]; see the class."""
        shift = np.zeros((len(crops), 1, 1, 3))
        shift[:, 0, 0, 0], shift[:, 0, 0, 2] = (
            40 * amounts[:, ::2].sum(1),
            40 * amounts[:, 1::2].sum(1),
        )
        return np.clip(crops + shift, 0, 255).astype(np.uint8)

    def vector(self, name: str) -> np.ndarray:
        """float64 [8]: of `VECTORS`."""
        return VECTORS[name]


def scene() -> np.ndarray:
    """uint8 [240, 320, 3]: a coloured ground with grain, two faces drawn, a logo, a legal line."""
    made = np.asarray(drawn(Shot("steelblue", "peru"), (320, 240))).astype(int)
    made += np.random.default_rng(0).integers(-12, 13, made.shape)
    for place in PLACES:
        left, top, right, bottom = place.pixels(made.shape)
        made[top:bottom, left:right] = [205, 160, 130]
    for box in BOXES:
        made[box.top : box.bottom, box.left : box.right] = [250, 250, 20]
    return np.clip(made, 0, 255).astype(np.uint8)


def scene_context(*, protected: bool = True) -> EditContext:
    """The context of the scene; the faces are its subject."""
    shape = (240, 320)
    subject = np.zeros(shape, np.float32)
    for place in PLACES:
        left, top, right, bottom = place.pixels(shape)
        subject[top:bottom, left:right] = 1
    mask = protected_mask(BOXES, shape) if protected else None
    return EditContext(mask, subject, PLACES, ShadeMover(), "feather")
