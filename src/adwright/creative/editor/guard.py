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

import io
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError, FileUnreadableError
from adwright.core.journal import Journal, SealedChain, read_chain
from adwright.creative.editor.edit_kinds import BackgroundBlur, EditContext, FaceMover
from adwright.creative.editor.edit_plan import EditedPicture, EditPlan, SkippedEdit, TextOverlay
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
from adwright.creative.editor.provenance import (
    Box,
    EditStatement,
    FileFormat,
    SigningKey,
    SourceType,
    labelled,
    overlap,
    picture_hash,
    tagged,
    with_credentials,
)
from adwright.creative.faces.aligning import (
    FaceAligner,
    FacePlace,
    SkippedFace,
    SubjectFinder,
    face_mask,
)
from adwright.creative.records.encoders import opened_image
from adwright.creative.records.media import opened_media

# --------------------------------------------------------------------------------------------------
# The log of edits: a file of JSON lines that only grows, each line sealed by the one before it.
#
#     log = EditLog("edits.jsonl", clock)
#     log.append(EditRecord(source=..., result=..., plan=plan, model="...", approver="..."))
#     log.check()                              # LogCheck: entries, head, problems
#     log.traced(picture_hash, box)            # where a face came from, and how far it was moved
#
# A line holds a number, the time and the record; the lines prove each other, see
# `core.journal.SealedChain`. Lines cut off at the end break nothing; who keeps the `head`, the last
# seal, for example in a signed statement of the picture, finds that too.
#
# The log never holds pictures, keys or names beyond the approver's.

_SAME = 0.5


@dataclass(frozen=True)
class MovedFace:
    """box: in the source. result_box: in the result. moved: amount of each direction. drift: what
    was measured, of each attribute. consent: hash of the manifest's entry that allowed it; empty
    where nothing was moved."""

    box: Box
    result_box: Box
    moved: dict[str, float] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    consent: str = ""


@dataclass(frozen=True)
class EditRecord:
    """source, result: hashes of the pixels, see `picture_hash`. model: id of the model of faces,
    empty without one. approver: who let it pass. faces: of the source."""

    source: str
    result: str
    plan: EditPlan
    approver: str
    model: str = ""
    faces: tuple[MovedFace, ...] = ()

    def __post_init__(self) -> None:
        if not self.approver.strip():
            raise ConfigError("nobody approves", where="EditRecord.approver", hint="say who does")


@dataclass(frozen=True)
class LogCheck:
    """entries: lines that are sealed in their order. head: the last seal. problems: in words, with
    the line; empty for a log that is whole."""

    entries: int
    head: str
    problems: tuple[str, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


@dataclass(frozen=True)
class Trace:
    """Where a face came from: the first picture, its box there, and all that it was moved and
    drifted since, in so many steps."""

    source: str
    box: Box
    moved: dict[str, float] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    steps: int = 0


class EditLog:
    """See the module. path: of the file, made by the first entry."""

    def __init__(self, path: str | Path, clock: Clock) -> None:
        self.path, self._clock = Path(path), clock

    def append(self, record: EditRecord) -> str:
        """Seal one more line; returns its seal.

        Waits for other processes that write. Raises DataError where the log is broken: nothing is
        added to it then; ResourceError where the disk refuses.
        """
        chain = SealedChain()
        with closing(Journal(self.path)) as journal, journal.writing(chain.take):
            if chain.problem:
                raise DataError(
                    f"the log is broken: {chain.problem}",
                    file=str(self.path),
                    hint="keep it as it is, find out why, and begin another",
                )
            number, at = len(chain.rows), self._clock.now().isoformat()
            line = chain.add({"number": number, "at": at, "record": to_jsonable(record)})
            journal.append([line], flush="now")
        return chain.head

    def check(self, *, head: str = "") -> LogCheck:
        """Whether every line is as it was sealed. head: a seal that has to be among them, kept
        elsewhere: finds lines that were cut off at the end."""
        chain = read_chain(self.path)
        problem = chain.problem
        if head and head not in chain.heads and not problem:
            problem = f"the log ends before the entry with the seal {head[:12]}..."
        return LogCheck(len(chain.rows), chain.head, (problem,) if problem else ())

    def records(self) -> tuple[tuple[datetime, EditRecord], ...]:
        """All records with their times. Raises DataError where the log is broken."""
        chain, made = read_chain(self.path), []
        if chain.problem:
            raise DataError(f"the log is broken: {chain.problem}", file=str(self.path))
        for at, row in enumerate(chain.rows):
            try:
                record = from_jsonable(EditRecord, row["record"], source=f"line {at + 1}")
                made.append((datetime.fromisoformat(row["at"]), record))
            except (AdwrightError, LookupError, ValueError) as error:
                raise DataError(
                    f"a record cannot be read: {error}", file=str(self.path), row=at
                ) from error
        return tuple(made)

    def traced(self, picture: str, box: Box) -> Trace:
        """Where the face with this box in the picture with this hash came from. A picture that no
        entry made is its own source; of several entries that made it, the first counts. Raises as
        `records`."""
        made: dict[str, EditRecord] = {}
        for _, record in self.records():
            if record.source != record.result:
                made.setdefault(record.result, record)
        moved: dict[str, float] = {}
        drift: dict[str, float] = {}
        steps, seen = 0, {picture}
        while (step := made.get(picture)) is not None:
            face = max(step.faces, key=lambda one: overlap(one.result_box, box), default=None)
            if face is None or overlap(face.result_box, box) < _SAME:
                break
            for total, part in ((moved, face.moved), (drift, face.drift)):
                for name, amount in part.items():
                    total[name] = total.get(name, 0.0) + amount
            picture, box, steps = step.source, face.box, steps + 1
            if picture in seen:
                break
            seen.add(picture)
        return Trace(picture, box, moved, drift, steps)


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
        self, request: EditRequest, done: EditedPicture, moved: Mapping[int, Mapping[str, float]]
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


# --------------------------------------------------------------------------------------------------
# A picture's file in, an edited file out: guarded, labelled, tagged, signed and logged.
#
#     editor = FileEditor(guard, key, clock, approver="Ada", aligner=FaceAligner(), mover=mover)
#     made = editor.edited("ad.jpg", plan, text="Fresh today", protected=mask)
#     made.data                       # bytes of a PNG; None where it was refused
#     made.verdict.refusals, made.skipped
#
# The file is opened as all files of ads are: by its content, bounded, upright, on white. Faces are
# looked for where the plan moves one, in the order of the aligner, the surest first; people are
# where
# it blurs the background. Where a face was changed, the picture says so in a corner and its tag is
# "compositeWithTrainedAlgorithmicMedia", else "algorithmicallyEnhanced". What the log knows is the
# picture as the file gives it back, so an edit of the edited file is known, in a format that loses
# something too.

_SIGNED = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True, eq=False)
class EditedFile:
    """data: of the file; None where the edit was refused. skipped: edits that could not be done.
    seal: of the log's entry."""

    verdict: GuardVerdict
    data: bytes | None = field(default=None, repr=False)
    skipped: tuple[SkippedEdit, ...] = ()
    record: EditRecord | None = None
    seal: str = ""


