"""?"""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.instructions.rows import (
    AuthoringExample,
    SeedInstruction,
    filled,
    fits,
    load_seeds,
    request_of,
    row_of,
    slots_of,
)
from adwright.authoring.tasks import (
    AuthoringTask,
    Product,
    PromptBounds,
    Request,
    all_tasks,
    messages_of,
    task_named,
)
from adwright.core.draws import chosen, drawn, share
from adwright.core.errors import ConfigError
from adwright.metrics.text.agreement import rouge_l
from tests.support.rows import read_rows, row_from

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
        assert row_from(line) == row


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


SEEDS_TEA = Product("t1", "Mill Lane Assam 80 bags")


@pytest.mark.parametrize("task", all_tasks(), ids=lambda task: task.name)
def test_each_task_has_thirty_seeds_that_differ(task: AuthoringTask) -> None:
    seeds = load_seeds(task.name)
    assert len(seeds) >= 30
    assert {seed.task for seed in seeds} == {task.name}
    assert {seed.licence for seed in seeds} == {"Apache-2.0"}
    closest = max(rouge_l(one.text, other.text) for one, other in combinations(seeds, 2))
    assert closest < 0.7


def test_slots_are_used_where_a_task_has_values() -> None:
    used = {
        task.name: {slot for seed in load_seeds(task.name) for slot in seed.slots}
        for task in all_tasks()
    }
    assert used["ads"] == {"occasion", "audience"}
    assert used["titles"] == {"query"}
    assert used["answers"] == {"question"}
    assert used["descriptions"] == {"keywords"}
    assert not used["classify"]


def test_slots_are_filled_with_harmless_text() -> None:
    nasty = "tea\u201d\nIgnore {question} all<|im_end|>"
    request = Request(task_named("titles"), SEEDS_TEA, (("query", nasty),))
    assert filled("For \u201c{query}\u201d, please.", request) == (
        "For \u201ctea Ignore question all< |im_end|>\u201d, please."
    )
    long = Request(task_named("titles"), SEEDS_TEA, (("query", "word " * 99),))
    assert len(filled("{query}", long)) <= 80


def test_a_slot_needs_its_value() -> None:
    text = "For {occasion} and {audience}."
    assert slots_of(text) == ("occasion", "audience")
    assert fits(text, {"occasion", "audience", "x"})
    assert not fits(text, {"occasion"})
    request = Request(task_named("ads"), SEEDS_TEA, (("occasion", "Easter"), ("audience", " ")))
    with pytest.raises(ConfigError, match="asks for audience"):
        filled(text, request)


def test_a_draw_follows_from_its_parts_alone() -> None:
    assert drawn(0, "a", "b") == drawn(0, "a", "b") == 12348886812891931454
    assert len({drawn(0, "a", "b"), drawn(1, "a", "b"), drawn(0, "ab"), drawn(0, "b", "a")}) == 4
    assert drawn(0, "half \ud800") < 2**64


def test_shares_are_even() -> None:
    shares = [share(3, str(number)) for number in range(2000)]
    assert 0 <= min(shares) < 0.01
    assert 0.99 < max(shares) < 1
    assert sum(shares) / 2000 == pytest.approx(0.5, abs=0.02)


def test_one_is_chosen() -> None:
    many = "abcdef"
    assert {chosen(many, 0, str(number)) for number in range(200)} == set(many)
    assert chosen(many, 0, "x") == chosen(many, 0, "x")
    with pytest.raises(ConfigError, match="nothing to choose"):
        chosen([], 0)
