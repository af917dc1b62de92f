"""Rows of instruction data, with where each came from, as lines that `adwright tune` reads.

    row = row_of(example, seed)
    row.to_line()      # {"messages": [system, user, assistant], "group": ..., "seed": ...}

An example is a request and its answer; a row is an example under one instruction. What is tuned on
is `messages`, the very turns that `messages_of` makes in use; `group` holds rows of one product
cluster together.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, Generic, TypeVar

from adwright.authoring.tasks import (
    PRODUCT_SLOT,
    AuthoringRequest,
    AuthoringTask,
    Party,
    Product,
    PromptBounds,
    harmless,
    input_of,
    messages_of,
    shown_labels,
    task_named,
)
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import Message
from adwright.metrics.text.agreement import rouge_l
from adwright.metrics.text.grounding import Span, unsupported_spans

# --------------------------------------------------------------------------------------------------
# Seed instructions, written by us: several ways to ask for each task, some with slots.
#
#     seeds = load_seeds("ads")
#     seeds[1].text     # 'Create an attractive advertisement for the {occasion} sale of ...'
#     filled(seeds[1].text, request)     # the slots filled from the request's values
#
# Each task has a file of TOML beside this module, and a file of one's own has the same form:
#
#     task = "ads"
#     licence = "Apache-2.0"
#
#     [[seeds]]
#     id = "ads-01"
#     slots = []
#     text = "Write a short ad for this product."

_FOLDER = Path(__file__).with_name("seed_files")
_SLOT = re.compile(r"\{(\w+)\}")
#: Characters of a value within an instruction.
_VALUE = 80
_QUOTES = str.maketrans(dict.fromkeys("\u201c\u201d{}", " "))


@dataclass(frozen=True)
class SeedInstruction:
    """One way to ask for a task. text: the instruction; `{name}` stands for a value of a request.
    slots: the names in it, in order. task and licence: of its file, where they are not given."""

    id: str
    text: str
    slots: tuple[str, ...] = ()
    task: str = ""
    licence: str = ""


@dataclass(frozen=True)
class SeedFile:
    """What a file of seeds holds."""

    task: str
    seeds: tuple[SeedInstruction, ...]
    licence: str = ""


def load_seeds(task: str) -> tuple[SeedInstruction, ...]:
    """Our seeds of a task. Raises ConfigError where there is no such task."""
    return read_seeds(_FOLDER / f"{task_named(task).name}.toml")


def read_seeds(path: str | Path) -> tuple[SeedInstruction, ...]:
    """The seeds of a file.

    Raises ConfigError naming the file and the seed: as `load_toml`, for an unknown task, an id or
    a text that is empty or stands twice, and for slots that the text has not or the task does not
    fill.
    """
    found = load_toml(path, SeedFile)
    task = task_named(found.task)
    seen_ids, seen_texts = set[str](), set[str]()
    for seed in found.seeds:
        problem = _problem(seed, task, seen_ids, seen_texts)
        if problem:
            raise ConfigError(problem, where=f"{path}, seed {seed.id!r}", hint="correct the seed")
        seen_ids.add(seed.id)
        seen_texts.add(seed.text)
    return tuple(
        SeedInstruction(one.id, one.text, one.slots, task.name, one.licence or found.licence)
        for one in found.seeds
    )


def slots_of(text: str) -> tuple[str, ...]:
    """Names in braces, in order."""
    return tuple(_SLOT.findall(text))


def value_slots(task: AuthoringTask) -> frozenset[str]:
    """What an instruction of the task may have in braces: values, never fields of the product,
    which are a stranger's text."""
    return frozenset(slot.name for slot in task.presented) - {PRODUCT_SLOT}


def fits(text: str, filled_slots: Collection[str]) -> bool:
    """Whether all slots of an instruction can be filled."""
    return set(slots_of(text)) <= set(filled_slots)


def filled(text: str, request: AuthoringRequest) -> str:
    """The instruction with the request's values in its slots, each made one harmless line.

    Raises ConfigError for a slot without a value.
    """
    values = {name: value for name, value in request.values if value.strip()}
    for name in slots_of(text):
        if name not in values:
            raise ConfigError(
                f"the instruction asks for {name}, which the request does not have",
                where=text[:80],
                hint="choose another instruction",
            )
    return _SLOT.sub(
        lambda found: " ".join(harmless(values[found[1]].translate(_QUOTES), _VALUE).split()), text
    )


