from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import DataError
from adwright.creative.memory.ad_tasks import (
    Example,
    content_answer,
    content_prompt,
    few_examples,
    recall_prompt,
    write_rows,
)
from adwright.creative.memory.outcomes import RecallTable
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.records.verbal.verbalise import verbalised

FILM = AdRecord(
    kind="video",
    brand="Mill Lane",
    title="Fresh bread",
    seconds=16,
    orientation="landscape",
    pace="high",
    scenes=(Scene(caption="a loaf on a table", tags=("bread", "table")),),
)
SLOGAN = AdRecord(brand="Mill Lane", title="Baked at six")


def table(rows: int = 6) -> RecallTable:
    scores = np.linspace(0, 1, rows)
    ads = tuple(AdRecord(brand=f"b{row // 2}", title=f"slogan {row}") for row in range(rows))
    return RecallTable(tuple(map(str, range(rows))), ads, scores, scores)


def test_the_question_comes_first_and_the_ad_whole() -> None:
    prompt = recall_prompt(FILM)
    assert prompt.startswith("How well is this ad remembered after one to three days")
    assert prompt.endswith(verbalised(FILM))
    shown = recall_prompt(FILM, examples=[Example(SLOGAN, 0.655)])
    assert "Baked at six" in shown
    assert "Answer: 65" in shown
    assert shown.index("Answer: 65") < shown.index("Fresh bread")
    assert len(recall_prompt(FILM, words=5).split()) < len(prompt.split())


def test_the_brief_and_the_ad_share_nothing_that_gives_it_away() -> None:
    assert content_prompt(FILM).endswith("Brand: Mill Lane. Seconds: 16. Title: Fresh bread")
    answer = content_answer(FILM)
    assert answer.startswith("The ad is shot in landscape orientation, at a high pace.")
    assert "a loaf on a table" in answer
    assert "Mill Lane" not in answer
    assert "Fresh bread" not in answer
    assert content_answer(FILM, words=3) == "The ad is"


def test_an_ad_of_text_alone_is_its_title() -> None:
    assert content_answer(SLOGAN) == "Baked at six"
    assert "Baked at six" not in content_prompt(SLOGAN)


def test_rows_of_both_tasks_keep_brands_together(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    assert write_rows(path, table()) == 12
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert {row["task"] for row in rows} == {"recall", "content"}
    recall = [row for row in rows if row["task"] == "recall"]
    assert [row["answer"] for row in recall] == ["00", "19", "39", "59", "79", "99"]
    assert len({row["group"] for row in rows}) == 3
    assert write_rows(path, table(), tasks=["recall"]) == 6
    bare = RecallTable(("0",), (AdRecord(title="no brief"),), np.array([0.5]), np.array([0.5]))
    assert write_rows(path, bare) == 1
    with pytest.raises(DataError, match="nothing to learn"):
        write_rows(path, bare, tasks=["content"])


def test_examples_span_the_scale() -> None:
    found = few_examples(table(9), 3)
    assert [round(one.score, 3) for one in found] == [0.125, 0.5, 0.875]
    assert few_examples(table(), 0) == ()
    with pytest.raises(DataError, match="7 examples"):
        few_examples(table(), 7)
