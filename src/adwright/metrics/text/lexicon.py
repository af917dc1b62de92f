"""The words that `grounding` knows: colours, materials, claims, units, brands, as tables of data.

    words = lexicon("de")
    words.terms["leder"]     # [Term(kind="material", key="leather", rest=())]

They stand in lexicon.toml beside this file: English, and short tables of colours, materials and
claims in German, French, Spanish, Italian, Portuguese and Dutch, whose words mean their English
keys. So a German text is checked against facts in English. Any other language has the English
tables alone. Numbers in words are read in English only.
"""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

from adwright.metrics.text.words import words_of

__all__ = ["Lexicon", "SpanKind", "Term", "Unit", "language_of", "lexicon"]

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
