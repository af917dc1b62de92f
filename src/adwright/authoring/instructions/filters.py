"""Filters of rows: small functions with names, each of which says why a row is left out.

    reasons = verdict(row, filters_of(FilterConfig(), unsupported_spans))
    reasons == {"form": "", "length": "", "grounded": "number '1080p' is in no fact", ...}

A filter looks at one row and nothing else. What compares rows, such as near-duplicates, is in
`minhash`, and what compares instructions in `phrases`. Rows of labels and pairs are asked only for
what can be wrong with them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from adwright.authoring.instructions.facts import Unsupported, facts_of
from adwright.authoring.instructions.rows import InstructionRow, request_of
from adwright.authoring.tasks.answers import read_answer
from adwright.authoring.tasks.prompts import PromptBounds
from adwright.authoring.tasks.task import task_named
from adwright.core.config import check_literals
from adwright.core.errors import ConfigError
from adwright.metrics.text.words import words_of

__all__ = [
    "FilterConfig",
    "RowFilter",
    "claims_too_much",
    "copies_its_input",
    "filters_of",
    "has_form",
    "has_length",
    "holds_personal_data",
    "is_grounded",
    "speaks_the_language",
    "verdict",
]

#: Says why a row is left out; empty where it is not.
RowFilter = Callable[[InstructionRow], str]

_BOUNDS = PromptBounds()
_CLAIMS = re.compile(
    r"\b(?:guarantee[ds]?|risk[- ]free|no[- ]risk|100\s?%\s?(?:safe|effective|satisfaction)|"
    r"cures?|heals?|clinically (?:proven|tested)|doctors? recommend\w*|miracle|"
    r"number one|no\. ?1|#\s?1|world'?s (?:best|first|leading)|best in the world|"
    r"lose weight|get rich|free money|click here|act now|limited time only)(?!\w)",
    re.IGNORECASE,
)
_PERSONAL = (
    ("an e-mail address", re.compile(r"[\w.+-]+@[\w-]+\.[a-zA-Z][\w.-]+")),
    (
        "a telephone number",
        re.compile(r"(?:\+|\b(?:tel|phone|call|fax)\b\.?:?\s*)\d[\d\s()./-]{6,}\d", re.IGNORECASE),
    ),
    ("a bank account", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("a social security number", re.compile(r"\b\d{3}-\d{2}-\d{4}\b")),
)  # fmt: skip
_CARD = re.compile(r"\b\d(?:[ -]?\d){12,18}\b")
#: Scripts in which the languages are written; others are taken for Latin.
_SCRIPTS = {
    "ar": "ARABIC", "bg": "CYRILLIC", "bn": "BENGALI", "el": "GREEK", "fa": "ARABIC",
    "he": "HEBREW", "hi": "DEVANAGARI", "hy": "ARMENIAN", "ja": "CJK HIRAGANA KATAKANA",
    "ka": "GEORGIAN", "km": "KHMER", "kn": "KANNADA", "ko": "HANGUL", "mk": "CYRILLIC",
    "ml": "MALAYALAM", "mr": "DEVANAGARI", "my": "MYANMAR", "ne": "DEVANAGARI", "ru": "CYRILLIC",
    "si": "SINHALA", "sr": "CYRILLIC LATIN", "ta": "TAMIL", "te": "TELUGU", "th": "THAI",
    "uk": "CYRILLIC", "ur": "ARABIC", "zh": "CJK",
}  # fmt: skip


@dataclass(frozen=True)
class FilterConfig:
    """Where the filters draw their lines.

    shortest, longest: words of an answer that is a text. prompt: characters that a model reads.
    script: share of the letters that are of the language's script. brands and claims that no fact
    supports are left to `unsupported`.

    Raises ConfigError for lines that leave nothing.
    """

    shortest: int = 2
    longest: int = 200
    prompt: int = 6000
    script: float = 0.6

    def __post_init__(self) -> None:
        check_literals(self)
        if not (1 <= self.shortest <= self.longest and self.prompt >= 1 and 0 <= self.script <= 1):
            raise ConfigError(
                "the filters leave nothing", where="FilterConfig", hint="shortest <= longest"
            )


def filters_of(
    config: FilterConfig,
    unsupported: Unsupported,
    *,
    bounds: PromptBounds = _BOUNDS,
) -> dict[str, RowFilter]:
    """All filters by name, in the order in which they are asked."""
    return {
        "form": lambda row: has_form(row, bounds=bounds),
        "length": lambda row: has_length(row, config),
        "language": lambda row: speaks_the_language(row, least=config.script),
        "copy": copies_its_input,
        "grounded": lambda row: is_grounded(row, unsupported),
        "claims": claims_too_much,
        "personal": holds_personal_data,
    }


def verdict(row: InstructionRow, filters: Mapping[str, RowFilter]) -> dict[str, str]:
    """What each filter says, by name, up to the first that leaves the row out."""
    found = dict[str, str]()
    for name, one in filters.items():
        found[name] = one(row)
        if found[name]:
            break
    return found


def has_form(row: InstructionRow, *, bounds: PromptBounds = _BOUNDS) -> str:
    """The answer can be read as its task asks for: a label of the list, pairs, or a text."""
    answer = read_answer(request_of(row), row.answer, bounds=bounds)
    return "" if answer.valid else answer.reason


def has_length(row: InstructionRow, config: FilterConfig) -> str:
    """The answer, where it is a text, and what is read are neither too short nor too long."""
    read = sum(len(turn.content) for turn in row.turns)
    if read > config.prompt:
        return f"{read} characters to read"
    if _form(row) != "text":
        return ""
    count = len(words_of(row.answer))
    return "" if config.shortest <= count <= config.longest else f"{count} words"


def speaks_the_language(row: InstructionRow, *, least: float) -> str:
    """Enough letters of a text are of the script in which the product's language is written.

    It tells Russian from English, not German from English.
    """
    letters = [sign for sign in row.answer if sign.isalpha()]
    if _form(row) != "text" or not letters:
        return ""
    language = row.product.locale.split("-")[0].lower()
    scripts = _SCRIPTS.get(language, "LATIN").split()
    own = sum(unicodedata.name(sign, "").startswith(tuple(scripts)) for sign in letters)
    # CJK ideographs are named so; full-width letters are Latin.
    return "" if own >= least * len(letters) else f"{own / len(letters):.0%} letters of {language}"


def copies_its_input(row: InstructionRow) -> str:
    """A text is more than one field of what was shown, or than the instruction."""
    if _form(row) != "text":
        return ""
    said = words_of(row.answer)
    shown = [line.partition(": ")[2] for line in row.shown.splitlines()]
    if any(said == words_of(one) for one in (*shown, row.instruction)):
        return "it copies what was shown"
    return ""


def is_grounded(row: InstructionRow, unsupported: Unsupported) -> str:
    """Every number, unit, brand, material, colour, claim and name of a text is in what was shown,
    and so is every value of pairs. Answers without a product are general, and are not asked."""
    request = request_of(row)
    form, facts = request.task.form, facts_of(request)
    if form == "label" or not row.product.title.strip():
        return ""
    texts = [row.answer]
    if form == "pairs":
        shown = " ".join(facts).casefold()
        values = [value for _, value in read_answer(request, row.answer).pairs]
        texts = [value for value in values if value.casefold() not in shown]
    for text in texts:
        for span in unsupported(text, facts, locale=row.product.locale):
            return f"{span.kind} {span.text!r} is in no fact"
    return ""


def claims_too_much(row: InstructionRow) -> str:
    """A text promises nothing that an ad may not promise, whatever its facts say."""
    found = _CLAIMS.search(row.answer) if _form(row) == "text" else None
    return f"the claim {found[0]!r}" if found else ""


def holds_personal_data(row: InstructionRow) -> str:
    """Neither answer nor input holds what looks like an address, a telephone number, an account or
    a card."""
    for text in (row.answer, row.shown):
        for what, pattern in _PERSONAL:
            if pattern.search(text):
                return what
        if any(_is_card(re.sub(r"\D", "", found[0])) for found in _CARD.finditer(text)):
            return "a card number"
    return ""


def _is_card(digits: str) -> bool:
    """Whether the digits end in the check digit of cards (Luhn, ISO/IEC 7812-1), and begin as the
    numbers of cards for payment do: codes of goods often end so by chance."""
    if digits[0] not in "3456":
        return False
    total = 0
    for place, sign in enumerate(reversed(digits)):
        value = int(sign) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def _form(row: InstructionRow) -> str:
    return task_named(row.task).form
