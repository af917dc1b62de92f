from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions import rows
from adwright.authoring.instructions.rows import DETAILS, AuthoringExample, facts_of, with_details
from adwright.authoring.tasks import Product, Request, task_named


@dataclass(frozen=True)
class Found:
    start: int
    end: int
    kind: str
    text: str


def numbers(text: str, facts: Sequence[str], *, locale: str = "en") -> list[Found]:
    """Numbers that stand in no fact: the literal form of the measure."""
    known = set(re.findall(r"\d+", " ".join(facts)))
    return [
        Found(one.start(), one.end(), "number", one[0])
        for one in re.finditer(r"\d+", text)
        if one[0] not in known
    ]


@pytest.fixture(autouse=True)
def literal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure is the literal one."""
    monkeypatch.setattr(rows, "unsupported_spans", numbers)


TEA = Product("t1", "Assam 80 bags", "Malty.", category="Tea", attributes=(("Weight", "250 g"),))


def described(answer: str, product: Product = TEA) -> AuthoringExample:
    return AuthoringExample(Request(task_named("descriptions"), product), answer, "c", "s")


def test_facts_are_what_is_shown() -> None:
    assert facts_of(Request(task_named("descriptions"), TEA)) == (
        "Assam 80 bags",
        "Tea",
        "Weight: 250 g",
    )
    assert "Malty." in facts_of(Request(task_named("ads"), TEA))
    values = (("occasion", "Easter <b>now</b>"), ("audience", " "))
    assert facts_of(Request(task_named("ads"), TEA, values))[-1] == "Easter now"
    assert facts_of(Request(task_named("attributes"), TEA)) == ("Assam 80 bags", "Malty.", "Tea")
    classify = Request(task_named("classify"), TEA, (), ("Tea", "Coffee"))
    assert "Tea" not in facts_of(classify)


def test_missing_facts_become_details_with_the_words_around_them() -> None:
    example = described(
        "Steep it for 3 minutes in water of 95 degrees , drink it soon and enjoy all 80 bags."
    )
    shown = with_details(example)
    assert shown.request.product.attributes[-1] == (DETAILS, "for 3 minutes; of 95 degrees")
    assert not numbers(shown.answer, facts_of(shown.request))
    assert (shown.answer, shown.cluster) == (example.answer, "c")


def test_spans_that_touch_are_one_and_equal_ones_stand_once() -> None:
    answer = (
        "It has 4 and 5 cups, some words more and then, as was said, it has 4 and nothing at all "
        "but these words."
    )
    shown = with_details(described(answer))
    assert shown.request.product.attributes[-1][1] == "has 4 and 5 cups; has 4 and"


def test_what_lacks_nothing_stays() -> None:
    example = described("All 80 bags.")
    assert with_details(example) is example


def test_what_would_be_copied_stays_without_details() -> None:
    example = described("1 2 3 4 5 6")
    assert with_details(example) is example


@given(st.text(alphabet="ab 0123456789.,()", min_size=1, max_size=80))
def test_after_details_nothing_is_missing_or_nothing_was_added(answer: str) -> None:
    example = described(f"x{answer}")
    shown = with_details(example)
    assert shown is example or not numbers(shown.answer, facts_of(shown.request))
