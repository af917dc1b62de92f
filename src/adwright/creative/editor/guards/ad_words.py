"""Words of an ad that forbid its editing: politics, and claims about health.

    found = forbidden_words("Cures diabetes in 7 days")
    found[0].kind, found[0].span, found[0].words        # "health_claim", (0, 14), "Cures diabetes"

Rules on words, in English, each a pattern that a lawyer can read; they find what is plainly said,
and nothing that is meant. Letters are compared after compatibility decomposition, without accents,
case and characters that are not seen; Greek and Cyrillic twins of Latin letters, and digits that
stand for letters inside a word, count as these. Spans are of the text as it was given.

What is no claim is not found: "a healthy breakfast", "vote for your favourite flavour". Lists and
limits are our choice.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

from adwright.core.config import settings

__all__ = ["ForbiddenWords", "forbidden_words"]

Kind = Literal["political", "health_claim"]

#: Letters of other scripts that look like Latin ones.
_TWINS = str.maketrans("аеорсухіјѕԁһмтвкнαεορτυικνχ", "aeopcyxijsdhmtbkhaeoptuiknx")
_DIGITS = {"0": "o", "1": "i", "3": "e", "4": "a", "5": "s", "7": "t", "@": "a", "$": "s"}

_ILLNESS = (
    r"(?:cancers?|tumou?rs?|diabetes|diabetic|arthritis|alzheimer'?s?|dementia|depression|anxiety|"
    r"adhd|autism|covid(?:-?19)?|coronavirus|flu|hiv|aids|asthma|migraines?|psoriasis|eczema|"
    r"hypertension|(?:high )?blood (?:pressure|sugar)|cholesterol|heart (?:disease|attacks?)|"
    r"strokes?|insomnia|infertility|impotence|erectile dysfunction|hair loss|baldness|obesity|"
    r"infections?|diseases?|illness(?:es)?|back pain|joint pain|chronic pain|pain)"
)
_RULES: tuple[tuple[Kind, str], ...] = (
    ("political", r"\bvote(?:s|d)? (?:for|against|yes|no|on)\b(?! your\b)(?! the best\b)"),
    ("political", r"\b(?:re-?elect|elect)(?:s|ed|ing)? (?!to\b|a new (?:phone|look))\w+"),
    ("political", r"\b(?:general|presidential|mid-?term|local|european) elections?\b"),
    ("political", r"\belection (?:day|campaign)\b|\bballots?\b|\breferend(?:um|ums|a)\b"),
    ("political", r"\b(?:president|senator|congress(?:man|woman)|governor|prime minister)s?\b"),
    ("political", r"\b(?:mayor|chancellor|member of parliament|candidate for)\b"),
    ("political", r"\b(?:democrats?|republicans?|tory|tories|labour party|green party)\b"),
    ("political", r"\b(?:conservative|liberal|socialist|communist) party\b"),
    ("political", r"\bpolitical (?:party|campaign|action|donations?)\b"),
    ("political", r"\bpolling (?:place|station)s?\b"),
    ("political", r"\b(?:ban|legali[sz]e|repeal|defund) (?:abortion|guns?|immigration|police)\b"),
    ("health_claim", rf"\b(?:cure|heal|treat|prevent|reverse|beat|eliminate|fight)(?:s|ed|ing)?"
     rf" (?:your |the |all |any |type 2 |chronic |signs of )*{_ILLNESS}\b"),
    ("health_claim", rf"\b(?:cures?|remed(?:y|ies)|treatments?|relief) (?:for|of|from) "
     rf"(?:your |the |all |any |chronic )*{_ILLNESS}\b"),
    ("health_claim", rf"\b(?:reduce|lower|relieve|ease|stop|end)(?:s|d|ing)? "
     rf"(?:your |the |chronic )*{_ILLNESS}\b"),
    ("health_claim", r"\blose (?:up to )?\d+\s?(?:kg|kilos?|lbs?|pounds?|stones?)\b"),
    ("health_claim", r"\b(?:burns?|melts?|blasts?) (?:belly |body |stubborn )?fat\b"),
    ("health_claim", r"\b(?:clinically|medically|doctor|scientifically)[- ]"
     r"(?:proven|tested|approved)\b"),
    ("health_claim", r"\b(?:doctor|dermatologist|physician)s? (?:recommend|approve)(?:s|ed)?\b"),
    ("health_claim", r"\b(?:boosts?|strengthens?|supports?) "
     r"(?:your |the )?immun(?:e system|ity)\b"),
    ("health_claim", r"\bdetox(?:es|ify|ifies|ifying)? (?:your )?(?:body|liver|blood|system)\b"),
    ("health_claim", r"\b(?:anti-?(?:cancer|inflammatory|depressant))\b"),
    ("health_claim", r"\bmiracle (?:cure|pill|drug)s?\b"),
    ("health_claim", r"\b(?:no prescription|without (?:a )?prescription|prescription[- ]free)\b"),
)  # fmt: skip
_PATTERNS = tuple((kind, re.compile(pattern)) for kind, pattern in _RULES)


@settings
class ForbiddenWords:
    """kind: of the rule. span: first character and the one after the last. words: these."""

    kind: Kind
    span: tuple[int, int]
    words: str


def forbidden_words(text: str) -> tuple[ForbiddenWords, ...]:
    """What the rules find in a text, in its order, of overlapping finds of a kind the first."""
    plain, places = _plain(text)
    found: list[ForbiddenWords] = []
    for kind, pattern in _PATTERNS:
        for match in pattern.finditer(plain):
            start, end = places[match.start()], places[match.end() - 1] + 1
            found.append(ForbiddenWords(kind, (start, end), text[start:end]))
    kept: list[ForbiddenWords] = []
    for one in sorted(found, key=lambda each: (each.span[0], -each.span[1])):
        over = (each for each in kept if each.kind == one.kind)
        if all(one.span[0] >= each.span[1] for each in over):
            kept.append(one)
    return tuple(kept)


def _plain(text: str) -> tuple[str, list[int]]:
    """The text as the rules see it, and of each of its characters the place in the text."""
    letters: list[str] = []
    places: list[int] = []
    for at, given in enumerate(text):
        for one in unicodedata.normalize("NFKD", given).casefold().translate(_TWINS):
            kind = unicodedata.category(one)
            if kind in ("Mn", "Me", "Cf"):
                continue
            seen = " " if kind[0] in "ZC" else _QUOTES.get(one, one)
            if seen == " " and letters and letters[-1] == " ":
                continue
            letters.append(seen)
            places.append(at)
    for at, one in enumerate(letters):
        if one in _DIGITS and 0 < at < len(letters) - 1:
            before, after = letters[at - 1], letters[at + 1]
            if before.isalpha() and after.isalpha():
                letters[at] = _DIGITS[one]
    return "".join(letters), places


_QUOTES = {"’": "'", "‘": "'", "‐": "-", "‑": "-", "–": "-", "—": "-"}
