"""Filters of rows: small functions with names, each of which says why a row is left out.

    reasons = verdict(row, filters_of(FilterConfig()))
    reasons == {"form": "", "length": "", "grounded": "number '1080p' is in no fact", ...}

A filter looks at one row and nothing else. Rows of labels and pairs are asked only for what can be
wrong with them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from adwright.authoring.checks.limits import BrandVoice, check_voice, is_card
from adwright.authoring.checks.policy import check_policy, judge_language
from adwright.authoring.instructions.rows import InstructionRow, facts_of, request_of
from adwright.authoring.tasks import PromptBounds, read_answer, task_named
from adwright.core.config import settings
from adwright.core.errors import ConfigError
from adwright.metrics.text.agreement import words_of
from adwright.metrics.text.grounding import unsupported_spans

_BOUNDS = PromptBounds()
#: Says why a row is left out; empty where it is not.
RowFilter = Callable[[InstructionRow], str]

#: Rules of `checks.policy` about what a text claims; capitals and punctuation are style.
_CLAIMS = frozenset(
    f"policy/{name}"
    for name in (
        *("superlative", "guarantee", "free", "health", "finance", "discount"),
        "personal-attribute",
    )
)
_PERSONAL = "policy/personal-data"
#: A word of letters, with signs around it.
_LETTERS = re.compile(r"\W*[^\W\d_]{2,}(?:['\u2019-][^\W\d_]+)*\W*")
#: Beside what `checks.policy` knows: telephone numbers of one country, and numbers of cards without
#: blanks; codes of goods have thirteen or fourteen digits.
_CALL = re.compile(r"\b(?:tel|phone|call|fax)\b\.?:?\s*\(?0\d[\d\s()./-]{6,}\d", re.IGNORECASE)
_CARD = re.compile(r"(?<!\d)[3-6]\d{14,15}(?!\d)")


@settings
class FilterConfig:
    """Where the filters draw their lines.

    shortest, longest: words of an answer that is a text. prompt: characters that a model reads.

    Raises ConfigError for lines that leave nothing.
    """

    shortest: int = 2
    longest: int = 200
    prompt: int = 6000

    def __post_init__(self) -> None:
        if not (1 <= self.shortest <= self.longest and self.prompt >= 1):
            raise ConfigError(
                "the filters leave nothing", where="FilterConfig", hint="shortest <= longest"
            )


def filters_of(
    config: FilterConfig,
    *,
    voice: BrandVoice | None = None,
    bounds: PromptBounds = _BOUNDS,
) -> dict[str, RowFilter]:
    """All filters by name, in the order in which they are asked; that of the voice where there is
    one."""
    found: dict[str, RowFilter] = {
        "form": lambda row: has_form(row, bounds=bounds),
        "length": lambda row: has_length(row, config),
        "language": speaks_the_language,
        "copy": copies_its_input,
        "grounded": is_grounded,
        "claims": claims_too_much,
        "personal": holds_personal_data,
    }
    if voice is not None:
        found["voice"] = lambda row: keeps_the_voice(row, voice)
    return found


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


def speaks_the_language(row: InstructionRow) -> str:
    """A text is not surely in another language than the product's, see `checks.language`.

    Only words of two letters and more are judged: the a, v and s of codes and units are words of
    some language.
    """
    if _form(row) != "text":
        return ""
    words = " ".join(word for word in row.answer.split() if _LETTERS.fullmatch(word))
    told = judge_language(words, row.product.locale)
    return f"it is in {told.found}, not {told.asked}" if told.sure else ""


def copies_its_input(row: InstructionRow) -> str:
    """A text is more than one field of what was shown, or than the instruction."""
    if _form(row) != "text":
        return ""
    said = words_of(row.answer)
    shown = [line.partition(": ")[2] for line in row.shown.splitlines()]
    if any(said == words_of(one) for one in (*shown, row.instruction)):
        return "it copies what was shown"
    return ""


def is_grounded(row: InstructionRow) -> str:
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
        for span in unsupported_spans(text, facts, locale=row.product.locale):
            return f"{span.kind} {span.text!r} is in no fact"
    return ""


def claims_too_much(row: InstructionRow) -> str:
    """A text claims nothing that an ad may not claim, see `checks.policy`; some of it may be said
    where the product's facts say it."""
    if _form(row) != "text":
        return ""
    facts, locale = facts_of(request_of(row)), row.product.locale
    for one in check_policy(row.answer, facts, locale=locale):
        if one.rule in _CLAIMS:
            return f"{one.rule} {row.answer[one.start : one.end]!r}"
    return ""


def holds_personal_data(row: InstructionRow) -> str:
    """Neither answer nor input holds what looks like an address, a telephone number, an account or
    a card."""
    for text in (row.answer, row.shown):
        if _CALL.search(text) or any(is_card(found[0]) for found in _CARD.finditer(text)):
            return "the number of a telephone or card"
        for one in check_policy(text, ()):
            if one.rule == _PERSONAL:
                return repr(text[one.start : one.end])
    return ""


def keeps_the_voice(row: InstructionRow, voice: BrandVoice) -> str:
    """A text has no word that the brand's voice bans; required ones may be missing, as they are
    in most texts that people wrote."""
    if _form(row) != "text":
        return ""
    errors = (one for one in check_voice(row.answer, voice) if one.severity == "error")
    return next((one.message for one in errors), "")


def _form(row: InstructionRow) -> str:
    return task_named(row.task).form
