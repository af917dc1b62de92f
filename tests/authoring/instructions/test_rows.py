from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions.rows import (
    AuthoringExample,
    InstructionRow,
    SeedInstruction,
    read_rows,
    request_of,
    row_of,
)
from adwright.authoring.tasks import Product, PromptBounds, Request, messages_of, task_named
from adwright.core.errors import ConfigError, DataError

TEA = Product("t1", "Mill Lane Assam 80 bags", brand="Mill Lane", attributes=(("Bags", "80"),))
AD = AuthoringExample(
    Request(task_named("ads"), TEA, (("occasion", "Easter"),)), " Tea for Easter. ", "c1", "shop"
)
SEED = SeedInstruction("ads-02", "For {occasion}, write an ad.", ("occasion",), "ads")


def test_a_row_is_what_is_asked_in_use() -> None:
    row = row_of(AD, SEED, voice="Be warm.")
    assert row.instruction == "For Easter, write an ad."
    assert row.turns == messages_of(AD.request, instruction=row.instruction, voice="Be warm.")
    assert row.answer == "Tea for Easter."
    assert row.turns[1].content == f"{row.instruction}\n\n{row.shown}"
    assert (row.seed, row.cluster, row.source, row.teacher) == ("ads-02", "c1", "shop", "data")
    assert request_of(row) == AD.request


def test_the_id_tells_rows_apart() -> None:
    row = row_of(AD, SEED)
    assert row_of(AD, SEED).id == row.id
    assert row_of(replace(AD, cluster="c2"), SEED).id == row.id
    assert row_of(replace(AD, answer="Tea."), SEED).id != row.id
    other = row_of(AD, replace(SEED, text="Write."))
    assert (other.id != row.id, other.prompt_hash != row.prompt_hash) == (True, True)
    assert row_of(replace(AD, answer="Tea."), SEED).prompt_hash == row.prompt_hash


def test_parties_that_are_read() -> None:
    assert row_of(AD, SEED).read == ("platform", "seller")
    both = Request(task_named("ads"), TEA, (("occasion", "Easter"), ("audience", "cats")))
    assert row_of(replace(AD, request=both), SEED).read == ("customer", "platform", "seller")
    asked = Request(task_named("answers"), Product("n", ""), (("question", "How?"),))
    row = row_of(replace(AD, request=asked), replace(SEED, text="Answer."))
    assert (row.read, row.written) == (("customer",), "platform")


def test_a_label_is_answered_as_it_is_shown() -> None:
    request = Request(task_named("classify"), TEA, (), ("Tea <b>&amp; more</b>", "Coffee"))
    row = row_of(
        AuthoringExample(request, "Tea <b>&amp; more</b>", "c", "s"), replace(SEED, text="Go.")
    )
    assert row.answer == "Tea & more"
    assert "- Tea & more" in row.shown
    short = row_of(
        AuthoringExample(request, "Coffee", "c", "s"),
        replace(SEED, text="Go."),
        bounds=PromptBounds(labels=0),
    )
    assert "Coffee" not in short.shown


def test_a_seed_whose_slot_is_not_filled_is_refused() -> None:
    with pytest.raises(ConfigError, match="asks for audience"):
        row_of(AD, replace(SEED, text="For {audience}."))


def test_lines_lead_back_to_the_row(tmp_path: Path) -> None:
    rows = [row_of(AD, SEED), row_of(AD, replace(SEED, text="Ad.")).with_passed(("form", "copy"))]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([rows[0].to_line(), "", rows[1].to_line()]) + "\n")
    assert list(read_rows(path)) == rows
    found = json.loads(rows[1].to_line())
    assert [turn["role"] for turn in found["messages"]] == ["system", "user", "assistant"]
    assert found["group"] == "c1"
    assert (found["read"], found["written"], found["passed"]) == (
        ["platform", "seller"],
        "platform",
        ["form", "copy"],
    )


@given(st.text(), st.text(), st.sampled_from("\u2028\x85\u2029\n\r\x1c"))
def test_any_text_stays_in_its_line(title: str, answer: str, sign: str) -> None:
    product = Product("p", f"t{title}{sign}")
    example = AuthoringExample(Request(task_named("ads"), product), f"a{sign}{answer}b", "c", "s")
    row = row_of(example, replace(SEED, text="Ad."))
    line = row.to_line()
    assert len(line.splitlines()) == 1
    if title.isprintable() and answer.isprintable():
        assert InstructionRow.from_line(line) == row


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", '{"messages": []}', '{"messages": [{"role": "x", "content": "y"}]}'],
)
def test_what_is_no_row_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(row_of(AD, SEED).to_line() + "\n" + line + "\n")
    with pytest.raises(DataError, match="no row of instruction data") as caught:
        list(read_rows(path))
    assert caught.value.row == 1
    with pytest.raises(DataError, match="cannot be read"):
        list(read_rows(tmp_path / "absent.jsonl"))


def test_tuning_reads_the_very_rows(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from adwright.training.tuning.texts import PairsConfig

    row = row_of(AD, SEED)
    path = tmp_path / "rows.jsonl"
    path.write_text(row.to_line() + "\n")
    (read,) = PairsConfig(path, group="group").rows()
    assert (read.group, read.answer) == ("c1", row.answer)
    assert [(turn.role, turn.content) for turn in read.said] == [  # type: ignore[union-attr]
        (turn.role, turn.content) for turn in row.turns
    ]
