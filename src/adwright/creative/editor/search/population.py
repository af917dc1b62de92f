"""Plans of a whole population, applied to one picture: what judges and penalties look at.

    batch = edited_batch(plan, vectors, picture, context)
    batch.pictures          # uint8 [N, H, W, 3], all of one size

Edits go step by step over the population, so that a model of faces is asked once a step, about the
faces of all, and not once a plan. A picture that another frame made smaller is squeezed to the size
of the original, as encoders of pictures squeeze it anyway (our choice).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from adwright.core.errors import DataError, MissingExtraError
from adwright.creative.editor.edits.context import EditContext, kept
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import AnyEdit, EditedPicture, EditPlan, SkippedEdit
from adwright.creative.editor.edits.tones import TONES

__all__ = ["EditedBatch", "applied_to_all", "edited_batch", "squeezed"]

#: Values of pictures that are edited together: beyond it, memory costs more than calls.
_MOST_VALUES = 1 << 20
Pixels = NDArray[np.uint8]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class EditedBatch:
    """N edited pictures of one. original: uint8 [H0, W0, 3], of context. plans, done: of each.
    pictures: uint8 [N, H, W, 3], squeezed. unedited: uint8 [H, W, 3], the original, squeezed."""

    original: Pixels
    context: EditContext
    plans: tuple[EditPlan, ...]
    done: tuple[EditedPicture, ...]
    pictures: Pixels
    unedited: Pixels

    def __len__(self) -> int:
        """N."""
        return len(self.plans)


def edited_batch(
    plan: EditPlan,
    vectors: Floats,
    picture: Pixels,
    context: EditContext | None = None,
    *,
    size: tuple[int, int] | None = None,
) -> EditedBatch:
    """The picture, edited by the plan with each of the vectors [N, K].

    size: height and width of what is judged; the picture's by default. Raises as `with_values` and
    `apply` of a plan.
    """
    context = context or EditContext()
    plans = tuple(plan.with_values(vector) for vector in vectors)
    done = applied_to_all(plans, picture, context)
    shape = picture.shape[:2] if size is None else size
    pictures = np.empty((len(done), *shape, 3), np.uint8)
    for at, one in enumerate(done):
        pictures[at] = squeezed(one.picture, shape)
    return EditedBatch(picture, context, plans, done, pictures, squeezed(picture, shape))


def applied_to_all(
    plans: Sequence[EditPlan], picture: Pixels, context: EditContext
) -> tuple[EditedPicture, ...]:
    """What `EditPlan.apply` makes of each plan; plans are of the same edits, otherwise set.

    Raises DataError where they are not, and where the context belongs to another picture.
    """
    context.require_size_of(picture)
    kinds = {tuple(edit.kind for edit in plan.edits) for plan in plans}
    if len(kinds) > 1:
        raise DataError("the plans have different edits", hint="pass one plan, otherwise set")
    made: list[tuple[Pixels, EditContext]] = [(picture.copy(), context) for _ in plans]
    skipped: list[list[SkippedEdit]] = [[] for _ in plans]
    for step in range(len(plans[0].edits) if plans else 0):
        edits = [plan.edits[step] for plan in plans]
        free = []
        for at, edit in enumerate(edits):
            why = edit.why_not(*made[at])
            if why:
                skipped[at].append(SkippedEdit(step, edit.kind, why))
            elif not edit.is_neutral() or not isinstance(edit, FaceMove):
                free.append(at)
        moves = {at: edit for at in free if isinstance(edit := edits[at], FaceMove)}
        new = {**_moved(moves, made), **_toned(edits, free, made)}
        for at in free:
            edit, (before, where) = edits[at], made[at]
            after = new[at] if at in new else edit.apply(before, where)
            made[at] = after, edit.followed(before, where)
    return tuple(
        EditedPicture(one, where, tuple(left))
        for (one, where), left in zip(made, skipped, strict=True)
    )


def _toned(
    edits: Sequence[AnyEdit], free: Sequence[int], made: Sequence[tuple[Pixels, EditContext]]
) -> dict[int, Pixels]:
    """Of each plan the picture in another tone, all at once, where pictures are small and alike."""
    busy = [at for at in free if not edits[at].is_neutral()]
    if len(busy) < 2 or not isinstance(tone := edits[busy[0]], TONES):
        return {}
    before = [made[at][0] for at in busy]
    if len({one.shape for one in before}) > 1 or len(busy) * before[0].size > _MOST_VALUES:
        return {}
    values = np.array([edits[at].values()[0] for at in busy])
    after = tone.over(values, np.stack(before))
    return {
        at: kept(old, new, made[at][1]) for at, old, new in zip(busy, before, after, strict=True)
    }


def _moved(moves: dict[int, FaceMove], made: list[tuple[Pixels, EditContext]]) -> dict[int, Pixels]:
    """Of each plan that moves faces the picture, by one call of the mover for all of them."""
    asked = {at: edit.to_move(*made[at]) for at, edit in moves.items()}
    found = {at: one for at, one in asked.items() if one is not None}
    if not found:
        return {}
    mover = next(iter(made))[1].mover
    if mover is None:
        return {}
    crops = np.concatenate([one.crops for one in found.values()])
    moved = mover.moved(crops, np.concatenate([one.amounts for one in found.values()]))
    back: dict[int, Pixels] = {}
    begin = 0
    for at, one in found.items():
        end = begin + len(one.faces)
        back[at] = moves[at].put_back(*made[at], one, moved[begin:end])
        begin = end
    return back


def squeezed(picture: Pixels, shape: tuple[int, int]) -> Pixels:
    """The picture uint8 [H, W, 3] at the size (height, width), its sides stretched as needed."""
    if picture.shape[:2] == tuple(shape):
        return picture
    try:
        import cv2
    except ImportError as error:
        raise MissingExtraError("edits of pictures", "creative") from error
    smaller = picture.shape[0] * picture.shape[1] > shape[0] * shape[1]
    way = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (shape[1], shape[0]), interpolation=way), np.uint8)
