"""A plan: edits in their order, as one thing that is applied, searched, written and read.

plan = EditPlan((Exposure(0.2), Crop(keep=0.9), FaceMove.neutral(("smile",), 1)))
done = plan.apply(picture, context)        # done.picture, done.context, done.skipped
plan.bounds(), plan.neutral()              # float64 [K, 2], [K]: what a search may choose
plan.with_values(vector)                   # the same plan, otherwise set
EditPlan.of_json(plan.to_json()) == plan
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.creative.editor.edits.background import BackgroundBlur
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.framing import Crop
from adwright.creative.editor.edits.knobs import Knob
from adwright.creative.editor.edits.text import TextOverlay
from adwright.creative.editor.edits.tones import Contrast, Exposure, Saturation, Temperature

__all__ = ["AnyEdit", "EditPlan", "EditedPicture", "SkippedEdit"]

#: Every edit that there is; JSON names it by its `kind`.
AnyEdit = (
    Exposure | Contrast | Saturation | Temperature | Crop | BackgroundBlur | TextOverlay | FaceMove
)

_MOST_EDITS = 32


@dataclass(frozen=True)
class SkippedEdit:
    """An edit that could not be done. at: its number in the plan."""

    at: int
    kind: str
    why: str


@dataclass(frozen=True, eq=False)
class EditedPicture:
    """picture: uint8 [H, W, 3]. context: of it. skipped: edits that left it as it was."""

    picture: NDArray[np.uint8]
    context: EditContext
    skipped: tuple[SkippedEdit, ...] = ()


@dataclass(frozen=True)
class EditPlan:
    """edits: at most 32, done one after the other."""

    edits: tuple[AnyEdit, ...] = ()

    def __post_init__(self) -> None:
        if len(self.edits) > _MOST_EDITS:
            raise ConfigError(
                f"{len(self.edits)} edits are too many", where="EditPlan.edits", hint="32 at most"
            )

    def knobs(self) -> tuple[Knob, ...]:
        """All K knobs, edit by edit; names begin with the edit's number and kind."""
        return tuple(
            Knob(f"{at} {edit.kind} {knob.name}", knob.low, knob.high, knob.neutral)
            for at, edit in enumerate(self.edits)
            for knob in edit.knobs()
        )

    def bounds(self) -> NDArray[np.float64]:
        """float64 [K, 2]: lowest and highest value of each knob."""
        return np.array([(knob.low, knob.high) for knob in self.knobs()]).reshape(-1, 2)

    def neutral(self) -> NDArray[np.float64]:
        """float64 [K]: the values that change nothing. Of a text, its opacity decides."""
        return np.array([knob.neutral for knob in self.knobs()], float)

    def values(self) -> NDArray[np.float64]:
        """float64 [K]: the values as they are."""
        return np.array([value for edit in self.edits for value in edit.values()], float)

    def with_values(self, vector: Sequence[float] | NDArray[np.float64]) -> EditPlan:
        """The same plan with these K values. Raises ConfigError for fewer, more, or others than
        the bounds allow."""
        rest = [float(value) for value in vector]
        counts = [len(edit.knobs()) for edit in self.edits]
        if len(rest) != sum(counts):
            raise ConfigError(
                f"{len(rest)} values for {sum(counts)} knobs", where="vector", hint="see knobs()"
            )
        made: list[Any] = []
        begin = 0
        for edit, many in zip(self.edits, counts, strict=True):
            made.append(edit.with_values(rest[begin : begin + many]))
            begin += many
        return EditPlan(tuple(made))

    def apply(
        self, picture: NDArray[np.uint8], context: EditContext | None = None
    ) -> EditedPicture:
        """The picture uint8 [H, W, 3] with all edits that can be done. Raises DataError where the
        context belongs to a picture of another size."""
        context = context or EditContext()
        context.require_size_of(picture)
        made, skipped = picture.copy(), []
        for at, edit in enumerate(self.edits):
            why = edit.why_not(made, context)
            if why:
                skipped.append(SkippedEdit(at, edit.kind, why))
                continue
            made, context = edit.apply(made, context), edit.followed(made, context)
        return EditedPicture(made, context, tuple(skipped))

    def face_moves(self) -> tuple[FaceMove, ...]:
        """Those of its edits that move faces, and change one."""
        found = (edit for edit in self.edits if isinstance(edit, FaceMove))
        return tuple(edit for edit in found if not edit.is_neutral())

    def without_faces(self) -> EditPlan:
        """The same plan but for all moves of faces."""
        return EditPlan(tuple(edit for edit in self.edits if not isinstance(edit, FaceMove)))

    @property
    def digest(self) -> str:
        """SHA-256 of what it does."""
        return content_hash(to_jsonable(self))

    def to_json(self) -> str:
        """As JSON that `of_json` reads."""
        return json.dumps(to_jsonable(self), ensure_ascii=False)

    @classmethod
    def of_json(cls, text: str, *, source: str = "plan") -> EditPlan:
        """The plan of a JSON text. source: its name, for errors.

        Raises ConfigError where it is no JSON, or an edit is none that there is, or out of bounds.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"it is no JSON: {error}", where=source) from error
        if not isinstance(values, dict):
            raise ConfigError("it is no JSON object", where=source, hint='{"edits": [...]}')
        return from_jsonable(cls, values, source=source)
