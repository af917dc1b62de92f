from __future__ import annotations

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.metrics.text.rouge import singular
from benchmarks.common.text_measures import query_coverage, query_coverage_per_text


def test_known_values() -> None:
    found = query_coverage_per_text(
        ["Red cotton shirt for men", "Blue hat", "x"], ["red shirts for men", "the red hat", "--"]
    )
    assert found == pytest.approx([1, 0.5, np.nan], nan_ok=True)
    assert query_coverage("the", "the") == 1
    assert query_coverage("a hat", "the") == 0


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("shirts", "shirt"),
        ("berries", "berry"),
        ("dresses", "dress"),
        ("boxes", "box"),
        ("brushes", "brush"),
        ("glass", "glass"),
        ("bus", "bus"),
        ("shoes", "shoe"),
    ],
)
def test_plurals(many: str, one: str) -> None:
    assert singular(many) == singular(one) == one


def test_bad_rows() -> None:
    with pytest.raises(DataError, match="row 0"):
        query_coverage_per_text([None], ["a"])  # type: ignore[list-item]
