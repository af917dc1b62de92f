from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.edits.context import EditContext, ProtectedBox, protected_mask
from adwright.creative.editor.edits.text import TextOverlay, contrast_ratio
from tests.support.creative.edited_pictures import scene, scene_context

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
    assert 60 < faint.max() < 140


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
