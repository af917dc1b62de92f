"""What the documentation claims of the results is what the results bear."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from adwright.metrics.bootstrap import MethodInterval
from benchmarks.claims._rows import ClaimRow, claim_rows
from benchmarks.claims._sentences import faults, pages, passages
from benchmarks.claims.claims import lines
from benchmarks.common.result import ROOT, Lead, published, write_result


def row(low: float, high: float, **changed: Any) -> ClaimRow:
    about = {"name": "file/a_minus_b", "a": "a", "b": "b", "measure": "m", "data": "d"}
    return ClaimRow(**{**about, "seeds": 3, "value": 0.0, "low": low, "high": high, **changed})


def wrong(text: str, *rows: ClaimRow) -> list[str]:
    known = {one.name: one for one in rows}
    return [fault for one in passages("page.md", text) for fault in faults(one, known)]


def test_every_claim_of_the_documentation_is_borne_by_its_row() -> None:
    rows = claim_rows()
    found = []
    for page in pages():
        name = page.relative_to(ROOT).as_posix()
        for passage in passages(name, page.read_text("utf-8")):
            found += faults(passage, rows)
    assert not found, "\n".join(found)


def test_no_comparison_is_without_a_verdict() -> None:
    rows = claim_rows()
    assert len(rows) > 100
    told = lines(rows.values())
    verdicts = ("ahead", "behind", "level", "not told: no interval")
    assert all(line.startswith(verdicts) for line in told)
    assert rows["din/gauc_din_minus_base"].words() == "ahead"
    assert rows["din/gauc_din_minus_base"].seeds >= 3


@pytest.mark.parametrize(
    ("low", "high", "lower", "verdict"),
    [
        (0.1, 0.2, False, "ahead"),
        (-0.2, -0.1, False, "behind"),
        (-0.1, 0.2, False, "level"),
        (0.1, 0.2, True, "behind"),
        (-0.2, -0.1, True, "ahead"),
        (0.0, 0.0, False, "level"),
        (math.nan, math.nan, False, "untold"),
    ],
)
def test_the_verdict_follows_from_the_interval(
    low: float, high: float, lower: bool, verdict: str
) -> None:
    found = row(low, high, lower=lower)
    assert found.verdict == verdict
    if verdict != "untold":
        assert found.words() == verdict
        trained = row(low, high, lower=lower, seeds=1)
        assert trained.words() == f"{verdict}, of these trainings"
        assert row(low, high, lower=lower, seeds=0).words() == verdict


@pytest.mark.parametrize(
    "text",
    [
        "A is ahead of B.",
        "* A beats B\n* C is there",
        "So A wins here, since it is small.",
        "A is better than B.",
        "Here A and B say the same;\nthe mean is ahead by little.",
        "In the tail A finds six times what B does.",
        "| A is ahead of B |\n|---|",
        "Its curve is steeper.",
    ],
)
def test_a_claim_without_a_mark_is_told_with_its_place(text: str) -> None:
    (fault,) = wrong(f"# Page\n\n{text}\n")
    assert fault.startswith("page.md:3: a claim names no row")


@pytest.mark.parametrize(
    "text",
    [
        "```text\nA is ahead of B\n```",
        "<!-- generated: x -->\n\nA is ahead of B.\n\n<!-- end -->",
        "## Where A wins",
        "The first line says who is ahead.",
        "A rule that is hard to beat.",
        "A is ahead of B. <!-- claim: none, of your own log -->",
    ],
)
def test_what_claims_nothing_needs_no_mark(text: str) -> None:
    assert not wrong(text)


def test_a_mark_must_say_what_its_row_bears() -> None:
    mark = "A is ahead of B.\n<!-- claim: file/a_minus_b ahead -->"
    assert not wrong(mark, row(0.1, 0.2))
    (fault,) = wrong(mark, row(-0.1, 0.2))
    assert fault == "page.md:1: file/a_minus_b bears 'level', not 'ahead'"
    assert "there is no row file/a_minus_b" in wrong(mark)[0]
    assert "bears 'not told" in wrong(mark, row(math.nan, math.nan))[0]
    two = "A is ahead of B. <!-- claim: file/a_minus_b ahead;\nfile/c level -->"
    assert wrong(two, row(0.1, 0.2), row(0.1, 0.2, name="file/c")) == [
        "page.md:1: file/c bears 'ahead', not 'level'"
    ]


def test_a_reason_stands_beside_no_row() -> None:
    assert "say why" in wrong("A is ahead of B. <!-- claim: none -->")[0]


def test_a_claim_of_trainings_says_so() -> None:
    mark = "<!-- claim: file/a_minus_b ahead -->"
    alone = row(0.1, 0.2, seeds=1)
    assert "say so" in wrong(f"A is ahead of B. {mark}", alone)[0]
    assert not wrong(f"In one training each, A is ahead of B. {mark}", alone)


def test_leads_of_a_result_file_are_rows(tmp_path: Path) -> None:
    found = MethodInterval(0.02, 0.01, 0.03, seeds=5)
    lead = Lead("gauc_a_minus_b", "a", "b", "group AUC", "a task", found)
    figures = {"x_minus_y_ci": [-1.0, 1.0], "best_minus_peer": 0.5, "x_speed_minus_y_ratio": 2.0}
    about: dict[str, Any] = {"protocol": "", "data": "", "seeds": [0], "rows": []}
    path = write_result("made", figures=figures, leads=[lead], folder=tmp_path, **about)
    written = json.loads(path.read_text("utf-8"))
    assert written["figures"]["gauc_a_minus_b_ci"] == [0.01, 0.03]
    rows = claim_rows(tmp_path)
    assert set(rows) == {"made/gauc_a_minus_b", "made/x_minus_y", "made/best_minus_peer"}
    assert rows["made/gauc_a_minus_b"].words() == "ahead"
    assert rows["made/gauc_a_minus_b"].seeds == 5
    assert rows["made/x_minus_y"].words() == "level, of these trainings"
    assert rows["made/best_minus_peer"].words() == "not told: no interval"


def test_a_part_of_which_nothing_is_new_stays_as_it_was_published(tmp_path: Path) -> None:
    lead = Lead("old_a_minus_b", "a", "b", "AUC", "a set", MethodInterval(0.1, 0.05, 0.2, 3))
    write_result(
        "both",
        protocol="p",
        data="d",
        seeds=[0],
        rows=[{"part": "old", "auc": 0.7}, {"part": "new", "auc": 0.8}],
        figures={"old_auc": 0.7, "new_auc": 0.8},
        leads=[lead],
        folder=tmp_path,
    )

    def is_old(key: str) -> bool:
        return key.startswith("old_")

    rows, figures, leads = published("both", lambda row: row["part"] == "old", is_old, tmp_path)
    assert rows == [{"part": "old", "auc": 0.7}]
    assert figures == {"old_auc": 0.7, **lead.figures()}
    assert leads == [lead]
    assert published("none", bool, is_old, tmp_path) == ([], {}, [])


def test_intervals_that_were_published_apart_are_put_beside_each_other(tmp_path: Path) -> None:
    rows = [
        {"log": "lastfm", "rule": "Item-item", "ndcg10": 0.5, "ndcg10_ci": [0.47, 0.54]},
        {"log": "lastfm", "rule": "implicit, a", "ndcg10": 0.3, "ndcg10_ci": [0.2, 0.4]},
        {"log": "lastfm", "rule": "implicit, b", "ndcg10": 0.4, "ndcg10_ci": [0.36, 0.48]},
    ]
    (tmp_path / "item_item.json").write_text(json.dumps({"rows": rows, "figures": {}}))
    found = claim_rows(tmp_path)["beside/lastfm-item-item-implicit"]
    assert found.value == pytest.approx(0.1)
    assert found.low == pytest.approx(0.1 - math.hypot(0.03, 0.08))
    assert found.high == pytest.approx(0.1 + math.hypot(0.04, 0.04))
    assert found.seeds == 0


def test_a_word_of_a_key_has_letters_digits_and_underscores() -> None:
    assert Lead.word("implicit 0.7.3, cosine, K = 20") == "implicit_0_7_3_cosine_k_20"
