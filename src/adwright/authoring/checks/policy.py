"""What platforms and the law forbid an ad to say, as rules with names.

    check_policy("THE BEST tea!!! 50% OFF", facts=("Assam tea, 80 bags",))
    # policy/superlative, policy/capitals, policy/punctuation, policy/discount

The words of each rule stand in policy.toml beside this file; they are our choice, on the themes
that platforms name. Some rules make an exception for words that the facts of the product hold: a
seller may have said that a guarantee is given; others (health, superlatives) stay, since a seller's
word is no proof.

It finds words and not meaning, in English and a few words of other languages. It is no legal
advice: a text without a finding may still break a law.
"""

from __future__ import annotations

import html
import re
import tomllib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from adwright.authoring.checks.limits import Finding, Severity, account_spans, card_spans
from adwright.core.config import settings
from adwright.metrics.text.agreement import require_texts, rouge_l
from adwright.metrics.text.grounding import unsupported_spans
from adwright.metrics.text.mentions import language_of, lexicon

_SHOUTED = re.compile(r"(?<![\w-])[^\W\d_a-z]{2,}(?:[ '’&-]+[^\W\d_a-z]{2,})*(?![\w-])")
_MARKS = re.compile(r"[!?]{2,}|(?<!\.)\.{4,}|[*~^=+|]{3,}|[$€£]{2,}|(?:[!] ?){2,}")
_MONEY = re.compile(r"[^\W\d_]+|[$€£¥₹₩₽฿₫₪₴₺₱]")
#: Words in capitals that are no shouting are as short as this, or the facts hold them.
_ACRONYM = 5
_MOST_MARKS = 1


@settings
class PolicyRule:
    """A rule: found where one of its words is.

    id: without the family, such as "superlative". unless_in_facts: whether words that the facts
    hold are no finding.
    """

    id: str
    severity: Severity
    message: str
    fix: str
    words: tuple[str, ...]
    unless_in_facts: bool


@cache
def policy_rules() -> tuple[PolicyRule, ...]:
    """All rules that look for words."""
    return tuple(PolicyRule(**{**one, "words": tuple(one["words"])}) for one in _table()["rules"])


def check_policy(
    text: str,
    facts: Sequence[str],
    *,
    competitors: Collection[str] = (),
    locale: str = "en",
) -> tuple[Finding, ...]:
    """All findings of a text.

    facts: of the product. competitors: marks that must not be named unless the facts hold them.
    locale: of text and facts, for numbers in prices.
    """
    known = " ".join(facts).casefold()
    found = [
        Finding(f"policy/{rule.id}", one.start(), one.end(), rule.severity, rule.message, rule.fix)
        for rule in policy_rules()
        for one in _pattern(rule.words).finditer(text)
        if not (rule.unless_in_facts and _holds(known, one.group()))
    ]
    found += _accounts(text)
    found += _marks_of_others(text, known, competitors)
    found += _prices(text, facts, locale)
    found += _shouting(text, known)
    for count, one in enumerate(_MARKS.finditer(text)):
        if count < 20:
            message = f"excessive punctuation {one.group()!r:.20}"
            found.append(
                Finding("policy/punctuation", one.start(), one.end(), "error", message, "use one")
            )
    calls = [at for at, one in enumerate(text) if one in "!！"]
    if len(calls) > _MOST_MARKS and not _MARKS.search(text):
        message = f"{len(calls)} exclamation marks"
        start = calls[_MOST_MARKS]
        found.append(
            Finding("policy/punctuation", start, start + 1, "warning", message, "keep one")
        )
    return tuple(found)


def _accounts(text: str) -> Iterator[Finding]:
    """Accounts, and cards that are no part of one: personal data in a form that no word tells."""
    rule = next(one for one in policy_rules() if one.id == "personal-data")
    accounts = list(account_spans(text))
    cards = (
        (start, end)
        for start, end in card_spans(text)
        if not any(first <= start < last for first, last in accounts)
    )
    for start, end in (*accounts, *cards):
        yield Finding(f"policy/{rule.id}", start, end, rule.severity, rule.message, rule.fix)


def _marks_of_others(text: str, known: str, competitors: Collection[str]) -> Iterator[Finding]:
    names = frozenset(name for name in competitors if name.strip())
    if names:
        for one in _names(names).finditer(text):
            if not _holds(known, one.group()):
                yield Finding(
                    "policy/competitor",
                    one.start(),
                    one.end(),
                    "error",
                    f"the mark {one.group()!r:.60} is another's",
                    "leave it out",
                )


