"""How long a text may be, platform by platform, and how it is cut to that.

    headline = limit_named("google.headline")     # 30, a double-width character counts two
    check_limit("Assam tea ...", headline)
    trim("A very long headline indeed, of tea", headline)   # cut after a whole word

The table is limits.toml beside this file; `limits_version` says which table that is. Each figure
names the page that decides it and how far it was compared: compare it before you rely on it.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import Any, Literal, get_args

from adwright.authoring.tasks import AuthoringRequest, Product
from adwright.core.config import Count, check_literals, name_hint, settings
from adwright.core.errors import ConfigError

# --------------------------------------------------------------------------------------------------
# What a check finds in a text, in one form for all checks.
#
# Finding("grounding/number", 4, 9, "error", "no fact says 16 MB")

#: error: the text must not be shown so. warning: a person should look.
Severity = Literal["error", "warning"]
_SEVERITIES = get_args(Severity)


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong with `text[start:end]`.

    rule: what it breaks, as family/name, such as "policy/superlative". message: for people, without
    a full stop. fix: what to do about it, for people; empty where it can only be left out.
    """

    rule: str
    start: int
    end: int
    severity: Severity
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        if self.severity not in _SEVERITIES:
            check_literals(self)


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings by where they begin, the longer first, then by rule; each once."""
    return tuple(sorted(dict.fromkeys(findings), key=lambda one: (one.start, -one.end, one.rule)))


def errors_of(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Those that must be mended."""
    return tuple(one for one in findings if one.severity == "error")


_DANGLING = {
    *("a", "an", "the", "and", "or", "with", "of", "for", "in", "to", "by", "from", "at", "on"),
    *("your", "our", "plus", "&", "-", "–", "—", "+", "/", "|", "no", "not", "without", "non"),
}


@settings
class PlatformLimit:
    """What one field of a platform takes.

    name: platform.field. most: its longest text, in `unit`. visible: what of it is shown, 0 for
    all. unit: characters, or width, in which a double-width character counts two. fewest_texts,
    most_texts: how many such texts an ad has; most_texts 0: not told. source: the page that
    decides; url: its address. basis: how far `most` can be relied on: "platform" was read on a page
    of the platform, "guides" in guides of third parties, "unverified" nowhere. read: in which
    month; empty: not at all. note: what else was compared, and what was not.

    Raises ConfigError for numbers that cannot be.
    """

    name: str
    most: int
    source: str
    read: str
    basis: Literal["platform", "guides", "unverified"] = "unverified"
    unit: Literal["characters", "width"] = "characters"
    visible: int = 0
    fewest_texts: int = 0
    most_texts: int = 0
    url: str = ""
    note: str = ""

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 <= self.visible <= self.most:
            raise ConfigError(
                "a limit is at least 1, and what is visible is not above it",
                where=f"{self.name}: most {self.most}, visible {self.visible}",
            )

    def size(self, text: str) -> int:
        """Length of a text in the unit of the limit."""
        return width(text) if self.unit == "width" else len(text)


def width(text: str) -> int:
    """Characters, of which the wide ones (East Asian Width W and F, Unicode annex 11) count two."""
    if text.isascii():
        return len(text)
    return sum(1 + (unicodedata.east_asian_width(one) in "WF") for one in text)


def limits_version() -> str:
    """Which table of limits this is, such as "2026-11"."""
    return str(_table()["version"])


@cache
def all_limits() -> tuple[PlatformLimit, ...]:
    """All limits, in the order of the table."""
    return tuple(PlatformLimit(**one) for one in _table()["limits"])


def limit_named(name: str) -> PlatformLimit:
    """The limit of that name. Raises ConfigError with the names that there are."""
    found = {one.name: one for one in all_limits()}
    if name in found:
        return found[name]
    raise ConfigError(f"there is no limit {name!r}", where="limit", hint=name_hint(name, found))


def check_limit(text: str, limit: PlatformLimit) -> tuple[Finding, ...]:
    """An error for what stands beyond the limit, a warning for what is not shown."""
    size = limit.size(text)
    if size > limit.most:
        at = _fitting(text, limit, limit.most)
        message = f"{size} {limit.unit} where {limit.name} takes {limit.most}"
        return (Finding("limits/too-long", at, len(text), "error", message, "shorten it"),)
    if limit.visible and size > limit.visible:
        at = _fitting(text, limit, limit.visible)
        message = f"{limit.name} shows {limit.visible} of its {size} {limit.unit}"
        fix = "say what matters first"
        return (Finding("limits/cut-off", at, len(text), "warning", message, fix),)
    return ()


