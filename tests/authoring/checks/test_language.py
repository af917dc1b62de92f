from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.policy import check_language, judge_language, scripts_of

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
