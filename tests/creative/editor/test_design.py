"""What is found to be design: texts, plates, faces; and what edits make of them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from adwright.creative.editor.design import Design, DesignFinder, softened
from adwright.creative.editor.edit_kinds import Contrast, Crop, EditContext, Exposure, kept
from adwright.creative.editor.edit_plan import (
    LEGIBLE,
    EditedPicture,
    EditPlan,
    TextOverlay,
    contrast_ratio,
)
from adwright.creative.editor.job_files import shrunk

Pixels = np.ndarray
PRICE, LOGO, SHAPE = (420, 300, 560, 440), (40, 380, 180, 430), (40, 120, 100, 180)


@pytest.fixture(scope="module")
def poster() -> Pixels:
    """A noisy photograph with a headline, a price on a disc, a name on a plate, a plate alone."""
    rng = np.random.default_rng(0)
    noise = rng.integers(60, 160, (480, 600, 3)).astype(np.uint8)
    image = Image.fromarray(noise)
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 600, 70), fill=(20, 30, 50))
    draw.text((120, 15), "Reach higher", fill="white", font=ImageFont.load_default(40))
    draw.ellipse(PRICE, fill=(200, 20, 30))
    draw.text((490, 370), "$ 19.99", fill="white", font=ImageFont.load_default(32), anchor="mm")
    draw.rectangle(LOGO, fill=(20, 60, 160))
    draw.text((110, 405), "NOVA", fill="white", font=ImageFont.load_default(32), anchor="mm")
    draw.rectangle(SHAPE, fill=(240, 200, 10))
    return np.asarray(image, np.uint8)


@pytest.fixture(scope="module")
def finder() -> DesignFinder:
    return DesignFinder(offline=True)


@pytest.fixture(scope="module")
def design(finder: DesignFinder, poster: Pixels) -> Design:
    return finder.found(poster)


def _holds(mask: Pixels, box: tuple[int, int, int, int]) -> bool:
    return bool(mask[box[1] : box[3], box[0] : box[2]].all())


def test_texts_and_plates_are_protected(design: Design) -> None:
    assert {"Reach higher", "NOVA"} <= set(design.texts)
    protected = design.context().protected
    assert protected is not None
    for box in (PRICE, LOGO, SHAPE, (120, 20, 350, 55)):
        assert _holds(protected, box), box
    assert protected.mean() < 0.45
    # The even ground of the headline stays too, the photograph does not.
    assert _holds(design.still, (400, 5, 590, 60))
    assert not design.still[100:280, 200:400].any()


def test_a_frame_holds_all_of_it(design: Design, poster: Pixels) -> None:
    context = design.context()
    left, top, right, bottom = Crop(keep=0.6, x=1.0, y=-1.0).frame(poster.shape, context)
    boxes = np.concatenate([design.boxes, design.faces])
    assert left <= boxes[:, 0].min()
    assert right >= boxes[:, 2].max()
    assert top <= boxes[:, 1].min()
    assert bottom >= boxes[:, 3].max()


def test_a_tone_ends_where_nobody_sees_it(design: Design, poster: Pixels) -> None:
    done = EditPlan((Exposure(0.7),)).apply(poster, design.context()).picture
    context = design.context()
    assert context.still is not None
    assert context.protected is not None
    np.testing.assert_array_equal(done[context.protected], poster[context.protected])
    np.testing.assert_array_equal(done[design.still], poster[design.still])
    assert (done[200, 250:350] > poster[200, 250:350]).all()
    # Around the disc the light rises by little from pixel to pixel.
    assert np.abs(np.diff(context.still[370])).max() < 0.25
    small, its = shrunk(poster, context, side=300)
    assert its.still is not None
    assert its.still.shape == small.shape[:2]


def test_a_lost_text_is_told(design: Design, finder: DesignFinder, poster: Pixels) -> None:
    assert finder.lost(design, poster, EditedPicture(poster, design.context())) == []
    without = poster.copy()
    without[:70] = (20, 30, 50)
    found = finder.lost(design, poster, EditedPicture(without, design.context()))
    assert found == ["'Reach higher'"]


def test_a_face_that_is_washed_out_is_lost(finder: DesignFinder) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    face = np.array([[10, 10, 50, 50]])
    design = Design((), np.zeros((0, 4), np.int64), face, np.zeros((60, 80), bool))
    for size, lost in ((0.1, []), (0.5, ["a face"])):
        edits = (Exposure(2 * size), Contrast(size), Crop(keep=0.9))
        done = EditPlan(edits).apply(picture, design.context())
        assert finder.lost(design, picture, done) == lost


def test_faces_stay_whole_but_take_a_tone() -> None:
    picture = np.full((60, 80, 3), 100, np.uint8)
    whole = np.zeros((60, 80), bool)
    whole[20:40, 30:50] = True
    context = EditContext(whole=whole, still=softened(np.zeros((60, 80), bool)))
    assert Crop(keep=0.6).frame(picture.shape, context)[0] <= 30
    assert (Exposure(0.5).apply(picture, context) > 100).all()
    assert (kept(picture, picture + 1, context) == 101).all()


@pytest.mark.parametrize("ground", ["noise", "grey", "black", "white"])
@pytest.mark.parametrize("plate", [0.0, 0.5])
def test_a_line_is_legible_or_not_written(ground: str, plate: float) -> None:
    rng = np.random.default_rng(1)
    grounds = {
        "noise": rng.integers(0, 256, (240, 400, 3)),
        "grey": np.full((240, 400, 3), 118),
        "black": np.zeros((240, 400, 3)),
        "white": np.full((240, 400, 3), 255),
    }
    picture = grounds[ground].astype(np.uint8)
    edit = TextOverlay("Now in stores", size=0.12, opacity=0.5, contrast=plate)
    box = edit.box(picture, EditContext())
    assert box is not None
    left, top, right, bottom = box
    done = edit.apply(picture, EditContext())[top:bottom, left:right].reshape(-1, 3).astype(float)
    mean = picture.reshape(-1, 3).mean(0)
    ink = max((np.zeros(3), np.full(3, 255.0)), key=lambda v: contrast_ratio(v, mean))
    corner = done[: (right - left)]  # the first row has no letters
    assert min(contrast_ratio(ink, one) for one in corner) >= LEGIBLE
    faint = TextOverlay("Now in stores", opacity=0.49)
    assert faint.is_neutral()
    np.testing.assert_array_equal(faint.apply(picture, EditContext()), picture)