def trim(text: str, limit: PlatformLimit) -> str:
    """The text within the limit: whole sentences where they fill half of it, else whole words.

    A word that leads nowhere (and, with, the) does not stand last. A single word that is too long
    is cut, as are scripts without spaces.
    """
    if limit.size(text) <= limit.most:
        return text
    kept = text[: _fitting(text, limit, limit.most)]
    sentence = max(kept.rfind(mark) for mark in (". ", "! ", "? ", "。", "！", "？"))
    if 2 * limit.size(kept[: sentence + 1]) >= limit.most:
        return kept[: sentence + 1]
    follows = text[len(kept) : len(kept) + 1]
    if not follows.isspace() and " " in kept:
        kept = kept[: kept.rindex(" ")]
    words = kept.split(" ")
    while len(words) > 1 and words[-1].lower().strip(",;:") in {*_DANGLING, ""}:
        words.pop()
    return " ".join(words).rstrip(" ,;:-–—&|/")


def _fitting(text: str, limit: PlatformLimit, most: int) -> int:
    """So many characters fit into `most` of the unit."""
    if limit.unit == "characters":
        return min(most, len(text))
    size = 0
    for at, one in enumerate(text):
        size += 1 + (unicodedata.east_asian_width(one) in "WF")
        if size > most:
            return at
    return len(text)


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("limits.toml").read_text("utf-8"))


# --------------------------------------------------------------------------------------------------
# Numbers of accounts and cards in a text, told by their check digits.
#
#     [text[start:end] for start, end in account_spans("Pay to DE89 3704 0044 0532 0130 00.")]
#     # ["DE89 3704 0044 0532 0130 00"]
#
# Codes of goods look like them, and have other check digits. An IBAN (ISO 13616-1) has the length
# that its country has in SWIFT's IBAN registry, release 101, and leaves 1 when it is divided by 97
# (ISO/IEC 7064, MOD 97-10). A card of payment ends in the check digit of Luhn (ISO/IEC 7812-1).
# Both are found written together or in groups, in capitals or not. One code of goods in 97 that has
# the form and the length of an IBAN is one by its check digits, too.

#: Country and length of its accounts.
_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_LENGTHS = {code: int(length) for code, length in re.findall(r"([A-Z]{2})([0-9]{2})", _REGISTRY)}
_SIGN, _BETWEEN = "[A-Za-z0-9]", "[ \u00a0\u202f-]"
_BEGIN = re.compile(r"(?<!\w)([A-Za-z]{2})[0-9]{2}")
_CARD = re.compile(r"(?<![\w@])[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?![\w@])")


def account_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where IBANs stand, as start and end, from left to right."""
    last = 0
    for begin in _BEGIN.finditer(text):
        length = _LENGTHS.get(begin[1].upper())
        if length is None or begin.start() < last:
            continue
        found = _form(length).match(text, begin.start())
        if found is not None and is_iban(found[0]):
            last = found.end()
            yield found.span()


def card_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where numbers of cards stand, in four groups of four."""
    for found in _CARD.finditer(text):
        if is_card(found[0]):
            yield found.span()


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN, with or without blanks: country, length and check digits."""
    plain = re.sub(_BETWEEN, "", text).upper()
    if not (plain.isascii() and plain.isalnum() and plain[2:4].isdecimal()):
        return False
    if len(plain) != _LENGTHS.get(plain[:2]):
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether digits, with or without blanks, end in their check digit by Luhn's formula."""
    digits = re.sub(_BETWEEN, "", text)
    if not (digits.isascii() and digits.isdecimal()):
        return False
    total = 0
    for place, sign in enumerate(reversed(digits)):
        value = int(sign) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@cache
def _form(length: int) -> re.Pattern[str]:
    """So many signs, together or in groups of four."""
    groups, rest = divmod(length, 4)
    tail = rf"{_BETWEEN}?{_SIGN}{{{rest}}}" if rest else ""
    return re.compile(rf"{_SIGN}{{4}}(?:{_BETWEEN}?{_SIGN}{{4}}){{{groups - 1}}}{tail}(?!\w)")


