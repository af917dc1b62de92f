"""What fields take."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from adwright.agent.document.elements import Element, ValueConstraints
from adwright.agent.language.kinds import number_in, read_decimal, why_text_unfit, why_unfit
from adwright.agent.language.script import TextLiteral, WholeLiteral
from tests.support.agent.shop_document import shop_document

FIELDS = shop_document().by_name


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("12", Decimal(12)),
        (" -12.50 ", Decimal("-12.5")),
        ("1,234.5", Decimal("1234.5")),
        ("12,50", Decimal("12.5")),
        ("1,00,000", Decimal(100000)),
        ("1,2345", None),
        ("1,23,4", None),
        ("1e9999999", None),
        ("nan", None),
        ("inf", None),
        ("1_000", None),
        ("\u0661", None),
        ("", None),
        ("9" * 41, None),
        ("twelve", None),
    ],
)
def test_numbers_are_plain(text: str, number: Decimal | None) -> None:
    assert read_decimal(text) == number


@pytest.mark.parametrize(
    ("verb", "name", "kind", "fits"),
    [
        ("set_text", "offer_edit__name", "text", True),
        ("set_text", "offer_edit__save", "text", False),
        ("set_text", "offer_edit__status", "text", False),
        ("set_text", "sign_in__password", "text", False),
        ("set_text", "sign_in__password", "secret", True),
        ("set_text", "offer_edit__name", "secret", True),
        ("set_text", "offer_edit__share", "secret", False),
        ("choose", "offer_edit__name", "text", False),
        ("choose", "offer_edit__active", "truth", True),
        ("choose", "offer_edit__active", "text", False),
        ("choose", "offer_edit__status", "truth", False),
    ],
)
def test_verbs_go_with_fields(verb: str, name: str, kind: str, fits: bool) -> None:
    problem = why_unfit(verb, FIELDS[name], kind, TextLiteral("Open"))  # type: ignore[arg-type]
    assert (problem is None) == fits
    assert problem is None or (problem.code == "wrong_type" and problem.hint)


@pytest.mark.parametrize(
    ("name", "text", "code"),
    [
        ("offer_edit__status", "Open", None),
        ("offer_edit__status", "open", "wrong_option"),
        ("offer_edit__name", "x" * 40, None),
        ("offer_edit__name", "x" * 41, "constraint"),
        ("offer_edit__name", "", "constraint"),
        ("offer_edit__share", "90", None),
        ("offer_edit__share", "90.5", "constraint"),
        ("offer_edit__share", "-1", "constraint"),
        ("offer_edit__share", "much", "constraint"),
        ("mail__text", "", None),
    ],
)
def test_values_go_with_bounds(name: str, text: str, code: str | None) -> None:
    problem = why_text_unfit(FIELDS[name], text)
    assert (problem and problem.code) == code
    literal = TextLiteral(text)
    verb = "choose" if FIELDS[name].value_type == "choice" else "set_text"
    assert why_unfit(verb, FIELDS[name], "text", literal) == problem


def test_a_number_is_held_to_the_bounds_of_its_field() -> None:
    field = FIELDS["offer_edit__share"]
    assert why_unfit("set_text", field, "whole", WholeLiteral(5)) is None
    assert why_unfit("set_text", field, "whole", WholeLiteral(95)) is not None


def test_dates_have_bounds() -> None:
    limits = ValueConstraints(lowest="2026-01-01", highest="2026-12-31")
    field = Element("a__day", "a", "textbox", "Day", value_type="date", constraints=limits)
    texts = ("2026-06-01", "2026-06-01T10:00", "2025-12-31", "2027-01-01", "tomorrow", "")
    fits = [why_text_unfit(field, one) is None for one in texts]
    assert fits == [True, True, False, False, False, True]
    loose = replace(field, constraints=replace(limits, lowest="soon"))
    assert why_text_unfit(loose, "2025-12-31") is None


@pytest.mark.parametrize(
    ("text", "number"),
    [("Rent for $1,250.50", "1250.50"), ("2h 05m", "125"), ("45 min", "45"), ("-3", "-3")],
)
def test_the_one_number_of_a_text(text: str, number: str) -> None:
    assert number_in(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "none", "3 of 7", "1e3"])
def test_a_text_with_no_number_or_several_has_none(text: str) -> None:
    assert number_in(text) is None
