"""What the words of a task want."""

from __future__ import annotations

import pytest

from adwright.agent.generate.task import TaskIntent, read_intent, read_task


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
