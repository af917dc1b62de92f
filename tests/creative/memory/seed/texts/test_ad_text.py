from __future__ import annotations

from typing import Any

import pytest

from adwright.creative.memory.seed.texts.ad_text import (
    answer_of,
    brief_of,
    is_complete,
    record_of,
)
from adwright.creative.records.verbal.record import AdRecord

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
    assert brief_of(again, kind, id="r", group="g") == brief
    assert answer_of(again, kind) == answer


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
