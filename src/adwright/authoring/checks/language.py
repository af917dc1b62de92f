"""Is a text in the language that was asked for? By its letters, then by its commonest words.

    judge_language("Der Tee ist mild und fein", "en")   # found "de", sure

First the script: a text for Japan that is mostly in Latin letters is in another language. Inside a
script the commonest short words decide, which languages.toml holds for 25 languages.

What it cannot tell: a text of fewer than three such words ("Assam tea, 80 bags") is of no sure
language; Danish and Norwegian, Czech and Slovak, share so many that one passes for the other; a
language without words in the table is told by its script alone, and of the languages of one such
script none from another. Where it is not sure it finds nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from adwright.authoring.checks.finding import Finding
from adwright.metrics.text.mentions import language_of

#: Scripts by where their letters stand. Kana means Japanese, which writes Han as well.
_SCRIPTS = {
    "Latin": "A-Za-z\u00c0-\u024f\u1e00-\u1eff",
    "Cyrillic": "\u0400-\u052f",
    "Greek": "\u0370-\u03ff\u1f00-\u1fff",
    "Arabic": "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufeff",
    "Hebrew": "\u0590-\u05ff",
    "Devanagari": "\u0900-\u097f",
    "Bengali": "\u0980-\u09ff",
    "Gurmukhi": "\u0a00-\u0a7f",
    "Gujarati": "\u0a80-\u0aff",
    "Tamil": "\u0b80-\u0bff",
    "Telugu": "\u0c00-\u0c7f",
    "Kannada": "\u0c80-\u0cff",
    "Malayalam": "\u0d00-\u0d7f",
    "Sinhala": "\u0d80-\u0dff",
    "Thai": "\u0e00-\u0e7f",
    "Lao": "\u0e80-\u0eff",
    "Burmese": "\u1000-\u109f",
    "Khmer": "\u1780-\u17ff",
    "Georgian": "\u10a0-\u10ff",
    "Armenian": "\u0530-\u058f",
    "Ethiopic": "\u1200-\u139f",
    "Hangul": "\u1100-\u11ff\uac00-\ud7af",
    "Kana": "\u3040-\u30ff",
    "Han": "\u3400-\u4dbf\u4e00-\u9fff",
}
_RUNS = re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in _SCRIPTS.items()))
_WORD = re.compile(r"[^\W\d_]+")
#: Characters of a text that are looked at.
_LOOKED_AT = 20_000
#: Letters of another script from which on a text is in it, and how large a share.
_LETTERS, _SHARE = 8, 0.6
#: Short words that a language must have, and how many times as many as the asked one has.
_HITS, _TIMES = 3, 2.0
#: One of two passes for the other.
_ALIKE = ({"da", "nb", "no", "nn"}, {"cs", "sk"}, {"id", "ms"}, {"hr", "sr", "bs"})


@dataclass(frozen=True)
class LanguageVerdict:
    """asked: the language. found: that of the text, "" where it cannot be told; of a script alone
    its name. sure: whether found is another one than asked, with enough to say so."""

    asked: str
    found: str
    sure: bool


def check_language(text: str, locale: str) -> tuple[Finding, ...]:
    """An error where the text is surely in another language than that of `locale`."""
    verdict = judge_language(text, locale)
    if not verdict.sure:
        return ()
    message = f"it is in {verdict.found} where {verdict.asked} was asked for"
    return (
        Finding("language/other", 0, len(text), "error", message, f"write it in {verdict.asked}"),
    )


def judge_language(text: str, locale: str) -> LanguageVerdict:
    """Which language a text is in. locale: that was asked for, BCP 47."""
    asked = language_of(locale)
    some = text[:_LOOKED_AT]
    counts = scripts_of(some)
    letters = sum(counts.values())
    wanted = _script_of(asked, locale)
    if letters >= _LETTERS:
        script, most = counts.most_common(1)[0]
        if script not in wanted and most > _SHARE * letters:
            return LanguageVerdict(asked, _by_words(some)[0] or script, sure=True)
    if asked not in _table()["words"]:
        return LanguageVerdict(asked, "", sure=False)
    found, hits, mine = _by_words(some, asked)
    alike = any({found, asked} <= group for group in _ALIKE)
    other = found not in ("", asked) and hits >= _HITS and hits > _TIMES * mine and not alike
    return LanguageVerdict(asked, found if hits >= _HITS else "", sure=other)


def scripts_of(text: str) -> Counter[str]:
    """Letters of each script."""
    counts: Counter[str] = Counter()
    for run in _RUNS.finditer(text):
        counts[run.lastgroup or ""] += run.end() - run.start()
    return counts


def _by_words(text: str, asked: str = "") -> tuple[str, int, int]:
    """The language with the most short words, how many, and how many the asked one has."""
    hits: Counter[str] = Counter()
    words = _languages_by_word()
    for word in _WORD.findall(text.lower()):
        hits.update(words.get(word, ()))
    if not hits:
        return "", 0, 0
    most = max(hits.values())
    best = asked if hits[asked] == most else min(one for one, n in hits.items() if n == most)
    return best, most, hits[asked]


def _script_of(language: str, locale: str) -> frozenset[str]:
    """Scripts in which a language is written; a subtag such as Latn says another."""
    tags = locale.lower().split("-")[1:]
    if "latn" in tags:
        return frozenset(("Latin",))
    if "cyrl" in tags:
        return frozenset(("Cyrillic",))
    for script, languages in _table()["scripts"].items():
        if language in languages:
            return frozenset((script, "Han")) if script == "Kana" else frozenset((script,))
    return frozenset(("Latin",))


@cache
def _languages_by_word() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, words in _table()["words"].items():
        for word in words:
            found[word] = (*found.get(word, ()), language)
    return found


@cache
def _table() -> Mapping[str, Mapping[str, list[str]]]:
    return tomllib.loads(files(__package__).joinpath("languages.toml").read_text("utf-8"))
