"""Filters of rows: each says why a row is left out."""

from __future__ import annotations

from typing import Any

import pytest

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.filters import (
    FilterConfig,
    claims_too_much,
    copies_its_input,
    filters_of,
    has_form,
    has_length,
    holds_personal_data,
    is_grounded,
    keeps_the_voice,
    speaks_the_language,
    verdict,
)
from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    SeedInstruction,
    row_of,
)
from adwright.authoring.tasks import Product, Request, task_named
from adwright.core.errors import ConfigError

SEED = SeedInstruction("s", "Write it.")
TITLE = "Mill Lane Assam tea, 80 bags"


def row(answer: str, task: str = "ads", title: str = TITLE, **more: Any) -> InstructionRow:
    values = more.pop("values", (("query", "tea bags"),) if task == "titles" else ())
    labels = ("Tea", "Coffee") if task == "classify" else ()
    product = Product("p", title, **more)
    return row_of(
        AuthoringExample(Request(task_named(task), product, values, labels), answer, "c", "s"), SEED
    )


GOOD = [
    row("Mill Lane Assam: 80 bags of tea."),
    row("tea bags: Mill Lane Assam, 80 bags", "titles"),
    row("Tea", "classify"),
    row("Size: 80 bags", "attributes"),
]


@pytest.mark.parametrize("good", GOOD, ids=lambda one: one.task)
def test_good_rows_pass_every_filter(good: InstructionRow) -> None:
    filters = filters_of(FilterConfig())
    said = verdict(good, filters)
    assert list(said) == ["form", "length", "language", "copy", "grounded", "claims", "personal"]
    assert not any(said.values()), said


@pytest.mark.parametrize(
    ("bad", "name", "why"),
    [
        (row("Water", "classify"), "form", "none of the labels"),
        (row("no pairs", "attributes"), "form", "a line is no"),
        (row("one\ntwo", "titles"), "form", "more than one line"),
        (row("Tea"), "length", "1 words"),
        (row("tea " * 201), "length", "201 words"),
        (row("Tea for you", title="x " * 3500), "", ""),
        (row("\u0427\u0430\u0439 \u0434\u043b\u044f \u0432\u0430\u0441"), "language", "not en"),
        (row(TITLE), "copy", "it copies"),
        (row("Write it"), "copy", "it copies"),
        (row("Now 90 bags of Assam tea"), "grounded", "'90"),
        (row("Size: 90 bags", "attributes"), "grounded", "'90"),
        (
            row("Assam tea heals, world's best", title=f"{TITLE} heals, the world's best"),
            "claims",
            "policy/",
        ),
        (
            row("Ask tea@example.com for tea", title=f"{TITLE} tea@example.com"),
            "personal",
            "tea@example.com",
        ),
    ],
)
def test_bad_rows_are_left_out_with_a_reason(bad: InstructionRow, name: str, why: str) -> None:
    said = verdict(bad, filters_of(FilterConfig()))
    found = {name: reason for name, reason in said.items() if reason}
    assert set(found) == ({name} if name else set())
    assert why in found.get(name, "")


def test_the_first_reason_ends_it() -> None:
    said = verdict(row("Tea"), filters_of(FilterConfig()))
    assert list(said) == ["form", "length"]


def test_lengths_can_be_set() -> None:
    text = row("Assam tea is here")
    assert has_length(text, FilterConfig(shortest=5)) == "4 words"
    assert has_length(text, FilterConfig(longest=3)) == "4 words"
    assert has_length(text, FilterConfig(prompt=50)).endswith("characters to read")
    assert has_length(row("Tea", "classify"), FilterConfig(shortest=5)) == ""


@pytest.mark.parametrize(
    ("locale", "text", "good"),
    [
        ("ru", "\u0427\u0430\u0439 \u0434\u043b\u044f \u0432\u0430\u0441 Mill", True),
        ("ru", "Tea for you and for me", False),
        ("de-AT", "Der Tee ist mild und fein f\u00fcr dich", True),
        ("en", "Der Tee ist mild und fein f\u00fcr dich", False),
        ("ja", "\u304a\u8336\u3092\u3069\u3046\u305e", True),
        ("en", "80 : 250", True),
        ("en", "a/v receiver , 5.1 speakers 1 disc ( s ) , dolby v1 , dts a s v", True),
    ],
)
def test_another_language_is_noticed(locale: str, text: str, good: bool) -> None:
    assert (speaks_the_language(row(text, locale=locale)) == "") == good


