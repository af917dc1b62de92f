"""Tasks in words: templates for each kind of intent, some of them kept for judging.

    words = word_task(intent, "learn", 3, seed=7)       # three wordings, each with its template
    words[0].text          # 'Set the discount of the offer "Spring" to 25.'

No model is asked. The templates change verbs, order, and the number of sentences; drawn are
quotation marks or none, and for harder ones other names for fields. A wording is good only if the
values that its script types can be read out of it, see `generate.task_values`. Templates for
judging are never drawn for learning.
"""

from __future__ import annotations

import random
import re
from collections.abc import Mapping, Sequence
from typing import Literal

from adwright.agent.generate.task import read_task
from adwright.core.config import settings
from benchmarks.agent.synthesis.drawn_values import said_value
from benchmarks.agent.synthesis.intents import DrawnIntent, FieldSetting

WordingUse = Literal["learn", "judge"]

_EDIT = (
    ("Set {to} for the {noun} {item}.", "Change {to} of the {noun} {item}."),
    ("Update the {noun} {item}: {colon}.", "In the {noun} {item}, set {to}."),
    ("Please edit {item} so that {is_}.", "Open the {noun} {item}. Set {to} and save it."),
    ("The {noun} {item} needs {as_}. Save it.", "Go to the {nouns}, pick {item} and put {into}."),
    ("{item} is wrong: {should}. Correct the {noun}.", "Edit {noun} {item}, {equals}, save."),
    ("Give the {noun} {item} {as_}.", "Adjust {to} on {item}."),
)
_NEW = (
    ("Create {a_noun} with {colon}.", "Add a new {noun}: {colon}."),
    ("Make {a_noun} with {as_}.", "Please add {a_noun}, {equals}."),
    ("Create a new {noun} and set {to}.", "We need another {noun}. Put {into} and save it."),
    ("Set up {a_noun}: {is_}.", "Enter a new {noun} where {is_}."),
)
_SENT = (
    ("{Press} {a_noun} with {colon}.", "{Press} {a_noun}: {to}."),
    ("Please {press} {a_noun} with {as_}.", "Fill the {noun}, {equals}, and {press}."),
    ("{Press} {a_noun} where {is_}.", "Open the {noun}. Put {into}. Then {press}."),
    ("In the {noun}, put {into} and {press}.", "I want to {press} {a_noun} with {colon}."),
)
_GONE = (
    ("Delete the {noun} {item}.", "Remove {item} from the {nouns}."),
    ("Please delete {noun} {item}.", "Get rid of the {noun} {item}."),
    ("The {noun} {item} is no longer needed. Remove it.", "Erase the {noun} {item}."),
    ("Go to the {nouns}, find {item} and delete it.", "Take {item} off the list of {nouns}."),
)
_ASKED = (
    ("What is the {asked} of the {noun} {item}?", "Tell me the {asked} of {item}."),
    ("Read the {asked} of the {noun} {item}.", "Which {asked} does {item} have?"),
    ("Open the {noun} {item} and say what its {asked} is.", "Show me {item}'s {asked}."),
    ("Look up the {asked} of {noun} {item}.", "I need to know the {asked} of {item}."),
)
_ASKED_ROW = (
    ("What is the {asked} of the {noun} {item}?", "Tell me the {asked} of {item}."),
    ("In the list of {nouns}, what is the {asked} of {item}?", "Read the {asked} of {item}."),
    ("Which {asked} does the {noun} {item} have?", "Say what {asked} the {nouns} show for {item}."),
    ("Look at the {nouns}: what {asked} has {item}?", "Report {item}'s {asked}."),
)
_COUNTED = (
    ("How many {nouns} are there?", "Count the {nouns}."),
    ("Tell me the number of {nouns}.", "How many {nouns} do we have?"),
    ("Say how many {nouns} the list has.", "Give me the count of all {nouns}."),
)
_COUNTED_SOME = (
    ("How many {nouns} have {item} in them?", "Count the {nouns} with {item}."),
    ("Tell me how many {nouns} contain {item}.", "How many of the {nouns} mention {item}?"),
    ("In the list of {nouns}, how often is {item}?", "What is the number of {nouns} with {item}?"),
)
_SEARCHED = (
    (
        "Search the {nouns} for {item} and say how many come up.",
        "Search {nouns}: {item}. How many?",
    ),
    (
        "Look for {item} by the search of {nouns}. How many are found?",
        "Filter the {nouns} by {item} and count them.",
    ),
    (
        "Use the search to find {nouns} with {asked} {item}; count the results.",
        "Find {nouns} by {asked} {item} and tell the number.",
    ),
)
_IF_THERE = (
    ("If there is {a_noun} {item}, {do}.", "{Do} if there is {a_noun} {item}."),
    ("Check whether the {noun} {item} exists; if so, {do}.", "Should {a_noun} {item} exist, {do}."),
    (
        "{Do}, but only if the {noun} {item} is there.",
        "Look for the {noun} {item}. Where it exists, {do}.",
    ),
)
_UNLESS = (
    (
        "Create {a_noun} with {colon} unless there is one called {item}.",
        "If no {noun} {item} exists, create it with {colon}.",
    ),
    (
        "Make sure that the {noun} {item} exists; else add it with {as_}.",
        "Add {a_noun} with {colon} if {item} is missing.",
    ),
    (
        "Is there {a_noun} {item}? If not, make one with {as_}.",
        "Only if {item} is not among the {nouns}, add it: {colon}.",
    ),
)
_IF_VALUE = (
    (
        "If the {asked} of the {noun} {item} is {old}, set it to {value}.",
        "Change the {asked} of {item} to {value} if it is {old}.",
    ),
    (
        "Where the {noun} {item} has {asked} {old}, change that to {value}.",
        "Set the {asked} of {item} from {old} to {value}.",
    ),
    (
        "Open {item}. Is its {asked} {old}? Then make it {value}.",
        "Replace {old} by {value} as the {asked} of {item}, if it is so.",
    ),
)
_SWITCHED = (
    ("Turn {asked} {value} for the {noun} {item}.", "Switch {value} {asked} of {item}."),
    ("Set {asked} to {value} for {item}.", "The {noun} {item} must have {asked} {value}."),
    ("Put {asked} {value} on the {noun} {item}.", "{item}: {asked} {value}, please."),
)
_IF_SWITCHED = (
    (
        "If {asked} of the {noun} {item} is {old}, turn it {value}.",
        "Turn {asked} {value} for {item} unless it is.",
    ),
    (
        "Check {item}: where {asked} is {old}, switch it {value}.",
        "See to it that {asked} of {item} is {value}.",
    ),
    (
        "Is {asked} {old} for the {noun} {item}? Then turn it {value}.",
        "Make {asked} {value} on {item} if it is {old}.",
    ),
)
_DO_EDIT = ("set {to}", "change {to}", "make sure that {is_}", "give it {as_}")
_DO_GONE = ("delete it", "remove it", "get rid of it", "erase it")

