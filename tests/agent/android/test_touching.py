"""Where a finger comes down."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.android.phone_driver import screen_bounds, swipe_line, touch_point
from adwright.agent.android.views import UiTree, ViewBounds, read_ui_tree
from tests.support.agent.phone_app import drawn, node, view_of

TAPS = {"clickable": "true"}


def point(data: bytes, short_id: str) -> tuple[int, int] | None:
    return touch_point(read_ui_tree(data), view_of(data, short_id))


def test_the_middle_is_taken_where_nothing_else_is() -> None:
    assert point(drawn(node("Button", (0, 0, 100, 50), id="a", **TAPS)), "a") == (50, 25)


def test_a_button_in_a_row_does_not_get_the_rows_touch() -> None:
    inner = node("ImageButton", (300, 0, 700, 200), id="bin", **TAPS)
    data = drawn(node("LinearLayout", (0, 0, 1000, 200), inner, id="row", **TAPS))
    x, y = point(data, "row") or (0, 0)
    assert not 300 <= x < 700
    assert 0 <= y < 200
    assert point(data, "bin") == (500, 100)


def test_what_is_covered_or_outside_has_no_point() -> None:
    data = drawn(
        node("Button", (0, 0, 100, 100), id="under", **TAPS),
        node("FrameLayout", (0, 0, 1000, 2000), id="over", **TAPS),
        node("Button", (0, 2000, 100, 2100), id="below", **TAPS),
        node("Button", (0, 0, 9, 9), id="unseen", visible_to_user="false", **TAPS),
        node("Button", (950, 1950, 1100, 2100), id="half", **TAPS),
    )
    assert [point(data, one) for one in ("under", "below", "unseen")] == [None, None, None]
    x, y = point(data, "half") or (0, 0)
    assert (x < 1000, y < 2000) == (True, True)


def test_a_text_hands_its_touch_to_what_is_around_it() -> None:
    text = node("TextView", (0, 0, 100, 50), text="Oak", id="text")
    over = node("Button", (0, 0, 100, 50), id="over", **TAPS)
    assert point(drawn(node("LinearLayout", (0, 0, 100, 50), text, **TAPS)), "text") == (50, 25)
    assert point(drawn(text), "text") == (50, 25)
    assert point(drawn(text, over), "text") is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 40)] * 4), min_size=1, max_size=6))
def test_a_point_is_the_views_own(boxes: list[tuple[int, int, int, int]]) -> None:
    inner = [
        node("Button", (x, y, x + wide, y + high), id=f"v{place}", **TAPS)
        for place, (x, y, wide, high) in enumerate(boxes)
    ]
    tree = read_ui_tree(drawn(*inner))
    for view in tree.views[1:]:
        found = touch_point(tree, view)
        if found is not None:
            hit = [one for one in tree.views[1:] if one.bounds.holds(*found)]
            assert hit[-1] is view


@pytest.mark.parametrize(
    ("direction", "line"),
    [
        ("down", (50, 160, 50, 40)),
        ("up", (50, 40, 50, 160)),
        ("right", (80, 100, 20, 100)),
        ("left", (20, 100, 80, 100)),
    ],
)
def test_swipes_go_against_what_is_looked_for(
    direction: str, line: tuple[int, int, int, int]
) -> None:
    assert swipe_line(ViewBounds(0, 0, 100, 200), direction) == line  # type: ignore[arg-type]


def test_the_screen_is_the_first_view_with_a_size() -> None:
    assert screen_bounds(read_ui_tree(drawn())) == ViewBounds(0, 0, 1000, 2000)
    assert screen_bounds(UiTree(())) == ViewBounds()
