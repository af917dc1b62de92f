"""?"""

from __future__ import annotations

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.grounding import Span, grounded, unsupported_spans
from adwright.metrics.text.mentions import (
    Term,
    Unit,
    brand_table,
    find_names,
    language_of,
    lexicon,
    read_number,
    read_quantity,
    read_said,
    scan,
    unit_after,
)

FACTS = (
    'Sony KX-TG6700B 15.6" Laptop, 16GB RAM, 1,000 GB SSD',
    "Weighs 1.5 kg. Navy blue faux leather case, stainless steel lid. Two year warranty. "
    "Battery 10-12 hours. No latex. 20% cotton",
    "1299.00 CAD",
    "Screen size (inches): 55",
    "Size: 10 x 20 x 30 cm",
)

SUPPORTED = [
    "15.6-inch laptop with 16 gb",
    "one thousand GB",
    "1000 gb and 1500 g",
    "faux leathers",
    "imitation leather in blue",
    "A steel lid of metal",
    "KXTG6700B or KX TG6700B",
    "2 year warranty and two years",
    "$1,299 or CAD 1299 or 1299.00 CAD",
    "55 inches",
    "20 x 30 cm, 10 cm",
    "10 to 12 hours",
    "20% cotton",
    "latex-free, no latex",
    "39.624 cm",
    "one of the nice things",
    "hassle-free, feel free to ask",
    "sit down, I felt good, BUT NOW",
]


@pytest.mark.parametrize("text", SUPPORTED)
def test_what_the_facts_say_in_other_words(text: str) -> None:
    assert unsupported_spans(text, FACTS) == ()


UNSUPPORTED = [
    ("16 MB of memory", "unit", "16 MB"),
    ("32GB", "number", "32GB"),
    ("16000 MB", "number", "16000 MB"),
    ("leather case", "material", "leather"),
    ("genuine leather case", "material", "genuine leather"),
    ("with latex", "material", "latex"),
    ("no leather", "material", "leather"),
    ("in red", "colour", "red"),
    ("dark blue", "colour", "dark blue"),
    ("the KX-TG6700C", "name", "KX-TG6700C"),
    ("3-year warranty", "number", "3-year"),
    ("US$1299", "unit", "US$1299"),
    ("save 20% now", "unit", "20%"),
    ("20% off", "unit", "20%"),
    ("8-12 hours", "number", "8-12 hours"),
    ("5 x 20 cm", "number", "5"),
    ("2 1/2 cups", "number", "2 1/2 cups"),
    ("4K video", "number", "4K"),
    ("for Nike fans", "brand", "Nike"),
    ("free shipping", "claim", "free shipping"),
    ("BPA-free", "claim", "BPA-free"),
    ("award-winning", "claim", "award-winning"),
    ("the #1", "claim", "#1"),
    ("guaranteed", "claim", "guaranteed"),
    ("it came from John Smith today", "name", "John Smith"),
    ("Shop The New Berlin Look", "name", "Berlin"),
    ("it supports HDMI", "name", "HDMI"),
    ("a 3\u200b2GB stick", "number", "3\u200b2GB"),
    ("３２ＧＢ", "number", "３２ＧＢ"),
]


@pytest.mark.parametrize(("text", "kind", "part"), UNSUPPORTED)
def test_what_no_fact_says(text: str, kind: str, part: str) -> None:
    start = text.index(part)
    found = unsupported_spans(text, FACTS)
    assert found == (Span(start, start + len(part), kind, part),)  # type: ignore[arg-type]


def test_locale_brands_and_facts_change_the_verdict() -> None:
    assert grounded("1.000 GB", ("1000 GB",), locale="de-AT")
    assert not grounded("1.000 GB", ("1000 GB",))
    assert grounded("Das Leder ist schwarz", ("black leather",), locale="de")
    assert not grounded("Das Leder ist rot", ("black leather",), locale="de")
    assert grounded("The Essence tea", ("Essence tea",), brands=["Essence"])
    assert grounded("fits acme phones", FACTS)
    assert not grounded("fits acme phones", FACTS, brands=["Acme"])
    assert not grounded("Aim with Target", FACTS, brands=["Target"])
    assert grounded("Target your muscles, a target", FACTS, brands=["Target"])
    assert not grounded("with Apple pie", (), brands={"Apple"})
    assert grounded("16GB", FACTS)
    assert not grounded("16GB", ())


