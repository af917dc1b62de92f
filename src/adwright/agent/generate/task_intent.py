"""What a task wants, by its words alone: to know, to delete, to make or to change; and each value
with the words around it.

    intent = read_intent(read_task('Set the discount of "Spring" to 25'))
    intent.kind                      # "change"
    intent.values[1].before          # ("discount",): the words before 25, "Spring" left out
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from adwright.agent.generate.task_terms import terms_of
from adwright.agent.generate.task_values import TaskText
from adwright.core.config import check_literals

__all__ = ["IntentKind", "TaskIntent", "ValueCue", "read_intent"]

IntentKind: TypeAlias = Literal["ask", "count", "delete", "create", "change"]
_COUNT = re.compile(r"\b(?:how many|count|number of)\b", re.I)
#: What a request begins with that has the form of a question.
_POLITE = re.compile(
    r"^(?:please\s+)?(?:can|could|would|will)\s+(?:you|we|somebody|someone)\s+"
    r"(?:please\s+|kindly\s+|be so kind (?:and|as to)\s+)?",
    re.I,
)
_ASK = re.compile(
    r"^(?:please\s+)?(?:what|which|who|whose|where|when|how|in what|in which|"
    r"of what|read|tell|show|look up|find out|give me|i need the|let (?:me|us) know"
    r"|say (?:what|which|who|whose|where|when|how)"
    r"|(?:i|we)(?:'d| would)? (?:like|want|need|wish) to (?:know|see|hear|learn)"
    r"|(?:i am|i'm|we are|we're) after"
    r"|check(?!.*\b(?:box(?:es)?|checkbox(?:es)?|radio|button|option)\b))\b",
    re.I,
)
_ACT = re.compile(
    r"\b(?:set|change|update|rename|create|add|delete|remove|make|put|write|send|mark|correct)\b",
    re.I,
)
_DELETE = re.compile(
    r"\b(?:delete|remove|erase|discard|wipe|purge|scrap|get rid of|do away with"
    r"|throw (?:away|out)|take away|has to go"
    r"|take out(?! of (?:public |plain )?(?:view|sight)))\b"
    r"|\btake\b.{1,60}\b(?:off|out|down)\b.{0,40}\b(?:for good|altogether|permanently)\b",
    re.I,
)
_CREATE = re.compile(
    r"\b(?:new|create|add|set up|register|sign(?:ed)? up|need an?|one more|another|missing from"
    r"|(?:book|start|open|make|launch|put up) an?|(?:enter|list|add) (?:it|them) as an?"
    r"|enter (?:an?|this|it|them)(?! as)|there should be an?"
    r"|not (?:yet )?in (?:the|our) (?:system|list|shop|store|catalogue|app)"
    r"|(?:not|n't) (?:have|exist)(?: \w+)? yet)\b",
    re.I,
)
#: A "new name" makes nothing new.
_NEW_PART = re.compile(r"\bnew\s+(?:name|title|code|price|value|text|status|end|start|one)\b", re.I)
_OFF = re.compile(
    r"\b(?:not|no longer|off|disable|deactivate|untick|uncheck|hide|never|without|stop|false|no)\b"
    r"|\bkeep\b.{1,60}\b(?:from|out of)\b|\bout of (?:public )?(?:view|sight)\b",
    re.I,
)
_FOLLOWS = re.compile(
    r"(?:\b(?:to|to be|as|is|be|into|at|with|by|called|named|says?|reads?|have|has|becomes?)|[:=])"
    r"\s*$",
    re.I,
)
_WORDS = re.compile(r"[^\W_]+")
_OWNS = re.compile(r"\b(?:of|for|on|in)\s+(?:the\s+)?$", re.I)
#: "Swap the title for X": what stands behind "for" is what it becomes.
_SWAPS = re.compile(r"\b(?:swap|exchange|replace|trade|substitute)\b", re.I)
_FOR = re.compile(r"\bfor\s+$", re.I)
#: "What it says is out of date; it has to read X" is no question.
_DEMAND = re.compile(r"\b(?:has|have|ought|needs?) to\b|\b(?:must|should)\b", re.I)
_SECRET = re.compile(r"\bsecret\s+[\"'“]?([a-z][a-z0-9_]{0,39})\b", re.I)


@dataclass(frozen=True)
class ValueCue:
    """A value and the terms around it, up to the next value.

    before: nearest last; after: nearest first; earlier: those before the value before it, where no
    term is between. last: the word right before it. follows: "to", "is" or their like stand before
    it, so that it is what something becomes; owns: "of" or "for" does, so that it has what is
    spoken of. named: it is only a word in capitals, or the last of the task, which may be no value.
    """

    value: str
    before: tuple[str, ...]
    after: tuple[str, ...]
    earlier: tuple[str, ...] = ()
    last: str = ""
    follows: bool = False
    owns: bool = False
    named: bool = False


@dataclass(frozen=True)
class TaskIntent:
    """terms: of the whole task but for its values. off: it switches something off. secret: the name
    of a secret that it speaks of, or empty."""

    task: TaskText
    kind: IntentKind
    values: tuple[ValueCue, ...]
    terms: tuple[str, ...]
    off: bool
    secret: str

    def __post_init__(self) -> None:
        check_literals(self)


def read_intent(task: TaskText) -> TaskIntent:
    """What the words of a task want."""
    secret = _SECRET.search(task.text)
    name = secret[1] if secret else ""
    spans = _spans(task)
    sure = [one for one in spans if one[0] not in task.named]
    plain = _without(task.text, sure)
    cues: list[ValueCue] = []
    for value, (start, end) in spans:
        borders = [0, *(e for _, (_, e) in sure if e <= start)]
        before = task.text[borders[-1] : start]
        after = task.text[end : min([s for _, (s, _) in sure if s >= end], default=len(task.text))]
        if value == name:
            continue
        earlier = cues[-1].before if cues and not terms_of(before) else ()
        swaps = _FOR.search(before) is not None and _SWAPS.search(plain) is not None
        follows = swaps or _FOLLOWS.search(before) is not None
        around = terms_of(before), terms_of(after), earlier
        owns = not swaps and _OWNS.search(before) is not None
        cues.append(
            ValueCue(
                value,
                *around,
                last=(_WORDS.findall(before) or [""])[-1].casefold(),
                follows=follows,
                owns=owns,
                named=value in task.named,
            )
        )
    return TaskIntent(
        task,
        _kind(plain, has_values=bool(cues)),
        tuple(cues),
        terms_of(plain),
        _OFF.search(plain) is not None,
        name,
    )


def _kind(plain: str, *, has_values: bool) -> IntentKind:
    asks = _asks(plain.strip())
    if _COUNT.search(plain) and (asks or not _ACT.search(plain)) and not has_values:
        return "count"
    if asks:
        return "ask"
    if _DELETE.search(plain):
        return "delete"
    return "create" if _CREATE.search(_NEW_PART.sub(" ", plain)) else "change"


def _asks(plain: str) -> bool:
    """Whether it is a question; "Could you set it to 5?" is none."""
    polite = _POLITE.match(plain)
    if polite:
        return _ASK.match(plain[polite.end() :]) is not None
    if plain.endswith("?"):
        return True
    return _ASK.match(plain) is not None and not _DEMAND.search(plain)


def _spans(task: TaskText) -> list[tuple[str, tuple[int, int]]]:
    """Where each value stands first, quotation marks included, in order, none within another."""
    found: list[tuple[str, tuple[int, int]]] = []
    sure_first = sorted(task.values, key=lambda one: (one in task.named, -len(one)))
    for value in sure_first:
        pattern = rf"(?<![\w])[\"'“]?{re.escape(value)}[\"'”]?(?!\w)"
        for at in re.finditer(pattern, task.text):
            if all(at.end() <= start or at.start() >= end for _, (start, end) in found):
                found.append((value, at.span()))
                break
    return sorted(found, key=lambda one: one[1])


def _without(text: str, spans: list[tuple[str, tuple[int, int]]]) -> str:
    for _, (start, end) in reversed(spans):
        text = f"{text[:start]} {text[end:]}"
    return " ".join(text.split())