_ALL: Mapping[str, Sequence[tuple[str, str]]] = {
    "set": _EDIT,
    "switch": _SWITCHED,
    "create": _NEW,
    "send": _SENT,
    "delete": _GONE,
    "read": _ASKED,
    "read_cell": _ASKED_ROW,
    "count": _COUNTED,
    "count_some": _COUNTED_SOME,
    "look_up": _SEARCHED,
    "if_there": _IF_THERE,
    "unless_there": _UNLESS,
    "if_value": _IF_VALUE,
    "if_switch": _IF_SWITCHED,
}
#: By the kind of words, the templates to learn from, and those to judge by: the last pair of each.
TEMPLATES: Mapping[str, Mapping[WordingUse, tuple[str, ...]]] = {
    kind: {
        "learn": tuple(one for pair in pairs[:-1] for one in pair),
        "judge": pairs[-1],
    }
    for kind, pairs in _ALL.items()
}
_OTHER_NAMES = (
    ("name", "title"),
    ("title", "name"),
    ("description", "text"),
    ("price", "cost"),
    ("quantity", "amount"),
    ("status", "state"),
    ("email", "mail address"),
    ("start", "beginning"),
    ("end", "finish"),
    ("discount", "reduction"),
    ("category", "group"),
    ("phone", "telephone"),
)
_QUOTES = ('""', "''", "“”", "")
_TRIES = 6


@settings
class TaskWording:
    """A task in words. template: its name, "KIND-NUMBER", with "j" behind it of judged ones."""

    text: str
    template: str
    use: WordingUse


def word_task(
    intent: DrawnIntent, use: WordingUse, count: int, *, seed: int = 0
) -> tuple[TaskWording, ...]:
    """At most `count` wordings of an intent, each of another template. Raises nothing: an intent
    whose values cannot be said so that they are read again has none."""
    kind = _kind_of_words(intent)
    templates = TEMPLATES[kind][use]
    source = random.Random(f"{seed} {use} {intent.key}")
    order = source.sample(range(len(templates)), len(templates))
    found: list[TaskWording] = []
    for number in order:
        if len(found) >= count:
            break
        text = _said(intent, templates[number], source)
        if text:
            name = f"{kind}-{number}{'j' if use == 'judge' else ''}"
            found.append(TaskWording(text, name, use))
    return tuple(found)


