"""Rows to tune a writer of scripts on: the messages that it is asked by, and the script.

    rows = tuning_rows(tasks, {digest: document})
    write_tuning_rows(Path("train.jsonl"), rows.learn)

What a model is asked with depends on what retrieval finds, with everything that does not matter for
the task; a row whose elements were not all found is left out, since its script could not be written
then. Judged are words of templates, and states, that learning does not see.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.generate.retrieve import ElementIndex, RetrieveConfig
from adwright.agent.generate.writing import WRITER_RETRIEVE, script_messages
from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings
from adwright.core.errors import DataError
from adwright.lm.engine.generation import Message
from benchmarks.agent.synthesis.synthesise import SynthesisedTask

#: "words": templates that learning has not seen; "state": places of an app; "both": neither.
RowSplit = Literal["learn", "words", "state", "both"]


@settings
class TuningRow:
    """messages: the turns before the answer. script: the answer. elements: that were retrieved.
    document: the hash of that which they are of."""

    split: RowSplit
    task: str
    template: str
    app: str
    state: str
    kind: str
    messages: tuple[Message, ...]
    script: str
    elements: tuple[Element, ...]
    document: str


@dataclass(frozen=True)
class TuningRows:
    """missed: tasks left out since an element of their script was not retrieved."""

    rows: tuple[TuningRow, ...]
    missed: int

    def of(self, *splits: RowSplit) -> tuple[TuningRow, ...]:
        """The rows of some splits."""
        return tuple(one for one in self.rows if one.split in splits)


def tuning_rows(
    tasks: Iterable[SynthesisedTask],
    documents: Mapping[str, AppDocument],
    retrieve: RetrieveConfig | None = None,
) -> TuningRows:
    """The rows of all tasks that were kept, in their order.

    documents: by their hashes. Raises DataError where one is missing.
    """
    indexes: dict[str, ElementIndex] = {}
    found: list[TuningRow] = []
    missed = 0
    for task in tasks:
        if task.cause:
            continue
        document = documents.get(task.document)
        if document is None:
            raise DataError(
                "the document of a task is not there",
                file=task.app,
                hint=f"give the document {task.document[:12]}, of which the tasks were made",
            )
        if task.document not in indexes:
            indexes[task.document] = ElementIndex(document)
        for row in _rows(task, document, indexes[task.document], retrieve or WRITER_RETRIEVE):
            if row is None:
                missed += 1
            else:
                found.append(row)
    return TuningRows(tuple(found), missed)


def write_tuning_rows(path: Path, rows: Sequence[TuningRow]) -> None:
    """Write rows as conversations, which `training.tuning` reads; "group" is the template.

    Raises DataError for no rows, ResourceError where the file cannot be written.
    """
    if not rows:
        raise DataError("there are no rows", file=str(path), hint="make more tasks")
    atomic_write_text(
        path, "".join(f"{json.dumps(_told(one), ensure_ascii=False)}\n" for one in rows)
    )


def _rows(
    task: SynthesisedTask, document: AppDocument, index: ElementIndex, retrieve: RetrieveConfig
) -> Iterator[TuningRow | None]:
    for words in task.wordings:
        elements = index.retrieve(words.text, retrieve).elements
        if not set(task.elements) <= {one.name for one in elements}:
            yield None
            continue
        messages = tuple(script_messages(words.text, elements, document, brief=True))
        split = _split(task, judged=words.use == "judge")
        yield TuningRow(
            split,
            words.text,
            words.template,
            task.app,
            task.state,
            task.kind,
            messages,
            task.script,
            elements,
            task.document,
        )


def _split(task: SynthesisedTask, *, judged: bool) -> RowSplit:
    if task.held:
        return "both" if judged else "state"
    return "words" if judged else "learn"


def _told(row: TuningRow) -> dict[str, object]:
    turns = [{"role": one.role, "content": one.content} for one in row.messages]
    turns.append({"role": "assistant", "content": row.script})
    return {"messages": turns, "group": row.template, "app": row.app, "state": row.state}