def _prices(text: str, facts: Sequence[str], locale: str) -> Iterator[Finding]:
    """Prices that are not the product's."""
    known = lexicon(language_of(locale)).currencies
    if known.keys().isdisjoint(_MONEY.findall(text.lower())):
        return
    for span in unsupported_spans(text, facts, locale=locale):
        money = _MONEY.findall(span.text.lower())
        if span.kind in ("number", "unit") and not known.keys().isdisjoint(money):
            message = f"the price {span.text!r:.40} is not in the data"
            yield Finding(
                "policy/price", span.start, span.end, "error", message, "take the price of the data"
            )


def _shouting(text: str, known: str) -> Iterator[Finding]:
    """Words in capitals that are longer than acronyms and not in the facts; whole texts of them."""
    for one in _SHOUTED.finditer(text):
        words = re.findall(r"[^\W\d_]+", one.group())
        longest = max(map(len, words))
        upper = one.group() != one.group().lower()
        if not upper or (longest <= _ACRONYM and len(words) < 3):
            continue
        severity: Severity = "error"
        if _holds(known, one.group()):  # brands are written as they are
            severity = "warning"
            if len(words) < 3:
                continue
        yield Finding(
            "policy/capitals",
            one.start(),
            one.end(),
            severity,
            f"words in capitals {one.group()!r:.60}",
            one.group().capitalize(),
        )


def _holds(known: str, words: str) -> bool:
    return " ".join(words.casefold().split()) in known


@cache
def _pattern(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w@])(?:{'|'.join(words)})(?![\w@])", re.IGNORECASE)


@lru_cache(maxsize=8)
def _names(names: frozenset[str]) -> re.Pattern[str]:
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("policy.toml").read_text("utf-8"))


# --------------------------------------------------------------------------------------------------
# Is a text in the language that was asked for? By its letters, then by its commonest words.
#
#     judge_language("Der Tee ist mild und fein", "en")   # found "de", sure
#
# First the script: a text for Japan that is mostly in Latin letters is in another language. Inside
# a script the commonest short words decide, which languages.toml holds for 25 languages.
#
# What it cannot tell: a text of fewer than three such words ("Assam tea, 80 bags") is of no sure
# language; Danish and Norwegian, Czech and Slovak, share so many that one passes for the other; a
# language without words in the table is told by its script alone, and of the languages of one such
# script none from another. Where it is not sure it finds nothing.

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
    if asked not in _language_table()["words"]:
        return LanguageVerdict(asked, "", sure=False)
    found, hits, mine = _by_words(some, asked)
    alike = any({found, asked} <= group for group in _ALIKE)
    other = found not in ("", asked) and hits >= _HITS and hits > _TIMES * mine and not alike
    return LanguageVerdict(asked, found if hits >= _HITS else "", sure=other)


def scripts_of(text: str) -> Counter[str]:
    """Letters of each script."""
    counts: Counter[str] = Counter()
    for run in _runs().finditer(text):
        counts[run.lastgroup or ""] += run.end() - run.start()
    return counts


@cache
def _runs() -> re.Pattern[str]:
    """Letters of one script that stand together."""
    scripts = _language_table()["letters"].items()
    return re.compile("|".join(f"(?P<{name}>[{letters}]+)" for name, letters in scripts))


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
    for script, languages in _language_table()["scripts"].items():
        if language in languages:
            return frozenset((script, "Han")) if script == "Kana" else frozenset((script,))
    return frozenset(("Latin",))


