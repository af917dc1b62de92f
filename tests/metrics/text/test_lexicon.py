from __future__ import annotations

import pytest

from adwright.metrics.text.mentions import Term, Unit, language_of, lexicon


def test_words_of_two_languages_mean_the_same() -> None:
    english, german = lexicon("en"), lexicon("de")
    assert german.terms["leder"] == (Term("material", "leather", ()),)
    assert "leder" not in english.terms
    assert english.terms["leathers"][0].key == "leather"
    assert lexicon("de") is german
    assert german.decimal_comma
    assert not english.decimal_comma
    assert not german.has_names


def test_the_longest_term_comes_first() -> None:
    rests = [term.rest for term in lexicon("en").terms["stainless"]]
    assert rests[0] == ("steels",) or rests[0] == ("steel",)
    assert rests[-1] == ()


def test_an_imitation_implies_nothing() -> None:
    faux = {term.rest: term for term in lexicon("en").terms["faux"]}
    assert faux["leather",].implied == ()
    (steel, *_) = lexicon("en").terms["stainless"]
    assert set(steel.implied) == {"steel", "metal"}


def test_units_and_currencies() -> None:
    words = lexicon("en")
    assert words.units["kg"] == Unit("mass", words.units["g"].factor * 1000)
    assert words.units["gb"].family != words.units["mb"].family
    assert words.units["speaker"] == words.units["speakers"]
    assert words.currencies["cad"] == ("CAD", "$")
    assert words.currencies["dollars"] == ("$",)
    assert words.currencies["us$"] == ("USD", "$")


@pytest.mark.parametrize(
    ("locale", "language"), [("de-AT", "de"), ("zh_Hant", "zh"), ("EN", "en"), ("", "en")]
)
def test_language_of(locale: str, language: str) -> None:
    assert language_of(locale) == language


@pytest.mark.parametrize("language", ["units", "names", "words", "numbers", "xx"])
def test_a_language_without_tables_has_the_english_ones(language: str) -> None:
    assert lexicon(language).terms.keys() == lexicon("en").terms.keys()
