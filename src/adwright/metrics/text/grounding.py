"""Does a text claim only what the facts say? Each number, colour, material, brand and claim of it.

    facts = ("Mill Lane Assam, 80 bags", "Colour: navy")
    unsupported_spans("80 bags in a red box", facts)   # (Span(15, 18, "colour", "red"),)
    grounded("Navy box of 80 bags", facts)             # True

A text is grounded where every mention in it is supported: a quantity by the same number with a
unit that is exactly convertible; a colour, material, claim or brand by its own word, another
spelling of it, or a word that implies it (stainless steel is steel, faux leather is no leather); a
code by the same code; a name by its word. "No leather" is another thing than leather. A number
without a unit needs the same number without one, and "20% off" is supported by no "20% cotton".

It reads words, not meaning. "Ideal for a family of four" is refused unless a fact says four, and
"washes itself" passes. `lexicon` says which languages have which tables, `names` how far capital
letters lead. Its aim is that what it lets pass contains no figure and no listed claim that the
seller never made.

Cost: one scan of the text; the facts of a product are scanned once and remembered.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import get_args

from adwright.core.config import check_literals
from adwright.core.errors import DataError
from adwright.metrics.text.agreement import require_texts, singular
from adwright.metrics.text.mentions import (
    Brands,
    Lexicon,
    Mention,
    SpanKind,
    brand_table,
    language_of,
    lexicon,
    read_quantity,
    scan,
)

#: Characters that are not seen: they neither hide a number nor make one.
_UNSEEN = re.compile("[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
#: Wide forms of Latin letters and figures.
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_KINDS = get_args(SpanKind)
#: Facts of more characters are not remembered.
_REMEMBERED = 100_000


@dataclass(frozen=True)
class Span:
    """A part of a text that no fact supports: `text[start:end]`.

    kind "unit": the number stands in the facts, with another unit.
    """

    start: int
    end: int
    kind: SpanKind
    text: str

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:  # a look at all fields of each span would take a fifth of all
            check_literals(self)


@dataclass(frozen=True)
class _Facts:
    """All that facts support. numbers: values, whatever their unit."""

    keys: frozenset[Hashable]
    words: frozenset[str]
    codes: frozenset[str]
    numbers: frozenset[Hashable]


def unsupported_spans(
    text: str, facts: Sequence[str], *, brands: Collection[str] = (), locale: str = "en"
) -> tuple[Span, ...]:
    """The parts of `text` that no fact supports, in order; none where it is grounded.

    facts: all that is known, as texts; `name: value` gives numbers the unit that the name has.
    brands: of the catalogue, so that another's is found; a frozenset is prepared once for all
    calls. locale: of text and facts (BCP 47), for words and for the decimal comma.

    Spans do not overlap. Raises DataError where text or a fact is no text.
    """
    if not isinstance(text, str):
        raise DataError("the text is no text", column="text", value=text)
    require_texts(facts, "facts")
    table = brand_table(brands if isinstance(brands, frozenset) else frozenset(brands))
    words = lexicon(language_of(locale))
    known = _known(tuple(facts), words, table, brands)
    plain, places = _seen(text)
    found = [
        (one.start, one.end, kind)
        for one in scan(plain, words, table).mentions
        if (kind := _missing(one, known)) is not None
    ]
    if not found:
        return ()
    return tuple(
        Span(first, last, kind, text[first:last])
        for start, end, kind in _apart(plain, found)
        for first, last in [_place(places, start, end)]
    )


def grounded(
    text: str, facts: Sequence[str], *, brands: Collection[str] = (), locale: str = "en"
) -> bool:
    """Whether every claim of `text` is supported; as `unsupported_spans`."""
    return not unsupported_spans(text, facts, brands=brands, locale=locale)


def _known(
    facts: tuple[str, ...], words: Lexicon, table: Brands, brands: Collection[str]
) -> _Facts:
    if sum(map(len, facts)) > _REMEMBERED:
        return _read(facts, words, table)
    return _remembered(facts, words, frozenset(brands))


@lru_cache(maxsize=512)
def _remembered(facts: tuple[str, ...], words: Lexicon, brands: frozenset[str]) -> _Facts:
    return _read(facts, words, brand_table(brands))


def _read(facts: tuple[str, ...], words: Lexicon, table: Brands) -> _Facts:
    keys: set[Hashable] = set()
    said: set[str] = set()
    codes: set[str] = set()
    numbers: set[Hashable] = set()
    for fact in facts:
        plain, _ = _seen(fact)
        found = scan(plain, words, table)
        keys.update(key for one in found.mentions for key in one.keys)
        keys |= found.implied
        said.update(word.low for word in found.words)
        codes |= found.codes
        numbers.update(one.number for one in found.mentions if one.number is not None)
        keys.update(_named_units(plain, found.mentions, words))
    return _Facts(frozenset(keys), frozenset(said | codes), frozenset(codes), frozenset(numbers))


def _named_units(fact: str, mentions: list[Mention], words: Lexicon) -> list[Hashable]:
    """Of "Screen size (inches): 55" the 55 inches: bare numbers with each unit that is named."""
    name, colon, _ = fact.partition(": ")
    if not colon or len(name) > 60:
        return []
    units = [word for word in re.findall(r"[^\W\d_]+|%", name.lower()) if word in words.units]
    bare = [one.keys[0] for one in mentions if one.start > len(name) and one.number is not None]
    values = [key[0] for key in bare if isinstance(key, tuple) and key[1] == ""]
    return [read_quantity(value, unit, words) for value in values for unit in units]


def _missing(one: Mention, known: _Facts) -> SpanKind | None:
    """What is unsupported about a mention, None where it is supported."""
    if one.keys[0] in known.keys:
        return None
    match one.kind:
        case "number" if one.number is not None and one.number in known.numbers:
            return "unit"
        case "number" | "name" | "brand":
            key = one.keys[0]
            if isinstance(key, str):
                words = key.split(" ")
                is_known = all(not known.words.isdisjoint((w, singular(w))) for w in words)
                return None if is_known else one.kind
            if isinstance(key, tuple) and key[0] == "code" and key[1] in known.codes:
                return None
            return one.kind
        case _:
            return one.kind


def _apart(text: str, found: list[tuple[int, int, SpanKind]]) -> list[tuple[int, int, SpanKind]]:
    """In order; of two that overlap the longer, and names in a row as one."""
    apart: list[tuple[int, int, SpanKind]] = []
    for start, end, kind in sorted(found, key=lambda one: (one[0], -one[1])):
        if apart:
            first, last, before = apart[-1]
            if start < last:
                if end > last:
                    apart[-1] = (first, end, before)
                continue
            if kind == before == "name" and text[last:start] == " ":
                apart[-1] = (first, end, kind)
                continue
        apart.append((start, end, kind))
    return apart


def _seen(text: str) -> tuple[str, list[int] | None]:
    """The text without what is not seen, and where its characters stood; None: where they are."""
    if text.isascii():
        return text, None
    wide = text.translate(_WIDE)
    if not _UNSEEN.search(wide):
        return wide, None
    places = [at for at, one in enumerate(wide) if not _UNSEEN.match(one)]
    return _UNSEEN.sub("", wide), places


def _place(places: list[int] | None, start: int, end: int) -> tuple[int, int]:
    if places is None:
        return start, end
    return places[start], places[end - 1] + 1
