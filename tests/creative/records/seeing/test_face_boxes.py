from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.creative.records.seeing.face_boxes import (
    INPUT_SIDE,
    boxes_of,
    distinct,
    suppressed,
    windows,
)

ANCHORS = 48 * 48
BOX = st.tuples(*[st.floats(0, 1)] * 2, *[st.floats(0.02, 0.5)] * 2)
SOME = st.lists(st.tuples(BOX, st.floats(0.01, 1)), max_size=12)


def test_numbers_become_boxes_around_their_anchors() -> None:
    numbers = np.zeros((ANCHORS, 16), np.float32)
    place = 10 * 48 + 20  # row 10, column 20
    numbers[place, :4] = [19.2, -9.6, 38.4, 57.6]
    scores = np.full(ANCHORS, -200, np.float32)
    scores[place] = 0
    boxes, sure = boxes_of(numbers, scores)
    x, y = 20.5 / 48 + 0.1, 10.5 / 48 - 0.05
    assert boxes[place] == pytest.approx([x - 0.1, y - 0.15, x + 0.1, y + 0.15])
    assert sure[place] == 0.5
    assert sure[0] == pytest.approx(0, abs=1e-40)
    assert boxes[47][:2] == pytest.approx([47.5 / 48, 0.5 / 48])
    assert INPUT_SIDE == 4 * 48


def iou(a: np.ndarray, b: np.ndarray) -> float:
    wide = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    high = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    both = wide * high
    area = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / area


def literal(boxes: np.ndarray, scores: np.ndarray, least: float) -> list[tuple[list[float], float]]:
    """Weighted suppression, box by box."""
    left = sorted(
        (at for at in range(len(boxes)) if scores[at] >= least), key=lambda at: -scores[at]
    )
    made = []
    while left:
        best = left[0]
        group = [at for at in left if at == best or iou(boxes[best], boxes[at]) > 0.3]
        total = sum(scores[at] for at in group)
        mean = [sum(scores[at] * boxes[at][k] for at in group) / total for k in range(4)]
        made.append((mean, float(scores[best])))
        left = [at for at in left if at not in group]
    return made


@given(SOME, st.floats(0.1, 0.9))
def test_suppression_is_what_it_says(
    some: list[tuple[tuple[float, ...], float]], least: float
) -> None:
    boxes = np.array([(x, y, x + w, y + h) for (x, y, w, h), _ in some]).reshape(-1, 4)
    scores = np.array([score for _, score in some])
    made, kept = suppressed(boxes, scores, least)
    wanted = literal(boxes, scores, least)
    assert kept == pytest.approx([score for _, score in wanted])
    assert made == pytest.approx(np.array([box for box, _ in wanted]).reshape(-1, 4))


def test_the_same_face_of_two_windows_counts_once_and_half_of_it_not_again() -> None:
    boxes = np.array(
        [[0, 0, 10, 10], [1, 1, 11, 11], [0, 0, 5, 10], [30, 0, 40, 10], [8, 0, 18, 10.0]]
    )
    assert distinct(boxes, np.array([0.9, 0.8, 0.95, 0.7, 0.6])).tolist() == [2, 3, 4]
    assert distinct(boxes[:2], np.array([0.8, 0.9])).tolist() == [1]
    assert distinct(np.empty((0, 4)), np.empty(0)).tolist() == []


@given(st.integers(16, 3000), st.integers(16, 3000))
def test_windows_lie_inside_and_cover_all(width: int, height: int) -> None:
    found = windows(width, height)
    assert len(found) <= 40
    covered = np.zeros((height // 8 + 1, width // 8 + 1), bool)
    for left, top, side in found:
        assert 0 <= left <= width - side
        assert 0 <= top <= height - side
        covered[top // 8 : -(-(top + side) // 8), left // 8 : -(-(left + side) // 8)] = True
    if max(width, height) < 5 * min(width, height):
        assert covered[: height // 8, : width // 8].all()
