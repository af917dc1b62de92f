from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from adwright.creative.memory.seed.texts.ad_text import (
    answer_of,
    brief_of,
    claimed_in,
    is_complete,
    record_of,
    said_in,
)
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.ads_table import read_ads

RECORD = AdRecord(brand="Mill Lane", title="Fresh at six", words="Rye bread\nof 800 g")


@pytest.mark.parametrize(
    ("kind", "subject", "answer"),
    [
        ("slogan", "Rye bread\nof 800 g", "Fresh at six"),
        ("headline", "Rye bread\nof 800 g", "Fresh at six"),
        ("description", "Fresh at six", "Rye bread of 800 g"),
    ],
)
def test_a_brief_and_an_answer_make_the_ad_again(kind: Any, subject: str, answer: str) -> None:
    brief = brief_of(RECORD, kind, id="r", group="g")
    assert (brief.brand, brief.subject, brief.group) == ("Mill Lane", subject, "g")
    assert answer_of(RECORD, kind) == answer
    assert answer not in brief.messages()[0].content
    again = record_of(answer, brief)
    assert answer_of(again, kind) == answer
    assert again.brand == brief.brand


@pytest.mark.parametrize(
    "text",
    [
        '"Fresh at six"',
        "Slogan: Fresh at six",
        '**Tagline: "Fresh at six"**',
        "\n\nFresh at six\nA",
    ],
)
def test_what_models_put_around_a_line_is_no_part_of_it(text: str) -> None:
    brief = brief_of(RECORD, "slogan", id="r")
    assert record_of(text, brief).title == "Fresh at six"
    assert record_of("Time: now", brief).title == "Time: now"
    assert record_of(" \n ", brief).title == ""


def test_an_ad_that_lacks_a_part_is_not_complete() -> None:
    assert is_complete(RECORD, "slogan")
    assert not is_complete(AdRecord(title="Fresh"), "slogan"), "no brand and no subject"
    assert not is_complete(AdRecord(brand="Mill Lane", words="Rye"), "headline")
    assert is_complete(AdRecord(title="Rye", words="Fresh"), "description")
    assert not is_complete(AdRecord(title="Rye"), "description")


def test_a_video_is_written_scene_by_scene() -> None:
    scene = Scene(
        caption="a loaf", foreground=("dark brown",), emotions=("warm",), tags=("bread",), faces=2
    )
    film = AdRecord(
        kind="video",
        brand="Mill Lane",
        title="Rye",
        speech="At six",
        seconds=15,
        orientation="landscape",
        pace="low",
        scenes=(scene, Scene(caption="a shop", words=("Open at 6",)), *[Scene(caption="x")] * 9),
    )
    brief = brief_of(film, "video", id="v")
    assert "Seconds: 15" in brief.messages()[0].content
    answer = answer_of(film, "video")
    assert answer.startswith("The ad is shot in landscape orientation, at a low pace.")
    assert "Mill Lane" not in answer
    again = record_of(answer, brief)
    assert answer_of(again, "video") == answer
    assert (again.brand, again.title, again.seconds, again.pace) == ("Mill Lane", "Rye", 15, "low")
    assert len(again.scenes) == 5
    assert again.scenes[0] == replace(scene, faces=None)
    assert said_in(again, "video").splitlines() == [
        *("At six", "a loaf", "a shop", "Open at 6", "x", "x", "x")
    ]
    assert claimed_in(again, "video") == "At six\nOpen at 6"
    assert is_complete(film, "video")
    assert not is_complete(AdRecord(kind="video", title="Rye", seconds=3), "video")


def test_lambda_ads_are_learned_as_written(shared_data: Path) -> None:
    table = read_ads(shared_data / "lambda" / "ads.jsonl")
    lengths = []
    for at, record in enumerate(table.records):
        brief = brief_of(record, "video", id=str(at))
        answer = answer_of(record, "video")
        assert answer_of(record_of(answer, brief), "video") == answer
        assert brief.brand
        lengths.append(len(answer))
    assert len(lengths) == 108
    assert 200 < sorted(lengths)[54] < 4000
