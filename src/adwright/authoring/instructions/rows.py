"""Rows of instruction data, with where each came from, as lines that `adwright tune` reads.

    row = row_of(example, seed)
    row.to_line()      # {"messages": [system, user, assistant], "group": ..., "seed": ...}

An example is a request and its answer; a row is an example under one instruction. What is tuned on
is `messages`, the very turns that `messages_of` makes in use; `group` holds rows of one product
cluster together.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adwright.authoring.tasks import (
    AuthoringRequest,
    Party,
    Product,
    PromptBounds,
    harmless,
    input_of,
    messages_of,
    shown_labels,
    task_named,
)
from adwright.core.config import read_toml
from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import Message
from adwright.metrics.text.grounding import Span, unsupported_spans

# --------------------------------------------------------------------------------------------------
# Seed instructions, written by us: several ways to ask for each task, some with slots.
#
#     seeds = load_seeds("ads")
#     seeds[1].text     # 'Create an attractive advertisement for the {occasion} sale of ...'
#     filled(seeds[1].text, request)     # the slots filled from the request's values
#
# Each task has a file of TOML beside this module.

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


def load_seeds(task: str) -> tuple[SeedInstruction, ...]:
    """Our seeds of a task. Raises ConfigError where there is no such task."""
    found = read_toml(_FOLDER / f"{task_named(task).name}.toml")
    own = found["task"], found["licence"]
    return tuple(
        SeedInstruction(one["id"], one["text"], tuple(one["slots"]), *own) for one in found["seeds"]
    )


def slots_of(text: str) -> tuple[str, ...]:
    """Names in braces, in order."""
    return tuple(_SLOT.findall(text))


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
