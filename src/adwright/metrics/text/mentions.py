"""What a text speaks of: its numbers, colours, materials, brands, claims and names, in one scan.

    found = scan("16 GB Stick by Sony", lexicon("en"), no_brands())
    [(one.kind, one.keys) for one in found.mentions]   # (number, ...), (brand, ("sony",))

The same scan reads a text and the facts, so that both are cut alike. A mention of a text is
supported by facts with its first key. One pattern cuts the text into numbers, codes and words;
words are then looked up in tables.

The words that `grounding` knows: colours, materials, claims, units, brands, as tables of data.

    words = lexicon("de")
    words.terms["leder"]     # [Term(kind="material", key="leather", rest=())]

They stand in lexicon.toml beside this file: English, and short tables of colours, materials and
claims in German, French, Spanish, Italian, Portuguese and Dutch, whose words mean their English
keys. So a German text is checked against facts in English. Any other language has the English
tables alone. Numbers in words are read in English only.

Proper names: what a capital letter marks, where it marks something.

A word is taken for a name where it

- begins with a capital inside a sentence, in a text whose other words do not;
- has a capital after its first letter (GoPro), or capitals alone (HDMI), in a text that does not
  shout.

Headlines often begin Every Word With A Capital, which then marks nothing: in them only the second
kind is found, beside the places and brands of the lexicon. The first word of a sentence is not
looked at. Languages without capitals have no names here, and German nouns are no names either. That
is what capitals can tell; a list of all names there are would not be had.

Numbers with their units, read exactly: 1,000 is 1000, 2 1/2" is 2.5 inches is 6.35 cm.

    read_quantity("1,500", "ml", lexicon("en"))   # (Fraction(1500), "volume")
    read_quantity("1.5", "l", lexicon("en"))      # the same

Two quantities are the same where they are equal exactly: 1 kg is 1000 g, and 10 inches are 25.4 cm
but not 25 cm. Units that people convert in two ways (GB and MB) are never the same. A code with
figures (4K, 1080p) is no quantity.

A point and a comma are read as the language has them where a number alone leaves it open: 1.500 is
one and a half in English and 1500 in German. 1,000.5 and 1.000,5 leave nothing open.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from adwright.metrics.text.agreement import words_of

#: What a part of a text claims something about.
SpanKind = Literal["number", "unit", "brand", "material", "colour", "claim", "name"]
_FILE = "lexicon.toml"


@dataclass(frozen=True)
class Unit:
    """A unit: so many of its family's base. A unit of another family is never the same."""

    family: str
    factor: Fraction


class Term(NamedTuple):
    """A word or words that say something, after the first word.

    kind: "" for an ordinary use that says nothing. key: what it means. rest: its further words.
    implied: keys that are true where it is.
    """

    kind: SpanKind | Literal[""]
    key: str
    rest: tuple[str, ...]
    implied: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Lexicon:
    """The tables for one language.

    terms: by their first word, the longest first. units: by how they are written, in lower case.
    currencies: codes and signs, to the keys that a price with them has. numbers: in words.
    negations: words that turn the next one. harmless_free: what may stand before "-free".
    ordinary: brands that are words too. acronyms: capitals that name nothing. has_names: whether a
    capital in the midst of a sentence marks a name. decimal_comma: whether 1,5 is one and a half.
    """

    terms: Mapping[str, tuple[Term, ...]]
    units: Mapping[str, Unit]
    currencies: Mapping[str, tuple[str, ...]]
    numbers: Mapping[str, int]
    negations: frozenset[str]
    harmless_free: frozenset[str]
    ordinary: frozenset[str]
    acronyms: frozenset[str]
    has_names: bool
    decimal_comma: bool


#: Languages that write 1.5 with a point; most others write a comma.
_POINT = frozenset(("en", "zh", "ja", "ko", "th", "he", "hi", "ar", "ms", "fil", "ta", "te", "sw"))


def language_of(locale: str) -> str:
    """The language of a locale of BCP 47: "de" of "de-AT"."""
    return locale.replace("_", "-").partition("-")[0].lower() or "en"