# --------------------------------------------------------------------------------------------------
# The voice of a brand: how it speaks, what it never says, what it always says.
#
#     # voice.toml
#     tone = "warm, plain, no jargon"
#     banned = ["cheap", "guys"]
#     required = ["Mill Lane"]
#     examples = ["A quiet cup, whenever you like."]
#     locale = "en-GB"
#
#     voice = load_toml("voice.toml", BrandVoice)
#     check_voice("A cheap cup", voice)      # voice/banned, voice/required
#
# `prompt` puts it into words for a model. Banned words are found in any case, with their plural.

_MOST_WORDS = 2000


@settings
class BrandVoice:
    """tone: in a few words. banned: words and phrases that must not stand in a text. required:
    those of which each must. examples: texts that sound right. locale: of the texts, BCP 47; empty:
    that of the product.

    Raises ConfigError for empty words, too many of them, or one that is both banned and required.
    """

    tone: str = ""
    banned: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    locale: str = ""

    def __post_init__(self) -> None:
        for name in ("banned", "required"):
            words = getattr(self, name)
            if any(not word.strip() for word in words) or len(words) > _MOST_WORDS:
                raise ConfigError(
                    f"words must not be empty, and at most {_MOST_WORDS}",
                    where=f"BrandVoice.{name}",
                    hint="remove the empty one",
                )
        both = {one.casefold() for one in self.banned} & {one.casefold() for one in self.required}
        if both:
            raise ConfigError(
                f"the word {min(both)!r} is banned and required",
                where="BrandVoice.required",
                hint="decide for one",
            )

    def prompt(self) -> str:
        """The voice as a part of an instruction; empty where nothing is set."""
        parts = []
        if self.tone:
            parts.append(f"Tone: {self.tone}.")
        if self.banned:
            parts.append(f"Never use: {', '.join(self.banned)}.")
        if self.required:
            parts.append(f"Always use: {', '.join(self.required)}.")
        if self.locale:
            parts.append(f"Write in {self.locale}.")
        parts += [f"Example: {example}" for example in self.examples]
        return "\n".join(parts)


def check_voice(text: str, voice: BrandVoice) -> tuple[Finding, ...]:
    """An error for each banned word, a warning for each required word that is missing."""
    found = []
    if voice.banned:
        for one in _words(voice.banned).finditer(text):
            message = f"{one.group()!r:.60} is banned by the brand's voice"
            found.append(Finding("voice/banned", one.start(), one.end(), "error", message))
    for word in voice.required:
        if not _words((word,)).search(text):
            message = f"the brand's voice asks for {word!r:.60}"
            found.append(Finding("voice/required", 0, 0, "warning", message, f"use {word:.60}"))
    return tuple(found)