def test_labels_and_pairs_are_asked_only_for_what_can_be_wrong() -> None:
    label = row("Tea", "classify", title="Tea")
    assert copies_its_input(label) == ""
    assert is_grounded(label) == ""
    pairs = row("Claim: heals", "attributes", title="heals")
    assert claims_too_much(pairs) == ""


def test_values_of_pairs_may_be_any_part_of_the_title() -> None:
    assert is_grounded(row("Tone Position: 20", "attributes", title="guitar sj20b")) == ""
    assert is_grounded(row("Bags: 81", "attributes")) != ""


def test_general_answers_are_not_asked_for_facts() -> None:
    general = row("Within 14 days.", "answers", title="", values=(("question", "When?"),))
    assert is_grounded(general) == ""


@pytest.mark.parametrize(
    "text",
    [
        "write to jane.doe@shop.example today",
        "call 020 7946 0958 today",
        "ring +44 20 7946 0958",
        "pay to DE89 3704 0044 0532 0130 00",
        "pay to gb82west12345698765432",
        "his number is 078-05-1120",
        "card 4111 1111 1111 1111",
        "card 4111111111111111",
    ],
)
def test_personal_data_are_found(text: str) -> None:
    assert holds_personal_data(row(text))
    assert holds_personal_data(row("Some tea", title=f"Tea, {text}"))


@pytest.mark.parametrize(
    "text",
    [
        "model 0101074703 for nuvi 660 010-10747-03",
        "EAN 4006381333931",
        "1920 x 1080 pixels, 120 - 240 V",
        "phone with 64 GB and 12 MP",
        "user@home cable",
        "hotpoint hm325ff2 54cm wide 50 50",
        "IP66 Weatherproof camera",
        "part DE88 3704 0044 0532 0130 00",
        "in22 this test does tell that here",
    ],
)
def test_codes_of_goods_are_no_personal_data(text: str) -> None:
    assert holds_personal_data(row(text)) == ""


@pytest.mark.parametrize(
    "text",
    [
        "Risk-free for you",
        "clinically proven tea",
        "the No. 1 tea",
        "It cures colds",
        "Tea at 20% off",
    ],
)
def test_banned_claims(text: str) -> None:
    assert claims_too_much(row(text)).startswith("policy/")
    assert claims_too_much(row("HAM, healthy and secure!!!")) == "", "style is no claim"


def test_some_claims_may_be_made_where_the_facts_make_them() -> None:
    title = "Tea with a 5 year guarantee"
    assert claims_too_much(row("It has a 5 year guarantee", title=title)) == ""
    assert claims_too_much(row("It has a 5 year guarantee")) != ""
    assert claims_too_much(row("It cures colds", title="Tea cures colds")) != ""


@pytest.mark.parametrize("wrong", [{"shortest": 0}, {"shortest": 9, "longest": 8}, {"prompt": 0}])
def test_lines_that_leave_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="leave nothing"):
        FilterConfig(**wrong)


def test_the_form_is_that_of_the_prompt() -> None:
    assert has_form(row("Tea", "classify")) == ""


def test_a_voice_leaves_out_what_it_bans() -> None:
    voice = BrandVoice("calm", banned=("cheap",), required=("Mill Lane",))
    assert "'cheap' is banned" in keeps_the_voice(row("A cheap tea"), voice)
    assert keeps_the_voice(row("A plain tea"), voice) == ""
    assert keeps_the_voice(row("Style: cheap", "attributes"), voice) == ""
    assert "voice" not in filters_of(FilterConfig())
    filters = filters_of(FilterConfig(), voice=voice)
    assert "cheap" in filters["voice"](row("A cheap tea"))
