"""Rows of instruction data, with where each came from, as lines that `adwright tune` reads.

    row = row_of(example, seed)
    row.to_line()      # {"messages": [system, user, assistant], "group": ..., "seed": ...}

An example is a request and its answer; a row is an example under one instruction. What is tuned on
is `messages`, the very turns that `messages_of` makes in use; `group` holds rows of one product
cluster together.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adwright.authoring.instructions.seeds import SeedInstruction, filled
from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.prompts import PromptBounds, input_of, messages_of, shown_labels
from adwright.authoring.tasks.task import AuthoringRequest, Party, task_named
from adwright.core.errors import DataError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import Message

#: Of a hash that names a row or a prompt, so many digits are kept.
_DIGITS = 24
_BREAKS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}
_BOUNDS = PromptBounds()


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
        line = json.dumps(
            {
                "id": self.id,
                "task": self.task,
                "messages": [{"role": one.role, "content": one.content} for one in turns],
                "group": self.cluster,
                "instruction": self.instruction,
                "shown": self.shown,
                "product": product,
                "values": [list(pair) for pair in self.values],
                "labels": list(self.labels),
                "source": self.source,
                "teacher": self.teacher,
                "seed": self.seed,
                "prompt_hash": self.prompt_hash,
                "passed": list(self.passed),
                "read": list(self.read),
                "written": self.written,
            },
            ensure_ascii=False,
        )
        # Readers that split at every line break of Unicode get one line, too.
        return line.translate(_BREAKS)

    @classmethod
    def from_line(cls, line: str, *, file: str = "", row: int | None = None) -> InstructionRow:
        """Read what `to_line` wrote. Raises DataError, naming file and row, for anything else."""
        try:
            found = json.loads(line)
            *turns, answer = found["messages"]
            product = dict(found["product"])
            pairs = tuple((name, value) for name, value in product.pop("attributes", []))
            return cls(
                id=found["id"],
                task=task_named(found["task"]).name,
                turns=tuple(Message(one["role"], one["content"]) for one in turns),
                answer=answer["content"],
                instruction=found["instruction"],
                shown=found["shown"],
                product=Product(**product, attributes=pairs),
                values=tuple((name, value) for name, value in found["values"]),
                labels=tuple(found["labels"]),
                cluster=found["group"],
                source=found["source"],
                teacher=found["teacher"],
                seed=found["seed"],
                prompt_hash=found["prompt_hash"],
                passed=tuple(found["passed"]),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(
                f"a line is no row of instruction data: {type(error).__name__} {error}",
                file=file,
                row=row,
                hint="read files that `adwright author data` wrote",
            ) from error


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


def read_rows(path: str | Path) -> Iterator[InstructionRow]:
    """The rows of a file, one after another; raises DataError as `from_line`, and for a file that
    cannot be read."""
    try:
        with open(path, encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                if line.strip():
                    yield InstructionRow.from_line(line, file=str(path), row=number)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the rows cannot be read: {error}", file=str(path), hint="check the path"
        ) from error