@cache
def lexicon(language: str) -> Lexicon:
    """The tables for a language such as "en"; read once."""
    data = tomllib.loads(files(__package__).joinpath(_FILE).read_text("utf-8"))
    names, words = data["names"], data["words"]
    return Lexicon(
        terms=_by_first_word(_terms(data, language)),
        units=dict(_units(data)),
        currencies=_currencies(data),
        numbers=dict(data["numbers"]),
        negations=frozenset(words["negations"]),
        harmless_free=frozenset(words["harmless_free"]),
        ordinary=frozenset(names["ordinary"]),
        acronyms=frozenset(names["acronyms"]),
        has_names=language not in names["uncased"],
        decimal_comma=language not in _POINT,
    )


def _terms(data: Mapping[str, Any], language: str) -> Iterator[Term]:
    """All terms; their first word is the first of `rest` here."""
    implied: Mapping[str, list[str]] = data["en"]["implies"]
    for table in dict.fromkeys(("en", language)):
        if table not in data or table in ("units", "names", "words", "numbers"):
            continue
        for kind in ("colour", "material"):
            for written, key in _spellings(data[table].get(kind, {})):
                yield _term(kind, key, written, implied)
        for key, spellings in data[table].get("claims", {}).items():
            yield from (_term("claim", key, written, implied) for written in spellings)
        for spellings in data[table].get("apart", {}).values():
            yield from (_term("claim", written, written, implied) for written in spellings)
        for written in data[table].get("plain", {}).get("words", ()):
            yield _term("", "", written, implied)
    for written in data["names"]["brands"]:
        yield _term("brand", written, written, implied)
    for written in data["names"]["places"]:
        yield _term("name", written, written, implied)


