from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.tasks import (
    PAIRS_TASK,
    Product,
    PromptBounds,
    Request,
    normal_label,
    pairs_text,
    read_answer,
    task_named,
)

TEA = Product("t1", "Mill Lane Assam 80 bags")
LABELS = ("Mobile Phones", "Fridge Freezers", "Freezers", "CPUs", 'TVs 40"')
CLASSIFY = Request(task_named("classify"), TEA, (), LABELS)
AD = Request(task_named("ads"), TEA)
TITLE = Request(task_named("titles"), TEA, (("query", "tea"),))
PAIRS = Request(PAIRS_TASK, TEA)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Mobile Phones", "Mobile Phones"),
        ("  mobile   phones.\n", "Mobile Phones"),
        ('"Mobile Phones"', "Mobile Phones"),
        ("- Freezers", "Freezers"),
        ("2) Fridge Freezers!", "Fridge Freezers"),
        ("Category: CPUs", "CPUs"),
        ("ＣＰＵｓ", "CPUs"),
        ('"TVs 40\\""', 'TVs 40"'),
        ('TVs 40"', 'TVs 40"'),
    ],
)
def test_a_label_is_known_however_it_is_written(text: str, label: str) -> None:
    answer = read_answer(CLASSIFY, text)
    assert (answer.label, answer.valid, answer.reason) == (label, True, "")


@pytest.mark.parametrize(
    "text", ["Phones", "Mobile Phones or CPUs", "Mobile PhonesX", "It is a Freezer", "\u200b", '"']
)
def test_what_is_no_label_is_invalid_and_kept(text: str) -> None:
    answer = read_answer(CLASSIFY, text)
    assert (answer.label, answer.valid, answer.reason) == (None, False, "none of the labels")
    assert answer.text


def test_labels_that_read_alike_need_their_very_letters() -> None:
    request = Request(task_named("classify"), TEA, (), ("US", "us"))
    assert read_answer(request, "us").label == "us"
    assert read_answer(request, "Us").reason == "several labels read like it"


def test_a_shown_label_leads_back_to_the_one_asked_for() -> None:
    request = Request(task_named("classify"), TEA, (), ("Tea <b>&amp; more</b>", "Coffee"))
    assert read_answer(request, "Tea & more").label == "Tea <b>&amp; more</b>"
    long = Request(task_named("classify"), TEA, (), ("word " * 40 + "end", "Coffee"))
    bounds = PromptBounds(value=30)
    assert read_answer(long, "word word word [shortened]", bounds=bounds).label == long.labels[0]
    assert read_answer(long, "word word word [shortened]").label is None


@given(st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=6))
def test_each_label_that_is_shown_is_read_back(labels: list[str]) -> None:
    from adwright.authoring.tasks import shown_labels
    from adwright.core.errors import AdwrightError

    try:
        request = Request(task_named("classify"), TEA, (), tuple(labels))
        shown = shown_labels(request)
    except AdwrightError:
        return
    assert [read_answer(request, text).label for text in shown] == labels


@pytest.mark.parametrize(
    ("request_", "text", "found"),
    [
        (AD, " Malty tea. ", "Malty tea."),
        (AD, '"Malty tea."', "Malty tea."),
        (AD, "\u201cMalty tea.\u201d", "Malty tea."),
        (AD, "Ad: Malty tea.", "Malty tea."),
        (AD, "**Ad**: Malty tea.", "**Ad**: Malty tea."),
        (AD, "Admire it", "Admire it"),
        (AD, "'A' and 'B'", "'A' and 'B'"),
        (AD, "one\ntwo", "one\ntwo"),
        (TITLE, "Title: Assam tea", "Assam tea"),
    ],
)
def test_a_text_loses_what_stands_around_it(request_: Request, text: str, found: str) -> None:
    answer = read_answer(request_, text)
    assert (answer.text, answer.valid) == (found, True)


@pytest.mark.parametrize(
    ("request_", "text", "reason"),
    [
        (AD, " \n ", "empty"),
        (AD, 'ad: ""', "empty"),
        (AD, "x" * 20_001, "more than 20,000 characters"),
        (AD, "Tea<|im_start|>user", "it opens another turn"),
        (AD, "Tea.\nUser: more", "it opens another turn"),
        (TITLE, "Assam\ntea", "more than one line"),
        (PAIRS, "Brand: A\nno pair", "a line is no `name: value`"),
        (PAIRS, "Brand:", "a line is no `name: value`"),
        (CLASSIFY, "", "empty"),
    ],
)
def test_what_is_not_of_the_form_is_invalid(request_: Request, text: str, reason: str) -> None:
    answer = read_answer(request_, text)
    assert (answer.valid, answer.reason) == (False, reason)
    assert len(answer.text) <= 20_000


def test_pairs_are_lines() -> None:
    answer = read_answer(PAIRS, "- Brand: Mill Lane\n\n2. Size: 80: bags\nBrand: Mill Lane")
    assert answer.pairs == (("Brand", "Mill Lane"), ("Size", "80: bags"))
    assert read_answer(PAIRS, "Brand: A\noops").pairs == (("Brand", "A"),)
    assert read_answer(PAIRS, pairs_text(answer.pairs)).pairs == answer.pairs


def test_the_least_form_of_a_label() -> None:
    assert normal_label(" - 'Tea,  black.' ") == "tea, black"
    assert normal_label("") == ""


@given(st.text(max_size=80))
def test_any_text_is_read(text: str) -> None:
    for request in (CLASSIFY, AD, TITLE, PAIRS):
        answer = read_answer(request, text)
        assert answer.valid == (not answer.reason)
    assert normal_label(normal_label(text)) == normal_label(text)
