from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError, FileUnreadableError
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Crop,
    EditContext,
    Exposure,
    FaceMove,
    ProtectedBox,
    protected_mask,
)
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.guard import EditedFile, EditGuard, EditLog, FileEditor
from adwright.creative.editor.guard_rules import (
    ConsentEntry,
    ConsentManifest,
    DirectionCard,
    DirectionRules,
)
from adwright.creative.editor.provenance import (
    SigningKey,
    made_test_key,
    picture_hash,
    read_credentials,
)
from adwright.creative.faces.aligning import FaceAligner, FacePlace, SubjectFinder
from benchmarks.creative.editing.files import digital_source_type
from tests.support.creative.drawn_ads import Shot, film, photograph, saved
from tests.support.creative.edited_pictures import LOCKED, VECTORS, ShadeMover

ASTRONAUT = photograph("astronaut.png")
PICTURE = np.asarray(ASTRONAUT)
CARDS = (DirectionCard.of("smile", "expression", VECTORS["smile"]),)
RULES = DirectionRules(CARDS, LOCKED, ("ethnicity",))
SMILE = EditPlan((Exposure(0.1), FaceMove(("smile",), ((0.6,),))))
LOGO = protected_mask([ProtectedBox(440, 440, 500, 500, "logo")], PICTURE.shape)


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    return FaceAligner()


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return made_test_key(SystemClock())


@pytest.fixture
def editor(tmp_path: Path, aligner: FaceAligner, key: SigningKey) -> FileEditor:
    box = aligner.places(PICTURE)[0].pixels(PICTURE.shape)
    entry = ConsentEntry("release", "NASA", "declared", picture=picture_hash(PICTURE), box=box)
    log = EditLog(tmp_path / "edits.jsonl", SystemClock())
    guard = EditGuard(RULES, ConsentManifest((entry,)), log=log, finder=aligner.places)
    return FileEditor(
        guard,
        key,
        SystemClock(),
        "Ada",
        "faces-1",
        aligner,
        SubjectFinder(),
        ShadeMover(("smile",)),
    )


def pixels(data: bytes | None) -> np.ndarray:
    assert data is not None
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def codes(made: EditedFile) -> list[str]:
    return [one.code for one in made.verdict.refusals]


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP"])
def test_a_photograph_goes_all_the_way(editor: FileEditor, form: str) -> None:
    made = editor.edited(saved(ASTRONAUT), SMILE, form=form, protected=LOGO)  # type: ignore[arg-type]
    assert made.verdict.allowed
    told = read_credentials(made.data or b"")
    assert told.whole
    assert "c2pa.edited" in told.actions
    assert digital_source_type(made.data or b"") == "compositeWithTrainedAlgorithmicMedia"
    log = editor.guard.log
    assert log is not None
    assert log.check(head=told.details["log_head"]).whole
    ((_, record),) = log.records()
    assert record == made.record
    assert record.result == picture_hash(pixels(made.data))
    if form == "PNG":
        shown = pixels(made.data)
        np.testing.assert_array_equal(shown[440:500, 440:500], PICTURE[440:500, 440:500])
        labels = (shown != Exposure(0.1).apply(PICTURE, EditContext())).any(-1)
        assert labels[400:].any()  # the label, at the lower edge
        assert labels[90:150, 190:260].any()  # her face


def test_the_edited_file_can_be_edited_again_as_far_as_the_sum_allows(editor: FileEditor) -> None:
    first = editor.edited(saved(ASTRONAUT), SMILE, form="JPEG")
    again = editor.edited(first.data or b"", SMILE)
    assert again.verdict.allowed
    third = editor.edited(again.data or b"", SMILE)
    assert codes(third) == ["too_far"]
    assert third.data is None
    stranger = replace(editor, guard=replace(editor.guard, log=None))
    assert codes(stranger.edited(first.data or b"", SMILE)) == ["no_consent"]


def test_without_consent_light_and_frame_are_what_is_left(editor: FileEditor) -> None:
    nobody = replace(editor, guard=replace(editor.guard, manifest=None))
    refused = nobody.edited(saved(ASTRONAUT), SMILE)
    assert codes(refused) == ["no_manifest"]
    assert refused.data is None
    offered = refused.verdict.offered
    assert offered is not None
    made = nobody.edited(saved(ASTRONAUT), offered)
    assert digital_source_type(made.data or b"") == "algorithmicallyEnhanced"
    assert read_credentials(made.data or b"").actions == ("c2pa.opened", "c2pa.color_adjustments")
    wanted = offered.apply(PICTURE).picture
    np.testing.assert_array_equal(pixels(made.data), wanted)  # and no label


def test_the_background_is_found_where_it_is_blurred(editor: FileEditor) -> None:
    plan = EditPlan((BackgroundBlur(0.02),))
    made = editor.edited(saved(ASTRONAUT), plan)
    changed = np.abs(pixels(made.data).astype(int) - PICTURE).mean(-1)
    assert made.skipped == ()
    assert changed[80:150, 190:250].mean() < 0.5 < changed[300:500, :60].mean()
    none = replace(editor, subject=None).edited(saved(ASTRONAUT), plan)
    assert [one.kind for one in none.skipped] == ["background_blur"]


def test_words_and_what_was_known_count(editor: FileEditor) -> None:
    assert codes(editor.edited(saved(ASTRONAUT), SMILE, text="Vote for Ada")) == ["political"]
    elsewhere = (FacePlace.of_box(10, 10, 60, 60),)
    assert codes(editor.edited(saved(ASTRONAUT), SMILE, places=elsewhere)) == ["no_consent"]


def test_other_files(editor: FileEditor, tmp_path: Path) -> None:
    plan = EditPlan((Crop(keep=0.8),))
    made = editor.edited(saved(ASTRONAUT, "BMP"), plan, title="Spring")
    assert read_credentials(made.data or b"").whole
    assert b"Spring" in (made.data or b"")
    (tmp_path / "ad.png").write_bytes(saved(ASTRONAUT))
    assert editor.edited(tmp_path / "ad.png", plan).data is not None
    for source in (film([Shot(frames=4)]), b"no picture", saved(ASTRONAUT)[:900]):
        with pytest.raises(FileUnreadableError):
            editor.edited(source, plan)
    wrong = replace(editor, key=SigningKey(editor.key.chain, made_test_key(SystemClock()).private))
    with pytest.raises(ConfigError, match="cannot be signed"):
        wrong.edited(saved(ASTRONAUT), plan)
