"""Each edit of a picture, plans of them, and a file that goes all the way."""

from __future__ import annotations

import io
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError, DataError, FileUnreadableError
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Contrast,
    Crop,
    EditContext,
    Exposure,
    FaceMove,
    Knob,
    PictureEdit,
    ProtectedBox,
    Saturation,
    Temperature,
    check_values,
    protected_mask,
)
from adwright.creative.editor.edit_plan import EditPlan, TextOverlay, contrast_ratio
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
from tests.support.creative.edited_pictures import (
    BOXES,
    LOCKED,
    PLACES,
    VECTORS,
    ShadeMover,
    scene,
    scene_context,
)


def test_only_the_background_is_blurred() -> None:
    picture, context = scene(), scene_context(protected=False)
    made = BackgroundBlur(0.02).apply(picture, context)
    assert context.subject is not None
    subject = context.subject == 1
    np.testing.assert_array_equal(made[subject], picture[subject])
    corner = (slice(130, 195), slice(10, 60))
    assert made[corner].std((0, 1)).max() < 0.5 * picture[corner].std((0, 1)).min()
    assert abs(made[corner].mean() - picture[corner].mean()) < 2


def test_the_subject_leaves_no_halo() -> None:
    picture = np.full((60, 60, 3), 20, np.uint8)
    picture[20:40, 20:40] = 255
    subject = np.zeros((60, 60), np.float32)
    subject[20:40, 20:40] = 1
    made = BackgroundBlur(0.03).apply(picture, EditContext(subject=subject))
    np.testing.assert_array_equal(made, picture)


def test_faces_are_subject_and_a_larger_spread_blurs_more() -> None:
    picture, context = scene(), scene_context()
    none = replace(context, subject=np.zeros((240, 320), np.float32))
    made = BackgroundBlur(0.03).apply(picture, none)
    np.testing.assert_array_equal(made[70:100, 80:110], picture[70:100, 80:110])
    less = BackgroundBlur(0.003).apply(picture, none)
    assert less[130:195, 10:60].std((0, 1)).min() > made[130:195, 10:60].std((0, 1)).max()


def test_without_a_subject_it_says_so() -> None:
    picture = scene()
    assert "no subject" in BackgroundBlur(0.01).why_not(picture, EditContext())
    whole = EditContext(subject=np.ones((240, 320), np.float32))
    assert "all of the picture" in BackgroundBlur(0.01).why_not(picture, whole)
    assert BackgroundBlur(0.01).why_not(picture, scene_context()) == ""
    np.testing.assert_array_equal(BackgroundBlur().apply(picture, whole), picture)


def test_the_mask_has_the_boxes() -> None:
    mask = protected_mask(BOXES, (240, 320, 3))
    assert mask.sum() == 40 * 20 + 240 * 16
    assert mask[4, 4]
    assert not mask[24, 44]
    with pytest.raises(DataError, match="logo ends outside"):
        protected_mask(BOXES, (20, 30))
    with pytest.raises(ConfigError, match="no area"):
        ProtectedBox(5, 5, 5, 9)


def test_a_part_of_the_picture_has_its_part_of_the_context() -> None:
    part = scene_context().cut(10, 20, 200, 100)
    assert part.protected is not None
    assert part.subject is not None
    assert part.protected.shape == part.subject.shape == (80, 190)
    assert part.places[0].middle == (PLACES[0].middle[0] - 10, PLACES[0].middle[1] - 20)
    assert EditContext().cut(0, 0, 5, 5).protected is None


def test_a_context_of_another_picture_is_refused() -> None:
    picture = scene()
    scene_context().require_size_of(picture)
    for wrong in (
        EditContext(protected=np.zeros((3, 3), bool)),
        EditContext(protected=np.zeros((240, 320), np.uint8)),  # type: ignore[arg-type]
        EditContext(subject=np.zeros((240, 321), np.float32)),
    ):
        with pytest.raises(DataError, match=r"protected|subject"):
            wrong.require_size_of(picture)


FIRST = (slice(75, 95), slice(85, 105))
SECOND = (slice(105, 125), slice(215, 235))


def context() -> EditContext:
    return replace(scene_context(), blend="feather")


def test_each_face_moves_by_its_own_amounts() -> None:
    picture = scene()
    edit = FaceMove(("smile", "gaze"), ((1.0, 0.0), (0.0, -0.5)))
    made = edit.apply(picture, context()).astype(int)
    np.testing.assert_array_equal((made - picture)[FIRST].reshape(-1, 3).mean(0), [40, 0, 0])
    np.testing.assert_array_equal((made - picture)[SECOND].reshape(-1, 3).mean(0), [0, 0, -20])
    assert edit.moved_faces == (0, 1)


