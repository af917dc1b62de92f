"""The values in a task: what stands in quotes, numbers, and what follows the name of a field.

    task = read_task('Set the discount of "Spring" to 25 and its status to Closed')
    task.values                                      # ("Spring", "25", "Closed")
    task.value_of("Discount")                        # "25"

No model is asked. Only values that the user wrote are found here; what a script may type is limited
to them, so that no text of a page becomes one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from adwright.core.errors import ConfigError

__all__ = ["LONGEST_TASK", "TaskText", "read_task", "task_words"]

LONGEST_TASK = 2_000
_QUOTED = re.compile(r"\"([^\"]{1,200})\"|“([^”]{1,200})”|(?<!\w)'([^']{1,200})'(?!\w)")
_CODE = re.compile(
    r"(?<![\w.@/-])(?=[\w-]*\d)(?=[\w-]*[A-Za-z])[A-Za-z0-9]+(?:[-_][A-Za-z0-9]+)*(?![\w@-])"
)
_BARE = re.compile(
    r"\b(?:(?:to|as|be)\s+|is\s+(?!(?:new|right|wrong|correct|gone|missing|needed|fine|over)\b))"
    r"([a-z][a-z-]{1,30})\s*[.!?]?$"
)
_NUMBER = re.compile(
    r"(?<![\w.-])(?<!\d,)-?(?:\d{1,3}(?:,\d{2,3}){0,3},\d{3}(?:\.\d{1,6})?|\d{1,12}(?:[.,]\d{1,6})?)"
    r"(?!\w|[.,]\d)"
)
_NAMED = re.compile(r"\b[A-Z][\w-]*(?: (?:[A-Z][\w-]*|\d+(?![\w.,%]*\d)))*")
_EMAIL = re.compile(r"[\w.+-]{1,60}@[\w-]{1,60}(?:\.[\w-]{1,30})+")
_WORD = re.compile(r"\w+")
_ENDS_IN_NUMBER = re.compile(r" (\d+)$")
_SENTENCE_END = re.compile(r"[.!?:]\s*$")
_MOST_VALUES = 40


@dataclass(frozen=True)
class TaskText:
    """A task in the user's words. values: in their order, each once. named: those of them that are
    only words in capitals, and may be the name of a field as well."""

    text: str
    values: tuple[str, ...]
    named: tuple[str, ...] = ()

    def value_of(self, label: str) -> str | None:
        """The value that follows a label, as in "discount to 25"; None where none does."""
        label = " ".join(label.split())
        if not label:
            return None
        found: list[tuple[int, int, str]] = []
        names = re.compile(rf"\b{re.escape(label)}\b", re.I)
        for at in names.finditer(self.text):
            for value in self.values:
                for form in _forms(value):
                    said = rf"{re.escape(form)}(?!\w)"
                    link = rf"\s*(?:to be|to|as|is|=|:|at)?\s*{said}"
                    # "the discount of the offer Spring to 25"
                    of = rf"\s+(?:of|for)\s+(?:\S+\s+){{1,5}}?(?:to be|to|as|=|at)\s+{said}"
                    if re.compile(link).match(self.text, at.end()):
                        found.append((0, at.start(), value))
                    elif re.compile(of).match(self.text, at.end()):
                        found.append((1, at.start(), value))
        return min(found, key=lambda one: one[:2])[2] if found else None

    def has(self, phrase: str) -> bool:
        """Whether the task has these words, in capitals or not, as words."""
        return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", self.text, re.I) is not None

    def has_any(self, words: Iterable[str]) -> bool:
        """Whether it has one of several words."""
        return any(map(self.has, words))


def read_task(text: str) -> TaskText:
    """The values of a task: quoted texts, addresses, numbers, codes such as item-21, a last word
    after "to", and names in capitals that do not begin a sentence.

    Raises ConfigError for a task that is empty or too long.
    """
    plain = " ".join(text.split())
    if not plain or len(plain) > LONGEST_TASK:
        raise ConfigError(
            f"a task has 1 to {LONGEST_TASK:,} characters, not {len(plain):,}",
            where="task",
            hint="say in one or two sentences what is to be done",
        )
    found: list[tuple[int, str]] = []
    taken: list[tuple[int, int]] = []
    named: list[str] = []
    for pattern in (_QUOTED, _EMAIL, _CODE, _NAMED, _NUMBER, _BARE):
        for one in pattern.finditer(plain):
            begins = pattern is _NAMED and _begins(plain, one.start())
            span = one.span(1) if pattern is _BARE else one.span()
            if begins or any(start < span[1] and span[0] < end for start, end in taken):
                continue
            taken.append(span)
            value = next(filter(None, one.groups()), one.group())
            if pattern in (_NAMED, _BARE):
                named.append(value)
                number = _ENDS_IN_NUMBER.search(value)
                # "UPC 500123" may be the field UPC and its value.
                if number and value[: number.start()].isupper():
                    found.append((one.start() + number.start(1), number[1]))
            found.append((span[0], value))
    values = tuple(dict.fromkeys(value for _, value in sorted(found)))
    return TaskText(plain, values[:_MOST_VALUES], tuple(dict.fromkeys(named)))


def task_words(text: str) -> frozenset[str]:
    """The words of a text, in small letters; those with underscores are split."""
    return frozenset(one.lower() for one in _WORD.findall(text.replace("_", " ")))


def _begins(text: str, place: int) -> bool:
    """Whether a sentence begins here."""
    return place == 0 or _SENTENCE_END.search(text[:place]) is not None


def _forms(value: str) -> tuple[str, ...]:
    return (value, f'"{value}"', f"'{value}'", f"“{value}”")
