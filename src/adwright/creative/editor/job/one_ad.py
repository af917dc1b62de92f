"""One ad of a job: looked at, searched, judged, and edited where that is better.

    done = edit_ad(ad, tools, job)
    done.outcome.status, done.outcome.reason, done.data

1  The picture is opened, and what is protected is laid over it; an animation is refused, since an
   edit would keep its first picture alone.
2  The guard is asked about the ad's words, and those that are laid over it. Where faces may be
   moved, it is asked about each, see `faces_of_ad`: one without consent stays, the rest goes on.
3  Plans are searched on a copy of at most `side` pixels, by the judges on the edited copy.
4  What was found is done to the whole picture, and judged again there, by the second judge too.
5  It is kept where it is better by the lower bound, see `settings`; else the ad stays as it is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError, DataError, FileUnreadableError
from adwright.core.hashing import sha256_file
from adwright.creative.editor.edited_file import FileEditor, opened_picture
from adwright.creative.editor.edits.context import EditContext
from adwright.creative.editor.edits.face_moves import FaceMove
from adwright.creative.editor.edits.plan import EditPlan
from adwright.creative.editor.guards.guard import EditRequest, GuardVerdict
from adwright.creative.editor.job.asked_judges import AskedJudges, JudgesOfAd
from adwright.creative.editor.job.decision import decide
from adwright.creative.editor.job.face_model import FaceTools
from adwright.creative.editor.job.faces_of_ad import FacesOfAd, faces_of_ad
from adwright.creative.editor.job.outcome import AdOutcome, KeptFront, with_found
from adwright.creative.editor.job.protected import ProtectedRegions
from adwright.creative.editor.job.searching import search_plan
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.job.shrunk import ShrunkPicture, shrunk
from adwright.creative.editor.provenance.label import labelled
from adwright.creative.editor.search.fitness import Weighted
from adwright.creative.editor.search.pareto import EditFront
from adwright.creative.editor.search.picture_judge import Pixels
from adwright.creative.editor.search.population import squeezed
from adwright.creative.editor.search.result import FoundEdit, JudgedChange, judged_change
from adwright.creative.records.seeing.opening.media import is_animation, opened_media
from adwright.creative.records.verbal.record import AdRecord

__all__ = ["AdToEdit", "EditedAd", "JobTools", "checked_ad", "edit_ad", "noted_faces"]


@dataclass(frozen=True)
class AdToEdit:
    """id: of the ad. path: of its picture. record: of it."""

    id: str
    path: Path
    record: AdRecord


@dataclass(frozen=True, eq=False)
class JobTools:
    """judges: that are asked. editor: makes the files. regions: that stay. faces: None where no
    face is moved."""

    judges: AskedJudges
    editor: FileEditor
    clock: Clock
    regions: ProtectedRegions = field(default_factory=ProtectedRegions)
    faces: FaceTools | None = None


@dataclass(frozen=True, eq=False)
class EditedAd:
    """outcome: of the ad; its `output` is still to be filled in. data: of the file, None where
    there is none. found: what the search found."""

    outcome: AdOutcome
    data: bytes | None = field(default=None, repr=False)
    found: FoundEdit | None = None


def edit_ad(
    ad: AdToEdit, tools: JobTools, job: EditJob, *, cpu: Callable[[], float] = time.process_time
) -> EditedAd:
    """Edit one ad, or say why it stays as it is. cpu: tells CPU-seconds.

    What is wrong with the ad itself (a file that cannot be read, a box outside it) becomes an
    outcome that says so; what is wrong with all (a key that cannot sign, a judge that gives no
    number, a broken log, a full disk) is raised.
    """
    blank = AdOutcome(ad.id, str(ad.path), "", "failed", "")
    try:
        blank = replace(blank, sha256=sha256_file(ad.path))
        picture, mask = _opened(ad, tools.regions)
    except (AdwrightError, OSError) as error:
        return EditedAd(replace(blank, reason=f"it cannot be read: {error}"))
    context = _context(picture, mask, tools, job)
    words = tools.editor.guard.verdict(
        EditRequest(picture, job.plan(), context, ad.record.text), tools.clock.now()
    )
    if not words.allowed:
        return EditedAd(_refused(blank, words))
    faces = _faces(picture, context, ad, tools, job)
    if not faces.plan.edits:
        return EditedAd(
            replace(blank, status="refused", reason="no edit is allowed of it", notes=faces.notes)
        )
    context, judges = faces.context, tools.judges.of(ad.record)
    small = shrunk(picture, context, side=job.side)
    further, allowed = _limits(picture, small, faces, ad, tools, job)
    searched = search_plan(small, faces.plan, judges, job, further, allowed, cpu=cpu)
    found, others = _judged(picture, context, searched.found, judges, job)
    outcome = replace(
        with_found(blank, found), others=others, notes=faces.notes, front=_kept(searched.front)
    )
    decision = decide(found, job)
    if not decision.kept:
        left = replace(outcome, status="unchanged", reason=decision.reason)
        return EditedAd(left, found=found)
    try:
        made = tools.editor.edited(
            ad.path,
            found.plan,
            text=ad.record.text,
            protected=mask if mask is not None else (),
            places=context.places or None,
            form=job.form,
            title=ad.id,
        )
    except DataError:
        if why := _unsaid(found):
            return EditedAd(replace(outcome, status="refused", reason=why), found=found)
        raise
    if made.data is None or made.record is None:
        return EditedAd(_refused(outcome, made.verdict), found=found)
    done = replace(outcome, status="edited", reason=decision.reason, seal=made.seal)
    return EditedAd(done, made.data, found)


def checked_ad(ad: AdToEdit, tools: JobTools, job: EditJob) -> str:
    """Why an ad would not be edited, as far as is known before a search; empty where it would."""
    try:
        picture, mask = _opened(ad, tools.regions)
    except (AdwrightError, OSError) as error:
        return str(error)
    request = EditRequest(picture, job.plan(), EditContext(mask), ad.record.text)
    refusals = tools.editor.guard.verdict(request, tools.clock.now()).refusals
    return "; ".join(f"{one.code}: {one.reason}" for one in refusals)


def noted_faces(ad: AdToEdit, tools: JobTools, job: EditJob) -> tuple[str, ...]:
    """Which faces of an ad would stay, and why; empty where none would, or none is to be moved.
    Raises as the file's opening."""
    picture, mask = _opened(ad, tools.regions)
    return _faces(picture, EditContext(mask), ad, tools, job).notes