def _problem(
    seed: SeedInstruction,
    task: AuthoringTask,
    ids: Collection[str],
    texts: Collection[str],
) -> str:
    """What is wrong with a seed; empty where nothing is."""
    if not seed.id.strip() or not seed.text.strip():
        return "a seed needs an id and a text"
    if seed.id in ids or seed.text in texts:
        return "an id or a text stands twice"
    if seed.task not in ("", task.name):
        return f"it is a seed of {seed.task}, in a file of {task.name}"
    own = slots_of(seed.text)
    if own != seed.slots:
        return f"its slots are {list(own)}, not {list(seed.slots)}"
    unknown = set(own) - value_slots(task)
    return f"{task.name} does not fill {', '.join(sorted(unknown))}" if unknown else ""


#: Of a hash that names a row or a prompt, so many digits are kept.
_DIGITS = 24
_BREAKS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}
_BOUNDS = PromptBounds()
#: Fields of a row that stand in its line as they are, behind the others.
_TOLD = (
    *("values", "labels", "source", "teacher", "seed", "prompt_hash", "passed", "read", "written"),
)


@dataclass(frozen=True)
class AuthoringExample:
    """A request and its answer. cluster: rows of one cluster are never on two sides of a split.
    source: the data that it is from. teacher: what wrote the answer: "data" for people."""

    request: AuthoringRequest
    answer: str
    cluster: str
    source: str
    teacher: str = "data"


@dataclass(frozen=True)
class InstructionRow:
    """An example under one instruction, and where it comes from.

    id: hash of task, turns and answer. turns: what the model reads. answer: what it learns to
    write. instruction, shown: the two parts of the last turn. cluster, source, teacher: as of the
    example. seed: id of the instruction. prompt_hash: of the turns. passed: names of the filters
    that it has passed. product: its fields, and values: those of the request; labels: of its list.
    """

    id: str
    task: str
    turns: tuple[Message, ...]
    answer: str
    instruction: str
    shown: str
    product: Product
    values: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]
    cluster: str
    source: str
    teacher: str
    seed: str
    prompt_hash: str
    passed: tuple[str, ...] = ()

    @property
    def read(self) -> tuple[Party, ...]:
        """The parties whose features the row shows, sorted."""
        given = {name for name, value in self.values if value.strip()}
        given |= {"product"} if self.product.title.strip() else set()
        slots = task_named(self.task).presented
        return tuple(sorted({slot.party for slot in slots if slot.name in given}))

    @property
    def written(self) -> Party:
        """The party whose feature the row asks for."""
        return task_named(self.task).wanted.party

    def with_passed(self, names: Iterable[str]) -> InstructionRow:
        """The row with these filters named as passed."""
        return replace(self, passed=tuple(names))

    def to_line(self) -> str:
        """One line of JSON, without its end."""
        product: dict[str, Any] = {"id": self.product.id, "title": self.product.title}
        for name in ("description", "brand", "category", "price", "currency", "locale"):
            if value := getattr(self.product, name):
                product[name] = value
        if self.product.attributes:
            product["attributes"] = [list(pair) for pair in self.product.attributes]
        turns = [*self.turns, Message("assistant", self.answer)]
        told = {
            "id": self.id,
            "task": self.task,
            "messages": [{"role": one.role, "content": one.content} for one in turns],
            "group": self.cluster,
            "instruction": self.instruction,
            "shown": self.shown,
            "product": product,
            **{name: getattr(self, name) for name in _TOLD},
        }
        line = json.dumps(told, ensure_ascii=False)
        # Readers that split at every line break of Unicode get one line, too.
        return line.translate(_BREAKS)


def row_of(
    example: AuthoringExample,
    seed: SeedInstruction,
    *,
    voice: str = "",
    bounds: PromptBounds = _BOUNDS,
) -> InstructionRow:
    """The example under the instruction of `seed`, as it is shown in use.

    The answer of a task of labels is the label as it is shown. Raises ConfigError where a slot of
    the seed has no value.
    """
    request = example.request
    instruction = filled(seed.text, request)
    turns = messages_of(request, instruction=instruction, voice=voice, bounds=bounds)
    answer = example.answer.strip()
    if answer in request.labels:
        answer = shown_labels(request, bounds=bounds)[request.labels.index(answer)]
    plain = [[one.role, one.content] for one in turns]
    return InstructionRow(
        id=content_hash([request.task.name, plain, answer])[:_DIGITS],
        task=request.task.name,
        turns=turns,
        answer=answer,
        instruction=instruction,
        shown=input_of(request, bounds=bounds),
        product=request.product,
        values=request.values,
        labels=request.labels,
        cluster=example.cluster,
        source=example.source,
        teacher=example.teacher,
        seed=seed.id,
        prompt_hash=content_hash(plain)[:_DIGITS],
    )


