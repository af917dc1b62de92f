"""What a task wants, by its words alone: to know, to delete, to make or to change; and each value
with the words around it.

    intent = read_intent(read_task('Set the discount of "Spring" to 25'))
    intent.kind                      # "change"
    intent.values[1].before          # ("discount",): the words before 25, "Spring" left out
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from adwright.core.config import package_patterns, package_toml, settings
from adwright.core.errors import ConfigError

WORDS = package_toml(__package__, "words.toml")
_RULES = package_patterns(__package__, "words.toml", "task")

# --------------------------------------------------------------------------------------------------
# The values in a task: what stands in quotes, numbers, and what follows the name of a field.
#
#     task = read_task('Set the discount of "Spring" to 25 and its status to Closed')
#     task.values                                      # ("Spring", "25", "Closed")
#
# No model is asked. Only values that the user wrote are found here; what a script may type is
# limited to them, so that no text of a page becomes one.

LONGEST_TASK = 2_000
_MOST_VALUES = 40


@dataclass(frozen=True)
class TaskText:
    """A task in the user's words. values: in their order, each once. named: those of them that are
    only words in capitals, and may be the name of a field as well."""

    text: str
    values: tuple[str, ...]
    named: tuple[str, ...] = ()

    def has(self, phrase: str) -> bool:
        """Whether the task has these words, in capitals or not, as words."""
        return re.search(rf"(?<!\w){re.escape(phrase)}(?!\w)", self.text, re.I) is not None


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
    for rule in ("quoted", "email", "code", "named", "number", "bare"):
        for one in _RULES[rule].finditer(plain):
            begins = rule == "named" and _begins(plain, one.start())
            span = one.span(1) if rule == "bare" else one.span()
            if begins or any(start < span[1] and span[0] < end for start, end in taken):
                continue
            taken.append(span)
            value = next(filter(None, one.groups()), one.group())
            if rule in ("named", "bare"):
                named.append(value)
                number = _RULES["ends_in_number"].search(value)
                # "UPC 500123" may be the field UPC and its value.
                if number and value[: number.start()].isupper():
                    found.append((one.start() + number.start(1), number[1]))
            found.append((span[0], value))
    values = tuple(dict.fromkeys(value for _, value in sorted(found)))
    return TaskText(plain, values[:_MOST_VALUES], tuple(dict.fromkeys(named)))


def _begins(text: str, place: int) -> bool:
    """Whether a sentence begins here."""
    return place == 0 or _RULES["sentence_end"].search(text[:place]) is not None


# --------------------------------------------------------------------------------------------------
# Words of tasks and of labels, made alike, and how much each tells in one document.
#
#     terms_of("Renamed the offers")           # ("renam", "offer")
#     weights = TermWeights(["Offers", "Offer name", "Vouchers"])
#     weights.shared(terms_of("the name"), terms_of("Offer name *"))
#
# Endings are cut, words without meaning are dropped, and a few words count as near others: who
# writes "rename" or "called" speaks of a field "Name" or "Title". Rare words of a document tell
# more.

#: A near word counts so much as the word itself. Our choice.
_NEARLY = 0.6


def terms_of(text: str) -> tuple[str, ...]:
    """The words of a text that mean something, without their endings, in their order."""
    found = []
    for word in _RULES["task_terms_word"].findall(_RULES["camel"].sub(" ", text)):
        plain = word.casefold()
        if plain not in WORDS["task_words"]["empty"]:
            found.append(_stem(plain))
    return tuple(found)


def near_terms(term: str) -> frozenset[str]:
    """The terms that mean nearly the same, the term left out."""
    return _NEAR_TERMS.get(term, frozenset()) - {term}


class TermWeights:
    """How much a term tells: ln(1 + N / n) of N texts, n of them with it; a term that no text has
    tells as much as one that a single text has."""

    def __init__(self, texts: Iterable[str]) -> None:
        sets = [set(terms_of(one)) for one in texts]
        self._texts = max(len(sets), 1)
        self._with = Counter(term for one in sets for term in one)

    def __getitem__(self, term: str) -> float:
        return math.log(1 + self._texts / max(self._with.get(term, 1), 1))

    def knows(self, term: str) -> bool:
        """Whether a text has it, or a near one."""
        return term in self._with or any(one in self._with for one in near_terms(term))

    def of(self, terms: Iterable[str]) -> float:
        """The sum over different terms."""
        return sum(self[one] for one in set(terms))

    def shared(self, wanted: Iterable[str], has: Iterable[str]) -> float:
        """How much of `wanted` is in `has`: the sum of weights, less for near terms."""
        there = set(has)
        total = 0.0
        for one in set(wanted):
            if one in there:
                total += self[one]
            elif near_terms(one) & there:
                total += _NEARLY * self[one]
        return total


def _stem(word: str) -> str:
    if word.isdigit() or len(word) < 4:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word[: -len(ending)]
            break
    return word[:-1] if word.endswith("e") and len(word) > 3 else word


_NEAR_TERMS = {
    _stem(one): frozenset(map(_stem, group))
    for group in WORDS["task_words"]["near"]
    for one in group
    if " " not in one
}


IntentKind: TypeAlias = Literal["ask", "count", "delete", "create", "change"]
#: So many words behind it the kind of item may stand.
_NEAR_KIND = 3
#: Stands for a value.
_VALUE = "\x01"
#: Of whichever item, of wholes that all items are in, and of how it is asked.
ANY_ITEM = frozenset(
    terms_of(
        "item entry record row line list listing table database system app shop store site "
        "catalogue catalog inventory copy permanently altogether completely good "
        "complete entire whole find open look search select pick choose go want need longer"
    )
)


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
    """plain, terms: the whole task but for its values. off: it switches something off. secret: the
    name of a secret that it speaks of, or empty."""

    task: TaskText
    kind: IntentKind
    values: tuple[ValueCue, ...]
    terms: tuple[str, ...]
    off: bool
    secret: str
    plain: str = ""


def read_intent(task: TaskText, kinds: Collection[str] = ()) -> TaskIntent:
    """What the words of a task want. kinds: terms for kinds of items of the app, where it is known:
    who asks for "another offer" wants one made, who asks for "another status" does not."""
    secret = _RULES["secret"].search(task.text)
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
        swaps = (
            _RULES["for"].search(before) is not None and _RULES["swaps"].search(plain) is not None
        )
        follows = swaps or _RULES["follows"].search(before) is not None
        around = terms_of(before), terms_of(after), earlier
        owns = not swaps and _RULES["owns"].search(before) is not None
        cues.append(
            ValueCue(
                value,
                *around,
                last=(_RULES["words"].findall(before) or [""])[-1].casefold(),
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
        _RULES["off"].search(plain) is not None,
        name,
        plain,
    )


def is_question(task: TaskText) -> bool:
    """Whether nothing but an answer can be meant: it asks in as many words."""
    return task.text.endswith("?") or _RULES["question"].match(task.text) is not None


def is_count(task: TaskText) -> bool:
    """Whether it asks how many."""
    return _RULES["count"].search(task.text) is not None


def takes_a_part(intent: TaskIntent, kinds: Collection[str]) -> bool:
    """Whether what a task deletes is a part of an item that it names, or its place in something,
    and not the item: the discount of "Spring", or "Spring" from the home page. kinds: terms that
    stand for the item itself."""
    text, named = intent.task.text, intent.task.named
    for value, (start, end) in reversed(_spans(intent.task)):
        if value not in named or value[:1].isupper():  # else it is the last word, and maybe a verb
            text = f"{text[:start]}{_VALUE}{text[end:]}"
    return any(
        _names_a_part(one, ANY_ITEM | set(kinds)) for one in _RULES["clause_end"].split(text)
    )


def _names_a_part(clause: str, known: Collection[str]) -> bool:
    """The same of one clause, in which a sign stands for each value. known: what means no part."""
    verb = _RULES["delete"].search(clause) or _RULES["take"].search(clause)
    if verb is None:
        return False
    ahead, behind = clause[: verb.start()], clause[verb.end() :]
    is_passive = not terms_of(behind) and _VALUE not in behind
    if is_passive:
        ahead, behind = "", ahead  # "the discount of X should be removed"
    link = _RULES["of"].search(behind)
    what, of_what = (behind[: link.start()], behind[link.end() :]) if link else (behind, "")
    owner = _RULES["possessive"].search(what)
    if owner is not None:
        return not set(terms_of(what[owner.end() :])) <= set(known)
    if _VALUE not in what:
        # "Remove the discount of X", and "from X, remove the discount"
        is_of = _VALUE in of_what or _VALUE in ahead
        return is_of and not set(terms_of(what)) <= set(known)
    if is_passive or link is None or not _RULES["out_of"].fullmatch(link[0]):
        return False
    return _VALUE in of_what or not set(terms_of(of_what)) <= set(known)


def _kind(plain: str, cues: Sequence[ValueCue], kinds: Collection[str]) -> IntentKind:
    asks = _asks(plain.strip(), becomes=any(one.follows for one in cues))
    if _RULES["count"].search(plain) and (asks or not _RULES["act"].search(plain)) and not cues:
        return "count"
    if asks:
        return "ask"
    taken = _RULES["taken"].search(plain)
    if _RULES["delete"].search(plain) or (taken and set(terms_of(taken[1] or "")) <= set(kinds)):
        return "delete"
    rest = _RULES["new_part"].sub(" ", plain)
    maybe = any(
        set(terms_of(rest[one.end() :])[:_NEAR_KIND]) & set(kinds)
        for one in _RULES["maybe_create"].finditer(rest)
    )
    return "create" if maybe or _RULES["create"].search(rest) else "change"


def _asks(plain: str, *, becomes: bool) -> bool:
    """Whether it is a question; "Could you set it to 5?" is none. becomes: something is to become
    one of its values."""
    polite = _RULES["polite"].match(plain)
    if polite:
        rest = plain[polite.end() :]
        return _RULES["ask"].match(rest) is not None or _RULES["look"].match(rest) is not None
    if plain.endswith("?"):
        return True
    if _RULES["wish"].match(plain):
        return not becomes
    return _RULES["ask"].match(plain) is not None and not _RULES["demand"].match(plain)


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


# --------------------------------------------------------------------------------------------------
# A task cut into its acts: the verb of each, what stands in quotes, numbers and places in a row.
#
#     read_parts('Enter "Ann" into the 2nd text field, then press Submit')
#     # type, values ("Ann",), nth 1; tap
#
# A task is cut at "and", "then", commas and ends of sentences; quotes, dates and handles such as
# @ann are one word each. A part without a verb goes on with that of the one before: 'Select Tea,
# Milk'.

#: "find": an item that is spoken of. "copy", "paste": text of the page. "look": where to search,
#: which needs no act. "do": anything that a button may be called.
PartKind: TypeAlias = Literal["find", "type", "pick", "tap", "copy", "paste", "look", "do"]
_VERBS: tuple[tuple[PartKind, re.Pattern[str]], ...] = (
    (
        "look",
        re.compile(
            r"\b(?:switch between|scroll (?:down|up|to|through)|look (?:in|through|at)|browse)\b",
            re.I,
        ),
    ),
    ("copy", re.compile(r"\bcopy\b", re.I)),
    ("paste", re.compile(r"\bpaste\b", re.I)),
    ("find", re.compile(r"\b(?:find|locate|look for|search out)\b|^(?:for|of) the\b", re.I)),
    ("type", re.compile(r"\b(?:enter|type|write|fill|input|set|put)\b", re.I)),
    ("pick", re.compile(r"\b(?:select|choose|check|tick|pick|mark)\b", re.I)),
    (
        "tap",
        re.compile(
            r"\b(?:click(?:ing)?|tap|press|hit|push|open|expand|close|go to|focus|submit)\b", re.I
        ),
    ),
)
_DATE = (
    r"(?<![\w/-])(?:\d{1,2}/\d{1,2}/\d{4}|\d{4}-\d{2}-\d{2}|\d{1,2}\.\d{1,2}\.\d{4}"
    r"|\d{1,2} [A-Z][a-z]{2,8} \d{4}|[A-Z][a-z]{2,8} \d{1,2}, \d{4})(?![\w/-])"
)
_ONE_WORD = re.compile(rf"\"([^\"]+)\"|“([^“”]+)”|({_DATE})|((?<![\w@])@\w[\w.-]*\w)")
_TASK_PARTS_NAMED = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4, "last": -1}
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}


@settings
class ActPart:
    """rest: its words, what was in quotes left out. values: that. plain: all of it, quotes and all.
    nth: which of several, from 0, -1 the last; None where it does not say. times: with how many
    items it is done; 0 where it does not say. own: whether the verb is its own."""

    kind: PartKind
    rest: str
    values: tuple[str, ...]
    plain: str
    nth: int | None = None
    times: int = 0
    own: bool = True


def read_parts(text: str) -> tuple[ActPart, ...]:
    """The parts of a task, in their order."""
    words: list[str] = []

    def hide(found: re.Match[str]) -> str:
        words.append(next(filter(None, found.groups())))
        return f"\x00{len(words) - 1}\x00"

    found: list[ActPart] = []
    kind: PartKind = "do"
    for part in _RULES["cut"].split(_ONE_WORD.sub(hide, text)):
        if not part or not part.strip(" .,!?"):
            continue
        own = _verb(part)
        kind = own or ("do" if kind in ("find", "look") else kind)
        values = tuple(words[int(n)] for n in _RULES["hidden"].findall(part))
        rest = " ".join(_RULES["hidden"].sub(" ", part).split())
        if kind == "tap" and not values and _RULES["plural"].search(rest):
            kind = own = "look"
        times = _RULES["times"].search(rest)
        count = _COUNTS.get(times[1].lower(), 0) or int(times[1]) if times else 0
        plain = _RULES["hidden"].sub(lambda at: words[int(at[1])], part).strip()
        found.append(ActPart(kind, rest, values, plain, _nth(rest), count, own is not None))
    return tuple(found)


def _verb(part: str) -> PartKind | None:
    """The kind of the first verb of a part."""
    at = [(found.start(), kind) for kind, one in _VERBS if (found := one.search(part))]
    return min(at, key=lambda one: one[0])[1] if at else None


def _nth(rest: str) -> int | None:
    found = _RULES["nth"].search(rest)
    if found is None:
        return None
    return int(found[1]) - 1 if found[1] else _TASK_PARTS_NAMED[found[2].lower()]
