"""Texts by plan: whole, of the facts alone, and chosen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from adwright.authoring.checks.limits import CheckConfig
from adwright.authoring.checks.verdict import usable
from adwright.authoring.plan.phrases import phrases_of
from adwright.authoring.plan.planning import PlannedRow, Planner, TextKind
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from tests.support.writing import Teller

TIN = Product(
    "p1",
    "Steel tea tin",
    brand="Leaf",
    category="Kitchen > Tea tins",
    price="12.5",
    currency="EUR",
    attributes=(
        ("colour", "Green"),
        ("holds", "500 g"),
        ("height (cm)", "12,5"),
        ("width", "40"),
        ("sku", "77"),
        ("dishwasher safe", "no"),
    ),
    description="The tin keeps the tea dry for long. Buy it now! With a lid",
)
TASKS = {"headline": "ads", "ad": "ads", "description": "descriptions", "title": "titles"}


def row(product: Product, kind: TextKind, most: int = 200, **values: str) -> PlannedRow:
    task = task_named(TASKS.get(kind, "answers"))
    values = values | ({"query": "tea tin"} if kind == "title" else {})
    request = AuthoringRequest(task, product, tuple(values.items()))
    whole = kind in ("ad", "description", "answer")

    def fits(text: str) -> bool:
        return not usable(text, request, CheckConfig(), sentences=whole)

    return PlannedRow(request, kind, most, fits)


def written(product: Product, kind: TextKind, most: int = 200, **values: str) -> str:
    return Planner(None).write([row(product, kind, most, **values)])[0].text


def test_facts_are_said_whole() -> None:
    found = {one.kind: one for one in phrases_of(TIN, TIN.title)}
    assert found["colour"].sentence == "It comes in green."
    assert found["colour"].tail == "in green"
    assert found["holds"].sentence == "It holds 500 g."
    assert found["height"].sentence == "It is 12,5 cm high."
    assert found["price"].value == "12.50 EUR"
    assert "category" not in found  # which the name says
    assert found["told"].sentence == "The tin keeps the tea dry for long."
    assert not {"width", "sku", "dishwasher safe"} & found.keys()


@pytest.mark.parametrize(
    ("kind", "most", "text"),
    [
        ("headline", 30, "Steel Tea Tin in green"),
        ("ad", 90, "Choose Steel Tea Tin by Leaf in green."),
        ("title", 150, "Leaf Steel Tea Tin, green, 500 g"),
    ],
)
def test_the_rule_takes_the_first_frame(kind: TextKind, most: int, text: str) -> None:
    assert written(TIN, kind, most) == text


def test_a_description_has_facts_and_the_sellers_sentence() -> None:
    text = written(TIN, "description", 600)
    assert text.startswith("Discover Steel Tea Tin by Leaf. The tin keeps the tea dry for long. ")
    assert text.endswith(" It comes in green. It holds 500 g.")
    assert written(Product("1", "Steel tea tin"), "description") == "Discover Steel Tea Tin today."


def test_several_things_are_they() -> None:
    told = "The Party Glasses are designed to add flair to your party."
    warranty = (("warrantyInformation", "3 months warranty"),)
    glasses = Product("1", "Party Glasses", description=told, attributes=warranty)
    text = written(glasses, "description")
    assert text == f"{told} They come with a 3-month warranty."


def test_a_fact_is_said_before_the_name_stands_alone() -> None:
    bare = Product("1", "Bedside Table African Cherry")
    assert written(bare, "headline", 40) == "Shop Bedside Table African Cherry"
    assert written(bare, "headline", 30) == "Bedside Table African Cherry"
    sorted_under = Product("1", "Pan", category="home > kitchen-accessories")
    assert written(sorted_under, "headline", 30) == "Pan | Kitchen accessories"
    named = Product("1", "Mulberry", description="Sweet and juicy mulberries, good for desserts.")
    assert (
        written(named, "description")
        == "Discover Mulberry: sweet and juicy mulberries, good for desserts."
    )


def test_answers_are_facts_or_that_nobody_says_it() -> None:
    assert written(TIN, "answer", question="What colour is it?") == "It comes in green."
    assert written(TIN, "answer", question="How much does it cost?") == "The price is 12.50 EUR."
    assert written(TIN, "answer", question="Is it vegan?") == "The seller does not say."


def test_what_cannot_be_said_is_left_out_with_the_reason() -> None:
    rows = [
        row(Product("1", "PLSTC CTLRYTBL"), "headline"),
        row(Product("2", "Teekanne aus Porzellan mit Sieb"), "description"),
        row(Product("3", "Wunderbarliche-Donaudampfschifffahrtskanne"), "headline", 20),
    ]
    found = Planner(None).write(rows)
    assert [one.text for one in found] == ["", "", ""]
    reasons = [one.why for one in found]
    assert "codes" in reasons[0]
    assert "ours are English" in reasons[1]
    assert "no form of its name" in reasons[2]
    neutral = Planner(None).write(
        [row(Product("2", "Teekanne aus Porzellan mit Sieb"), "headline")]
    )
    assert neutral[0].text == "Teekanne aus Porzellan mit Sieb"


def test_a_judge_chooses_and_variants_differ() -> None:
    def longest(texts: Sequence[str], kind: TextKind, brand: str) -> np.ndarray:
        return np.array([len(one) for one in texts], np.float64)

    (first,) = Planner(None, judge=longest).write([row(TIN, "headline", 40)])
    assert first.tried > 1
    assert len(first.text) >= len(written(TIN, "headline", 40))
    other = row(TIN, "headline", 40)
    other = PlannedRow(other.request, other.kind, other.most, other.fits, (first.text,))
    assert Planner(None).write([other])[0].text != first.text


def test_a_model_without_likelihoods_is_asked_for_a_number() -> None:
    model = Teller(lambda prompt, call: "2")
    planner = Planner(model)
    (found,) = planner.write([row(TIN, "headline", 30)])
    assert found.text in model.prompts[-1]
    assert f"2. {found.text}" in model.prompts[-1]
    assert planner.take_usage().completion_tokens > 0


def test_another_seed_takes_other_frames_and_the_same_seed_the_same() -> None:
    made = [
        [one.text for one in Planner(None, seed=seed).write([row(TIN, kind, 90)])]
        for seed in (0, 1, 2, 3, 1)
        for kind in ("headline", "description")
    ]
    headlines, descriptions = made[::2], made[1::2]
    assert headlines[1] == headlines[4]
    assert descriptions[1] == descriptions[4]
    assert len({*map(tuple, headlines)}) > 1
    assert len({*map(tuple, descriptions)}) > 1
