from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.tasks import (
    ALL_TASKS,
    PAIRS_TASK,
    TASKS,
    Product,
    Request,
    Slot,
    Task,
    is_interleaved,
    task_named,
)
from adwright.core.errors import ConfigError, ValueInvalidError

TEA = Product("t1", "Mill Lane Assam 80 bags")
CATEGORIES = ("Tea", "Coffee")


def test_there_are_the_five_tasks_of_the_paper_and_descriptions() -> None:
    names = [task.name for task in TASKS]
    assert names == ["ads", "titles", "classify", "intent", "answers", "descriptions"]
    assert (*TASKS, PAIRS_TASK) == ALL_TASKS
    assert all(task_named(task.name) is task for task in ALL_TASKS)


def test_an_unknown_task_is_refused_with_the_closest() -> None:
    with pytest.raises(ConfigError, match=r"no task 'title' .* did you mean titles\?"):
        task_named("title")


def test_every_party_is_read_in_one_task_and_written_in_one() -> None:
    assert is_interleaved(TASKS)
    assert is_interleaved(TASKS[:5]), "the five tasks of the paper alone"


@pytest.mark.parametrize("without", ["intent", "titles"])
def test_the_mix_says_which_party_it_lacks(without: str) -> None:
    kept = [task for task in TASKS if task.name != without]
    written = {task.wanted.party for task in kept}
    assert is_interleaved(kept) == (written == {"customer", "seller", "platform"})
    assert not is_interleaved([task_named("classify")])


@given(st.sets(st.sampled_from(range(len(ALL_TASKS)))))
def test_a_mix_is_interleaved_where_no_party_only_reads_or_only_writes(places: set[int]) -> None:
    kept = [ALL_TASKS[place] for place in sorted(places)]
    read = {slot.party for task in kept for slot in task.presented}
    written = {task.wanted.party for task in kept}
    assert is_interleaved(kept) == (len(read) == len(written) == 3)


def test_pairs_of_parties_stand_once() -> None:
    assert task_named("classify").pairs == (("seller", "platform"),)
    assert task_named("ads").pairs == (
        ("seller", "platform"),
        ("platform", "platform"),
        ("customer", "platform"),
    )
    twice = Task(
        "x", "X", (Slot("a", "seller"), Slot("b", "seller")), Slot("c", "seller"), "text", (), ()
    )
    assert twice.pairs == (("seller", "seller"),)


@pytest.mark.parametrize("task", ALL_TASKS, ids=lambda task: task.name)
def test_each_task_takes_a_whole_request(task: Task) -> None:
    values = tuple((slot.name, "some words") for slot in task.presented if slot.name != "product")
    labels = CATEGORIES if task.form == "label" else ()
    request = Request(task, TEA, values, labels)
    assert dict(request.values) == dict(values)
    assert task.checks
    assert task.measures


@pytest.mark.parametrize(
    ("name", "given", "what"),
    [
        ("titles", {}, "needs query"),
        ("titles", {"values": (("query", " "),)}, "needs query"),
        ("titles", {"values": (("query", "tea"), ("query", "tee"))}, "given twice"),
        ("titles", {"values": (("query", "tea"), ("occasion", "x"))}, "does not take this value"),
        ("ads", {"product": Product("t2", " ")}, "needs a title"),
        ("ads", {"labels": CATEGORIES}, "takes no labels"),
        ("classify", {}, "needs a closed list"),
        ("classify", {"labels": ("Tea", "Tea ")}, "empty or repeated"),
        ("classify", {"labels": ("Tea", "")}, "empty or repeated"),
    ],
)
def test_what_is_no_request_is_refused(name: str, given: dict[str, Any], what: str) -> None:
    with pytest.raises(ValueInvalidError, match=what) as caught:
        Request(**{"task": task_named(name), "product": TEA, **given})
    assert caught.value.column == f"task {name}"


def test_a_question_needs_no_product() -> None:
    nothing = Product("none", "")
    request = Request(task_named("answers"), nothing, (("question", "How do I return it?"),))
    assert request.product is nothing


@pytest.mark.parametrize(
    "wrong",
    [lambda: Slot("a", "shop"), lambda: Task("a", "A", (), Slot("b", "seller"), "list", (), ())],
)  # type: ignore[arg-type]
def test_choices_are_checked(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="cannot be"):
        wrong()
