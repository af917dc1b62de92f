"""What a task wants, by its words alone: to know, to delete, to make or to change; and each value
with the words around it.

    intent = read_intent(read_task('Set the discount of "Spring" to 25'))
    intent.kind                      # "change"
    intent.values[1].before          # ("discount",): the words before 25, "Spring" left out
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from adwright.agent.generate.task_terms import terms_of
from adwright.agent.generate.task_values import TaskText
from adwright.core.config import settings

__all__ = ["IntentKind", "TaskIntent", "ValueCue", "read_intent", "takes_a_part"]

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
    r"|take out(?! of (?:public |plain )?(?:view|sight)))\b",
    re.I,
)
#: "Take it off our list for good"; but not "take something off the price for good".
_TAKEN = re.compile(
    r"\btake\s+(?:(?:it|them|that|this|the\s+(\w+))\s+)?(?:off|out of|down)\b"
    r"(?! (?:the )?(?:price|cost|total)).{0,40}\b(?:for good|altogether|permanently)\b",
    re.I,
)
_CREATE = re.compile(
    r"\b(?:new|create|add|set up|register|sign(?:ed)? up|need an?|missing from"
    r"|not (?:yet )?in (?:the|our) (?:system|list|shop|store|catalogue|app)"
    r"|(?:not|n't) exist yet)\b",
    re.I,
)
#: Of what is no kind of item they make nothing: "enter a discount", "another status".
_MAYBE_CREATE = re.compile(
    r"\b(?:one more|another|(?:book|start|launch|put up|enter|list it as|enter (?:it|them) as) an?"
    r"|there should be an?|enter this)\b",
    re.I,
)
#: So many words behind it the kind of item may stand.
_NEAR_KIND = 3
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
_DEMAND = re.compile(
    r"^(?:please\s+)?(?:what|which|who|whose|where|when|how)\b"
    r"(?:.*[;.:,].*\b(?:(?:has|have|ought|needs?) to|must|should)\b|.*\bshall be\b)",
    re.I | re.S,
)
#: "Could you find the total?" is one.
_LOOK = re.compile(r"^(?:find|see|get (?:me|us)|look|name|confirm|explain)\b", re.I)
_WISH = re.compile(
    r"^(?:i|we)(?:'d| would)? (?:like|want|need|wish) to (?:know|see|hear|learn)\b", re.I
)
#: Between what is removed and what it is removed from.
_OF = re.compile(
    r"\b(?:of|from|off|out of|on|in|inside|within|for|at|under|that|which|about|with|by)\b", re.I
)
_OUT_OF = re.compile(r"from|off|out of", re.I)
_POSSESSIVE = re.compile(r"(?<=[\w\x01])['’](?:s\b|(?=\s))")
_TAKE = re.compile(r"\btake\b", re.I)
_CLAUSE_END = re.compile(r"[.;:!?](?=\s|$)|\n")
#: Stands for a value.
_VALUE = "\x01"
#: Of whichever item, of wholes that all items are in, and of how it is asked.
_ANY_ITEM = frozenset(
    terms_of(
        "item entry record row line list listing table database system app shop store site "
        "catalogue catalog inventory copy permanently altogether completely good "
        "complete entire whole find open look search select pick choose go want need longer"
    )
)
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


@settings
class TaskIntent:
    """terms: of the whole task but for its values. off: it switches something off. secret: the name
    of a secret that it speaks of, or empty."""

    task: TaskText
    kind: IntentKind
    values: tuple[ValueCue, ...]
    terms: tuple[str, ...]
    off: bool
    secret: str


def read_intent(task: TaskText, kinds: Collection[str] = ()) -> TaskIntent:
    """What the words of a task want. kinds: terms for kinds of items of the app, where it is known:
    who asks for "another offer" wants one made, who asks for "another status" does not."""
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
        _kind(plain, cues, kinds),
        tuple(cues),
        terms_of(plain),
        _OFF.search(plain) is not None,
        name,
    )


def takes_a_part(intent: TaskIntent, kinds: Collection[str]) -> bool:
    """Whether what a task deletes is a part of an item that it names, or its place in something,
    and not the item: the discount of "Spring", or "Spring" from the home page. kinds: terms that
    stand for the item itself."""
    text, named = intent.task.text, intent.task.named
    for value, (start, end) in reversed(_spans(intent.task)):
        if value not in named or value[:1].isupper():  # else it is the last word, and maybe a verb
            text = f"{text[:start]}{_VALUE}{text[end:]}"
    return any(_names_a_part(one, _ANY_ITEM | set(kinds)) for one in _CLAUSE_END.split(text))


def _names_a_part(clause: str, known: Collection[str]) -> bool:
    """The same of one clause, in which a sign stands for each value. known: what means no part."""
    verb = _DELETE.search(clause) or _TAKE.search(clause)
    if verb is None:
        return False
    ahead, behind = clause[: verb.start()], clause[verb.end() :]
    is_passive = not terms_of(behind) and _VALUE not in behind
    if is_passive:
        ahead, behind = "", ahead  # "the discount of X should be removed"
    link = _OF.search(behind)
    what, of_what = (behind[: link.start()], behind[link.end() :]) if link else (behind, "")
    owner = _POSSESSIVE.search(what)
    if owner is not None:
        return not set(terms_of(what[owner.end() :])) <= set(known)
    if _VALUE not in what:
        # "Remove the discount of X", and "from X, remove the discount"
        is_of = _VALUE in of_what or _VALUE in ahead
        return is_of and not set(terms_of(what)) <= set(known)
    if is_passive or link is None or not _OUT_OF.fullmatch(link[0]):
        return False
    return _VALUE in of_what or not set(terms_of(of_what)) <= set(known)


def _kind(plain: str, cues: Sequence[ValueCue], kinds: Collection[str]) -> IntentKind:
    asks = _asks(plain.strip(), becomes=any(one.follows for one in cues))
    if _COUNT.search(plain) and (asks or not _ACT.search(plain)) and not cues:
        return "count"
    if asks:
        return "ask"
    taken = _TAKEN.search(plain)
    if _DELETE.search(plain) or (taken and set(terms_of(taken[1] or "")) <= set(kinds)):
        return "delete"
    rest = _NEW_PART.sub(" ", plain)
    maybe = any(
        set(terms_of(rest[one.end() :])[:_NEAR_KIND]) & set(kinds)
        for one in _MAYBE_CREATE.finditer(rest)
    )
    return "create" if maybe or _CREATE.search(rest) else "change"


def _asks(plain: str, *, becomes: bool) -> bool:
    """Whether it is a question; "Could you set it to 5?" is none. becomes: something is to become
    one of its values."""
    polite = _POLITE.match(plain)
    if polite:
        rest = plain[polite.end() :]
        return _ASK.match(rest) is not None or _LOOK.match(rest) is not None
    if plain.endswith("?"):
        return True
    if _WISH.match(plain):
        return not becomes
    return _ASK.match(plain) is not None and not _DEMAND.match(plain)


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
