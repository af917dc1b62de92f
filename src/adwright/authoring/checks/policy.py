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

import re
import tomllib
from collections.abc import Collection, Iterator, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from adwright.authoring.checks.accounts import account_spans, card_spans
from adwright.authoring.checks.finding import Finding, Severity
from adwright.core.config import settings
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


def policy_version() -> str:
    """Which table of rules this is, such as "2026-11"."""
    return str(_table()["version"])


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
