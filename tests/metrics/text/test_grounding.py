from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError, DataError
from adwright.metrics.text.grounding import Span, grounded, unsupported_spans

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