def request_of(row: InstructionRow) -> AuthoringRequest:
    """The request that a row was made from."""
    return AuthoringRequest(task_named(row.task), row.product, row.values, row.labels)


# --------------------------------------------------------------------------------------------------
# Whether an answer keeps to the facts that its request shows, and how missing facts are shown.
#
#     example = with_details(example)     # the same, with what its facts lack among them
#
# A model that is tuned on descriptions whose numbers are not in the input learns to invent numbers,
# while its loss falls. So an example is either left out, or what its answer says beyond the facts
# is given as an attribute `Details`, as a seller's notes would be: some words around each such
# span.

#: Name of the attribute that holds what the other facts lack.
DETAILS = "Details"
_TOKEN = re.compile(r"\S+")
#: Tokens on each side of a span that are shown with it.
_AROUND = 1
#: Characters of a fact that are read.
_LONGEST = 4000
#: Details of more characters than this share of the answer would be the answer itself.
_MOST_SHARE = 0.7


def facts_of(request: AuthoringRequest) -> tuple[str, ...]:
    """What an answer may rest on: the facts of the product, without the one that is asked for, and
    the values of the request; each as a prompt shows it, see `harmless`."""
    wanted, product = request.task.wanted.name, request.product
    if wanted == "description":
        product = replace(product, description="")
    if wanted == "category":
        product = replace(product, category="")
    if wanted == "attributes":
        product = replace(product, attributes=())
    values = (value for _, value in request.values)
    return tuple(filter(None, (harmless(one, _LONGEST) for one in (*product.facts(), *values))))


def with_details(example: AuthoringExample) -> AuthoringExample:
    """The example with what its facts lack as an attribute; itself where they lack nothing.

    Shown are the spans of the answer that are not supported, each with a word on either side; spans
    that touch are one. Where that would be more than 0.7 of the answer, the example stays as it is:
    to copy its input is not what it should teach.
    """
    request = example.request
    spans = unsupported_spans(example.answer, facts_of(request), locale=request.product.locale)
    if not spans:
        return example
    answer = example.answer
    pieces = [answer[start:end].strip(" ,;:.()-") for start, end in _widened(answer, spans)]
    details = "; ".join(dict.fromkeys(filter(None, pieces)))
    if len(details) > _MOST_SHARE * len(answer):
        return example
    pairs = (*request.product.attributes, (DETAILS, details))
    product = replace(request.product, attributes=pairs)
    return replace(example, request=replace(request, product=product))


