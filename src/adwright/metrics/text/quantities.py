"""Numbers with their units, read exactly: 1,000 is 1000, 2 1/2" is 2.5 inches is 6.35 cm.

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
import unicodedata
from fractions import Fraction
from functools import lru_cache

from adwright.metrics.text.lexicon import Lexicon

__all__ = ["NUMBER", "UNIT", "read_number", "read_quantity", "read_said", "unit_after"]

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
