"""Faces moved along named directions, and put back.

    FaceMove(("smile",), amounts=((0.5,), (0.0,)))      # the first of two faces smiles more

The context's `places` say where the faces are, its `mover` moves their crops. Bounds are AdSEE's:
-1.5 to 1.5. Whether a face may be moved at all, and along what, is for the guard to say, see
`editor.guards`; an edit does not ask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError
from adwright.creative.editor.edits.context import EditContext, kept
from adwright.creative.editor.edits.knobs import Knob, PictureEdit, check_values
from adwright.creative.faces.aligning import AlignedFace, cut_at
from adwright.creative.faces.pasting import pasted

__all__ = ["FaceMove", "FacesToMove"]

Pixels = NDArray[np.uint8]
_MOST = 1.5


@dataclass(frozen=True, eq=False)
class FacesToMove:
    """N faces cut out of a picture. amounts: float64 [N, K], of all directions of the mover."""

    faces: tuple[AlignedFace, ...]
    amounts: NDArray[np.float64]

    @property
    def crops(self) -> Pixels:
        """uint8 [N, side, side, 3]: what the mover is asked to move."""
        return np.stack([face.crop for face in self.faces])


@settings
class FaceMove(PictureEdit):
    """names: of K directions. amounts: of each of N faces, K numbers."""

    names: tuple[str, ...]
    amounts: tuple[tuple[float, ...], ...]
    kind: Literal["face_move"] = "face_move"

    def __post_init__(self) -> None:
        if not self.names or len(set(self.names)) != len(self.names):
            raise ConfigError(
                "directions are missing or named twice", where="FaceMove.names", hint="name each"
            )
        if not self.amounts or any(len(one) != len(self.names) for one in self.amounts):
            raise ConfigError(
                f"a face has not {len(self.names)} amounts",
                where="FaceMove.amounts",
                hint="pass one tuple a face, with one number a direction",
            )
        check_values(self)

    @classmethod
    def neutral(cls, names: Sequence[str], faces: int) -> FaceMove:
        """The move of so many faces that changes none."""
        return cls(tuple(names), tuple((0.0,) * len(names) for _ in range(faces)))

    def knobs(self) -> tuple[Knob, ...]:
        return tuple(
            Knob(f"face {at} {name}", -_MOST, _MOST)
            for at in range(len(self.amounts))
            for name in self.names
        )

    def values(self) -> tuple[float, ...]:
        return tuple(float(value) for one in self.amounts for value in one)

    def with_values(self, values: Sequence[float]) -> FaceMove:
        many = len(self.names)
        if len(values) != many * len(self.amounts):
            raise ConfigError(
                f"{len(values)} values for {many * len(self.amounts)} knobs",
                where="FaceMove",
                hint="pass K numbers of each face",
            )
        rows = [tuple(map(float, values[at : at + many])) for at in range(0, len(values), many)]
        return replace(self, amounts=tuple(rows))

    def is_neutral(self) -> bool:
        return not self.moved_faces

    @property
    def moved_faces(self) -> tuple[int, ...]:
        """Numbers of the faces that it changes."""
        return tuple(at for at, one in enumerate(self.amounts) if any(one))

    def why_not(self, picture: Pixels, context: EditContext) -> str:
        if self.is_neutral():
            return ""
        if context.mover is None:
            return "there is no model of faces: the context has no mover"
        if len(self.amounts) > len(context.places):
            return f"{len(self.amounts)} faces are moved, and {len(context.places)} are known"
        unknown = [name for name in self.names if name not in context.mover.names]
        if unknown:
            return f"the model knows no direction {unknown[0]!r}"
        places = tuple(context.places[at] for at in self.moved_faces)
        cut = cut_at(picture, places, 8)
        return f"a face is {cut.skipped[0].reason}: {cut.skipped[0].detail}" if cut.skipped else ""

    def to_move(self, picture: Pixels, context: EditContext) -> FacesToMove | None:
        """The faces that it moves, cut out, for a mover that is asked about many pictures at once;
        None where it changes nothing."""
        mover = context.mover
        if self.is_neutral() or mover is None or self.why_not(picture, context):
            return None
        places = tuple(context.places[at] for at in self.moved_faces)
        faces = cut_at(picture, places, mover.side).faces
        told = np.zeros((len(faces), len(mover.names)))
        for row, at in enumerate(self.moved_faces):
            for name, amount in zip(self.names, self.amounts[at], strict=True):
                told[row, mover.names.index(name)] = amount
        return FacesToMove(tuple(faces), told)

    def put_back(
        self, picture: Pixels, context: EditContext, asked: FacesToMove, moved: Pixels
    ) -> Pixels:
        """The picture with the faces that the mover made of `asked.crops`. Raises DataError for
        crops of another shape."""
        if moved.shape != asked.crops.shape:
            raise DataError(
                f"the model of faces gave crops of shape {moved.shape}",
                hint=f"{asked.crops.shape}",
            )
        back = pasted(picture, asked.faces, moved, context.paste, protected=context.protected)
        return kept(picture, back.picture, context)

    def apply(self, picture: Pixels, context: EditContext) -> Pixels:
        context.require_size_of(picture)
        asked = self.to_move(picture, context)
        if asked is None or context.mover is None:
            return picture.copy()
        moved = context.mover.moved(asked.crops, asked.amounts)
        return self.put_back(picture, context, asked, moved)
