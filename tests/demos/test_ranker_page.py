from __future__ import annotations

import json
import re
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest

from adwright.demos.ranker_page import (
    Activated,
    Household,
    ShownProduct,
    write_page,
)
from adwright.metrics.reports.page import page_environment
from adwright.training.ranking.run import RunResult
from tests.support.data.ranking_task import START, shop_run

HOUSEHOLD = Household(
    user_id="<b>u1</b>",
    time=START,
    history=1234,
    candidates=30,
    taken=1,
    shown=(
        ShownProduct("i1", "tea & <jam>", 0.123, True, (Activated("i2", "milk", 3, 0.5),)),
        ShownProduct("i2", "milk", 0.05, False, (Activated("i2", "milk", 3, 0.25),)),
    ),
    past=("×3 milk", "×1 jam"),
    weights=((0.5, -0.25), (0.0, 0.1)),
)


class Balance(HTMLParser):
    """Fails on a tag that is closed but was not opened, or the other way round."""

    VOID = frozenset({"meta", "br", "img", "link", "input"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> RunResult:
    return shop_run(tmp_path_factory.mktemp("shop"), users=20)


@pytest.fixture(scope="module")
def page(result: RunResult, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_page(path, result, [HOUSEHOLD], seconds={"train DIN": 12.34})
    return path.read_text("utf-8")


def test_the_page_is_whole_and_stands_alone(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"https?:", page)


def test_text_is_escaped(page: str) -> None:
    assert "&lt;b&gt;u1&lt;/b&gt;" in page
    assert "tea &amp; &lt;jam&gt;" in page
    assert "<b>u1" not in page


def test_everything_is_told(page: str, result: RunResult) -> None:
    for text in ("1,234 purchases", "12.3%", "×3, 50%", "×3, 25%", "12.3 s", "01 January 2024"):
        assert text in page, text
    for row in result.comparison.rows():
        assert row[1] in page
    assert result.artifact in page
    assert escape(result.comparison.verdict()) in page
    assert "0.5 of the negatives" in page


def test_charts_are_drawn_with_ids_of_their_own(page: str) -> None:
    assert page.count("<svg") == 4
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    for reference in re.findall(r"url\(#([^)]+)\)", page):
        assert reference in ids


def test_curves_need_two_points(result: RunResult, tmp_path: Path) -> None:
    (tmp_path / "runs" / "din").mkdir(parents=True)
    lines = [json.dumps({"batches": n, "valid_gauc": 0.5 + n / 10}) for n in (1, 2)]
    bare = replace(result, folder=tmp_path)
    counts = []
    for many in (1, 2):
        (tmp_path / "runs" / "din" / "metrics.jsonl").write_text("\n".join(lines[:many]))
        write_page(tmp_path / "p.html", bare, [], seconds={})
        counts.append((tmp_path / "p.html").read_text("utf-8").count("<svg"))
    assert counts == [3, 4]


def test_one_epoch_has_a_curve_of_its_training_loss(result: RunResult, tmp_path: Path) -> None:
    bare = replace(result, folder=tmp_path)
    counts = []
    for windows in (1, 2, 3):
        (tmp_path / "runs" / "din").mkdir(parents=True, exist_ok=True)
        curve = [[10 * n, 0.5 / n] for n in range(1, windows + 1)]
        line = json.dumps({"batches": 30, "valid_gauc": 0.6, "train_curve": curve})
        (tmp_path / "runs" / "din" / "metrics.jsonl").write_text(line)
        write_page(tmp_path / "p.html", bare, [], seconds={})
        page = (tmp_path / "p.html").read_text("utf-8")
        counts.append(page.count("<svg"))
    assert counts == [3, 4, 4]
    assert "Log loss on training rows" in page


def test_without_people_or_rivals_there_is_less_to_draw(result: RunResult, tmp_path: Path) -> None:
    alone = replace(result.comparison, differences={})
    bare = replace(result, comparison=alone, folder=tmp_path)
    write_page(tmp_path / "p.html", bare, [], seconds={})
    assert (tmp_path / "p.html").read_text("utf-8").count("<svg") == 2


def test_further_pages_are_linked(result: RunResult, page: str, tmp_path: Path) -> None:
    assert "<a " not in page
    further = {"cascade/cascade.html": "Go on & on"}
    write_page(tmp_path / "p.html", result, [HOUSEHOLD], seconds={}, further=further)
    text = (tmp_path / "p.html").read_text("utf-8")
    assert '<a href="cascade/cascade.html">Go on &amp; on</a>' in text
    assert "base.html" in page_environment("adwright.demos").list_templates()
    assert "cascade.html" in page_environment("adwright.demos").list_templates()
    assert "cascade.html" not in page_environment().list_templates()
