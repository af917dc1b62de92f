"""What a model wrote, read in the form that its task asks for.

    read_answer(request, " Category: mobile phones.")
    Answer("Category: mobile phones.", label="Mobile Phones", pairs=(), valid=True, reason="")

An answer that is not of the form is invalid and says why. It is counted, never dropped: what is
left out of a denominator makes any model look good.
"""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass

from adwright.authoring.tasks.prompts import PromptBounds, shown_labels
from adwright.authoring.tasks.task import AuthoringRequest

Pairs = tuple[tuple[str, str], ...]

#: Characters of an answer; more is a model that does not end.
_LONGEST = 20_000
#: Turns and data that a model went on to write by itself.
_TURNS = re.compile(
    r"<\|?[a-z_]+\|?>|\[/?INST\]|^[^\S\n]*(?:user|system|assistant)\s*:", re.I | re.M
)
_QUOTES = {'"': '"', "'": "'", "\u201c": "\u201d", "\u2018": "\u2019", "\u00ab": "\u00bb"}
_BULLET = re.compile(r"^(?:[-*\u2022]|\d{1,2}[.)])\s+")
_ENDS = " \t.;,!"
#: One line, where the task asks for it.
_ONE_LINE = frozenset(("title",))


@dataclass(frozen=True)
class TaskAnswer:
    """An answer as it was read. text: without what stands around it. label: of `request.labels`,
    for a task of labels. pairs: names and values, for a task of pairs. valid: of the form that was
    asked for; reason: why it is not, empty where it is."""

    text: str
    label: str | None = None
    pairs: Pairs = ()
    valid: bool = True
    reason: str = ""


_BOUNDS = PromptBounds()


def read_answer(
    request: AuthoringRequest, text: str, *, bounds: PromptBounds = _BOUNDS
) -> TaskAnswer:
    """Read `text` as the answer to `request`. bounds: those of its prompt.

    A label is one of the list where it is equal to it without regard to case, blanks, quotes and
    signs at its ends; nothing is guessed from a part of it. Pairs are lines `name: value`. A text
    loses quotes around it and the name of the field before it, and is invalid where it is empty, is
    longer than 20,000 characters, opens another turn, or has lines where one was asked for.
    """
    bare = text.strip()
    if len(bare) > _LONGEST:
        return _invalid(bare[:_LONGEST], f"more than {_LONGEST:,} characters")
    if not bare:
        return _invalid("", "empty")
    match request.task.form:
        case "label":
            return _label(request, bare, bounds)
        case "pairs":
            return _pairs(bare)
        case _:
            return _text(request, bare)


def normal_label(text: str) -> str:
    """The text without what does not make it another label.

    >>> normal_label(' "Mobile  phones". ') == normal_label("mobile Phones")
    True
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    while True:
        bare = _unquoted(_BULLET.sub("", folded).strip(_ENDS))
        if bare == folded:
            return bare
        folded = bare


def pairs_text(pairs: Pairs) -> str:
    """The pairs as an answer has them, which `read_answer` reads back: a line each."""
    return "\n".join(f"{name}: {value}" for name, value in pairs)


def _label(request: AuthoringRequest, text: str, bounds: PromptBounds) -> TaskAnswer:
    shown = shown_labels(request, bounds=bounds)
    plain = _unpacked(text)
    if plain in shown:
        return TaskAnswer(plain, request.labels[shown.index(plain)])
    name = request.task.wanted.name.casefold()
    wanted = normal_label(plain)
    tried = {wanted, normal_label(wanted.removeprefix(f"{name}:"))}
    found = [
        label
        for label, seen in zip(request.labels, shown, strict=True)
        if normal_label(seen) in tried
    ]
    if len(found) == 1:
        return TaskAnswer(plain, found[0])
    return _invalid(plain, "several labels read like it" if found else "none of the labels")


def _unpacked(text: str) -> str:
    """The text of a JSON string, as a schema has it; else the text."""
    if text[:1] == text[-1:] == '"':
        try:
            return str(json.loads(text))
        except ValueError:
            return text
    return text


def _pairs(text: str) -> TaskAnswer:
    found: list[tuple[str, str]] = []
    for line in text.splitlines():
        if not line.strip():
            continue
        name, colon, value = _BULLET.sub("", line.strip()).partition(":")
        if not colon or not name.strip() or not value.strip():
            return TaskAnswer(
                text, pairs=tuple(found), valid=False, reason="a line is no `name: value`"
            )
        found.append((name.strip(), value.strip()))
    return TaskAnswer(text, pairs=tuple(dict.fromkeys(found)))


def _text(request: AuthoringRequest, text: str) -> TaskAnswer:
    name = request.task.wanted.name
    bare = re.sub(rf"^(?:\W*\b{re.escape(name)}\b\s*:\s*)", "", text, flags=re.IGNORECASE)
    bare = _unquoted(bare.strip())
    if not bare:
        return _invalid("", "empty")
    if _TURNS.search(bare):
        return _invalid(bare, "it opens another turn")
    if name in _ONE_LINE and len(bare.splitlines()) > 1:
        return _invalid(bare, "more than one line")
    return TaskAnswer(bare)


def _unquoted(text: str) -> str:
    close = _QUOTES.get(text[:1])
    inside = text[1:-1]
    # Not where the quotes belong to parts: 'A' and 'B'.
    if close and len(text) > 1 and text.endswith(close) and close not in inside:
        return inside.strip()
    return text


def _invalid(text: str, reason: str) -> TaskAnswer:
    return TaskAnswer(text, valid=False, reason=reason)


#: The short name of this room; campaigns has an Answer of its own.
Answer = TaskAnswer
