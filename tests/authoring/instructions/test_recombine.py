"""?"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import BrandVoice
from adwright.authoring.instructions.recombine import (
    RECOMBINABLE,
    FilterConfig,
    claims_too_much,
    copies_its_input,
    even_text,
    filters_of,
    first_alike,
    general_questions,
    has_form,
    has_length,
    holds_personal_data,
    is_grounded,
    keeps_the_voice,
    query_of,
    recombined,
    signatures,
    similarity,
    speaks_the_language,
    title_for,
    verdict,
    with_keywords,
)
from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    SeedInstruction,
    facts_of,
    row_of,
)
from adwright.authoring.instructions.sources import Listing
from adwright.authoring.tasks import Product, Request, all_tasks, read_answer, task_named
from adwright.core.errors import ConfigError
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
        assert not unsupported_spans(one.answer, facts_of(one.request)), (
            one.answer,
            facts_of(one.request),
        )
        assert (one.teacher, one.source, one.cluster) == ("recombination", "shop", "c1")


def test_other_tasks_cannot_be_made_up() -> None:
    others = [task for task in all_tasks() if task.name not in RECOMBINABLE]
    assert len(others) == 3
    assert all(recombined(LISTING, task) is None for task in others)
    untitled = replace(LISTING, product=Product("x", " "))
    assert all(recombined(untitled, task) is None for task in all_tasks())


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


PHONE = "apple iphone 8 plus 64gb silver sim free smartphone unlocked"
TEXTS = [
    PHONE,
    "Apple iPhone 8 Plus, 64GB - silver, SIM-free smartphone (unlocked)",
    "bosch serie 4 washing machine 8 kg 1400 rpm white",
    PHONE + "!",
    "bosch serie 4 washing machine 8 kg 1400 rpm white new",
    "a quite different thing about tea",
]


def jaccard(one: str, other: str) -> float:
    """The literal similarity of two sets of runs of five characters."""
    sets = []
    for text in (even_text(one), even_text(other)):
        padded = text.ljust(5, "\0")
        sets.append({padded[at : at + 5] for at in range(len(padded) - 4)})
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def test_the_estimate_is_near_the_literal_similarity() -> None:
    words = [f"word{number}" for number in range(60)]
    texts = [" ".join(words[at : at + 30]) for at in range(0, 31, 3)]
    signs = np.concatenate([signatures(texts, seed=seed) for seed in range(8)], axis=1)
    for at, text in enumerate(texts):
        found = similarity(signs, np.array([0]), np.array([at]))[0]
        assert found == pytest.approx(jaccard(texts[0], text), abs=0.08)


def test_what_reads_the_same_is_found() -> None:
    assert first_alike(signatures(TEXTS), 0.75).tolist() == [0, 0, 2, 0, 2, 5]
    assert first_alike(signatures(TEXTS), 1.0).tolist() == [0, 0, 2, 0, 4, 5]


def test_the_seed_changes_signatures_and_not_equality() -> None:
    one, other = signatures(TEXTS, seed=1), signatures(TEXTS, seed=2)
    assert (one != other).any()
    assert (signatures(TEXTS, seed=1) == one).all()
    assert first_alike(other, 1.0).tolist() == [0, 0, 2, 0, 4, 5]


def test_nothing_and_little() -> None:
    assert signatures([]).shape == (0, 64)
    assert first_alike(signatures([]), 0.9).tolist() == []
    assert first_alike(signatures(["tea"]), 0.9).tolist() == [0]
    assert first_alike(signatures(["", "!!", "tea", "TEA"]), 0.9).tolist() == [0, 0, 2, 2]


@given(st.lists(st.text(max_size=30), max_size=12))
def test_each_leads_to_an_earlier_one_that_stays(texts: list[str]) -> None:
    first = first_alike(signatures(texts), 0.9)
    assert (first <= np.arange(len(texts))).all()
    assert (first[first] == first).all()
    for at, text in enumerate(texts):
        if first[at] != at:
            assert jaccard(text, texts[first[at]]) > 0.5
        if even_text(text) in map(even_text, texts[:at]):
            assert first[at] < at


def test_chains_lead_to_their_beginning() -> None:
    words = [f"w{number:03d}" for number in range(130)]
    chain = [" ".join(words[at : at + 100]) for at in range(0, 31, 2)]
    assert jaccard(chain[0], chain[-1]) < 0.6
    first = first_alike(signatures(chain), 0.8)
    assert len(set(first.tolist())) < 4


@pytest.mark.parametrize("least", [0, -1, 1.01])
def test_a_similarity_is_a_share(least: float) -> None:
    with pytest.raises(ConfigError, match="is a share"):
        first_alike(signatures(TEXTS), least)


def test_many_equal_texts_cost_little() -> None:
    signs = np.repeat(signatures(TEXTS[:1]), 30_000, axis=0)
    start = time.process_time()
    assert not first_alike(signs, 0.9).any()
    assert time.process_time() - start < 5
