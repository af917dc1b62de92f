"""Plans without a model."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.document.elements import AppDocument, Element, Locator, column_of
from adwright.agent.generate.field_values import DocumentForms, FilledForm, fill_form, label_of
from adwright.agent.generate.planner import ACTS, named_item, plan_scripts, question_plans
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
from adwright.agent.language.script import Script, print_script
from adwright.agent.language.statements import CheckRules
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()


@pytest.mark.parametrize(
    ("task", "script"),
    [
        (
            'Set the discount of "Spring" to 25',
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            "set_text($offer_edit__share, 25)\ntap($offer_edit__save)\n",
        ),
        (
            "Set the discount of the offer Spring to 12.5 and its status to Closed",
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            "set_text($offer_edit__share, 12.5)\n"
            'choose($offer_edit__status, "Closed")\ntap($offer_edit__save)\n',
        ),
        (
            'Create a new offer with name "Summer" and discount 5',
            'set_text($offer_edit__name, "Summer")\nset_text($offer_edit__share, 5)\n'
            "tap($offer_edit__save)\n",
        ),
        (
            'Delete the offer "Autumn"',
            'tap(inside(find($offers__rows, "Autumn"), $offers__edit))\n'
            "tap($offer_delete__confirm)\n",
        ),
        (
            'Send a mail to "ann@shop.example" with text "It is done"',
            'set_text($mail__to, "ann@shop.example")\nset_text($mail__text, "It is done")\n'
            "tap($mail__send)\n",
        ),
        (
            "Launch the budget with amount 50",
            "set_text($budget__amount, 50)\ntap($budget__launch)\n",
        ),
        (
            'Deactivate the offer "Spring"',
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            "choose($offer_edit__active, false)\ntap($offer_edit__save)\n",
        ),
        ("How many offers are there?", "answer(len($offers__rows))\n"),
        ("What is the total of the budget?", "answer(get_text($budget__total))\n"),
    ],
)
def test_the_best_plan_does_the_task(task: str, script: str) -> None:
    plans = plan_scripts(task, DOCUMENT)
    assert plans
    assert print_script(plans[0].script.script) == script


#: What deletes the offer, and what deletes a part of it or takes it out of something.
DELETIONS = (
    *('Remove "Autumn" from the offers', 'Please remove the offer "Autumn" from the shop'),
    *('"Autumn" has to go', 'Get rid of "Autumn"', 'Find the offer "Autumn" and delete it'),
    *('The offer "Autumn" is out of date, delete it', 'Erase the entry "Autumn"'),
    *('Take the offer "Autumn" off our list for good', "Could you delete the offer Autumn?"),
    *('Nobody asks for it any more; remove "Autumn" altogether', 'Discard the offer "Autumn".'),
)
PARTS = (
    *('Remove the discount from the offer "Spring".', 'Delete the name of the offer "Spring"'),
    *('Remove "Spring" from the homepage', 'Take the offer "Spring" off the homepage for good'),
    *('Remove "Spring"\'s discount', 'Delete the offer\'s discount, "Spring"'),
    *('From the offer "Spring", remove the discount', 'Erase the discount on "Spring"'),
    *('The discount of "Spring" has to go', 'Get rid of the status of "Spring"'),
    *('The discount for the offer "Spring" should be removed', 'Discard the discount in "Spring"'),
    *('Take "Spring" out of the newsletter permanently', 'Delete the mail about "Spring"'),
    *('Remove the picture "a.png" from the offer "Spring"', 'Delete "Spring" from "Autumn"'),
    *('Wipe the discount that the offer "Spring" has', "Scrap the discount for Spring"),
    *('Delete everything in the discount field of "Spring"', 'Purge the notes under "Spring"'),
    *('Do away with the limit for "Spring"', 'Throw out the second line of "Spring"'),
)


@pytest.mark.parametrize("task", DELETIONS)
def test_an_item_that_is_to_go_is_deleted(task: str) -> None:
    best = plan_scripts(task, DOCUMENT)[0]
    assert best.is_whole
    assert "offer_delete__confirm" in best.script.elements


@pytest.mark.parametrize("task", PARTS)
def test_who_removes_a_part_of_an_item_does_not_delete_it(task: str) -> None:
    for plan in plan_scripts(task, DOCUMENT):
        assert "offer_delete__confirm" not in plan.script.elements


def test_a_flag_that_is_to_be_removed_is_unticked() -> None:
    best = plan_scripts('Remove the active flag from the offer "Spring"', DOCUMENT)[0]
    assert "choose($offer_edit__active, false)" in print_script(best.script.script)


@pytest.mark.parametrize("task", ["Dance", "Please be so kind", "Set the colour to blue"])
def test_what_does_not_fit_has_no_plan(task: str) -> None:
    assert plan_scripts(task, DOCUMENT) == ()


def test_a_plan_passes_the_rules() -> None:
    task = 'Send a mail to "ann@shop.example" with text "It is done"'
    forbidden = CheckRules(forbidden=("message",))
    assert all(
        "mail__send" not in one.script.elements for one in plan_scripts(task, DOCUMENT, forbidden)
    )


def test_plans_are_few_and_ordered() -> None:
    plans = plan_scripts('Set the name of "Spring" to "Summer" and discount to 5', DOCUMENT)
    assert 1 <= len(plans) <= 5
    merits = [one.merit for one in plans]
    assert merits == sorted(merits, reverse=True)


def test_rows_are_those_around_the_link() -> None:
    def at(path: str, name: str) -> Element:
        element = DOCUMENT.by_name[name]
        return replace(element, locators=(*element.locators, Locator("xpath", path, of=0)))

    head = replace(at("/table/thead/tr", "offers__rows"), name="offers__head")
    changed = {
        "offers__rows": at("/table/tbody/tr", "offers__rows"),
        "offers__edit": at("/table/tbody/tr/td/a", "offers__edit"),
    }
    elements = tuple(changed.get(one.name, one) for one in DOCUMENT.elements)
    document = replace(DOCUMENT, elements=(head, *elements))
    plans = plan_scripts('Delete the offer "Autumn"', document)
    assert "find($offers__rows" in print_script(plans[0].script.script)


def test_nobody_is_signed_out_by_a_task_that_does_not_say_so() -> None:
    save = DOCUMENT.by_name["offer_edit__save"]
    out = replace(save, name="offer_edit__log_out", label="Log out")
    document = replace(DOCUMENT, elements=(*DOCUMENT.elements, out))
    plans = plan_scripts('Take "Autumn" out of the offers for good', document)
    assert not any(out.name in one.script.elements for one in plans)
    plans = plan_scripts('Edit "Autumn" and log out', document)
    assert any(out.name in one.script.elements for one in plans)


SHOP = shop_document()
_TOTAL = replace(
    SHOP.by_name["offers__rows"],
    name="offers__total",
    role="cell",
    description="one of a list, column Total",
)
PLAN_QUESTIONS_DOCUMENT = replace(SHOP, elements=(*SHOP.elements, _TOTAL))


def best(text: str, document: AppDocument = PLAN_QUESTIONS_DOCUMENT) -> str:
    intent = read_intent(read_task(text))
    plans = [one for one in question_plans(intent, DocumentForms(document)) if one[2]]
    if not plans:
        return ""
    return print_script(Script(tuple(max(plans, key=lambda one: one[1])[0])))


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("How many offers are there?", "answer(len($offers__rows))\n"),
        (
            'What is the total of the offer "Spring"?',
            'answer(get_text(inside(find($offers__rows, "Spring"), $offers__total)))\n',
        ),
        (
            'Which discount does the offer "Spring" have?',
            'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n'
            'answer(get_attributes($offer_edit__share, "value"))\n',
        ),
        ("What is the total of the budget?", "answer(get_text($budget__total))\n"),
        ('What is the total of the mail "Spring"?', ""),
        ('What is the weight of "Spring"?', ""),
    ],
)
def test_the_best_answer(text: str, script: str) -> None:
    assert best(text) == script


def test_a_page_of_a_longer_list_is_not_counted() -> None:
    following = replace(
        SHOP.by_name["offers__home"], name="offers__next", label="next", target="offers"
    )
    paged = replace(
        PLAN_QUESTIONS_DOCUMENT, elements=(*PLAN_QUESTIONS_DOCUMENT.elements, following)
    )
    assert best("How many offers are there?", paged) == ""


FORMS = DocumentForms(shop_document())
OFFERS = FORMS.terms("offers")


def fit(text: str, value: str) -> tuple[float, bool]:
    return named_item(read_intent(read_task(text)), FORMS, value, OFFERS)


def test_the_word_before_says_what_it_is() -> None:
    likely, is_known = fit('Delete the offer "Spring"', "Spring")
    assert likely > 0
    assert is_known
    less, is_known = fit('Delete the mail "Spring"', "Spring")
    assert less < likely
    assert not is_known


def test_what_something_becomes_is_less_likely() -> None:
    text = 'Set the name of "Spring" to "Summer"'
    assert fit(text, "Spring") > fit(text, "Summer")


def test_verbs_are_no_kinds() -> None:
    assert fit('Delete "Spring"', "Spring") == (0.0, True)
    assert "delet" in ACTS


FIELD_VALUES_FORMS = DocumentForms(DOCUMENT)
FIELDS = FIELD_VALUES_FORMS.scope(DOCUMENT.by_name["offer_edit__save"])


def filled(
    text: str, *, picked: str | None = None, named: frozenset[str] = frozenset()
) -> FilledForm:
    intent = read_intent(read_task(text))
    return fill_form(intent, FIELDS, FIELD_VALUES_FORMS.weights, picked=picked, named=named)


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("Set the discount to 25", "set_text($offer_edit__share, 25)\n"),
        ("The discount should be 12.5", "set_text($offer_edit__share, 12.5)\n"),
        ('Rename it to "Summer"', 'set_text($offer_edit__name, "Summer")\n'),
        ('Set its status to "closed"', 'choose($offer_edit__status, "Closed")\n'),
        ("Make it not active", "choose($offer_edit__active, false)\n"),
        ("Make it active", "choose($offer_edit__active, true)\n"),
        ('Set "Active" to off', "choose($offer_edit__active, false)\n"),
    ],
)
def test_a_value_goes_where_its_label_is(text: str, script: str) -> None:
    assert print_script(Script(filled(text).acts)) == script


def test_each_value_goes_into_one_field() -> None:
    found = filled('Name "Summer", discount 5')
    assert (len(found.acts), found.used) == (2, {"Summer", "5"})


def test_the_item_is_not_typed() -> None:
    assert "Spring" not in filled('Set the name of "Spring" to "Summer"', picked="Spring").used


def test_a_value_that_does_not_fit_is_left() -> None:
    assert filled("Set the discount to 900").acts == ()
    assert filled('Set the status to "Lost"').acts == ()


def test_the_name_of_what_is_made() -> None:
    text = 'Create the offer "Summer"'
    assert filled(text).acts == ()
    found = filled(text, named=frozenset(("offer",)))
    assert print_script(Script(found.acts)) == 'set_text($offer_edit__name, "Summer")\n'


def test_what_is_still_open() -> None:
    assert filled("Set the discount to 25").open == 1
    assert filled('Set the name to "Tea" and the discount to 25').open == 0


def test_what_a_field_is_called() -> None:
    assert label_of(DOCUMENT.by_name["offer_edit__share"]) == "Discount"


def test_values_are_given_to_fields_so_that_all_labels_count_the_most() -> None:
    found = filled('Of the "Summer" name, the discount is 5 and the status "closed"')
    assert print_script(Script(found.acts)) == (
        'set_text($offer_edit__name, "Summer")\nset_text($offer_edit__share, 5)\n'
        'choose($offer_edit__status, "Closed")\n'
    )


def test_the_value_that_no_label_stands_before_is_the_name_of_what_is_made() -> None:
    text = 'Here is "Summer". Make it an offer with 5 as the discount'
    found = filled(text, named=frozenset(("offer",)))
    assert found.used == {"Summer", "5"}
    assert filled(text).used == {"5"}


def test_a_field_that_is_seen_twice_is_filled_once() -> None:
    share = next(one for one in FIELDS if one.name == "offer_edit__share")
    twin = replace(share, name="offer_edit_2__share", state="offer_edit_2")
    intent = read_intent(read_task("The discount is 5, so enter 5, not 7, as the discount"))
    found = fill_form(intent, (share, twin), FIELD_VALUES_FORMS.weights, picked=None)
    assert [print_script(Script((one,))) for one in found.acts] == [
        "set_text($offer_edit__share, 5)\n"
    ]


FORM_WAYS_FORMS = DocumentForms(DOCUMENT)


def test_the_fields_of_a_form() -> None:
    names = [one.name for one in FORM_WAYS_FORMS.scope(DOCUMENT.by_name["mail__send"])]
    assert names == ["mail__to", "mail__text"]


def test_fields_of_another_form_are_left_out() -> None:
    def in_form(name: str, form: int) -> Locator:
        return Locator("xpath", f"/html[1]/form[{form}]/{name}")

    moved = {"mail__to": 1, "mail__text": 2, "mail__send": 2}
    elements = tuple(
        replace(one, locators=(in_form(one.role, moved[one.name]),)) if one.name in moved else one
        for one in DOCUMENT.elements
    )
    forms = DocumentForms(replace(DOCUMENT, elements=elements))
    send = forms.document.by_name["mail__send"]
    assert [one.name for one in forms.scope(send)] == ["mail__text"]


def test_doors_lead_through_items() -> None:
    (edit,) = FORM_WAYS_FORMS.doors("offer_edit")
    assert (edit.rows.name, edit.door and edit.door.name, edit.steps) == (
        "offers__rows",
        "offers__edit",
        0,
    )
    assert [one.steps for one in FORM_WAYS_FORMS.doors("offer_delete")] == [1]
    assert FORM_WAYS_FORMS.doors("mail") == ()


def test_words_of_states() -> None:
    assert FORM_WAYS_FORMS.path_terms("offer_delete") == {"offer", "delet"}
    assert "edit" in FORM_WAYS_FORMS.terms("offer_edit")
    assert {"offer", "mail", "budget"} <= FORM_WAYS_FORMS.kinds
    assert FORM_WAYS_FORMS.is_of_item("offer_edit")
    assert not FORM_WAYS_FORMS.is_of_item("offers")


def test_columns_stand_in_descriptions() -> None:
    rows = DOCUMENT.by_name["offers__rows"]
    assert column_of(replace(rows, description="one of a list, column Total tax")) == "Total tax"
    assert column_of(rows) == ""


def test_a_list_that_goes_on() -> None:
    home = DOCUMENT.by_name["offers__home"]
    following = replace(home, name="offers__next", label="next", target="offers")
    paged = DocumentForms(replace(DOCUMENT, elements=(*DOCUMENT.elements, following)))
    assert (FORM_WAYS_FORMS.is_paged("offers"), paged.is_paged("offers")) == (False, True)


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