@lru_cache(maxsize=256)
def _words(words: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(words, key=lambda word: (-len(word), word))
    every = "|".join(r"\s+".join(map(re.escape, word.split())) for word in longest_first)
    return re.compile(rf"(?<!\w)(?:{every})(?:s|es)?(?!\w)", re.IGNORECASE)


# --------------------------------------------------------------------------------------------------
# Repetition: a word said twice, a phrase again and again, a title stuffed with keywords.
#
# check_repetition("Tea tea tea, the best tea for tea")

_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
#: Words that may follow themselves ("had had"), and short ones that any text is full of.
_MAY_DOUBLE = frozenset(("that", "had", "very", "so", "bye", "bora", "yo", "cha", "dum", "tom"))
_SHORT = 3
#: A phrase of so many words may stand so often; one content word so often and in so large a share.
_PHRASE, _PHRASES = 3, 2
_WORDS, _SHARE = 3, 0.2


def check_repetition(text: str) -> tuple[Finding, ...]:
    """Warnings for doubled words, phrases of three words that stand three times, and a word that
    is a fifth of a text and stands more than three times; an error where that is a third of it.
    """
    words = [(one.group().casefold(), one.start(), one.end()) for one in _WORD.finditer(text)]
    return (*_doubled(text, words), *_phrases(words), *_stuffed(words))


Words = list[tuple[str, int, int]]


def _doubled(text: str, words: Words) -> list[Finding]:
    found = []
    for (one, _, end), (other, start, last) in pairwise(words):
        is_same = one == other and text[end:start].isspace()
        if is_same and not one.isdigit() and one not in _MAY_DOUBLE:
            message = f"the word {text[start:last]!r:.60} stands twice in a row"
            found.append(
                Finding("repetition/doubled", end, last, "warning", message, "say it once")
            )
    return found


def _phrases(words: Words) -> list[Finding]:
    places: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    for at in range(len(words) - _PHRASE + 1):
        phrase = tuple(word for word, _, _ in words[at : at + _PHRASE])
        if max(map(len, phrase)) >= _SHORT:
            places[phrase].append(at)
    found = []
    until = -1
    for phrase, ats in sorted(places.items(), key=lambda one: one[1]):
        if len(ats) <= _PHRASES or ats[0] <= until:
            continue
        until = ats[0] + _PHRASE - 1
        at = ats[_PHRASES]
        message = f"{' '.join(phrase)!r:.80} stands {len(ats)} times"
        found.append(
            Finding(
                "repetition/phrase",
                words[at][1],
                words[at + 2][2],
                "warning",
                message,
                "say it once",
            )
        )
    return found


def _stuffed(words: Words) -> list[Finding]:
    counts = Counter(word for word, _, _ in words if len(word) > _SHORT)
    found = []
    for word, count in counts.items():
        share = count / len(words)
        if count > _WORDS and share > _SHARE:
            places = [(start, end) for one, start, end in words if one == word]
            start, end = places[_WORDS]
            severity = "error" if share > 1 / 3 else "warning"
            found.append(
                Finding(
                    "repetition/stuffing",
                    start,
                    end,
                    severity,  # type: ignore[arg-type]
                    f"{word!r:.60} is {share:.0%} of the words",
                    "use it once or twice",
                )
            )
    return found


# --------------------------------------------------------------------------------------------------
# How strictly texts are checked, and against which brands, voice and limit.
#
# config = CheckConfig(limit="google.headline", brands=brands_of(products))
# config = load_toml("checks.toml", CheckConfig)

#: What is looked at. form: loops, stumps and what a prompt leaves. relation: values that are said
#: of another attribute, and parts that no fact has. label: that the answer is one of the list.
CheckName = Literal[
    "grounding",
    "policy",
    "limits",
    "voice",
    "language",
    "markup",
    "repetition",
    "form",
    "relation",
    "label",
]
#: Facts beyond so many characters are not read: what only they say is unsupported.
_MOST_FACTS = 50_000


@settings
class CheckConfig:
    """checks: which; empty: those of the task. limit: name of the platform's limit, see `limits`;
    empty: none. voice: of the brand. brands: of the whole catalogue, so that another brand's name
    is found. competitors: marks that are never named. locale: of the texts; empty: that of the
    voice, else of the product. most_characters: a longer text is refused unread. fact_slots: values
    of a request that are facts; what a customer asks for is none.

    Raises ConfigError for an unknown check, limit or a length below 1.
    """

    checks: tuple[CheckName, ...] = ()
    limit: str = ""
    voice: BrandVoice | None = None
    brands: frozenset[str] = frozenset()
    competitors: frozenset[str] = frozenset()
    locale: str = ""
    most_characters: Count = 20_000
    fact_slots: tuple[str, ...] = ("occasion", "audience")

    def __post_init__(self) -> None:
        if self.limit:
            limit_named(self.limit)

    def locale_of(self, request: AuthoringRequest) -> str:
        """The locale in which a text for the request is to be."""
        asked = self.voice.locale if self.voice is not None else ""
        return self.locale or asked or request.product.locale


def brands_of(products: Iterable[Product]) -> frozenset[str]:
    """The brands of a catalogue, each once."""
    return frozenset(brand for one in products if (brand := one.brand.strip()))


def facts_of(request: AuthoringRequest, config: CheckConfig) -> tuple[str, ...]:
    """All that a text for the request may say: facts of the product, and the values of
    `fact_slots`; of them as much as is read."""
    values = (value for name, value in request.values if name in config.fact_slots)
    found, left = [], _MOST_FACTS
    for fact in (*request.product.facts(), *values):
        if fact.strip() and left > 0:
            found.append(fact[:left])
            left -= len(fact)
    return tuple(found)
