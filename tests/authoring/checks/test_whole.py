"""Loops, stumps, fragments, swapped values and invented parts."""

from __future__ import annotations

import pytest

from adwright.authoring.checks.relations import check_relations
from adwright.authoring.checks.verdict import check
from adwright.authoring.checks.whole import check_form, check_whole, sentences_of, why_no_sentence
from adwright.authoring.tasks import AuthoringRequest, Product, task_named

SHELF = Product(
    "p1",
    "Oak shelf by Nord",
    brand="Nord",
    attributes=(
        ("width", "40 cm"),
        ("height", "80 cm"),
        ("weight", "5 kg"),
        ("colour", "green"),
        ("material", "oak"),
        ("includes", "six screws"),
    ),
)
REQUEST = AuthoringRequest(task_named("descriptions"), SHELF)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("This product is a product that is a product.", "form/loop"),
        ("The shelf is here. It is good. The shelf is here.", "form/loop"),
        ("An oak shelf with", "form/stump"),
        ("An oak shelf, up to.", "form/stump"),
        ("Nord oak she", "form/cut"),
        ("Title: Oak shelf", "form/prompt"),
        ("Here is a headline for the oak shelf", "form/prompt"),
        ("- Oak shelf", "form/prompt"),
    ],
)
def test_what_is_not_whole_is_found(text: str, rule: str) -> None:
    assert rule in {one.rule for one in check_form(text, REQUEST)}
    assert rule in {one.rule for one in check(text, REQUEST) if one.severity == "error"}


@pytest.mark.parametrize(
    "text",
    ["Oak shelf by Nord in green", "Choose the oak shelf. It is 40 cm wide.", "Oak shelf, 5 kg"],
)
def test_a_whole_text_has_no_finding(text: str) -> None:
    assert check_form(text, REQUEST) == ()


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("Eczema.", False),
        ("Comes with a lid.", True),
        ("Quality coffee from Nord, available in various blends.", False),
        ("Specially formulated food designed to provide nutrients.", False),
        ("The shelf features a wide board.", False),
        ("It features a wide board.", True),
        ("Choose the oak shelf.", True),
        ("The shelf holds books.", True),
    ],
)
def test_a_sentence_has_a_verb(text: str, is_one: bool) -> None:
    assert (why_no_sentence(text) == "") == is_one


def test_sentences_end_where_they_end() -> None:
    text = "It holds 1.5 l. See St. Ives, approx. 5 oz. each! Done"
    assert list(sentences_of(text)) == [
        "It holds 1.5 l. See St. Ives, approx. 5 oz. each!",
        "Done",
    ] or (list(sentences_of(text))[-1] == "Done")


def test_a_text_names_its_product() -> None:
    rules = [one.rule for one in check_whole("It is good.", REQUEST, sentences=True)]
    assert rules == ["form/no-name"]
    assert check_whole("Oak shelf in green", REQUEST, sentences=False) == ()


@pytest.mark.parametrize(
    "text",
    [
        "The width is 80 cm.",
        "It is 80 cm wide.",
        "A shelf made of green.",
        "The colour is oak.",
        "It weighs 40 cm.",
        "The height is 40 cm and the width is 80 cm.",
        "With a weight of 80 cm.",
        "The material is Nord.",
    ],
)
def test_swapped_values_are_found(text: str) -> None:
    assert {one.rule for one in check_relations(text, REQUEST)} == {"relation/swapped"}


@pytest.mark.parametrize(
    "text",
    [
        "The width is 40 cm.",
        "It is 40 cm wide and 80 cm high.",
        "A green shelf made of oak, 5 kg.",
        "The oak shelf weighs 5 kg.",
        "It comes with six screws.",
        "With a width of 40 cm, it fits by the door.",
        "It features a clean design.",
    ],
)
def test_values_that_are_said_right_have_no_finding(text: str) -> None:
    assert check_relations(text, REQUEST) == ()


@pytest.mark.parametrize("text", ["It comes with a lamp.", "It includes six screws and a hammer."])
def test_invented_parts_are_found(text: str) -> None:
    assert {one.rule for one in check_relations(text, REQUEST)} == {"relation/part"}
