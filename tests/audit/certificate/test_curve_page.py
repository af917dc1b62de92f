from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.audit.certificate.curve import BoundPoint, curve_picture, curve_table, write_curve
from adwright.core.errors import DataError

POINTS = (BoundPoint(0.0, 0.0, 0, 0.0, 0.91, 3.2), BoundPoint(0.5, 1.25, 4, 2.0, 0.94, 0.0))


def test_the_table_has_a_line_a_bound_and_marks_the_chosen() -> None:
    header, first, second = curve_table(POINTS, chosen=0.5).splitlines()
    assert header.split()[0] == "eps"
    assert first.split() == ["0", "0.00", "0", "0.00", "0.9100", "3.20"]
    assert second.split()[0] == "0.5*"
    assert "*" not in curve_table(POINTS)


def test_the_picture_names_bounds_and_axes() -> None:
    svg = curve_picture(POINTS, chosen=0.5)
    assert svg.startswith("<svg")
    for word in ("NDCG with honest texts", "Ranks that a text can win", "chosen", "0.5"):
        assert word in svg
    assert curve_picture(POINTS) != svg
    with pytest.raises(DataError, match="no point"):
        curve_picture(())


def test_both_are_written(tmp_path: Path) -> None:
    folder = write_curve(POINTS, tmp_path / "curve", chosen=0.5)
    found = json.loads((folder / "curve.json").read_text())
    assert found["chosen"] == 0.5
    assert found["points"][1]["mean_gain"] == 1.25
    assert (folder / "curve.svg").read_text().startswith("<svg")
