"""?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import errors_of
from adwright.authoring.checks.policy import (
    alikeness,
    check_language,
    check_markup,
    check_policy,
    judge_language,
    plain_text,
    policy_rules,
    scripts_of,
)
from adwright.authoring.tasks import AuthoringRequest, Product, task_named
from adwright.core.errors import DataError

FACTS = ("Assam tea, 80 bags", "3.49 GBP", "Brand: TEAWORKS LONDON")


def rules(text: str, *facts: str, **more: object) -> list[str]:
    found = check_policy(text, facts or FACTS, **more)  # type: ignore[arg-type]
    return [one.rule.partition("/")[2] for one in found]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("The world's best tea", "superlative"),
        ("The #1 tea", "superlative"),
        ("Satisfaction guaranteed", "guarantee"),
        ("Free tea inside", "free"),
        ("Clinically proven", "health"),
        ("It cures colds", "health"),
        ("Get rich quick", "finance"),
        ("20% off", "discount"),
        ("Save up to 30%", "discount"),
        ("Hurry, last one", "urgency"),
        ("Are you overweight?", "personal-attribute"),
        ("Struggling with debt?", "personal-attribute"),
        ("Write to jo@example.com", "personal-data"),
        ("Call +44 20 7946 0958", "personal-data"),
        ("Pay to DE89 3704 0044 0532 0130 00", "personal-data"),
        ("Card 4111 1111 1111 1111", "personal-data"),
        ("Click here", "click-bait"),
        ("Now $2.99", "price"),
        ("AMAZING tea", "capitals"),
        ("Tea!!!", "punctuation"),
        ("Tea! Mild! Good", "punctuation"),
    ],
)
def test_each_rule_finds_its_words(text: str, rule: str) -> None:
    assert rules(text) == [rule]


@pytest.mark.parametrize(
    "text",
    [
        "Your best friend in the morning",
        "Feel free to ask, sugar-free",
        "Only £3.49",
        "Made by TEAWORKS",
        "HDMI and USB",
        "Wait... what? Tea!",
        "A manicure set",
        "The two can 1 Can sit",
        "Model DE88 3704 0044 0532 0130 00",
        "Order no. 4111 1111 1111 1112",
    ],
)
def test_ordinary_texts_pass(text: str) -> None:
    assert rules(text) == []


def test_facts_excuse_some_rules_and_not_others() -> None:
    fact = "Free shipping, guaranteed, the best"
    assert rules("Free shipping, guaranteed", fact) == []
    assert rules("The best", fact) == ["superlative"]


def test_competitors_and_locale() -> None:
    assert rules("Better than Acme", competitors=["Acme"]) == ["competitor"]
    assert rules("Two for 5 euros") == ["price"]
    assert rules("Better than Acme", "Acme tea", competitors=["Acme"]) == []
    assert rules("Acmes", competitors=["Acme"]) == []
    assert rules("1.000 €", "1000 EUR", locale="de") == []
    assert rules("1.000 €", "1000 EUR", locale="en") == ["price"]


def test_the_table() -> None:
    assert len({rule.id for rule in policy_rules()}) == len(policy_rules())
    assert all(rule.fix and rule.message for rule in policy_rules())


TEXTS = {
    "en": "The tea is mild and it comes with a tin for your kitchen",
    "de": "Der Tee ist mild und die Dose passt in die Küche, auch für Gäste",
    "fr": "Le thé est doux et la boîte est faite pour votre cuisine avec soin",
    "es": "El té es suave y la lata es para tu cocina, con un diseño que gusta",
    "it": "Il tè è delicato e la scatola è per la tua cucina con un design che piace",
    "nl": "De thee is zacht en het blik is gemaakt voor uw keuken met zorg",
    "pl": "Herbata jest łagodna i to jest puszka do kuchni, która nie rdzewieje się",
    "tr": "Bu çay çok yumuşak ve mutfak için bir kutu ile gelir",
    "ru": "Чай мягкий и в банке для вашей кухни, это не просто чай",
    "uk": "Чай м'який і в банці для вашої кухні, це не просто чай, що є",
    "el": "Το τσάι είναι απαλό και έρχεται σε κουτί για την κουζίνα",
    "ar": "هذا الشاي في علبة من المعدن وهو مع كل شيء في المطبخ",
    "he": "התה עדין ומגיע בקופסה למטבח שלך",
    "hi": "यह चाय हल्की है और रसोई के लिए डिब्बे में आती है",
    "ja": "このお茶はまろやかで、缶に入っています",
    "zh": "这款茶口感柔和,装在铁罐里",
    "ko": "이 차는 부드럽고 주방용 캔에 담겨 있습니다",
    "th": "ชานี้นุ่มนวลและมาในกระป๋องสำหรับครัวของคุณ",
}


@pytest.mark.parametrize("language", TEXTS)
def test_a_text_is_in_its_own_language(language: str) -> None:
    assert check_language(TEXTS[language], language) == ()


@pytest.mark.parametrize("language", TEXTS)
def test_another_language_is_noticed(language: str) -> None:
    asked = "de" if language != "de" else "en"
    (found,) = check_language(TEXTS[language], asked)
    assert (found.rule, found.severity) == ("language/other", "error")
    assert f"where {asked} was asked" in found.message


@pytest.mark.parametrize("text", ["Assam tea, 80 bags", "", "80", "🫖", "KX-TG6700B Sony"])
def test_what_cannot_be_told_is_no_finding(text: str) -> None:
    verdict = judge_language(text, "de-AT")
    assert (verdict.asked, verdict.found, verdict.sure) == ("de", "", False)


def test_a_subtag_names_the_script() -> None:
    assert check_language("Ovo je veoma dobar čaj", "sr-Latn") == ()
    assert check_language("Ovo je veoma dobar čaj", "sr")


def test_brands_in_latin_letters_are_no_other_language() -> None:
    assert check_language("Sony WH のヘッドホンは軽くて快適です", "ja") == ()
    assert scripts_of("Sonyのヘッド日本")["Kana"] == 4


@given(st.text(max_size=100), st.sampled_from([*TEXTS, "xx", "sw"]))
def test_any_text_has_a_verdict(text: str, language: str) -> None:
    assert judge_language(text, language).asked == language


@pytest.mark.parametrize(
    ("text", "rules"),
    [
        ("<b>New</b> tea", {"markup/html"}),
        ("tea &amp; more", {"markup/html"}),
        ("<script>alert('x')</script>", {"markup/script", "markup/html"}),
        ("see javascript:alert(1)", {"markup/script"}),
        ("**New** tea", {"markup/markdown"}),
        ("[tea](http://a.b)", {"markup/markdown"}),
        ("Dear {customer_name}", {"markup/field"}),
        ("by [brand name]", {"markup/field"}),
        ("a\x00b", {"markup/control"}),
        ("a\u202eb", {"markup/unseen"}),
        ("аpple p\u0430y", {"markup/mixed-script"}),
        ("2 < 3 & 5 > 4, R&D, family 👨‍👩‍👧", set()),
    ],
)
def test_what_is_found(text: str, rules: set[str]) -> None:
    assert {one.rule for one in check_markup(text)} == rules


def test_plain_text() -> None:
    assert plain_text("<b>New</b>  tea &amp; more<script>x()</script>") == "New tea & more"
    assert plain_text("&amp;lt;b&amp;gt;x") == "x"
    assert plain_text("a\u202eb\n\n c") == "ab\nc"


MARKS = ["<", ">", "b", "&amp;", "&lt;", "script", "</", "{", "}", "a", "\x00", "\u202e", ";", "&"]


@given(st.text(max_size=60) | st.lists(st.sampled_from(MARKS)).map("".join))
def test_plain_text_has_no_scripts_and_no_unseen_characters(text: str) -> None:
    left = {one.rule for one in errors_of(check_markup(plain_text(text)))}
    assert not left & {"markup/unseen", "markup/control", "markup/script"}


def test_many_are_told_a_few_times() -> None:
    assert len(check_markup("<b>" * 1000)) == 50


VARIANTS_TEXTS = ["Tea for you", "tea  for you", "A quiet cup", "And there is more of it"]


def test_known_values() -> None:
    pairs = alikeness(VARIANTS_TEXTS)
    assert pairs[0, 1] == pairs[2, 2] == 1
    assert pairs[0, 2] == 0
    assert np.array_equal(pairs, pairs.T)
    assert alikeness(["a b", "a c"])[0, 1] == 0.5


def test_what_is_no_text_is_named() -> None:
    with pytest.raises(DataError, match="row 0"):
        alikeness([1])  # type: ignore[list-item]


def request_of(*titles: str, occasion: str = "") -> AuthoringRequest:
    attributes = tuple(("fact", title) for title in titles[1:])
    values = (("occasion", occasion),) if occasion else ()
    product = Product("1", titles[0], attributes=attributes)
    return AuthoringRequest(task_named("ads"), product, values)
