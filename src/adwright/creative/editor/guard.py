"""The guard: every edit passes it before anything is changed, and after.

    guard = EditGuard(rules, manifest=manifest, ages=ages, drift=drift, log=log)
    verdict = guard.verdict(request, now)         # what is refused, and why; nothing is changed
    done = guard.edited(request, clock, approver="Ada", model="faces-1")

What it asks, in this order; all refusals are given, not only the first:

    1  words of the ad, and of each text that is laid over it: politics and health claims
    2  of each face that is moved: a consent entry that has not ended, and an adult
    3  that no other face lies under what is changed, unless it has consent too
    4  directions: on the list, not locked, not renamed, also as a mixture, with all that the log
       says the face was moved before
    5  after the edit: drift of estimated attributes, of the moves of faces alone

Without a manifest no face is moved; what needs none is offered instead. The log makes an edit of an
edit known: the consent of the first picture holds for it, and what was moved before counts. A
picture that neither the manifest nor the log knows is a stranger's, whoever cut out its statement.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.errors import DataError
from adwright.creative.editor.edit_kinds import EditContext
from adwright.creative.editor.edit_log import EditLog, EditRecord, MovedFace, Trace
from adwright.creative.editor.edit_plan import EditedPicture, EditPlan, TextOverlay
from adwright.creative.editor.guard_rules import (
    AgeCheck,
    ConsentEntry,
    ConsentManifest,
    DirectionRules,
    DriftCheck,
    Refusal,
    crop_hash,
    forbidden_words,
)
from adwright.creative.editor.provenance import Box, overlap, picture_hash
from adwright.creative.faces.aligning import FacePlace
from adwright.creative.faces.pasting import face_mask

_SAME = 0.5
_CROP = 64


@dataclass(frozen=True, eq=False)
class EditRequest:
    """picture: uint8 [H, W, 3]. context: of it. plan: what is asked for. text: all words of the ad.
    found: places of all faces in the picture, also of those that nobody wants to move."""

    picture: NDArray[np.uint8]
    plan: EditPlan
    context: EditContext = field(default_factory=EditContext)
    text: str = ""
    found: tuple[FacePlace, ...] = ()


@dataclass(frozen=True)
class GuardVerdict:
    """refusals: empty where the edit may be made. offered: the plan without moves of faces, where
    these alone are refused. consents: of each face that is moved, the hash of its entry."""

    refusals: tuple[Refusal, ...]
    offered: EditPlan | None = None
    consents: Mapping[int, str] = field(default_factory=dict)

    @property
    def allowed(self) -> bool:
        """Whether nothing is refused."""
        return not self.refusals


@dataclass(frozen=True, eq=False)
class GuardedEdit:
    """done: None where it was refused. seal: of the log's entry, empty without a log."""

    verdict: GuardVerdict
    done: EditedPicture | None = None
    record: EditRecord | None = None
    seal: str = ""


