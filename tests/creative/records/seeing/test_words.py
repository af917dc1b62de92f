from __future__ import annotations

import sys
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from adwright.core.errors import MissingExtraError
from adwright.creative.records.seeing.words import WordReader, in_reading_order
from tests.support.creative.drawn_ads import Shot, drawn, photograph

SIDES = st.floats(0, 100)
SHIFTS = st.floats(-4, 4)


@pytest.fixture(scope="module")
def reader() -> WordReader:
    return WordReader()


def test_words_come_back_in_the_order_of_reading(reader: WordReader) -> None:
    picture = drawn(Shot("ivory", words="Fresh bread\nBaked at six\nTwo for $3"), (360, 300))
    assert reader.lines(picture) == ("Fresh bread", "Baked at six", "Two for $3")
    light = drawn(Shot("navy", words="Last days"), (360, 120))
    assert reader.lines(light) == ("Last days",)


def test_pictures_without_text_have_none(reader: WordReader) -> None:
    assert reader.lines(photograph("coffee.png")) == ()
    assert reader.lines(drawn(Shot("navy", "orange"), (160, 120))) == ()


@pytest.mark.parametrize("size", [(1, 1), (3, 900), (900, 4), (40, 2000), (2000, 40), (16, 16)])
def test_every_size_can_be_read(reader: WordReader, size: tuple[int, int]) -> None:
    assert reader.lines(Image.new("RGB", size, "white")) == ()


def test_of_the_confidence_depends_what_is_left_out() -> None:
    picture = photograph("motorcycle_left.png").crop((300, 100, 741, 400))
    assert set(WordReader(0.999).lines(picture)) <= set(WordReader(0.3).lines(picture))
    blurred = (
        drawn(Shot("ivory", words="Fresh bread"), (360, 300)).resize((60, 50)).resize((360, 300))
    )
    assert WordReader(1.0).lines(blurred) == ()


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingExtraError, match="creative"):
        WordReader()


def test_rows_are_read_from_left_to_right_though_they_are_crooked() -> None:
    boxes = [(60, 11, 90, 21), (0, 10, 50, 20), (0, 40, 90, 52), (40, 14, 58, 24)]
    assert in_reading_order(boxes) == [1, 3, 0, 2]
    assert in_reading_order([]) == []


@given(st.lists(st.lists(SHIFTS, min_size=1, max_size=4), min_size=1, max_size=4), st.randoms())
def test_a_crooked_grid_is_read_row_by_row(rows: list[list[float]], rng: Random) -> None:
    places = [(row, column) for row, shifts in enumerate(rows) for column in range(len(shifts))]
    rng.shuffle(places)
    boxes = [
        (
            50 * column,
            30 * row + rows[row][column],
            50 * column + 40,
            30 * row + rows[row][column] + 20,
        )
        for row, column in places
    ]
    assert [places[at] for at in in_reading_order(boxes)] == sorted(places)


@given(st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES), max_size=9))
def test_each_box_is_read_once(corners: list[tuple[float, float, float, float]]) -> None:
    boxes = [(x, y, x + w, y + h) for x, y, w, h in corners]
    assert sorted(in_reading_order(boxes)) == list(range(len(boxes)))
