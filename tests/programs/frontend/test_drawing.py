"""Drawings: boxes stand below what they read from, never on each other, and always alike."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.programs.frontend.explain import Arrow, Box, draw

SVG = "{http://www.w3.org/2000/svg}"


def placed(boxes: list[Box], arrows: list[Arrow]) -> dict[str, tuple[float, float, float, float]]:
    """Left, top, right, bottom of each box, as drawn."""
    tree = ElementTree.fromstring(draw(boxes, arrows))
    rects = list(tree.iter(f"{SVG}rect"))[1:]
    found = {}
    for box, rect in zip(boxes, rects, strict=True):
        x, y, width, height = (float(rect.get(one, "")) for one in ("x", "y", "width", "height"))
        found[box.box_id] = (x, y, x + width, y + height)
        assert x >= 0
        assert x + width <= float(tree.get("width", "")) + 1
        assert y + height <= float(tree.get("height", ""))
    return found


@given(st.integers(0, 8), st.data())
def test_boxes_stand_below_what_they_read_from_and_beside_each_other(
    count: int, data: st.DataObject
) -> None:
    kinds = st.sampled_from(("chain", "step", "value", "idle"))
    boxes = [
        Box(f"b{at}", ("x" * data.draw(st.integers(0, 60)), "y"), data.draw(kinds))
        for at in range(count)
    ]
    pairs = list(combinations(range(count), 2))
    chosen = data.draw(st.lists(st.sampled_from(pairs), max_size=12)) if pairs else []
    arrows = [Arrow(f"b{one}", f"b{other}", "<v>") for one, other in chosen]
    found = placed(boxes, arrows)
    assert all(found[one.start][3] < found[one.end][1] for one in arrows)
    for one, other in combinations(found.values(), 2):
        beside = one[2] < other[0] or other[2] < one[0]
        assert beside or one[3] < other[1] or other[3] < one[1]
    assert draw(boxes, arrows) == draw(boxes, arrows)


def test_groups_have_colours_and_kinds_have_forms() -> None:
    boxes = [
        Box("a", ("a",), group="g"),
        Box("b", ("b",), group="g"),
        Box("c", ("c",), group="h"),
        Box("d", ("d",), "idle"),
        Box("e", ("e",), "step"),
        Box("f", ("f",), "value"),
    ]
    tree = ElementTree.fromstring(draw(boxes, []))
    a, b, c, d, e, f = list(tree.iter(f"{SVG}rect"))[1:]
    assert a.get("stroke") == b.get("stroke") != c.get("stroke")
    assert d.get("stroke-dasharray")
    assert e.get("rx") != a.get("rx")
    assert f.get("stroke") == "none"


def test_texts_are_escaped_and_cut() -> None:
    svg = draw([Box("a", ("<script>&", "x" * 100))], [])
    assert "&lt;script&gt;&amp;" in svg
    assert "x" * 37 + "..." in svg
    with pytest.raises(ConfigError, match="'cloud'"):
        Box("a", ("a",), "cloud")  # type: ignore[arg-type]
