"""Values in the words of a task."""

from __future__ import annotations

import pytest

from adwright.agent.generate.task import LONGEST_TASK, read_task
from adwright.core.errors import ConfigError


@pytest.mark.parametrize(
    ("task", "values"),
    [
        ('Set the discount of "Spring sale" to 25', ("Spring sale", "25")),
        ("Rename the offer 'Old name' to “New name”", ("Old name", "New name")),
        ("Set its status to Closed", ("Closed",)),
        ("Send a mail to ann@shop.example saying 'It is done'", ("ann@shop.example", "It is done")),
        ("Delete the offer Spring Sale 2", ("Spring Sale 2",)),
        ("Raise the budget by 12.50 and 3%", ("12.50", "3")),
        ("the owner's name", ()),
        ("How many offers are there?", ()),
        ("Set it to 5, then to 5", ("5",)),
    ],
)
def test_values_are_found(task: str, values: tuple[str, ...]) -> None:
    assert read_task(task).values == values


def test_words_are_whole() -> None:
    task = read_task("Delete the offers")
    assert task.has("delete")
    assert not task.has("offer")


@pytest.mark.parametrize("task", ["", "  ", "x" * (LONGEST_TASK + 1)])
def test_a_task_is_bounded(task: str) -> None:
    with pytest.raises(ConfigError):
        read_task(task)