def _spellings(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(as written, key) of colours or materials, with plurals and shades."""
    plain: list[str] = table.get("words", [])
    same: Mapping[str, str] = table.get("same", {})
    named = {**{word: word for word in plain}, **same}
    for written, key in named.items():
        yield written, key
        yield f"{written}s", key
        if " " not in written:
            yield from (
                (f"{shade} {written}", f"{shade} {key}") for shade in table.get("modifiers", ())
            )


def _term(kind: str, key: str, written: str, implied: Mapping[str, list[str]]) -> Term:
    # `_by_first_word` takes the first word out again.
    follows = tuple(implied.get(key, ()))
    if kind == "colour" and " " in key:  # light blue is blue
        follows = (*follows, key.rpartition(" ")[2])
    return Term(kind, key, tuple(words_of(written)), follows)  # type: ignore[arg-type]


def _by_first_word(terms: Iterable[Term]) -> dict[str, tuple[Term, ...]]:
    found: defaultdict[str, dict[tuple[str, ...], Term]] = defaultdict(dict)
    for term in terms:
        first, *rest = term.rest
        # The same words twice: the first table that has them counts.
        after = Term(term.kind, term.key, tuple(rest), term.implied)
        found[first].setdefault(after.rest, after)
    return {
        first: tuple(sorted(some.values(), key=lambda term: -len(term.rest)))
        for first, some in found.items()
    }


def _units(data: Mapping[str, Any]) -> Iterator[tuple[str, Unit]]:
    for family, units in data["units"].items():
        for factor, *spellings in units.values():
            yield from ((written, Unit(family, Fraction(factor))) for written in spellings)
    for word in data["counted"]["words"]:
        unit = Unit(f"counted {word}", Fraction(1))
        many = f"{word[:-1]}ies" if word.endswith("y") and word[-2] not in "aeo" else f"{word}s"
        many = f"{word}es" if word.endswith(("x", "s", "ch")) else many
        yield word, unit
        yield ("shelves" if word == "shelf" else many), unit
    yield from (
        (f"{word}s", Unit(f"counted {word}", Fraction(1))) for word in ("flavour", "colour")
    )


def _currencies(data: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """A code says its sign too, a sign no code: dollars of Canada are dollars."""
    found: dict[str, tuple[str, ...]] = {}
    for sign, codes in data["currencies"].items():
        found[sign.lower()] = (sign,)
        found |= {code.lower(): (code, sign) for code in codes}
    words: Mapping[str, str] = data["currency_words"]
    return found | {word: found.get(meant.lower(), (meant,)) for word, meant in words.items()}


_ENDS = frozenset(".!?:;\n\t\r|•…–—·*>")
_OPENERS = frozenset(" \"'“”‘(«„[¿¡\u00a0")
#: Words of four letters and more that stay small where every other word has a capital.
_SMALL = frozenset(("with", "from", "into", "over", "your", "that", "this", "than", "when", "upon"))


class Word(NamedTuple):
    """A word: in lower case, where it stands, and as it is written."""

    low: str
    start: int
    end: int
    raw: str

    def begins(self, text: str) -> bool:
        """Whether it is the first word of a sentence."""
        at = self.start - 1
        while at >= 0 and text[at] in _OPENERS:
            at -= 1
        return at < 0 or text[at] in _ENDS or text[max(at - 1, 0) : at + 1] in (" -", "\n-", "-")


def find_names(text: str, words: list[Word], lexicon: Lexicon) -> list[tuple[int, int, str]]:
    """Start, end and word in lower case of each name."""
    raised = [word for word in words if not word.raw.islower()]
    if not raised:
        return []
    shouted = sum(word.raw.isupper() and len(word.raw) > 1 for word in raised)
    is_shouting = 2 * shouted > len(words)
    inner = [word for word in words if len(word.raw) > 3 and not word.begins(text)]
    titled = sum(word.raw[0].isupper() for word in inner)
    small = sum(word.raw[0].islower() and word.low not in _SMALL for word in inner)
    marks = lexicon.has_names and small > 0 and titled <= 2 * small
    found = []
    for word in raised:
        raw = word.raw
        if raw.isupper() and len(raw) > 1:
            is_name = not is_shouting and word.low not in lexicon.acronyms
        elif raw[1:].islower() or len(raw) == 1:
            is_name = marks and len(raw) > 1 and raw[0].isupper() and not word.begins(text)
        else:
            is_name = not raw[1:].islower()
        if is_name:
            found.append((word.start, word.end, word.low))
    return found


#: Characters that separate thousands and are no white space of a sentence.
_NARROW = "'’\u00a0\u202f\u2009"
_FRACTIONS = "¼½¾⅐⅑⅒⅓⅔⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
#: A number, as the inner part of a pattern. Of "1/2/2024" it takes no fraction.
NUMBER = (
    rf"(?:\d+(?:[.,]\d+|[{_NARROW}]\d\d\d(?!\d))*|\.\d+)"
    rf"(?:[\x20-]?\d+/\d+(?![\d/])|/\d+(?![\d/])|\s?[{_FRACTIONS}])?|[{_FRACTIONS}]"
)
#: What may be the unit after a number.
UNIT = (
    r"[ \u00a0-]?(%|°\s?[CFcf]?(?![^\W\d_])|[\"″”]|''|['’′](?![^\W\d_])|[$€£¥₹₩₽฿₫₪₴₺₱]|R\$|zł"
    r"|[^\W\d_]+[²³]?(?:/[^\W\d_]+)?(?:\.?[ -][^\W\d_]+)?)"
)
_UNIT = re.compile(UNIT)
_PARTS = re.compile(rf"([\d.,{_NARROW}]*)[ -]?(?:(\d{{0,40}})/(\d{{1,40}}))?\s?([{_FRACTIONS}]?)")
_SAID = re.compile(r"[^\W\d_]+(?:(?:-| (?:and )?)[^\W\d_]+){0,7}")
#: Digits of a number beyond which it is only compared as it stands.
_MOST_DIGITS = 40
#: "15.6 in laptop" is inches; "3 in 1" and "10 in total" are not.
_AFTER_INCHES = re.compile(
    r"\s*(?:$|[.,;:)x×*/]|(?:[whdl]|wide|tall|long|deep|high|screen|display|laptop|monitor|tv|lcd"
    r"|led|diameter|touch|thick|round)\b)",
    re.IGNORECASE,
)
#: One letter that is a unit only where it touches its number: "a" is a word.
_TOUCHING = frozenset(("a", "x", "s", "c", "f", "go", "ore", "ans", "set", "bar"))


@lru_cache(maxsize=8192)
def read_number(text: str, *, decimal_comma: bool) -> Fraction | str:
    """The value of a number as `NUMBER` finds it; the text itself where it has none (1/0)."""
    if len(text) > _MOST_DIGITS:
        return text
    if text[-1] in _FRACTIONS or "/" in text:
        return _mixed(text, decimal_comma=decimal_comma)
    if text.isdecimal():
        return Fraction(int(text))
    return _plain(text, decimal_comma=decimal_comma)


def _mixed(text: str, *, decimal_comma: bool) -> Fraction | str:
    """A number with a fraction: 2 1/2, 1/2, 2½."""
    found = _PARTS.fullmatch(text)
    if found is None:
        return text
    whole, above, below, sign = found.groups()
    if above == "":  # "1/2": the pattern's first part took the figure
        whole, above = "", whole
    value: Fraction | str = _plain(whole, decimal_comma=decimal_comma) if whole else Fraction(0)
    if isinstance(value, str) or (below and (not above.isdecimal() or int(below) == 0)):
        return text
    if below:
        value += Fraction(int(above), int(below))
    if sign:
        value += Fraction(unicodedata.numeric(sign)).limit_denominator(10)
    return value


def _plain(text: str, *, decimal_comma: bool) -> Fraction | str:
    for one in _NARROW:
        text = text.replace(one, "")
    point, comma = text.rfind("."), text.rfind(",")
    if point >= 0 and comma >= 0:
        mark = "." if point > comma else ","
    elif text.count(".") + text.count(",") > 1:
        mark = ""
    elif point >= 0 or comma >= 0:
        at = max(point, comma)
        mark = text[at]
        is_grouping = len(text) - at - 1 == 3 and text[:at].strip("0") and len(text[:at]) <= 3
        if is_grouping and (mark == ".") == decimal_comma:
            mark = ""
    else:
        mark = ""
    whole, _, part = text.rpartition(mark) if mark else (text, "", "")
    whole = whole.replace(".", "").replace(",", "")
    if not (whole + part).isdecimal():
        return text
    return Fraction(int(whole + part), 10 ** len(part))


@lru_cache(maxsize=8192)
def read_quantity(number: Fraction | str, unit: str, words: Lexicon) -> tuple[Fraction | str, str]:
    """Value in the base of the unit's family, and the family; ("", for no unit)."""
    known = words.units.get(unit)
    if known is None:
        return number, unit
    return (number if isinstance(number, str) else number * known.factor), known.family


def unit_after(text: str, at: int, words: Lexicon) -> tuple[str, int]:
    """The unit that stands at `at`, right after a number, and where it ends; ("", at) for none.

    A unit of a currency is given as it is written, in lower case.
    """
    found = _UNIT.match(text, at)
    if found is None:
        return "", at
    whole = found.group(1).lower()
    start = found.start(1)
    for written in (whole, *_first_words(whole)):
        end = start + len(written)
        if written in words.currencies:
            return written, end
        if written not in words.units or (written in _TOUCHING and start > at):
            continue
        if written == "in" and not _AFTER_INCHES.match(text, end):
            continue
        if written in ('"', "”") and _is_quoted(text, at):
            continue
        return written, end
    return "", at


def _first_words(whole: str) -> tuple[str, ...]:
    """What is left of "fl oz" or "km/h" where that is no unit."""
    first = re.split(r"[. -]", whole, maxsplit=1)[0]
    return (first, first.partition("/")[0])


def _is_quoted(text: str, at: int) -> bool:
    """Whether the quotation mark after a number ends what another began."""
    before = text[max(0, at - 80) : at]
    opened = re.search(r"(?:^|[\s(])[\"“]\w[^\"”]*$", before)
    return opened is not None


def read_said(text: str, at: int, words: Lexicon) -> tuple[int, int] | None:
    """The number in words that begins at `at`, and where it ends: "two hundred and five".

    None where there is none; "one" alone is a pronoun more often than a number, so it is none
    unless more of a number follows.
    """
    found = _SAID.match(text, at)
    if found is None:
        return None
    total = group = 0
    end, last = at, ""
    for part in re.finditer(r"[^\W\d_]+", found.group()):
        word = part.group().lower()
        if word == "and" and last in ("hundred", "thousand"):
            continue
        value = words.numbers.get(word)
        if value is None or (value < 100 and last and not _may_follow(last, word, words)):
            break
        if value >= 1000:
            total, group = total + max(group, 1) * value, 0
        elif value in (12, 100) and word in ("hundred", "dozen"):
            group = max(group, 1) * value
        else:
            group += value
        end, last = at + part.end(), word
    return (total + group, end) if last else None


def _may_follow(last: str, word: str, words: Lexicon) -> bool:
    """Five after twenty, anything small after hundred; "two two" are two numbers."""
    before = words.numbers[last]
    if word == "dozen":
        return before < 12
    return before >= 100 or (before >= 20 and words.numbers[word] < 10)


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
