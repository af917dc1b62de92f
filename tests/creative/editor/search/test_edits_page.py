from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from adwright.core.errors import DataError
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.search.edits_page import (
    contact_sheet,
    edits_page,
    front_chart,
    write_contact_sheet,
    write_edits_page,
)
from adwright.creative.editor.search.fitness import Weighted
from adwright.creative.editor.search.pareto import EditFront
from adwright.creative.editor.search.penalties import FineNoise
from adwright.creative.editor.search.picture_judge import EnsembleJudge
from adwright.creative.editor.search.random_search import random_search
from adwright.creative.editor.search.result import FoundEdit, find_edit
from tests.support.creative.searches import ColourJudge, colour_fitness

ENSEMBLE = EnsembleJudge("click_rate", (ColourJudge(200), ColourJudge(210)))
FRONT = EditFront(
    "nsga2", ("rate", "life"), np.zeros((2, 4)), np.array([[1.0, 2], [2, 1]]), np.ones(2), 9
)


def found(second: object = None) -> FoundEdit:
    fitness = colour_fitness(ENSEMBLE, penalties=(Weighted(FineNoise(), 0.01),))
    return find_edit(fitness, lambda one: random_search(one, calls=9, seed=0), second=second)


def test_the_page_says_of_each_number_what_it_is(tmp_path: Path) -> None:
    both = {"<ad & 1>": found(ColourJudge(name="second")), "ad 2": found()}
    page = edits_page(both, title="Two edits", sentences=("Said first.",), front=(FRONT,))
    assert "&lt;ad &amp; 1&gt;" in page
    assert "<script" not in page
    # The banner, a row a judge, the advice on both, the chart.
    assert page.count(ESTIMATE) >= 1 + 3 + 2 + 1
    assert "none was asked" in page
    for said in ("Said first.", "second opinion, not searched", "penalty fine noise", "unknown"):
        assert said in page
    assert page.count("data:image/png;base64") == 4
    assert "9 pictures in 2 batches" in page
    path = tmp_path / "edits.html"
    write_edits_page(path, both, title="Two edits", sentences=("Said first.",), front=(FRONT,))
    assert "Two edits" in path.read_text("utf-8")
    assert "<svg" not in edits_page(both, title="t")


def test_only_so_many_are_shown_whole() -> None:
    one = found()
    assert "2 more edits" in edits_page({str(at): one for at in range(52)}, title="t")


def test_the_sheet_shows_both_pictures_and_what_is_said(tmp_path: Path) -> None:
    one, other = found(), found(ColourJudge(name="second"))
    sheet = contact_sheet([one, other])
    assert sheet.shape[1] == 2 * 320 + 3 * 8
    assert sheet.shape[0] > 2 * 320
    before = sheet[8 : 8 + 240, 8:328].astype(float)
    after = sheet[8 : 8 + 240, 336:656].astype(float)
    np.testing.assert_allclose(before.mean(), one.original.mean(), atol=3)
    np.testing.assert_allclose(after.mean(), one.done.picture.mean(), atol=3)
    # Words below.
    assert (sheet[340:380] < 100).any()
    write_contact_sheet(tmp_path / "sheet.png", [one, other])
    with Image.open(tmp_path / "sheet.png") as image:
        np.testing.assert_array_equal(np.asarray(image), sheet)


def test_the_chart_has_each_plan_and_no_edit() -> None:
    chart = json.loads(front_chart([FRONT]).to_json())
    told = chart.get("datasets", {})
    points, cross = (
        told.get(layer["data"].get("name")) or layer["data"]["values"] for layer in chart["layer"]
    )
    assert [(row["x"], row["y"]) for row in points] == [(1.0, 2.0), (2.0, 1.0)]
    assert cross == [{"x": 1.0, "y": 1.0}]
    assert ESTIMATE in chart["title"]["subtitle"]


def test_nothing_to_show_is_refused() -> None:
    with pytest.raises(DataError, match="no edit"):
        contact_sheet([])
    with pytest.raises(DataError, match="no edit"):
        edits_page({}, title="t")
    with pytest.raises(DataError, match="front"):
        front_chart([])