def test_knobs_are_faces_times_directions() -> None:
    edit = FaceMove.neutral(("smile", "gaze"), 2)
    names = [knob.name for knob in edit.knobs()]
    assert names == ["face 0 smile", "face 0 gaze", "face 1 smile", "face 1 gaze"]
    assert edit.with_values((1, 2e-1, 0, -1)).amounts == ((1, 0.2), (0, -1))
    with pytest.raises(ConfigError, match="3 values for 4"):
        edit.with_values((1, 2, 3))
    with pytest.raises(ConfigError, match=r"face 1 gaze 1\.6"):
        edit.with_values((0, 0, 0, 1.6))


def test_why_a_face_is_not_moved() -> None:
    picture, edit = scene(), FaceMove(("smile",), ((1.0,),))
    assert "no mover" in edit.why_not(picture, replace(context(), mover=None))
    three = FaceMove(("smile",), ((1.0,),) * 3)
    assert "3 faces are moved, and 2 are known" in three.why_not(picture, context())
    assert "no direction 'age'" in FaceMove(("age",), ((1.0,),)).why_not(picture, context())
    gone = replace(context(), places=(FacePlace.of_box(315, 230, 360, 275),))
    assert "cut off" in edit.why_not(picture, gone)
    np.testing.assert_array_equal(edit.apply(picture, gone), picture)
    assert edit.why_not(picture, context()) == ""


def test_what_is_no_move_is_refused() -> None:
    for names, amounts in (((), ((),)), (("a", "a"), ((0, 0),)), (("a",), ()), (("a",), ((0, 1),))):
        with pytest.raises(ConfigError, match=r"FaceMove"):
            FaceMove(names, amounts)

    class Wrong(ShadeMover):
        def moved(self, crops: np.ndarray, amounts: np.ndarray) -> np.ndarray:
            return crops[:, :5]

    with pytest.raises(DataError, match="gave crops of shape"):
        FaceMove(("smile",), ((1.0,),)).apply(scene(), replace(context(), mover=Wrong()))


FREE = EditContext()


def test_shape_size_and_place_are_as_asked() -> None:
    picture = scene()
    assert Crop().apply(picture, FREE).shape == picture.shape
    assert Crop(aspect=0.5).apply(picture, FREE).shape == (240, 160, 3)
    assert Crop(aspect=2.0).apply(picture, FREE).shape == (120, 320, 3)
    made = Crop(keep=0.6, x=-1, y=1).apply(picture, FREE)
    np.testing.assert_array_equal(made, picture[96:, :192])
    assert Crop(keep=0.6, x=1, y=-1).frame(picture.shape, FREE) == (128, 0, 320, 144)


def test_what_is_protected_and_the_faces_stay_whole() -> None:
    box = ProtectedBox(0, 100, 20, 130, "price")
    context = EditContext(
        protected_mask([box], (240, 320)), places=(FacePlace.of_box(250, 10, 290, 50),)
    )
    picture = scene()
    edit = Crop(keep=0.6, x=0, y=1)
    left, top, right, _ = edit.frame(picture.shape, context)
    assert (left, top) == (0, 10)
    assert right == 290
    after = edit.followed(picture, context)
    assert after.protected is not None
    assert after.protected.sum() == 20 * 30


def test_where_all_has_to_stay_it_says_so() -> None:
    all_over = EditContext(protected_mask([ProtectedBox(0, 0, 320, 240)], (240, 320)))
    picture = scene()
    assert "whole picture" in Crop(keep=0.8).why_not(picture, all_over)
    assert Crop().why_not(picture, all_over) == Crop(keep=0.8).why_not(picture, FREE) == ""


@settings(max_examples=40, deadline=None)
@given(aspect=st.floats(0.5, 2), keep=st.floats(0.6, 1), x=st.floats(-1, 1), y=st.floats(-1, 1))
def test_every_frame_is_a_part_of_the_picture(
    aspect: float, keep: float, x: float, y: float
) -> None:
    picture, context = scene(), scene_context()
    edit = Crop(aspect, keep, x, y)
    left, top, right, bottom = edit.frame(picture.shape, context)
    assert 0 <= left < right <= 320
    assert 0 <= top < bottom <= 240
    tiny = np.zeros((1, 7, 3), np.uint8)
    assert edit.apply(tiny, FREE).size > 0


@pytest.mark.parametrize("value", [1.5, -1.01, math.nan, math.inf])
def test_a_value_out_of_bounds_is_refused(value: float) -> None:
    with pytest.raises(ConfigError, match=r"stops .* is not in \[-1, 1\]"):
        Exposure(value)