texts = st.text(max_size=80) | st.lists(
    st.sampled_from(
        ["16", "GB", "x", "-", "leather", "faux", "free", "no", "$", "Nike", "KX-1", "½", '"', "to"]
    )
).map(" ".join)


@given(texts)
def test_a_text_is_grounded_in_itself(text: str) -> None:
    assert unsupported_spans(text, (text,)) == ()


@given(texts, texts)
def test_spans_are_parts_in_order(text: str, fact: str) -> None:
    spans = unsupported_spans(text, (fact,))
    last = 0
    for span in spans:
        assert last <= span.start < span.end
        assert text[span.start : span.end] == span.text
        last = span.end


@given(texts, texts, texts)
def test_more_facts_support_no_less(text: str, one: str, other: str) -> None:
    if grounded(text, (one,)):
        assert grounded(text, (one, other))


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="no text"):
        unsupported_spans(None, ())  # type: ignore[arg-type]
    with pytest.raises(DataError, match="several texts"):
        grounded("a", "b")
    with pytest.raises(DataError, match="row 0, column facts"):
        grounded("a", [3])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="Span"):
        Span(0, 1, "made up", "a")  # type: ignore[arg-type]


HARD = ["1-", "a-", "1/", "1x", "EUR ", "one hundred and ", '"1" ', "leather-", "\u202e1", "A B "]


@pytest.mark.parametrize("part", HARD)
def test_time_grows_with_the_text(part: str) -> None:
    def seconds(length: int) -> float:
        text = (part * length)[:length]
        begun = time.process_time()
        unsupported_spans(text, ("a",))
        return time.process_time() - begun

    seconds(100)
    assert seconds(16_000) < 1.0


def test_real_descriptions_are_grounded_in_themselves_and_not_in_others(shared_data: Path) -> None:
    products = json.loads((shared_data / "dummyjson" / "products.json").read_text("utf-8"))
    rows = products["products"] if isinstance(products, dict) else products
    facts = [(row["title"], row["description"], row.get("brand") or "-") for row in rows]
    titles = [row["title"] for row in rows]
    assert all(map(grounded, titles, facts))
    shifted = [*facts[7:], *facts[:7]]
    found = [grounded(row["description"], other) for row, other in zip(rows, shifted, strict=True)]
    assert sum(found) < 0.6 * len(rows)


EN = lexicon("en")


def keys(text: str, *brands: str) -> list[object]:
    return [one.keys[0] for one in scan(text, EN, brand_table(frozenset(brands))).mentions]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Sold by Old Mill Lane", ["old mill lane"]),
        ("1920x1080", [(Fraction(1080), ""), (Fraction(1920), "")]),
        ("1080p", [("code", "1080p")]),
        ("10 x 12 cm", [(Fraction(120), "length"), (Fraction(100), "length")]),
        ("non-leather", ["not leather"]),
        ("without any leather", ["not leather"]),
        ("leather-free", ["not leather"]),
        ("nickel-free", ["nickel free"]),
        ("stress-free", []),
        ("light grey", ["light gray"]),
        ("black friday", []),
        ("$5", [(Fraction(5), "price", "$")]),
        ("#1", ["best"]),
    ],
)
def test_what_a_text_speaks_of(text: str, wanted: list[object]) -> None:
    assert keys(text, "Old Mill Lane", "Old") == wanted


def test_a_range_is_more_than_its_ends() -> None:
    found = keys("5-10 cm")
    assert len(found) == 3
    assert found[:2] == [(Fraction(100), "length"), (Fraction(50), "length")]
    assert keys("5 cm, 10 cm") == [found[0], found[1]]


def test_implied_keys_and_codes() -> None:
    found = scan("Stainless steel KX-TG6700B", EN, {})
    assert found.implied == {"steel", "metal"}
    assert {"kxtg6700b", "kx", "tg6700b"} <= found.codes
    assert [word.low for word in found.words] == ["stainless", "steel"]


def names(text: str, language: str = "en") -> list[str]:
    words = lexicon(language)
    return [name for _, _, name in find_names(text, scan(text, words, {}).words, words)]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("We went to see Anna in the garden", ["anna"]),
        ("We Went To See Anna In The Garden", []),
        ("Works with GoPro and HDMI", ["gopro", "hdmi"]),
        ("WORKS WITH HDMI", []),
        ("Rest well. Sleep well! Wake up: Smile", []),
        ("no capital", []),
        ("OK on TV", []),
        ("", []),
    ],
)
def test_names(text: str, found: list[str]) -> None:
    assert names(text) == found