@dataclass(frozen=True, eq=False)
class EditGuard:
    """See the module. manifest: None allows no face. drift: None measures none. log: None knows no
    earlier edits, so an edit of an edit has no consent. finder: finds the faces of a picture, such
    as `FaceAligner.places`, so that a request is not believed that leaves one out."""

    rules: DirectionRules
    manifest: ConsentManifest | None = None
    ages: AgeCheck = field(default_factory=AgeCheck)
    drift: DriftCheck | None = None
    log: EditLog | None = None
    finder: Callable[[NDArray[np.uint8]], Sequence[FacePlace]] | None = None

    def verdict(self, request: EditRequest, now: datetime) -> GuardVerdict:
        """What is refused of a request, before anything is changed.

        Raises DataError where the context belongs to another picture.
        """
        request.context.require_size_of(request.picture)
        words = _words(request)
        moved = _moves(request.plan)
        refusals: list[Refusal] = list(words)
        consents: dict[int, str] = {}
        if moved and self.manifest is None:
            refusals.append(Refusal("no_manifest", "there is no consent manifest"))
        elif moved:
            of_faces, consents = self._of_faces(request, moved, now)
            refusals += of_faces
        offered = None
        if moved and refusals and not words:
            offered = request.plan.without_faces()
        return GuardVerdict(tuple(refusals), offered, consents)

    def edited(
        self,
        request: EditRequest,
        clock: Clock,
        *,
        approver: str,
        model: str = "",
        finish: Callable[[EditedPicture], NDArray[np.uint8]] | None = None,
    ) -> GuardedEdit:
        """The edit, made where it may be, measured, and sealed in the log.

        finish: makes of the edited picture the one that is kept, of the same size: with a label, or
        as a file that loses something gives it back. The log knows that one. Raises as `verdict`
        and `EditLog.append`; where the log refuses, there is no edit either.
        """
        verdict = self.verdict(request, clock.now())
        if not verdict.allowed:
            return GuardedEdit(verdict)
        done = request.plan.apply(request.picture, request.context)
        skipped = {one.at for one in done.skipped}
        made = [edit for at, edit in enumerate(request.plan.edits) if at not in skipped]
        moved = _moves(EditPlan(tuple(made)))
        drifts, refusals = self._drifts(request, done, moved)
        if refusals:
            return GuardedEdit(GuardVerdict(refusals, None, verdict.consents))
        if finish is not None:
            done = replace(done, picture=finish(done))
            done.context.require_size_of(done.picture)
        faces = tuple(
            MovedFace(
                before.pixels(request.picture.shape),
                after.pixels(done.picture.shape),
                dict(moved.get(at, {})),
                drifts.get(at, {}),
                verdict.consents.get(at, ""),
            )
            for at, (before, after) in enumerate(
                zip(request.context.places, done.context.places, strict=True)
            )
        )
        record = EditRecord(
            picture_hash(request.picture),
            picture_hash(done.picture),
            request.plan,
            approver,
            model,
            faces,
        )
        seal = "" if self.log is None else self.log.append(record)
        return GuardedEdit(verdict, done, record, seal)

    def _of_faces(
        self, request: EditRequest, moved: Mapping[int, Mapping[str, float]], now: datetime
    ) -> tuple[list[Refusal], dict[int, str]]:
        refusals: list[Refusal] = []
        consents: dict[int, str] = {}
        places, mover = request.context.places, request.context.mover
        name = picture_hash(request.picture)
        vectors = {} if mover is None else {one: mover.vector(one) for one in mover.names}
        found = () if self.finder is None else tuple(self.finder(request.picture))
        everyone = (*places, *request.found, *found)
        for face, amounts in moved.items():
            if face >= len(places):
                refusals.append(Refusal("no_consent", f"face {face} is not known", face))
                continue
            place = places[face]
            try:
                trace = self._trace(name, place.pixels(request.picture.shape))
            except DataError as error:
                refusals.append(Refusal("log_broken", error.what, face))
                continue
            entry = self._entry(request.picture, place, trace)
            refusal = _consent_refusal(entry, now, face, trace)
            if refusal is not None:
                refusals.append(refusal)
            elif entry is not None:
                consents[face] = entry.digest
                young = self.ages.refusal(entry, place.cut(request.picture, _CROP), face)
                refusals += [young] if young is not None else []
            refusals += self._others(request, name, face, everyone, now)
            refusals += self.rules.refusals(vectors, amounts, face, before=trace.moved)
        return refusals, consents

    def traces(self, request: EditRequest) -> tuple[Trace, ...]:
        """Of each face of a request where it came from, and what it was moved and drifted since.
        Raises as `EditLog.traced`."""
        name, shape = picture_hash(request.picture), request.picture.shape
        return tuple(self._trace(name, place.pixels(shape)) for place in request.context.places)

    def directions_allow(self, request: EditRequest) -> Callable[[EditPlan], bool]:
        """Whether the rules of directions let a plan of this request pass, for a search that asks
        it of many: consent, ages and words, which a plan's values do not change, are asked once, by
        `verdict`. Raises as `traces`."""
        mover = request.context.mover
        vectors = {} if mover is None else {one: mover.vector(one) for one in mover.names}
        before = [trace.moved for trace in self.traces(request)]

        def allowed(plan: EditPlan) -> bool:
            """Whether nothing is refused of its moves."""
            return not any(
                face >= len(before)
                or self.rules.refusals(vectors, amounts, face, before=before[face])
                for face, amounts in _moves(plan).items()
            )

        return allowed

    def _trace(self, name: str, box: Box) -> Trace:
        return Trace(name, box) if self.log is None else self.log.traced(name, box)

    def _entry(
        self, picture: NDArray[np.uint8], place: FacePlace, trace: Trace
    ) -> ConsentEntry | None:
        manifest = self.manifest or ConsentManifest()
        return manifest.entry_for(trace.source, trace.box, crop_hash(picture, place))

    def _others(
        self,
        request: EditRequest,
        name: str,
        face: int,
        everyone: Sequence[FacePlace],
        now: datetime,
    ) -> list[Refusal]:
        """Faces without consent that lie under what a move of this one changes."""
        shape, place = request.picture.shape, request.context.places[face]
        mask, own = face_mask(place, shape, shrink=0), place.pixels(shape)
        made: list[Refusal] = []
        seen: list[Box] = [own]
        for other in everyone:
            left, top, right, bottom = box = other.pixels(shape)
            if max(overlap(one, box) for one in seen) >= _SAME:
                continue
            seen.append(box)
            if not mask[top:bottom, left:right].any():
                continue
            trace = self._trace(name, box)
            entry = self._entry(request.picture, other, trace)
            if _consent_refusal(entry, now, face, trace) is not None:
                reason = f"another face, without consent, lies under it, at {box}"
                made.append(Refusal("other_face", reason, face))
        return made

    def _drifts(
        self,
        request: EditRequest,
        done: EditedPicture,
        moved: Mapping[int, Mapping[str, float]],
    ) -> tuple[dict[int, dict[str, float]], tuple[Refusal, ...]]:
        """Of each face that was moved, what drifted by this edit, and what is refused for it."""
        if self.drift is None or not moved:
            return {}, ()
        still = request.plan.without_faces().apply(request.picture, request.context)
        name, drifts, refusals = picture_hash(request.picture), {}, []
        for face in moved:
            place = done.context.places[face]
            box = request.context.places[face].pixels(request.picture.shape)
            earlier = self._trace(name, box).drift
            crops = place.cut(still.picture, _CROP), place.cut(done.picture, _CROP)
            drift = self.drift.measured(*crops, earlier)
            drifts[face] = {
                one: change - earlier.get(one, 0.0) for one, change in drift.changes.items()
            }
            refusal = self.drift.refusal(drift, face)
            refusals += [refusal] if refusal is not None else []
        return drifts, tuple(refusals)


def _words(request: EditRequest) -> list[Refusal]:
    texts = [("the ad", request.text)]
    overlays = (edit for edit in request.plan.edits if isinstance(edit, TextOverlay))
    texts += [("the text over it", edit.text) for edit in overlays]
    return [
        Refusal(found.kind, f"{where} says {found.words!r}", span=found.span)
        for where, text in texts
        for found in forbidden_words(text)
    ]


def _moves(plan: EditPlan) -> dict[int, dict[str, float]]:
    """Of each face that is moved, the sum of each direction over all edits."""
    made: dict[int, dict[str, float]] = {}
    for edit in plan.face_moves():
        for face in edit.moved_faces:
            total = made.setdefault(face, {})
            for name, amount in zip(edit.names, edit.amounts[face], strict=True):
                if amount:
                    total[name] = total.get(name, 0.0) + amount
    return made


def _consent_refusal(
    entry: ConsentEntry | None, now: datetime, face: int, trace: Trace
) -> Refusal | None:
    if entry is None:
        name = f'picture = "{trace.source}", box = {list(trace.box)}'
        return Refusal("no_consent", f"no entry of the manifest names this face: {name}", face)
    if entry.has_ended(now):
        return Refusal("expired", f"the consent ended on {entry.until}", face)
    return None
