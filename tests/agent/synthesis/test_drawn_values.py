"""Values that fields take."""

from __future__ import annotations

import random
import re
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.elements import Element, ValueConstraints, ValueType
from adwright.agent.language.field_values import why_text_unfit
from adwright.agent.synthesis.drawn_values import FieldValue, draw_value, said_value


def field(kind: ValueType, label: str = "Field", **more: object) -> Element:
    return Element("s__f", "s", "textbox", label, value_type=kind, **more)  # type: ignore[arg-type]


def draw(one: Element, now: str | None = None, seed: int = 0) -> FieldValue | None:
    return draw_value(one, now, random.Random(seed))


@given(st.integers(0, 10_000), st.integers(0, 50), st.integers(0, 300))
def test_numbers_keep_to_their_bounds_and_change(seed: int, low: int, more: int) -> None:
    limits = ValueConstraints(lowest=str(low), highest=str(low + more + 1))
    one = field("number", constraints=limits)
    value = draw(one, str(low), seed)
    if value is not None:
        assert isinstance(value, Decimal)
        assert why_text_unfit(one, said_value(value)) is None
        assert value != low


def test_numbers_have_decimals_where_the_page_has() -> None:
    values = [draw(field("number"), "3.50", seed) for seed in range(5)]
    assert all("." in said_value(value or "") for value in values)


def test_a_switch_is_turned_and_a_choice_is_another() -> None:
    assert draw(field("switch"), "true") is False
    assert draw(field("switch"), "false") is True
    assert {draw(field("switch"), None, seed) for seed in range(8)} == {True, False}
    one = field("choice", options=("---------", "Select one", "Open", "Closed"))
    assert draw(one, "Open") == "Closed"
    assert draw(field("choice", options=("Open",)), "Open") is None


def test_dates_keep_to_their_bounds() -> None:
    limits = ValueConstraints(lowest="2027-02-01", highest="2027-02-03")
    values = {draw(field("date", constraints=limits), None, seed) for seed in range(20)}
    assert values == {"2027-02-01", "2027-02-02", "2027-02-03"}
    assert date.fromisoformat(str(draw(field("date")))) > date(2027, 1, 1)


@pytest.mark.parametrize(
    ("now", "label", "shape"),
    [
        ("2026-03-01 12:00", "Start", r"\d{4}-\d\d-\d\d 12:00"),
        ("2026-03-01T12:00:00", "Start", r"\d{4}-\d\d-\d\dT12:00:00"),
        ("2026-03-01", "Start", r"\d{4}-\d\d-\d\d"),
        ("12", "Amount", r"\d+"),
        ("WELCOME20", "Word", r"[A-Z]+\d\d"),
        ("", "Email address", r"[a-z.]+@example\.com"),
        ("", "Code", r"[A-Z]+\d\d"),
        ("", "Description", r"[A-Z][a-z ]+.*"),
        ("Tea", "Title", r"[A-Z][a-z]+ [A-Z][a-z]+"),
    ],
)
def test_texts_follow_what_stands_there(now: str, label: str, shape: str) -> None:
    value = draw(field("text", label), now)
    assert isinstance(value, str)
    assert value != now
    assert re.fullmatch(shape, value)


def test_patterns_and_lengths_hold_or_nothing_is_drawn() -> None:
    long = field("text", constraints=ValueConstraints(most_characters=6))
    assert len(str(draw(long))) <= 6
    assert draw(field("text", constraints=ValueConstraints(pattern="[0-9]{9}"))) is None
    assert draw(field("text", constraints=ValueConstraints(pattern="("))) is None
    assert draw(field("text", constraints=ValueConstraints(pattern="[A-Za-z ]+"))) is not None


def test_values_are_said_plainly_and_drawn_again() -> None:
    assert [said_value(one) for one in (True, False, Decimal("12.50"), "Tea")] == [
        "on",
        "off",
        "12.50",
        "Tea",
    ]
    assert draw(field("text"), seed=3) == draw(field("text"), seed=3)
