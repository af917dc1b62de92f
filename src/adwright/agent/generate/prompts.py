"""What a model is told: the language and the app first, the screen and the task last.

    messages = script_messages(task, elements, document)

The help is the same for all tasks, and so is the document where it has room as a whole: a prefix
cache reads them once. A model that was tuned on scripts knows the language, and is told the briefer
form without the help (`brief_messages`). An element is told in the fewest words: its label only
where its name does not say it, its kind or effect, and where it leads. Labels of pages are data,
shortened and without signs that hide; a model that is told something by them can still name only
elements, and what it writes is checked.
"""

from __future__ import annotations

from collections.abc import Sequence

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.document.naming import word_of
from adwright.agent.language.kinds import VERBS
from adwright.agent.language.problems import ScriptProblem
from adwright.agent.language.tree import ScriptParameter
from adwright.lm.engine.generation import Message

__all__ = [
    "brief_messages",
    "element_lines",
    "language_help",
    "repair_messages",
    "script_messages",
]

_LONGEST_LABEL, _MOST_OPTIONS, _LONGEST_EXCERPT = 60, 6, 600
_ITEMS = ("row", "listitem", "article")
_EXAMPLE = """for row in match($offers__rows, "Spring"):
    tap(inside(row, $offers__edit))
    set_text($offer_edit__discount, 25)
    tap($offer_edit__save)
    break"""


def language_help() -> str:
    """The language in a page: statements, verbs and an example."""
    verbs = "\n".join(f"{one.example:42} {one.help}" for one in VERBS.values())
    return (
        "A script operates an app. Each line is one statement; blocks are indented by 4 blanks.\n"
        "Statements: name = value, verb(...), if/elif/else, for name in list, break.\n"
        "Values: texts in quotes, numbers, true, false, lists, $elements of the app.\n"
        "Pages are opened by themselves: name the elements, not the way to them.\n"
        f"{verbs}\nExample:\n{_EXAMPLE}\n"
    )


def element_lines(elements: Sequence[Element]) -> str:
    """One line an element: its name, its label where the name does not say it, what it takes or
    does, and where it leads."""
    return "".join(f"{_line(one)}\n" for one in elements)


def script_messages(
    task: str,
    elements: Sequence[Element],
    document: AppDocument,
    *,
    parameters: Sequence[ScriptParameter] = (),
    state: str = "",
) -> list[Message]:
    """The turns of a prompt. state: where the app is now; empty for its start."""
    about = f"{language_help()}\nElements of the app {_label(document.app)}:\n"
    given = "".join(f"param {one.name}: {one.kind}\n" for one in parameters)
    last = f"The app shows {state or document.start}.\n"
    last += f"The script begins with:\n{given}" if given else ""
    last += f"Task: {' '.join(task.split())}\nWrite the script, nothing else."
    return [Message("system", about + element_lines(elements)), Message("user", last)]


def brief_messages(messages: Sequence[Message]) -> list[Message]:
    """The same turns without the help, for a model that has learned the language."""
    first = messages[0]
    text = first.content.removeprefix(f"{language_help()}\n")
    return [Message(first.role, text), *messages[1:]]


def repair_messages(
    messages: Sequence[Message], script: str, problems: Sequence[ScriptProblem]
) -> list[Message]:
    """The same, with what was wrong with an answer: codes, places and hints, at most five, and the
    script as it was, shortened. Nothing of a page is quoted but names of elements."""
    said = "".join(
        f"{one.code} at line {one.line}: {one.what}{f' -> {one.hint}' if one.hint else ''}\n"
        for one in problems[:5]
    )
    text = f"The script is refused:\n{said[:_LONGEST_EXCERPT]}Write it again, nothing else."
    return [*messages, Message("assistant", script[:_LONGEST_EXCERPT]), Message("user", text)]


def _line(element: Element) -> str:
    parts = [f"${element.name}"]
    own = element.name.partition("__")[2]
    if not own.startswith(word_of(element.label)):
        parts.append(f'"{_label(element.label)}"')
    if element.many:
        parts.append("list" if element.role in _ITEMS else "in each item")
    if element.options:
        options = ", ".join(f'"{_label(one)}"' for one in element.options[:_MOST_OPTIONS])
        more = ", ..." if len(element.options) > _MOST_OPTIONS else ""
        parts.append(f"one of {options}{more}")
    elif element.value_type != "none":
        parts.append(element.value_type)
    elif element.effect not in ("navigate", "read") or not (element.target or element.many):
        parts.append(element.effect)
    if element.target and element.effect in ("navigate", "read"):
        parts.append(f"to {element.target}")
    return " ".join(parts)


def _label(text: str) -> str:
    """Text of a page as it may stand in a prompt: a short line without quotes or hidden signs."""
    plain = "".join(one if one.isprintable() else " " for one in text).replace('"', "'")
    plain = " ".join(plain.split()).replace("<|", "< |")
    return plain if len(plain) <= _LONGEST_LABEL else plain[: _LONGEST_LABEL - 3] + "..."