def _opened(ad: AdToEdit, regions: ProtectedRegions) -> tuple[Pixels, NDArray[np.bool_] | None]:
    with opened_media(ad.path) as media:
        if is_animation(media):
            raise FileUnreadableError(
                "it is an animation, of which an edit would keep one picture",
                file=str(ad.path),
                hint="give the picture that is to be edited",
            )
    _, picture = opened_picture(ad.path)
    return picture, regions.mask(ad.id, picture.shape)


def _context(
    picture: Pixels, mask: NDArray[np.bool_] | None, tools: JobTools, job: EditJob
) -> EditContext:
    editor = tools.editor
    subject = None
    if "background_blur" in job.edits and editor.subject is not None:
        subject = editor.subject.share(picture)
    return EditContext(mask, subject)


def _faces(
    picture: Pixels, context: EditContext, ad: AdToEdit, tools: JobTools, job: EditJob
) -> FacesOfAd:
    """The edits that are searched, of faces too where the job moves them."""
    plain = job.plan()
    if tools.faces is None or "faces" not in job.edits:
        return FacesOfAd(plain, context)
    now, text = tools.clock.now(), ad.record.text
    return faces_of_ad(picture, context, plain, text, tools.faces, tools.editor.guard, now)


def _limits(
    picture: Pixels,
    small: ShrunkPicture,
    found: FacesOfAd,
    ad: AdToEdit,
    tools: JobTools,
    job: EditJob,
) -> tuple[tuple[Weighted, ...], Callable[[EditPlan], bool] | None]:
    """Penalties of moves of faces, and what the guard says of directions while it is searched."""
    moves = [edit for edit in found.plan.edits if isinstance(edit, FaceMove)]
    if tools.faces is None or not moves:
        return (), None
    many = len(moves[0].amounts)
    request = EditRequest(picture, found.plan, found.context, ad.record.text)
    guard, places = tools.editor.guard, small.context.places[:many]
    drifted = [trace.drift for trace in guard.traces(request)]
    penalties = tools.faces.penalties(small.picture, places, job, drifted=drifted)
    return penalties, guard.directions_allow(request)


def _judged(
    picture: Pixels, context: EditContext, found: FoundEdit, judges: JudgesOfAd, job: EditJob
) -> tuple[FoundEdit, tuple[JudgedChange, ...]]:
    """What the search found, done to the whole picture and judged there; and what the further
    objectives say of it."""
    done = found.plan.apply(picture, context)
    pair = np.stack([picture, squeezed(done.picture, (picture.shape[0], picture.shape[1]))])
    changes = [judged_change(judge, pair, coverage=job.coverage) for judge in judges.objectives]
    second = judges.second
    whole = replace(
        found,
        original=picture,
        done=done,
        first=changes[0],
        second=None if second is None else judged_change(second, pair, coverage=job.coverage),
    )
    return whole, tuple(changes[1:])


def _unsaid(found: FoundEdit) -> str:
    """Why an edit that moves a face cannot say so; empty where it can, or moves none."""
    if not found.plan.face_moves():
        return ""
    try:
        labelled(found.done.picture, found.done.context)
    except DataError as error:
        return f"A moved face has to be said in the picture: {error.what}"
    return ""


def _kept(front: EditFront | None) -> KeptFront | None:
    if front is None:
        return None
    values = tuple(tuple(map(float, row)) for row in front.values)
    return KeptFront(front.names, values, tuple(map(float, front.unedited)), front.calls)


def _refused(blank: AdOutcome, verdict: GuardVerdict) -> AdOutcome:
    told = tuple(f"{one.code}: {one.reason}" for one in verdict.refusals)
    return replace(
        blank, status="refused", reason="The guard refuses it: " + "; ".join(told), refusals=told
    )
