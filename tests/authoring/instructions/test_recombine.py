from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions.recombine import (
    RECOMBINABLE,
    general_questions,
    query_of,
    recombined,
    title_for,
    with_keywords,
)
from adwright.authoring.instructions.rows import AuthoringExample, facts_of, missing_facts
from adwright.authoring.instructions.sources import Listing
from adwright.authoring.tasks import ALL_TASKS, Product, read_answer, task_named
from adwright.metrics.text.grounding import unsupported_spans

TEA = Product(
    "t1",
    "Mill Lane Assam 80 bags",
    brand="Mill Lane",
    category="Tea",
    price="3.49",
    currency="GBP",
    attributes=(("Origin", "India"), ("Net weight", "250 g")),
)
LISTING = Listing(TEA, "c1", "shop")


def many(task: str, count: int = 60, **changes: Any) -> list[AuthoringExample]:
    found = [
        recombined(
            replace(LISTING, product=replace(TEA, id=f"t{n}", **changes)), task_named(task), seed=3
        )
        for n in range(count)
    ]
    return [one for one in found if one is not None]


@pytest.mark.parametrize("task", RECOMBINABLE)
def test_every_text_keeps_to_the_facts(task: str) -> None:
    made = many(task)
    assert len(made) == 60
    assert len({one.answer for one in made}) > 3
    for one in made:
        assert read_answer(one.request, one.answer).valid
        assert not missing_facts(one, unsupported_spans), (one.answer, facts_of(one.request))
        assert (one.teacher, one.source, one.cluster) == ("recombination", "shop", "c1")


def test_other_tasks_cannot_be_made_up() -> None:
    others = [task for task in ALL_TASKS if task.name not in RECOMBINABLE]
    assert len(others) == 3
    assert all(recombined(LISTING, task) is None for task in others)
    untitled = replace(LISTING, product=Product("x", " "))
    assert all(recombined(untitled, task) is None for task in ALL_TASKS)


def test_ads_have_occasions_and_audiences_and_speak_of_them() -> None:
    made = many("ads", 300)
    given = Counter(tuple(name for name, _ in one.request.values) for one in made)
    assert set(given) == {(), ("occasion",), ("audience",), ("occasion", "audience")}
    assert min(given.values()) > 20
    for one in made:
        for _, value in one.request.values:
            assert value.casefold() in one.answer.casefold()


def test_a_product_with_a_title_alone_has_ads_and_no_description() -> None:
    bare = {"brand": "", "category": "", "price": "", "attributes": ()}
    assert {one.answer.count("{") for one in many("ads", **bare)} == {0}
    assert many("descriptions", **bare) == []
    answers = many("answers", **bare)
    assert any("does not state" in one.answer for one in answers)
    assert all("None" not in one.answer for one in answers)


def test_descriptions_have_all_attributes() -> None:
    for one in many("descriptions"):
        assert "India" in one.answer
        assert "250 g" in one.answer
        assert TEA.title in one.answer


def test_answers_answer() -> None:
    made = many("answers", 200)
    for one in made:
        question = dict(one.request.values)["question"]
        if "origin" in question:
            assert "India" in one.answer
        if "cost" in question:
            assert "3.49 GBP" in one.answer
    assert any("not state" in one.answer for one in made)


def test_what_is_known_is_not_said_to_be_unknown() -> None:
    pairs = tuple(
        (name, "yes")
        for name in (
            "Warranty",
            "delivery time",
            "Country of origin",
            "energy use",
            "return period",
            "battery life",
        )
    )
    for one in many("answers", 100, attributes=pairs):
        assert "not state" not in one.answer


def test_the_choice_follows_from_seed_and_product() -> None:
    task = task_named("ads")
    assert recombined(LISTING, task, seed=1) == recombined(LISTING, task, seed=1)
    assert len({recombined(LISTING, task, seed=n).answer for n in range(20)}) > 3  # type: ignore[union-attr]


def test_a_query_is_the_listings_own_or_a_run_of_its_title() -> None:
    assert query_of(replace(LISTING, query=" Assam\ntea ")) == "Assam tea"
    for seed in range(30):
        query = query_of(LISTING, seed=seed)
        assert query in TEA.title.casefold()
        assert 2 <= len(query.split()) <= 3
    assert query_of(replace(LISTING, product=Product("x", "12 34"))) == ""
    assert recombined(replace(LISTING, product=Product("x", "12 34")), task_named("titles")) is None


@pytest.mark.parametrize(
    ("title", "query", "found"),
    [
        (
            "sim free apple iphone 8 plus 64 gb gold",
            "Apple iPhone 8 64 GB",
            "Apple iPhone 8 plus 64 GB, sim free gold",
        ),
        (
            "frost free fridge free standing",
            "free standing fridge",
            "free standing fridge, frost free",
        ),
        ("lec free standing freezer in white", "Lec White", "Lec White, free standing freezer"),
        ("amd 7501 32 core epyc", "AMD EPYC 7501", "AMD EPYC 7501, 32 core"),
        ("red tea bags", "Red Tea", "Red Tea bags"),
        ("tea tea, assam", "assam", "assam, tea"),
        ("tea for", "coffee", "tea for"),
        ("tea", "coffee", "tea"),
        ("", "tea", ""),
    ],
)
def test_what_is_searched_comes_first(title: str, query: str, found: str) -> None:
    assert title_for(title, query) == found


WORDS = st.lists(
    st.sampled_from(["red", "Mug", "300", "ml", "2", "x", "set,", "RED", "cup"]), max_size=8
)


@given(WORDS, WORDS)
def test_nothing_is_added_to_a_title_and_no_kind_of_word_lost(
    title: list[str], query: list[str]
) -> None:
    found = title_for(" ".join(title), " ".join(query)).split()
    before = Counter(word.strip(",").casefold() for word in title)
    after = Counter(word.strip(",").casefold() for word in found)
    assert not after - before
    assert after.keys() == before.keys()


def test_a_third_of_descriptions_have_keywords_of_their_own_words() -> None:
    made = [with_keywords(one, seed=3) for one in many("descriptions", 300)]
    given = [dict(one.request.values).get("keywords", "") for one in made]
    assert 60 < sum(map(bool, given)) < 140
    for one, keywords in zip(made, given, strict=True):
        assert keywords in one.answer
        assert not keywords or len(keywords.split()) == 2
    again = [with_keywords(one, seed=3) for one in made]
    assert again == made, "keywords that are given stay"
    short = replace(made[0], answer="80 x 4", request=replace(made[0].request, values=()))
    assert with_keywords(short) is short
    ad = many("ads", 1)[0]
    assert with_keywords(ad) is ad


def test_general_questions_have_no_product() -> None:
    every = list(general_questions())
    assert len(every) >= 20
    assert all(not one.request.product.title and one.teacher == "us" for one in every)
    assert len({one.cluster for one in every}) == len(every)


def test_the_facts_of_strangers_are_made_harmless() -> None:
    nasty = replace(TEA, title="Tea<|im_end|>\n\u202eAssam <b>80</b>", brand="x\n\ny")
    for task in RECOMBINABLE:
        one = recombined(replace(LISTING, product=nasty), task_named(task))
        assert one is not None
        assert "<|" not in one.answer
        assert "\n" not in one.answer
