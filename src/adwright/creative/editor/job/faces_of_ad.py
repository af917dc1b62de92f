"""Which faces of an ad may be moved, and of every other one why it stays.

    found = faces_of_ad(picture, context, job.plan(), text, tools, guard, now)
    found.plan, found.context, found.notes

Faces are those that the aligner finds, and those that the consent manifest names by a box in this
very picture where it finds none: a drawing has a face that no detector of people sees. Each is
asked about by itself, so one without consent stays and the others are moved. None is passed over
in silence: what the aligner saw and did not take, what is covered by what stays, and what the guard
refuses is a note. Where there is no room for the label of a moved face, none is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from adwright.core.errors import DataError
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.guards.guard import EditGuard, EditRequest
from adwright.creative.editor.job.face_model import FaceTools
from adwright.creative.editor.provenance.hashes import Box, overlap, picture_hash
from adwright.creative.editor.provenance.label import labelled
from adwright.creative.editor.search.picture_judge import Pixels
from adwright.creative.faces.aligning import FacePlace
from adwright.creative.faces.pasting import face_mask

__all__ = ["FacesOfAd", "faces_of_ad"]

_PROBE, _SAME = 0.05, 0.5
#: Fewer pixels that may change are no face, as for `paste.pasted`.
_LEAST_PIXELS = 16


@dataclass(frozen=True, eq=False)
class FacesOfAd:
    """plan: the edits that are searched, with a move of the faces that may be moved. context: of
    the picture, with these faces at its head. notes: of the other faces, why they stay."""

    plan: EditPlan
    context: EditContext
    notes: tuple[str, ...] = ()


def faces_of_ad(
    picture: Pixels,
    context: EditContext,
    plain: EditPlan,
    text: str,
    tools: FaceTools,
    guard: EditGuard,
    now: datetime,
) -> FacesOfAd:
    """See the module. picture: uint8 [H, W, 3], context: of it. plain: the edits without faces.
    text: all words of the ad."""
    places, notes = _places(picture, tools)
    context = replace(context, places=places, mover=tools.opened.mover)
    if not places:
        return FacesOfAd(plain, context, (*notes, "no face was found that could be moved"))
    if unsaid := _unlabelled(picture, context):
        return FacesOfAd(plain, context, (*notes, f"no face is moved: {unsaid}"))
    names = tools.opened.named.names
    free: list[FacePlace] = []
    left: list[FacePlace] = []
    for face, place in enumerate(places):
        amounts = [(0.0,) * len(names)] * face + [(_PROBE, *(0.0,) * (len(names) - 1))]
        probe = EditPlan((FaceMove(names, tuple(amounts)),))
        verdict = guard.verdict(EditRequest(picture, probe, context, text), now)
        why = [one.reason for one in verdict.refusals] + _covered(picture, context, place)
        (left if why else free).append(place)
        notes += [f"face {face} stays: {one}" for one in why]
    if not free:
        return FacesOfAd(plain, context, tuple(notes))
    move = FaceMove.neutral(names, len(free))
    ordered = replace(context, places=(*free, *left))
    return FacesOfAd(EditPlan((move, *plain.edits)), ordered, tuple(notes))


def _places(picture: Pixels, tools: FaceTools) -> tuple[tuple[FacePlace, ...], list[str]]:
    """Where faces are, and what the aligner saw and did not take."""
    seen = tools.aligner.aligned(picture, 8)
    places = [face.place for face in seen.faces]
    known = [place.pixels(picture.shape) for place in places]
    notes = []
    for one in seen.skipped:
        box = FacePlace.of_box(*one.box).pixels(picture.shape)
        notes.append(f"a face at {list(box)} stays: it is {one.reason}, {one.detail}")
        # What was seen and is too small or cut off stays so, whatever the manifest says.
        known += [box] if one.reason != "unsure" else []
    named = tools.manifest.boxes(picture_hash(picture))
    places += [FacePlace.of_box(*box) for box in _apart(named, known, picture.shape)]
    return tuple(places), notes


def _apart(boxes: tuple[Box, ...], known: list[Box], shape: tuple[int, ...]) -> Iterator[Box]:
    """Those that lie in the picture, and overlap no known one, nor one before."""
    seen = list(known)
    for box in boxes:
        inside = 0 <= box[0] < box[2] <= shape[1] and 0 <= box[1] < box[3] <= shape[0]
        if inside and max((overlap(box, one) for one in seen), default=0.0) < _SAME:
            seen.append(box)
            yield box


def _unlabelled(picture: Pixels, context: EditContext) -> str:
    """Why a picture with a moved face could not say so; empty where it can."""
    try:
        labelled(picture, context)
    except DataError as error:
        return error.what
    return ""


def _covered(picture: Pixels, context: EditContext, place: FacePlace) -> list[str]:
    if context.protected is None:
        return []
    left = face_mask(place, picture.shape, shrink=context.paste.shrink) & ~context.protected
    return [] if left.sum() >= _LEAST_PIXELS else ["what is protected covers it"]