def needed_values(intent: DrawnIntent) -> frozenset[str]:
    """The texts that a task must say, since its script types or compares them."""
    texts = {one.value for one in intent.settings if isinstance(one.value, str)}
    numbers = {one.said for one in intent.settings if not isinstance(one.value, str | bool)}
    named = {intent.item} if intent.rows or intent.item else set()
    if intent.found and not isinstance(intent.settings[0].value, bool):
        named.add(intent.found)
    return frozenset(filter(None, texts | numbers | named))


def says_all(text: str, values: frozenset[str]) -> bool:
    """Whether the values can be read out of a task again."""
    return values <= set(read_task(text).values)


def _kind_of_words(intent: DrawnIntent) -> str:
    switch = len(intent.settings) == 1 and isinstance(intent.settings[0].value, bool)
    if switch and intent.kind == "set":
        return "switch"
    return "if_switch" if switch and intent.kind == "if_value" else intent.kind


def _said(intent: DrawnIntent, template: str, source: random.Random) -> str:
    needed = needed_values(intent)
    for _ in range(_TRIES):
        text = _filled(intent, template, source)
        if says_all(text, needed):
            return text
    # Quotation marks make any value plain.
    text = _filled(intent, template, source, quotes='""')
    return text if says_all(text, needed) else ""


def _filled(
    intent: DrawnIntent, template: str, source: random.Random, quotes: str | None = None
) -> str:
    marks = source.choice(_QUOTES) if quotes is None else quotes
    words = _Words(marks, source)
    noun = intent.noun
    one = intent.settings[0] if intent.settings else None
    asked = words.label(intent.asked_label or (one.label if one else ""))
    is_switch = one is not None and isinstance(one.value, bool)
    old = said_value(not one.value) if one is not None and is_switch else words.quoted(intent.found)
    slots = {
        "noun": noun,
        "nouns": _plural(noun),
        "item": words.quoted(intent.item),
        "asked": asked,
        "old": old,
        "value": words.value(one) if one else "",
        **words.settings(intent.settings),
    }
    press = intent.pressed or "send"
    slots |= {"a_noun": f"{'an' if noun[:1] in 'aeiou' else 'a'} {noun}", "press": press}
    slots["Press"] = press[:1].upper() + press[1:]
    deed = source.choice(_DO_EDIT if intent.settings else _DO_GONE).format(**slots)
    text = template.format(**slots, do=deed, Do=deed[:1].upper() + deed[1:])
    return " ".join((text[:1].upper() + text[1:]).split()) if text[:1].islower() else text


class _Words:
    """How values and labels are said in one wording."""

    def __init__(self, marks: str, source: random.Random) -> None:
        self._marks = marks
        self._hard = source.random() < 0.25
        self._article = source.choice(("the ", "its ", ""))

    def quoted(self, text: str) -> str:
        return f"{self._marks[0]}{text}{self._marks[1]}" if self._marks and text else text

    def value(self, one: FieldSetting) -> str:
        return self.quoted(one.said) if isinstance(one.value, str) else one.said

    def label(self, label: str) -> str:
        plain = re.sub(r"^(?:is|has|can be) ", "", label)
        if not self._hard:
            return plain
        for word, other in _OTHER_NAMES:
            if re.search(rf"\b{word}\b", plain):
                return re.sub(rf"\b{word}\b", other, plain, count=1)
        return plain

    def settings(self, many: Sequence[FieldSetting]) -> dict[str, str]:
        pairs = [(self.label(one.label), self.value(one)) for one in many]
        of = self._article
        return {
            "to": _joined([f"{of}{label} to {value}" for label, value in pairs]),
            "is_": _joined([f"{of}{label} is {value}" for label, value in pairs]),
            "as_": _joined([f"{value} as {of}{label}" for label, value in pairs]),
            "into": _joined([f"{value} into {of or 'the '}{label}" for label, value in pairs]),
            "should": _joined([f"{of}{label} should be {value}" for label, value in pairs]),
            "colon": ", ".join(f"{label}: {value}" for label, value in pairs),
            "equals": ", ".join(f"{label} = {value}" for label, value in pairs),
        }


def _joined(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _plural(noun: str) -> str:
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"