@dataclass(frozen=True, eq=False)
class FileEditor:
    """guard: what every edit passes. key: signs. approver: who lets it pass. model: id of the model
    of faces, which `mover` uses. aligner: finds faces, subject: people; None where neither is
    looked for."""

    guard: EditGuard
    key: SigningKey
    clock: Clock
    approver: str
    model: str = ""
    aligner: FaceAligner | None = None
    subject: SubjectFinder | None = None
    mover: FaceMover | None = None

    def edited(
        self,
        source: str | Path | bytes,
        plan: EditPlan,
        *,
        text: str = "",
        protected: NDArray[np.bool_] | None = None,
        context: EditContext | None = None,
        places: Sequence[FacePlace] | None = None,
        form: FileFormat = "PNG",
        title: str = "ad",
    ) -> EditedFile:
        """The edited file of a picture's file.

        text: all words of the ad. protected: bool [H, W]. context: what else is known to stay.
        places: of its faces, where they are known. form: of the result.
        Raises FileUnreadableError where the file is no picture, ConfigError where the key cannot
        sign, DataError as the guard does. Nothing is in the log of what raised, but for a key that
        cannot sign: that is known only at the end.
        """
        original, picture = opened_picture(source)
        moves = bool(plan.face_moves())
        found: tuple[FacePlace, ...] = ()
        skipped: tuple[SkippedFace, ...] = ()
        if moves and self.aligner is not None:
            seen = self.aligner.aligned(picture, 8)
            found, skipped = tuple(face.place for face in seen.faces), seen.skipped
        context = replace(
            context or EditContext(protected),
            subject=self._subject_of(picture, plan),
            places=tuple(places) if places is not None else found,
            mover=self.mover,
        )
        boxes = (FacePlace.of_box(*one.box, shape="ellipse") for one in skipped)
        request = EditRequest(picture, plan, context, text, (*found, *boxes))
        files: list[bytes] = []
        kind: SourceType = "algorithmicallyEnhanced"
        if moves:
            kind = "compositeWithTrainedAlgorithmicMedia"

        def kept(done: EditedPicture) -> NDArray[np.uint8]:
            shown = labelled(done.picture, done.context) if moves else done.picture
            files.append(tagged(shown, form, kind))
            return np.asarray(opened_image(files[0]), np.uint8)

        made = self.guard.edited(
            request, self.clock, approver=self.approver, model=self.model, finish=kept
        )
        if made.done is None:
            return EditedFile(made.verdict)
        statement = EditStatement(plan, title, self.model, self.approver, made.seal)
        data = with_credentials(original, files[0], statement, self.key)
        return EditedFile(made.verdict, data, made.done.skipped, made.record, made.seal)

    def _subject_of(self, picture: NDArray[np.uint8], plan: EditPlan) -> NDArray[np.float32] | None:
        blurs = any(
            isinstance(edit, BackgroundBlur) and not edit.is_neutral() for edit in plan.edits
        )
        return self.subject.share(picture) if blurs and self.subject is not None else None


def opened_picture(source: str | Path | bytes) -> tuple[bytes, NDArray[np.uint8]]:
    """The bytes of a file that a statement can name as its parent, and its picture, uint8
    [H, W, 3], upright. Raises FileUnreadableError where the file is no picture."""
    with opened_media(source) as media:
        if media.kind.what != "image":
            raise FileUnreadableError(
                f"this is no picture: it is {media.kind.name}",
                file=media.name,
                hint="pass a picture; of a video, one of its frames",
            )
        data, name = media.read(), media.name
    image = opened_image(data, name)
    if not data.startswith(_SIGNED):
        out = io.BytesIO()
        image.save(out, "PNG")
        data = out.getvalue()
    return data, np.asarray(image, np.uint8)
