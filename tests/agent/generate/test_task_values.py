"""Values in the words of a task."""

from __future__ import annotations

import pytest

from adwright.agent.generate.task import LONGEST_TASK, read_task, task_words
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


@pytest.mark.parametrize(
    ("task", "label", "value"),
    [
        ("Set the discount to 25", "Discount", "25"),
        ("set discount=25", "Discount", "25"),
        ('Set the discount of "Spring" to 25', "Discount", "25"),
        ("Set the discount of the offer Spring to 25", "discount", "25"),
        ('Create an offer with name "Spring" and discount 25', "Name", "Spring"),
        ('Create an offer with name "Spring" and discount 25', "Discount", "25"),
        ("Set the status to Closed", "Status", "Closed"),
        ("Set the discount to 25", "Name", None),
        ("Set the discounts to 25", "Discount", None),
        ("Set the discount to 25", "", None),
    ],
)
def test_a_label_has_the_value_after_it(task: str, label: str, value: str | None) -> None:
    assert read_task(task).value_of(label) == value


def test_words_are_whole() -> None:
    task = read_task("Delete the offers")
    assert task.has("delete")
    assert not task.has("offer")
    assert task.has_any(["send", "offers"])
    assert task_words("offer_edit__save Now") == {"offer", "edit", "save", "now"}


@pytest.mark.parametrize("task", ["", "  ", "x" * (LONGEST_TASK + 1)])
def test_a_task_is_bounded(task: str) -> None:
    with pytest.raises(ConfigError):
        read_task(task)
