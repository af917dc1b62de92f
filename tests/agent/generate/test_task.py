"""What the words of a task want."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.generate.task import (
    LONGEST_TASK,
    TaskIntent,
    TermWeights,
    near_terms,
    read_intent,
    read_parts,
    read_task,
    terms_of,
)
from adwright.core.errors import ConfigError


def intent(text: str) -> TaskIntent:
    return read_intent(read_task(text), ("tenant", "offer"))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("How many offers are there?", "count"),
        ("Count our offers.", "count"),
        ('What is the total of the order "7"?', "ask"),
        ("Tell me the total of order 7", "ask"),
        ('Delete the offer "Spring"', "delete"),
        ('Get rid of the offer "Spring"', "delete"),
        ('Create an offer called "Spring"', "create"),
        ('Set the discount of "Spring" to 25', "change"),
        ('Give "Spring" the new name "Summer"', "change"),
        ('Set the number in stock of "Tea" to 3', "change"),
        ("Could you set the price to 5?", "change"),
        ("Would you please tell me the total of order 7?", "ask"),
        ("Let us know the total of order 7", "ask"),
        ("I would like to see the text of the ad", "ask"),
        ("Say which type it has", "ask"),
        ('What it says is out of date; it has to read "Tea"', "change"),
        ('Wipe the offer "Spring"', "delete"),
        ('Take "Spring" off our list for good', "delete"),
        ('Take "Spring" out of public view', "change"),
        ('Take the offer "Spring" off our list for good', "delete"),
        ('Take the discount off "Spring" for good', "change"),
        ('Put one more tenant on the list, "farm"', "create"),
        ('Add one: another "Jam"', "create"),
        ('Enter a discount of 25 for "Spring"', "change"),
        ('There should be a discount of 25 on "Spring"', "change"),
        ('One more change: "Spring" gets the discount 25', "change"),
        ('Open an offer "Spring" and set its discount to 25', "change"),
        ('Make an offer "Spring" inactive', "change"),
        ('Move "Spring" to another status, "Closed"', "change"),
        ('Take something off the price of "Spring" for good', "change"),
        ('Take 10% off the discount of "Spring" permanently', "change"),
        ('Let me know if "Autumn" has to be closed', "ask"),
        ('Find out whether "Spring" needs to be closed', "ask"),
        ('Tell me whether "Spring" should be active', "ask"),
        ("Show me all offers that should be closed", "ask"),
        ('Could you find the discount of "Spring"?', "ask"),
        ('Can you get me the total of the order "7"?', "ask"),
        ('I would like to see the discount of "Spring" raised to 25', "change"),
        ('Partner "Farm" is not in the system yet', "create"),
        ('Take "Farm" on: enter it as a tenant', "create"),
        ('We run it as "sms"; enter it as its type', "change"),
        ("Two of it are not in stock", "change"),
    ],
)
def test_the_kind_of_a_task(text: str, kind: str) -> None:
    assert intent(text).kind == kind


def test_the_words_around_values() -> None:
    item, share = intent('Set the discount of the offer "Spring" to 25').values
    assert (item.value, item.before, item.last) == ("Spring", ("set", "discount", "offer"), "offer")
    assert (share.value, share.before, share.earlier) == ("25", (), ("set", "discount", "offer"))
    assert (item.follows, share.follows) == (False, True)


def test_what_something_is_said_of() -> None:
    (item,) = intent('Tell me the price of "Tea"').values
    assert item.owns
    (kind,) = intent('Create a campaign of type "email"').values
    assert not kind.owns


def test_words_in_capitals_are_weak() -> None:
    found = intent('Set the UPC of "Tea" to 500123')
    assert {one.value: one.named for one in found.values} == {
        "UPC": True,
        "Tea": False,
        "500123": False,
    }
    assert "upc" in found.terms


def test_switches_and_secrets() -> None:
    assert intent('Make "Tea" not public').off
    assert not intent('Make "Tea" public').off
    found = intent('Register with the password secret "shop"')
    assert (found.secret, found.values) == ("shop", ())


def test_to_check_a_box_is_no_question() -> None:
    assert read_intent(read_task("Check the second box and save")).kind == "change"
    assert read_intent(read_task("Check the status of order 7")).kind == "ask"


def test_what_is_swapped_becomes_what_stands_behind_for() -> None:
    item, name = intent('On "Tea", swap the title for "Coffee"').values
    assert (item.follows, name.follows, name.owns) == (False, True, False)
    (item,) = intent('Tell me the price for "Tea"').values
    assert item.owns


def test_what_is_kept_from_sight_is_off() -> None:
    assert intent('Keep the range "Tea" from the public').off
    assert intent('Take "Tea" out of public view').off
    assert not intent('Keep the range "Tea" public').off


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Renamed the offers", ("renam", "offer")),
        ("The categories' prices", ("category", "pric")),
        ("*Campaign Id", ("campaign", "id")),
        ("numInStock", ("num", "stock")),
        ("status", ("status",)),
        ("to the", ()),
    ],
)
def test_words_lose_their_endings_and_those_without_meaning(
    text: str, terms: tuple[str, ...]
) -> None:
    assert terms_of(text) == terms


def test_near_terms_go_both_ways() -> None:
    assert "titl" in near_terms("nam")
    assert "nam" in near_terms("titl")
    assert near_terms("zebra") == frozenset()


def test_rare_terms_weigh_more() -> None:
    weights = TermWeights(["offer name", "offer price", "offer voucher"])
    assert weights["voucher"] == pytest.approx(math.log(4))
    assert weights["offer"] == pytest.approx(math.log(2))
    assert weights.of(["offer", "offer"]) == weights["offer"]
    assert (weights.knows("pric"), weights.knows("cost"), weights.knows("zebra")) == (
        True,
        True,
        False,
    )


def test_near_terms_count_for_less() -> None:
    weights = TermWeights(["price", "title"])
    assert weights.shared(["pric"], ["pric"]) > weights.shared(["pric"], ["cost"]) > 0
    assert weights.shared(["pric"], ["titl"]) == 0


@given(st.text(max_size=60))
def test_any_text_has_terms_that_stay(text: str) -> None:
    terms = terms_of(text)
    assert all(one and one == one.casefold() for one in terms)


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


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ('Type "Ann, and Bob" in the box and press OK', ["type", "tap"]),
        ("Tick Milk, Tea and click Done", ["pick", "pick", "tap"]),
        ("Look through the pages to find the word", ["look", "find"]),
        ("Locate the note by Ann and archive it", ["find", "do"]),
        ("Copy the code in the text area, paste it into the field", ["copy", "paste"]),
    ],
)
def test_each_part_has_the_kind_of_its_verb(text: str, kinds: list[str]) -> None:
    assert [one.kind for one in read_parts(text)] == kinds


def test_what_stands_in_quotes_and_days_and_handles_are_values() -> None:
    (first, second) = read_parts('Choose 4 May 2026, then hit "Go on" on 2 notes by @ann')
    assert first.values == ("4 May 2026",)
    assert (second.values, second.times) == (("Go on", "@ann"), 2)


def test_places_in_a_row_are_read() -> None:
    assert [one.nth for one in read_parts("Tap the 2nd link and press the last button")] == [1, -1]
