"""A picture's file in, an edited file out: guarded, labelled, tagged, signed and logged.

    editor = FileEditor(guard, key, clock, approver="Ada", aligner=FaceAligner(), mover=mover)
    made = editor.edited("ad.jpg", plan, text="Fresh today", protected=[box])
    made.data                       # bytes of a PNG; None where it was refused
    made.verdict.refusals, made.skipped

The file is opened as all files of ads are: by its content, bounded, upright, on white. Faces are
looked for where the plan moves one, in the order of the aligner, the surest first; people are where
it blurs the background. Where a face was changed, the picture says so in a corner and its tag is
"compositeWithTrainedAlgorithmicMedia", else "algorithmicallyEnhanced". What the log knows is the
picture as the file gives it back, so an edit of the edited file is known, in a format that loses
something too.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.errors import FileUnreadableError
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    EditContext,
    FaceMover,
    ProtectedBox,
    protected_mask,
)
from adwright.creative.editor.edit_log import EditRecord
from adwright.creative.editor.edit_plan import EditedPicture, EditPlan, SkippedEdit
from adwright.creative.editor.guard import EditGuard, EditRequest, GuardVerdict
from adwright.creative.editor.provenance import (
    EditStatement,
    FileFormat,
    SigningKey,
    SourceType,
    labelled,
    tagged,
    with_credentials,
)
from adwright.creative.faces.aligning import FaceAligner, FacePlace, SkippedFace, SubjectFinder
from adwright.creative.records.encoders import opened_image
from adwright.creative.records.media import opened_media

_SIGNED = (b"\x89PNG", b"\xff\xd8\xff", b"RIFF")


@dataclass(frozen=True, eq=False)
class EditedFile:
    """data: of the file; None where the edit was refused. skipped: edits that could not be done.
    skipped_faces: faces that were seen and not taken, with the reason. seal: of the log's entry."""

    verdict: GuardVerdict
    data: bytes | None = field(default=None, repr=False)
    skipped: tuple[SkippedEdit, ...] = ()
    skipped_faces: tuple[SkippedFace, ...] = ()
    record: EditRecord | None = None
    seal: str = ""


@dataclass(frozen=True, eq=False)
class FileEditor:
    """guard: what every edit passes. key: signs. approver: who lets it pass. model: id of the model
    of faces, which `mover` uses. aligner: finds faces, subject: people; None where neither is
    looked for. label: whether a changed face is said in the picture."""

    guard: EditGuard
    key: SigningKey
    clock: Clock
    approver: str
    model: str = ""
    aligner: FaceAligner | None = None
    subject: SubjectFinder | None = None
    mover: FaceMover | None = None
    label: bool = True

    def edited(
        self,
        source: str | Path | bytes,
        plan: EditPlan,
        *,
        text: str = "",
        protected: Sequence[ProtectedBox] | NDArray[np.bool_] = (),
        places: Sequence[FacePlace] | None = None,
        form: FileFormat = "PNG",
        title: str = "ad",
    ) -> EditedFile:
        """The edited file of a picture's file.

        text: all words of the ad. protected: boxes, or bool [H, W]. places: of its faces, where
        they are known. form: of the result.
        Raises FileUnreadableError where the file is no picture, ConfigError where the key cannot
        sign, DataError as the guard does. Nothing is in the log of what raised, but for a key that
        cannot sign: that is known only at the end.
        """
        original, picture = opened_picture(source)
        moves = bool(plan.face_moves())
        found: tuple[FacePlace, ...] = ()
        skipped_faces: tuple[SkippedFace, ...] = ()
        if moves and self.aligner is not None:
            seen = self.aligner.aligned(picture, 8)
            found, skipped_faces = tuple(face.place for face in seen.faces), seen.skipped
        context = EditContext(
            _mask_of(protected, picture.shape),
            self._subject_of(picture, plan),
            tuple(places) if places is not None else found,
            self.mover,
        )
        boxes = (FacePlace.of_box(*one.box, shape="ellipse") for one in skipped_faces)
        request = EditRequest(picture, plan, context, text, (*found, *boxes))
        files: list[bytes] = []
        kind: SourceType = "algorithmicallyEnhanced"
        if moves:
            kind = "compositeWithTrainedAlgorithmicMedia"

        def kept(done: EditedPicture) -> NDArray[np.uint8]:
            shown = labelled(done.picture, done.context) if moves and self.label else done.picture
            files.append(tagged(shown, form, kind))
            return np.asarray(opened_image(files[0]), np.uint8)

        made = self.guard.edited(
            request, self.clock, approver=self.approver, model=self.model, finish=kept
        )
        if made.done is None:
            return EditedFile(made.verdict, skipped_faces=skipped_faces)
        statement = EditStatement(plan, title, self.model, self.approver, made.seal)
        data = with_credentials(original, files[0], statement, self.key)
        return EditedFile(
            made.verdict, data, made.done.skipped, skipped_faces, made.record, made.seal
        )

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


def _mask_of(
    protected: Sequence[ProtectedBox] | NDArray[np.bool_], shape: tuple[int, ...]
) -> NDArray[np.bool_] | None:
    if isinstance(protected, np.ndarray):
        return protected
    return protected_mask(protected, shape) if protected else None