@cache
def _languages_by_word() -> Mapping[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for language, words in _language_table()["words"].items():
        for word in words:
            found[word] = (*found.get(word, ()), language)
    return found


@cache
def _language_table() -> Mapping[str, Mapping[str, Any]]:
    return tomllib.loads(files(__package__).joinpath("languages.toml").read_text("utf-8"))


# --------------------------------------------------------------------------------------------------
# Markup, scripts and characters that are not seen: they belong into no ad.
#
#     check_markup("<b>New</b> tea")      # markup/html twice
#     plain_text("<b>New</b> tea")        # "New tea"
#
# Found are HTML tags and entities, scripts with what they hold, Markdown, fields of a template that
# nobody filled ({brand}), control characters, marks that turn the direction of writing, and words
# that mix scripts whose letters look alike. One pass of one pattern for each, linear in the text.

#: Tags hold at most so many characters, so that no search runs far.
_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,2000}>")
_SCRIPT = re.compile(
    r"<\s?(script|style|iframe|object|svg)\b[^<>]{0,2000}>(?:(?!</?\1\b).){0,20000}(?:</\1\s?>)?",
    re.IGNORECASE | re.DOTALL,
)
_LINK = re.compile(r"\b(?:javascript|data|vbscript):[^\s]{1,2000}", re.IGNORECASE)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,31}|#\d{1,7}|#x[0-9a-fA-F]{1,6});")
_MARKDOWN = re.compile(
    r"\*\*|__|```|^\s{0,3}#{1,6}\s|^\s{0,3}[*-]\s|\[[^\[\]\n]{1,200}\]\([^()\s]{1,500}\)",
    re.MULTILINE,
)
_FIELD = re.compile(
    r"\{\{?[\w .-]{1,40}\}?\}|\[(?:your|insert|brand|product|name|company)[^\[\]]{0,40}\]"
    r"|<(?:brand|product|name)>|\bLorem ipsum\b",
    re.IGNORECASE,
)
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff\ufffd\ud800-\udfff]")
#: Soft hyphens, spaces without width, marks of direction; the joiners that emoji and several
#: scripts need are none.
_UNSEEN = re.compile("[\u00ad\u061c\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
#: Possessive, and from the first letter of a word alone: linear in the text.
_MIXED = re.compile(
    r"(?<![A-Za-z\u0370-\u04ff])(?:[A-Za-z]++[\u0370-\u04ff]|[\u0370-\u04ff]++[A-Za-z])"
    r"[A-Za-z\u0370-\u04ff]*"
)
_RULES = (
    ("script", _SCRIPT, "error", "a script or what it would run", ""),
    ("script", _LINK, "error", "an address that runs a script", ""),
    ("field", _FIELD, "error", "a field of a template that is not filled", "fill it"),
    ("html", _TAG, "error", "an HTML tag", "write plain text"),
    ("html", _ENTITY, "error", "a character written as HTML", "write the character itself"),
    ("markdown", _MARKDOWN, "warning", "Markdown", "write plain text"),
    ("control", _CONTROL, "error", "a control character", ""),
    ("unseen", _UNSEEN, "error", "a character that is not seen", ""),
    ("mixed-script", _MIXED, "warning", "a word with letters of two scripts", "type it anew"),
)
#: A text may break a rule so often; more says nothing more.
_MOST = 50


def check_markup(text: str) -> tuple[Finding, ...]:
    """Errors for markup, scripts, empty fields and unseen characters; warnings for Markdown and
    words of mixed scripts."""
    found: list[Finding] = []
    for name, pattern, severity, message, fix in _RULES:
        for count, one in enumerate(pattern.finditer(text)):
            if count == _MOST:
                break
            found.append(
                Finding(f"markup/{name}", one.start(), one.end(), severity, message, fix)  # type: ignore[arg-type]
            )
    return tuple(found)


def plain_text(text: str) -> str:
    """The text without scripts, tags and unseen characters, entities written out, white space in a
    row as one.

    It is done until nothing changes, since what is left may be a tag again; after four times
    whatever still looks like one loses its brackets.
    """
    for _ in range(4):
        before = text
        text = html.unescape(_TAG.sub(" ", _LINK.sub("", _SCRIPT.sub(" ", text))))
        text = _FIELD.sub("", _UNSEEN.sub("", _CONTROL.sub(" ", text)))
        if text == before:
            break
    else:
        text = re.sub(r"[<>]", " ", _ENTITY.sub(" ", text))
    return re.sub(r"[ \t\r\f\v\u00a0]{2,}", " ", re.sub(r"(?<!\s)\s*\n\s*", "\n", text)).strip()


# --------------------------------------------------------------------------------------------------
# How alike variants of a text for A/B tests are: the ROUGE-L of each pair (`rouge_l`).
#
# alikeness(["Tea for you", "Tea for you!", "A quiet cup"])      # [3, 3]


def alikeness(texts: Sequence[str]) -> npt.NDArray[np.float64]:
    """ROUGE-L of each pair: [N, N], symmetric, with ones on the diagonal.

    Raises DataError that names the row which is no text.
    """
    require_texts(texts, "texts")
    found = np.eye(len(texts))
    for one in range(len(texts)):
        for other in range(one):
            same = texts[one].casefold().split() == texts[other].casefold().split()
            found[one, other] = 1.0 if same else rouge_l(texts[one], texts[other])
    return np.maximum(found, found.T)