def _widened(text: str, spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """Spans with the tokens around them, in order; those that overlap or touch are one."""
    tokens = [one.span() for one in _TOKEN.finditer(text)]
    wanted = set[int]()
    for span in spans:
        inside = [
            at for at, (start, end) in enumerate(tokens) if start < span.end and end > span.start
        ]
        if inside:
            low, high = max(inside[0] - _AROUND, 0), min(inside[-1] + _AROUND, len(tokens) - 1)
            wanted.update(range(low, high + 1))
    begin = None
    for at in range(len(tokens) + 1):
        if at in wanted:
            begin = at if begin is None else begin
        elif begin is not None:
            yield tokens[begin][0], tokens[at - 1][1]
            begin = None


# --------------------------------------------------------------------------------------------------
# Choices that depend on a seed and on what is chosen for, never on what came before.
#
#     drawn(7, "ads", "product-12")        # a whole number below 2^64, the same everywhere
#     chosen(names, 7, "product-12")       # one of them
#     smallest = KeptByDraw(1000, seed=7)  # a thousand of any number of things, in memory for those
#
# A random generator that is asked in turn would give other rows another choice when one row is
# added; a hash does not, and rows can be looked at in any order.

T = TypeVar("T")
_BYTES = 8


def drawn(seed: int, *parts: str) -> int:
    """A whole number below 2^64 that follows from `seed` and `parts` alone."""
    digest = hashlib.blake2b(digest_size=_BYTES, key=str(seed).encode())
    for part in parts:
        data = part.encode("utf-8", "surrogatepass")
        digest.update(len(data).to_bytes(_BYTES, "little") + data)
    return int.from_bytes(digest.digest(), "little")


def share(seed: int, *parts: str) -> float:
    """A number from 0 to below 1 that follows from `seed` and `parts` alone."""
    return (drawn(seed, *parts) >> 11) / (1 << 53)


def chosen(things: Sequence[T], seed: int, *parts: str) -> T:
    """One of `things`, by `drawn`. Raises ConfigError where there are none."""
    if not things:
        raise ConfigError("there is nothing to choose from", where="chosen", hint="give some")
    return things[drawn(seed, *parts) % len(things)]


class KeptByDraw(Generic[T]):
    """The `most` things whose draw is least, of any number that are offered; 0 keeps all.

    The same things are kept in whatever order they come (Broder's bottom-k sketch). Of two with one
    key, the second replaces the first.
    """

    def __init__(self, most: int, *, seed: int = 0) -> None:
        if most < 0:
            raise ConfigError("most must not be negative", where=f"most {most}", hint="0 for all")
        self._most, self._seed = most, seed
        self._worst: list[tuple[int, str]] = []
        self._kept: dict[str, T] = {}
        #: How many were offered.
        self.seen = 0

    def offer(self, key: str, thing: T) -> bool:
        """Keep `thing` if its key is drawn low enough; whether it is kept by now."""
        self.seen += 1
        if key in self._kept:
            self._kept[key] = thing
            return True
        draw = drawn(self._seed, "kept", key)
        if not self._most or len(self._kept) < self._most:
            heapq.heappush(self._worst, (-draw, key))
            self._kept[key] = thing
            return True
        if -draw < self._worst[0][0]:
            return False
        _, out = heapq.heapreplace(self._worst, (-draw, key))
        del self._kept[out]
        self._kept[key] = thing
        return True

    def things(self) -> list[T]:
        """What is kept, the least draw first."""
        return [self._kept[key] for _, key in sorted(self._worst, reverse=True)]


# --------------------------------------------------------------------------------------------------
# The parts that are put together without a model, and new instructions out of them.
#
#     kept = recombined_instructions(task, load_seeds("ads"), most=24, seed=7)
#
# An instruction is an opening, a body and an ending. Those that are too much like a seed, or like
# one
# another, are left out: ROUGE-L of 0.7 or more (Wang et al., "Self-Instruct", ACL 2023, section
# 2.2).

#: ROUGE-L with a kept instruction from which on a new one is left out.
MOST_ALIKE = 0.7
RECOMBINED = "recombination"


@dataclass(frozen=True)
class Phrases:
    """Parts of instructions: each opening goes with each body and each ending."""

    openings: tuple[str, ...]
    bodies: tuple[str, ...]
    endings: tuple[str, ...]


@dataclass(frozen=True)
class Sentences:
    """Sentences with facts in braces: of ads; and of descriptions, which have an opening, details
    and perhaps a closing."""

    ads: tuple[str, ...]
    openings: tuple[str, ...]
    details: tuple[str, ...]
    closings: tuple[str, ...]


@dataclass(frozen=True)
class Values:
    """What requests are filled with, and what customers ask although no listing says it."""

    occasions: tuple[str, ...]
    audiences: tuple[str, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Question:
    """A question of a customer's and its reply."""

    ask: str
    reply: str


@dataclass(frozen=True)
class Parts:
    """All of them. general: questions without a product."""

    licence: str
    phrases: dict[str, Phrases]
    sentences: Sentences
    values: Values
    questions: tuple[Question, ...]
    general: tuple[Question, ...]


@cache
def parts() -> Parts:
    """Our parts, read once."""
    return load_toml(Path(__file__).with_name("recombination.toml"), Parts)


def alike(text: str, kept: Collection[str]) -> float:
    """The highest ROUGE-L F1 of `text` with one of `kept`, 0 where there are none."""
    return max((rouge_l(text, one) for one in kept), default=0.0)


def recombined_instructions(
    task: AuthoringTask,
    seeds: Sequence[SeedInstruction],
    *,
    most: int,
    seed: int = 0,
) -> tuple[SeedInstruction, ...]:
    """At most `most` new instructions of the task, put together in an order drawn by `seed`.

    None of them has a ROUGE-L of 0.7 or more with one of `seeds` or with one before it.
    Raises ConfigError where `most` is negative.
    """
    if most < 0:
        raise ConfigError("most must not be negative", where=f"most {most}", hint="0 for none")
    own = parts().phrases.get(task.name)
    if own is None or not most:
        return ()
    ways = sorted(product(own.openings, own.bodies, own.endings), key=lambda way: drawn(seed, *way))
    known, found = [one.text for one in seeds], list[SeedInstruction]()
    for way in ways:
        text = " ".join(way)
        if alike(text, known) >= MOST_ALIKE:
            continue
        known.append(text)
        name = f"{task.name}-{RECOMBINED}-{len(found) + 1:03d}"
        found.append(SeedInstruction(name, text, (), task.name, parts().licence))
        if len(found) == most:
            break
    return tuple(found)