def test_a_value_of_another_type_and_too_many_are_refused() -> None:
    with pytest.raises(ConfigError, match="stops is a number"):
        check_values(Exposure("much"))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="2 values for 1 knobs"):
        Exposure().with_values((0, 0))
    for bounds in ((1, 0, 0), (0, 1, 2), (0, 0, 0)):
        with pytest.raises(ConfigError, match="bounds"):
            Knob("x", *bounds)


EVERY = EditPlan(
    (
        Exposure(),
        Contrast(),
        Saturation(),
        Temperature(),
        BackgroundBlur(),
        FaceMove.neutral(("smile", "gaze"), 2),
        Crop(),
        TextOverlay("Fresh today"),
    )
)


@st.composite
def plans(draw: st.DrawFn) -> EditPlan:
    """Any plan of any edits, set anyhow."""
    chosen = draw(st.permutations(EVERY.edits))[: draw(st.integers(1, 8))]
    plan = EditPlan(tuple(chosen))
    shares = draw(st.lists(st.floats(0, 1), min_size=len(plan.knobs()), max_size=len(plan.knobs())))
    low, high = plan.bounds().T
    return plan.with_values(np.clip(low + np.array(shares) * (high - low), low, high))


@settings(max_examples=40, deadline=None)
@given(plan=plans())
def test_no_edit_changes_what_is_protected(plan: EditPlan) -> None:
    picture, context = scene(), scene_context()
    done = plan.apply(picture, context)
    assert context.protected is not None
    assert done.context.protected is not None
    before, after = picture[context.protected], done.picture[done.context.protected]
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(picture, scene())


@settings(max_examples=40, deadline=None)
@given(plan=plans())
def test_json_and_the_vector_are_the_same_plan(plan: EditPlan) -> None:
    again = EditPlan.of_json(plan.to_json())
    assert again == plan
    assert again.digest == plan.digest
    assert plan.with_values(plan.values()) == plan
    low, high = plan.bounds().T
    assert ((low <= plan.values()) & (plan.values() <= high)).all()


def test_neutral_changes_nothing_and_each_edit_something() -> None:
    picture, context = scene(), scene_context()
    neutral = EVERY.with_values(EVERY.neutral())
    np.testing.assert_array_equal(neutral.apply(picture, context).picture, picture)
    for at, edit in enumerate(EVERY.edits):
        low, high = EditPlan((edit,)).bounds().T
        values = np.where(EditPlan((edit,)).neutral() == high, low, high)
        done = EditPlan((edit.with_values(values.tolist()),)).apply(picture, context)
        assert done.picture.shape != picture.shape or (done.picture != picture).any(), at


def test_edits_follow_each_other() -> None:
    picture, context = scene(), scene_context()
    crop, move = Crop(keep=0.6, x=1, y=0), FaceMove(("smile",), ((0.0,), (1.5,)))
    done = EditPlan((crop, move)).apply(picture, context)
    left, top, *_ = crop.frame(picture.shape, context)
    moved = move.apply(picture, context)
    changed = (moved != picture).any(-1)
    rows, columns = np.nonzero(changed)
    assert (done.picture[rows - top, columns - left] != picture[rows, columns]).any(-1).mean() > 0.9
    assert EditPlan((crop, move)).face_moves() == (move,)
    assert EVERY.face_moves() == ()
    assert EditPlan((crop, move)).without_faces() == EditPlan((crop,))


def test_what_cannot_be_done_is_said() -> None:
    done = EditPlan((Exposure(0.5), BackgroundBlur(0.02))).apply(scene())
    assert [(one.at, one.kind) for one in done.skipped] == [(1, "background_blur")]
    assert "subject" in done.skipped[0].why
    assert (done.picture != scene()).any()
    with pytest.raises(DataError, match="picture"):
        EVERY.apply(np.zeros((3, 3), np.uint8))
    with pytest.raises(DataError, match="protected"):
        EVERY.apply(np.zeros((9, 9, 3), np.uint8), scene_context())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "no JSON"),
        ("[]", "no JSON object"),
        ('{"edits": [{"kind": "beautify"}]}', "beautify"),
        ('{"edits": [{"kind": "exposure", "stops": 3}]}', "stops"),
        ('{"edits": [{"kind": "exposure", "stops": "1"}]}', "stops"),
        ('{"edits": [{"kind": "exposure", "stop": 1}]}', "stop"),
        ('{"edits": [{"kind": "exposure"}], "more": 1}', "more"),
        (json.dumps({"edits": [{"kind": "exposure"}] * 33}), "too many"),
    ],
)
def test_json_that_is_no_plan_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        EditPlan.of_json(text, source="plan.json")
    assert said in str(caught.value)
    assert "plan.json" in str(caught.value)