def test_german_nouns_are_no_names() -> None:
    text = "wir sehen Anna im schönen Garten"
    assert names(text, "de") == []
    assert names(text, "en") == ["anna", "garten"]


def test_words_know_whether_they_begin_a_sentence() -> None:
    text = 'One two. "Three" four'
    words = scan('Ab cd. "Ef" gh', lexicon("en"), {}).words
    assert [word.begins('Ab cd. "Ef" gh') for word in words] == [True, False, True, False]
    assert names(text) == []


@pytest.mark.parametrize(
    ("text", "point", "comma"),
    [
        ("1,000", 1000, 1),
        ("1.000", 1, 1000),
        ("1.500", "3/2", 1500),
        ("2,5", "5/2", "5/2"),
        ("1,000.5", "2001/2", "2001/2"),
        ("1.000,5", "2001/2", "2001/2"),
        ("1,00,000", 100000, 100000),
        ("1'000", 1000, 1000),
        ("1\u202f000", 1000, 1000),
        ("0,125", "1/8", "1/8"),
        ("1/2", "1/2", "1/2"),
        ("2 1/2", "5/2", "5/2"),
        ("2½", "5/2", "5/2"),
        ("½", "1/2", "1/2"),
        (".5", "1/2", "1/2"),
        ("٣", 3, 3),
    ],
)
def test_numbers(text: str, point: int | str, comma: int | str) -> None:
    assert read_number(text, decimal_comma=False) == Fraction(point)
    assert read_number(text, decimal_comma=True) == Fraction(comma)


@pytest.mark.parametrize("text", ["1/0", "9" * 41])
def test_what_has_no_value_is_kept(text: str) -> None:
    assert read_number(text, decimal_comma=False) == text


@given(st.integers(0, 10**12))
def test_groups_of_thousands(value: int) -> None:
    assert read_number(f"{value:,}", decimal_comma=False) == value
    assert read_number(f"{value:,}".replace(",", "."), decimal_comma=True) == value


def test_quantities_are_converted_exactly() -> None:
    def same(one: tuple[str, str], other: tuple[str, str]) -> bool:
        mine, theirs = (
            read_quantity(read_number(number, decimal_comma=False), unit, EN)
            for number, unit in (one, other)
        )
        return mine == theirs

    assert same(("1,500", "ml"), ("1.5", "l"))
    assert same(("10", "inches"), ("25.4", "cm"))
    assert not same(("10", "inches"), ("25", "cm"))
    assert not same(("1", "gb"), ("1000", "mb"))
    assert not same(("1", "gb"), ("1024", "mb"))
    assert not same(("4", "speakers"), ("4", "ports"))
    assert same(("2", "weeks"), ("14", "days"))
    assert same(("2", "years"), ("24", "months"))


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("5 fl oz", "fl oz"),
        ("5-inch", "inch"),
        ("5 km/h", "km/h"),
        ('5" wide', '"'),
        ('the "Model 5" is', ""),
        ("5 in 1", ""),
        ("5 in.", "in"),
        ("5 in wide", "in"),
        ("5 a day", ""),
        ("5a", "a"),
        ("5 hours", "hours"),
        ("5 great", ""),
        ("5 EUR", "eur"),
        ("5°C", "°c"),
        ("5", ""),
    ],
)
def test_units_after_a_number(text: str, unit: str) -> None:
    at = text.index("5") + 1
    found, end = unit_after(text, at, EN)
    assert found == unit
    assert text[at:end].lstrip(" -").lower() == unit


@pytest.mark.parametrize(
    ("text", "value", "taken"),
    [
        ("one thousand", 1000, "one thousand"),
        ("two hundred and five bags", 205, "two hundred and five"),
        ("twenty-five", 25, "twenty-five"),
        ("two two", 2, "two"),
        ("three dozen eggs", 36, "three dozen"),
        ("dozen", 12, "dozen"),
        ("five and six", 5, "five"),
        ("three million two hundred", 3000200, "three million two hundred"),
    ],
)
def test_numbers_in_words(text: str, value: int, taken: str) -> None:
    assert read_said(text, 0, EN) == (value, len(taken))


def test_no_number_in_words() -> None:
    assert read_said("bags", 0, EN) is None
    assert read_said(" ", 0, EN) is None


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
