"""Rows to tune on are what the writer is asked with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.generate.prompts import brief_messages, script_messages
from adwright.agent.generate.retrieve import ElementIndex, RetrieveConfig
from adwright.agent.language.printer import print_script
from adwright.agent.synthesis.compose import compose
from adwright.agent.synthesis.intents import IntentConfig, make_intents
from adwright.agent.synthesis.synthesise import SynthesisedTask, document_hash
from adwright.agent.synthesis.tuning_rows import (
    WRITER_RETRIEVE,
    TuningRow,
    tuning_rows,
    write_tuning_rows,
)
from adwright.agent.synthesis.wordings import word_task
from adwright.core.errors import ConfigError, DataError
from adwright.training.tuning.texts import PairsConfig
from tests.agent.synthesis.test_intents import KNOWN
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
DOCUMENTS = {document_hash(DOCUMENT): DOCUMENT}


def task(number: int, *, held: bool = False, cause: str = "") -> SynthesisedTask:
    one = make_intents(DOCUMENT, KNOWN, IntentConfig())[number]
    words = word_task(one, "learn", 2) + word_task(one, "judge", 1)
    script = print_script(compose(one, DOCUMENT))
    elements = tuple(sorted(one.elements))
    (digest,) = DOCUMENTS
    return SynthesisedTask(
        one.key, "shop", digest, 0, one.kind, one.state, held, script, elements, words, cause
    )


def test_messages_are_those_that_the_writer_is_asked() -> None:
    row = tuning_rows([task(0)], DOCUMENTS).rows[0]
    elements = ElementIndex(DOCUMENT).retrieve(row.task, WRITER_RETRIEVE).elements
    assert row.elements == elements
    assert list(row.messages) == brief_messages(script_messages(row.task, elements, DOCUMENT))
    assert row.script == task(0).script
    assert len(elements) > len(task(0).elements)  # and some that do not matter


def test_splits_are_by_words_and_by_state() -> None:
    rows = tuning_rows([task(0), task(1, held=True), task(2, cause="run: x")], DOCUMENTS)
    found = [one.split for one in rows.rows]
    assert set(found) == {"learn", "words", "state", "both"}
    assert {one.template.endswith("j") for one in rows.of("words", "both")} == {True}
    assert {one.template.endswith("j") for one in rows.of("learn", "state")} == {False}


def test_a_task_whose_elements_are_not_found_is_left_out() -> None:
    rows = tuning_rows([task(0)], DOCUMENTS, RetrieveConfig(best=1, most=1))
    assert rows.rows == ()
    assert rows.missed == 3


def test_tuning_reads_what_is_written(tmp_path: Path) -> None:
    rows = tuning_rows([task(0), task(1)], DOCUMENTS).of("learn")
    path = tmp_path / "train.jsonl"
    write_tuning_rows(path, rows)
    read = PairsConfig(path, group="group").rows()
    assert [(one.answer, one.group) for one in read] == [(one.script, one.template) for one in rows]
    told = json.loads(path.read_text("utf-8").splitlines()[0])
    assert (told["app"], told["state"]) == ("shop", rows[0].state)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="document of a task"):
        tuning_rows([task(0)], {})
    with pytest.raises(DataError, match="no rows"):
        write_tuning_rows(tmp_path / "x", [])
    row = tuning_rows([task(0)], DOCUMENTS).rows[0]
    assert isinstance(row, TuningRow)
    with pytest.raises(ConfigError):
        replace(row, split="test")  # type: ignore[arg-type]