def test_a_vector_of_another_length_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"1 values for 1[0-9] knobs"):
        EVERY.with_values([0.0])
    assert EditPlan().bounds().shape == (0, 2)
    assert EditPlan().apply(scene(), EditContext()).skipped == ()
    with pytest.raises(ConfigError, match="2 values"):
        EditPlan((Exposure(),)).with_values([0.0, 0.0])


WORDS = TextOverlay("Fresh today", opacity=1.0)
PLAIN = np.full((200, 300, 3), 60, np.uint8)


def changed(edit: TextOverlay, picture: np.ndarray = PLAIN) -> np.ndarray:
    return (edit.apply(picture, EditContext()) != picture).any(-1)


def test_it_is_written_where_it_was_asked_for() -> None:
    box = WORDS.box(PLAIN, EditContext())
    assert box is not None
    where = changed(WORDS)
    rows, columns = np.flatnonzero(where.any(1)), np.flatnonzero(where.any(0))
    assert (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1) == box
    top = replace(WORDS, x=0.0, y=0.0).box(PLAIN, EditContext())
    assert top is not None
    assert top[:2] == (0, 0)
    assert not changed(replace(WORDS, opacity=0.0)).any()


def test_every_knob_does_what_it_says() -> None:
    large, small = changed(replace(WORDS, size=0.1)), changed(replace(WORDS, size=0.05))
    assert large.sum() > 2 * small.sum()
    with_plate = replace(WORDS, contrast=1.0).apply(PLAIN, EditContext())
    without = replace(WORDS, contrast=0.0).apply(PLAIN, EditContext())
    assert with_plate.min() == 0
    assert without.max() == with_plate.max() == 255
    assert without.min() == 60
    faint = replace(WORDS, opacity=0.3, contrast=0.0).apply(PLAIN, EditContext())
    assert faint.max() == 60


def test_ink_is_what_stands_out() -> None:
    bright = np.full((200, 300, 3), 230, np.uint8)
    assert replace(WORDS, contrast=0.0).apply(bright, EditContext()).min() == 0
    assert contrast_ratio(np.zeros(3), np.full(3, 255.0)) == pytest.approx(21)
    assert contrast_ratio(np.full(3, 9.0), np.full(3, 9.0)) == 1
    # WCAG's own example of the least grey on white: #767676 has 4.54.
    assert contrast_ratio(np.full(3, 0x76 * 1.0), np.full(3, 255.0)) == pytest.approx(
        4.54, abs=0.01
    )


def test_it_moves_aside_for_what_is_protected_and_for_faces() -> None:
    picture, context = scene(), scene_context()
    box = replace(WORDS, x=0.5, y=1.0).box(picture, context)
    assert box is not None
    left, top, right, bottom = box
    assert context.protected is not None
    assert not context.protected[top:bottom, left:right].any()
    over_face = replace(WORDS, x=0.2, y=0.35).box(picture, context)
    assert over_face is not None
    for place in context.places:
        x, y, end, low = place.pixels(picture.shape)
        assert over_face[2] <= x or over_face[0] >= end or over_face[3] <= y or over_face[1] >= low


def test_why_it_is_not_written() -> None:
    full = EditContext(protected_mask([ProtectedBox(0, 55, 300, 148)], (200, 300)))
    assert "no room" in replace(WORDS, size=0.2, text="Fre").why_not(
        PLAIN[50:150], full.cut(0, 50, 300, 150)
    )
    assert "too long" in TextOverlay("word " * 38, opacity=1).why_not(PLAIN, EditContext())
    assert "the font lacks '好'" in TextOverlay("A好", opacity=1).why_not(PLAIN, EditContext())
    assert WORDS.why_not(PLAIN, EditContext()) == ""
    long = TextOverlay("a rather long line of words", size=0.2, opacity=1)
    assert long.why_not(PLAIN, EditContext()) == ""
    no = TextOverlay("word " * 38, opacity=1)
    np.testing.assert_array_equal(no.apply(PLAIN, EditContext()), PLAIN)


@pytest.mark.parametrize("text", ["", "  ", "a\nb", "a\x00", "x" * 201])
def test_what_is_no_line_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="text is empty"):
        TextOverlay(text)


def test_a_font_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "font.ttf").write_bytes(b"no font")
    for path in (tmp_path / "font.ttf", tmp_path / "none.ttf"):
        with pytest.raises(ConfigError, match="font cannot be read"):
            replace(WORDS, font=str(path)).apply(PLAIN, EditContext())


