"""What a text speaks of: its numbers, colours, materials, brands, claims and names, in one scan.

    found = scan("16 GB Stick by Sony", lexicon("en"), no_brands())
    [(one.kind, one.keys) for one in found.mentions]   # (number, ...), (brand, ("sony",))

The same scan reads a text and the facts, so that both are cut alike. A mention of a text is
supported by facts with its first key. One pattern cuts the text into numbers, codes and words;
words are then looked up in tables.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

from adwright.metrics.text.lexicon import Lexicon, SpanKind, Term
from adwright.metrics.text.names import Word, find_names
from adwright.metrics.text.quantities import (
    NUMBER,
    read_number,
    read_quantity,
    read_said,
    unit_after,
)
from adwright.metrics.text.words import words_of

__all__ = ["Mention", "Scan", "brand_table", "scan"]

Brands = Mapping[str, tuple[tuple[str, ...], ...]]

_TOKEN = re.compile(
    rf"""(?P<rank>\#\s?1(?!\d))
    |(?P<sign>US\$|R\$|[CA]\$|[$€£¥₹₩₽฿₫₪₴₺₱])?\s?(?P<number>{NUMBER})
        (?:(?P<times>[x×](?=\.?\d))|(?P<tail>[^\W\d_]\w*))?
    |(?P<code>[^\W\d_]++(?:-[^\W\d_]++){{0,4}}+-?\d\w*(?:[.-]\w+){{0,6}})
    |(?P<word>[^\W\d_]+(?:[\u0300-\u036f]+[^\W\d_]*)*)""",
    re.VERBOSE,
)
#: Between two numbers: a range, or sides of one thing.
_RANGE = re.compile(r"\s?(?:-|–|—|to|bis|à|until)\s?")
_SIDES = re.compile(r"\s?[\"″”']?\s?(?:\(?[WHDLwhdl]\)?\.?)?\s?(?:[x×*]|by)\s?")
_OFF = re.compile(r"\s?(?:off|discount|rabatt|cheaper|less|savings?)\b", re.IGNORECASE)
#: Between the words of one term.
_GAP = frozenset(("", " ", "-", "\u00a0", "'", "’", "  ", "‑", "–"))
_ARTICLES = frozenset(("a", "an", "any", "the", "added", "artificial"))
_LETTERS = re.compile(r"[\W_]+")


class Mention(NamedTuple):
    """A part of a text that claims something; supported by facts that have its first key.

    keys: of a fact all count: who says 20 Canadian dollars says $20 too, and not the other way.
    number: of a quantity, its value as written, by which a wrong unit is told from a wrong number.
    """

    start: int
    end: int
    kind: SpanKind
    keys: tuple[Hashable, ...]
    number: Fraction | str | None = None


@dataclass
class Scan:
    """What was found. words: in lower case. codes: such as KX-TG6700B, as "kxtg6700b",
    and their parts."""

    mentions: list[Mention] = field(default_factory=list)
    implied: set[Hashable] = field(default_factory=set)
    words: list[Word] = field(default_factory=list)
    codes: set[str] = field(default_factory=set)


class _Quantity(NamedTuple):
    """A number before its neighbours are looked at."""

    start: int
    end: int
    number: Fraction | str
    unit: str


def scan(text: str, lexicon: Lexicon, brands: Brands) -> Scan:
    """All mentions of a text. brands: as `brand_table` makes them. Linear in the text."""
    found, quantities = Scan(), []
    until = 0  # what the unit of a number has taken is no word
    for token in _TOKEN.finditer(text):
        start = token.start()
        if start < until:
            continue
        which = token.lastgroup
        if which == "word":
            word = token.group()
            low = word.lower()
            if low in lexicon.numbers:
                said = read_said(text, start, lexicon)
                if said is not None:
                    quantity = _said(text, start, said, lexicon)
                    until = quantity.end if quantity else said[1]
                    if quantity:
                        quantities.append(quantity)
                        continue
                    until = start
            found.words.append(Word(low, start, token.end(), word))
        elif which == "code":
            _add_code(found, token.group(), start, "name")
        elif which == "rank":
            found.mentions.append(Mention(start, token.end(), "claim", ("best",)))
        else:
            quantity = _number(text, token, lexicon, found)
            if quantity is not None:
                quantities.append(quantity)
                until = quantity.end
    if quantities:
        found.mentions += _joined(text, quantities, lexicon)
    _add_terms(text, found, lexicon, brands)
    for start, end, word in find_names(text, found.words, lexicon):
        found.mentions.append(Mention(start, end, "name", (word,)))
    return found


@lru_cache(maxsize=8)
def brand_table(brands: frozenset[str]) -> Brands:
    """Brands by their first word, the longest first."""
    table: dict[str, list[tuple[str, ...]]] = {}
    for brand in brands:
        first, *rest = words_of(brand) or ("",)
        if first:
            table.setdefault(first, []).append(tuple(rest))
    return {first: tuple(sorted(some, key=len, reverse=True)) for first, some in table.items()}


def _add_code(found: Scan, code: str, start: int, kind: SpanKind) -> None:
    key = _LETTERS.sub("", code).lower()
    found.codes.add(key)
    found.codes.update(re.split(r"[-.]", code.lower()))
    found.mentions.append(Mention(start, start + len(code), kind, (("code", key),)))


def _number(text: str, token: re.Match[str], lexicon: Lexicon, found: Scan) -> _Quantity | None:
    """A number in figures; None where it is the beginning of a code such as 1080p."""
    written, tail, sign = token.group("number", "tail", "sign")
    start, end = token.start("number"), token.end("number")
    if tail is not None:
        unit = tail.lower()
        if unit not in lexicon.units and unit not in lexicon.currencies:
            _add_code(found, written + tail, start, "number")
            return None
        unit, end = unit_after(text, end, lexicon) if unit == "in" else (unit, token.end())
    elif token.group("times"):
        unit, end = "", token.end()
    elif sign is not None:
        return _Quantity(token.start("sign"), end, _value(written, lexicon), sign.lower())
    else:
        unit, end = unit_after(text, end, lexicon)
        code = found.words[-1] if found.words else None
        if not unit and code and code.low in lexicon.currencies and start - code.end <= 1:
            found.words.pop()  # EUR 20
            start, unit = code.start, code.low
    return _Quantity(start, end, _value(written, lexicon), unit)


def _value(written: str, lexicon: Lexicon) -> Fraction | str:
    return read_number(written, decimal_comma=lexicon.decimal_comma)


def _said(text: str, start: int, said: tuple[int, int], lexicon: Lexicon) -> _Quantity | None:
    """A number in words; None for "one" without a unit."""
    value, end = said
    unit, after = unit_after(text, end, lexicon)
    if value == 1 and (not unit or unit in ("set", "piece", "item")):
        return None
    return _Quantity(start, after, Fraction(value), unit)


def _joined(text: str, quantities: list[_Quantity], lexicon: Lexicon) -> list[Mention]:
    """Mentions of quantities; those of a range or of sides share the last unit."""
    found: list[Mention] = []
    after: _Quantity | None = None
    high: Mention | None = None
    for one in reversed(quantities):
        unit, between = one.unit, ""
        if after is not None and 0 <= after.start - one.end <= 8:
            between = text[one.end : after.start]
            is_joined = text[one.end - 1] in "x×" or _SIDES.fullmatch(between)
            if not unit and (is_joined or _RANGE.fullmatch(between)):
                unit = after.unit
        whole = one._replace(unit=unit)
        low = _mention(text, whole, lexicon)
        found.append(low)
        if after is not None and high and _RANGE.fullmatch(between) and unit == after.unit:
            key = ("range", low.keys, high.keys)
            found.append(Mention(one.start, after.end, "number", (key,)))
        after, high = whole, low
    return found


def _mention(text: str, one: _Quantity, lexicon: Lexicon) -> Mention:
    keys: tuple[Hashable, ...]
    if one.unit in lexicon.currencies:
        keys = tuple((one.number, "price", code) for code in lexicon.currencies[one.unit])
        return Mention(one.start, one.end, "number", keys, one.number)
    value, family = read_quantity(one.number, one.unit, lexicon)
    if family == "percent" and (
        _OFF.match(text, one.end) or text[max(0, one.start - 5) : one.start].lower() == "save "
    ):
        family = "percent off"
    return Mention(one.start, one.end, "number", ((value, family),), one.number)


def _add_terms(text: str, found: Scan, lexicon: Lexicon, brands: Brands) -> None:
    """Colours, materials, claims and brands, the longest first; words of one are not used again."""
    words, terms = found.words, lexicon.terms
    taken = -1
    for at, word in enumerate(words):
        low = word.low
        if at <= taken or (low not in terms and low not in brands):
            continue
        brand = _brand_at(text, words, at, lexicon, brands)
        term = _term_at(text, words, at, terms.get(low, ()))
        if brand and (term is None or term.kind == "" or brand > 1 + len(term.rest)):
            last = at + brand - 1
            key = " ".join(each.low for each in words[at : last + 1])
            found.mentions.append(Mention(word.start, words[last].end, "brand", (key,)))
        elif term is not None:
            last = _add_term(text, found, at, term, lexicon)
        else:
            continue
        taken = last


def _add_term(text: str, found: Scan, at: int, term: Term, lexicon: Lexicon) -> int:
    """Add the term at a word unless it says nothing there; its last word."""
    words, last = found.words, at + len(term.rest)
    start, end, key = words[at].start, words[last].end, term.key
    if term.kind == "" or (term.kind == "name" and not words[at].raw[0].isupper()):
        return last
    if term.kind == "brand" and key in lexicon.ordinary and not words[at].raw[0].isupper():
        return last
    before = words[at - 1] if at else None
    gap = text[before.end : start] if before else ""
    if before and before.low in _ARTICLES and gap == " " and at > 1:
        before = words[at - 2]
    if key == "free" and before and gap == "-":
        if before.low in lexicon.harmless_free:
            return last
        start, key = before.start, f"{before.low} free"
    elif before and before.low in lexicon.negations and len(gap) <= 1:
        key = f"not {key}"
    elif _is_free(text, words, last):
        last += 1
        end, key = words[last].end, f"not {key}"
    if key == term.key:
        found.implied.update(term.implied)
    found.mentions.append(Mention(start, end, term.kind, (key,)))
    return last


def _is_free(text: str, words: list[Word], last: int) -> bool:
    """Whether "free" follows a word."""
    if last + 1 >= len(words) or words[last + 1].low != "free":
        return False
    return text[words[last].end : words[last + 1].start] in _GAP


def _term_at(text: str, words: list[Word], at: int, terms: tuple[Term, ...]) -> Term | None:
    for term in terms:
        if not term.rest or _follows(text, words, at, term.rest):
            return term
    return None


def _brand_at(text: str, words: list[Word], at: int, lexicon: Lexicon, brands: Brands) -> int:
    """Words of the longest brand that begins at a word, 0 for none."""
    for rest in brands.get(words[at].low, ()):
        if rest and _follows(text, words, at, rest):
            return 1 + len(rest)
        if not rest:
            ordinary = words[at].low in lexicon.ordinary or words[at].low in lexicon.terms
            if not ordinary or (words[at].raw[0].isupper() and not words[at].begins(text)):
                return 1
    return 0


def _follows(text: str, words: list[Word], at: int, rest: tuple[str, ...]) -> bool:
    if at + len(rest) >= len(words):
        return False
    for offset, wanted in enumerate(rest, start=at + 1):
        before, word = words[offset - 1], words[offset]
        if word.low != wanted or text[before.end : word.start] not in _GAP:
            return False
    return True