PICTURE = np.random.default_rng(5).integers(0, 256, (16, 16, 3), dtype=np.uint8)
WEIGHTS = (0.2126, 0.7152, 0.0722)


def linear(v: float) -> float:
    v /= 255
    return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4


def pixel(light: float) -> float:
    light = min(max(light, 0), 1)
    v = 12.92 * light if light <= 0.0031308 else 1.055 * light ** (1 / 2.4) - 0.055
    return 255 * v


def literal(edit: PictureEdit, rgb: np.ndarray) -> list[float]:
    """One pixel as the formulas say."""
    r, g, b = (float(v) for v in rgb)
    match edit:
        case Exposure(stops):
            return [pixel(linear(v) * 2**stops) for v in (r, g, b)]
        case Contrast(amount):
            return [127.5 + (v - 127.5) * (1 + amount) for v in (r, g, b)]
        case Saturation(amount):
            luma = sum(w * v for w, v in zip(WEIGHTS, (r, g, b), strict=True))
            return [luma + (v - luma) * (1 + amount) for v in (r, g, b)]
        case Temperature(warmth):
            light = [linear(v) for v in (r, g, b)]
            new = [light[0] * 2 ** (warmth / 2), light[1], light[2] * 2 ** (-warmth / 2)]
            before, after = (
                sum(w * v for w, v in zip(WEIGHTS, one, strict=True)) for one in (light, new)
            )
            return [pixel(v * before / max(after, 1e-9)) for v in new]
    raise AssertionError


@pytest.mark.parametrize(
    "edit",
    [
        *(Exposure(v) for v in (-1, -0.3, 0.4, 1)),
        *(Contrast(v) for v in (-0.5, 0.2, 0.5)),
        *(Saturation(v) for v in (-1, 0.5, 1)),
        *(Temperature(v) for v in (-1, 0.3, 1)),
    ],
    ids=repr,
)
def test_each_pixel_is_what_the_formula_says(edit: PictureEdit) -> None:
    made = edit.apply(PICTURE, EditContext()).reshape(-1, 3)
    wanted = [np.clip(literal(edit, rgb), 0, 255) for rgb in PICTURE.reshape(-1, 3)]
    assert np.abs(made - np.array(wanted)).max() < 0.75
    assert not np.array_equal(made.reshape(PICTURE.shape), PICTURE)


@pytest.mark.parametrize("kind", [Exposure, Contrast, Saturation, Temperature])
def test_neutral_is_the_same_picture_and_near_it_nearly(kind: type[PictureEdit]) -> None:
    same = kind().apply(PICTURE, EditContext())
    np.testing.assert_array_equal(same, PICTURE)
    assert same is not PICTURE
    tiny = kind().with_values((1e-6,)).apply(PICTURE, EditContext())
    assert np.abs(tiny.astype(int) - PICTURE).max() <= 1


ASTRONAUT = photograph("astronaut.png")
SPACE = np.asarray(ASTRONAUT)
CARDS = (DirectionCard.of("smile", "expression", VECTORS["smile"]),)
RULES = DirectionRules(CARDS, LOCKED, ("ethnicity",))
SMILE = EditPlan((Exposure(0.1), FaceMove(("smile",), ((0.6,),))))
LOGO = protected_mask([ProtectedBox(440, 440, 500, 500, "logo")], SPACE.shape)


@pytest.fixture(scope="module")
def aligner() -> FaceAligner:
    return FaceAligner()


@pytest.fixture(scope="module")
def key() -> SigningKey:
    return made_test_key(SystemClock())


@pytest.fixture
def editor(tmp_path: Path, aligner: FaceAligner, key: SigningKey) -> FileEditor:
    box = aligner.places(SPACE)[0].pixels(SPACE.shape)
    entry = ConsentEntry("release", "NASA", "declared", picture=picture_hash(SPACE), box=box)
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
        np.testing.assert_array_equal(shown[440:500, 440:500], SPACE[440:500, 440:500])
        labels = (shown != Exposure(0.1).apply(SPACE, EditContext())).any(-1)
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
    wanted = offered.apply(SPACE).picture
    np.testing.assert_array_equal(pixels(made.data), wanted)  # and no label


def test_the_background_is_found_where_it_is_blurred(editor: FileEditor) -> None:
    plan = EditPlan((BackgroundBlur(0.02),))
    made = editor.edited(saved(ASTRONAUT), plan)
    changed = np.abs(pixels(made.data).astype(int) - SPACE).mean(-1)
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
