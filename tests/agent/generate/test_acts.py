"""What is typed, chosen and tapped on a page."""

from __future__ import annotations

import pytest

from adwright.agent.document.elements import (
    AppDocument,
    AppState,
    EffectClass,
    Element,
    Locator,
    ValueType,
)
from adwright.agent.generate.acts import (
    ActTargets,
    ItemActs,
    PageActs,
    act_plans,
    alike,
    best_act,
    named_words,
    read_best,
)
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.task import read_intent, read_parts, read_task
from adwright.agent.language.script import Script, print_script
from tests.support.agent.act_pages import NOTES, ROOMS, forms, intent, part

PAGE = ActTargets(
    forms(
        part("page__tab", "tab", "Part #12"),
        part("page__ok", "button", "OK"),
        part("page__a", "textbox", path="/input[1]", value="text"),
        part("page__b", "textbox", path="/textarea[1]", value="text"),
    ),
    "page",
)


def names(*found: object) -> list[str]:
    return [getattr(one, "name", "") for one in found]


def test_places_and_kinds() -> None:
    found = PAGE.nth("textbox", 1), PAGE.nth("text area", None), PAGE.nth("input field", None)
    assert names(*found) == ["page__b", "page__b", "page__a"]
    assert PAGE.nth("link", 0) is None


def test_words_that_are_near_and_what_sends() -> None:
    found = PAGE.likest(("part", "below"), lambda one: one.role == "tab")
    assert found is not None
    assert names(found[0], PAGE.sending("page")) == ["page__tab", "page__ok"]
    assert PAGE.likest(("elsewhere",), lambda one: True) is None


def test_records_come_before_other_lists() -> None:
    assert names(*ActTargets(NOTES, "page").lists())[0] == "page__rows"


def test_names_without_the_words_around_them() -> None:
    assert named_words("click on the Tea button") == ["Tea"]
    assert alike(PAGE.all[0], "the part below") == 0.5


def plan(words: str, page: DocumentForms) -> str:
    best = read_best(words)
    assert best is not None
    found = best_act(best, words, ActTargets(page, "page"), page)
    return print_script(Script(tuple(found or ())))


@pytest.mark.parametrize(
    ("words", "compared", "sign"),
    [("the cheapest room", "take", "<"), ("the room with the longest time", "free", ">")],
)
def test_numbers_of_items_are_compared_when_the_script_runs(
    words: str, compared: str, sign: str
) -> None:
    def number(item: str) -> str:
        return f"number(get_text(inside({item}, $page__{compared})))"

    assert plan(words, ROOMS) == (
        "best = $page__rows[0]\nfor row in $page__rows:\n"
        f"    if {number('row')} {sign} {number('best')}:\n        best = row\n"
        "tap(inside(best, $page__take))\n"
    )


def test_of_cards_that_stand_alone_their_names_are_compared() -> None:
    cards = forms(*(part(f"page__c{n}", "generic", n) for n in ("7", "12", "3")))
    assert plan("the highest card", cards) == "tap($page__c12)\n"


def test_what_compares_nothing() -> None:
    assert read_best("the second room") is None


def item_acts_plan(text: str) -> tuple[str, bool]:
    acts = ItemActs(intent(text), NOTES, "page")
    whole = all([acts.add(one) for one in read_parts(text)])
    return print_script(Script(tuple(acts.body))), whole


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (
            "Locate Ann's note and delete it",
            'tap(inside(find($page__rows, "Ann"), $page__bin))\n',
        ),
        (
            'For the user @ann, press the "Pin" icon',
            'tap(inside(find($page__rows, "@ann"), $page__pin))\n',
        ),
        (
            'Hit the "Pin" icon on 2 notes by @ann and press Submit',
            'tap(inside(match($page__rows, "@ann")[0], $page__pin))\n'
            'tap(inside(match($page__rows, "@ann")[1], $page__pin))\n'
            "tap($page__submit)\n",
        ),
        (
            'Find the note from Ann and reply to it with "Gladly"',
            'tap(find($page__rows, "Ann"))\ntap($note__respond)\n'
            'set_text($form__body, "Gladly")\ntap($form__send)\n',
        ),
    ],
)
def test_the_part_or_the_page_of_an_item_is_acted_on(text: str, script: str) -> None:
    assert item_acts_plan(text) == (script, True)


def test_what_no_part_is_called_is_no_act() -> None:
    assert item_acts_plan("Find the note from Ann and translate it") == ("", False)


FIELDS = forms(
    part("page__a", "textbox", path="/input[1]", value="text", effect="draft"),
    part("page__b", "textbox", path="/input[2]", value="text", effect="draft"),
    part("page__notes", "textbox", path="/textarea[1]", value="text", effect="draft"),
    part("page__radio", "radio", value="switch", effect="draft"),
    part("page__radio_2", "radio", value="switch", effect="draft"),
    part("page__day", "textbox", "Day", value="date", effect="draft"),
    part("page__done", "button", "Done"),
)
WORDS = forms(
    part("one__words", "generic", path="/div[1]/b", many=True),
    part("two__words", "generic", path="/div[2]/b", many=True),
    part("two__help", "generic", "Help"),
    part("two__help_2", "button", "Help"),
)


def page_acts_plan(text: str, page: DocumentForms = FIELDS) -> tuple[str, bool]:
    acts = PageActs(intent(text), page, page.document.states[0].name)
    whole = all([acts.add(one) for one in read_parts(text)])
    acts.send_rest()
    return print_script(Script(tuple(acts.body))), whole


@pytest.mark.parametrize(
    ("text", "script"),
    [
        (
            'Tick the 2nd radio button and write "5" in the first text field',
            'choose($page__radio_2, true)\nset_text($page__a, "5")\ntap($page__done)\n',
        ),
        (
            "Put 4 May 2026 as the day, then press submit",
            'set_text($page__day, "2026-05-04")\ntap($page__done)\n',
        ),
        (
            "Copy the text in the text area, paste it into the 2nd field and press Done",
            "set_text($page__b, get_text($page__notes))\ntap($page__done)\n",
        ),
    ],
)
def test_fields_are_found_by_their_place_and_kind(text: str, script: str) -> None:
    assert page_acts_plan(text) == (script, True)


def test_a_button_goes_before_a_part_of_the_same_name() -> None:
    assert page_acts_plan('Press "Help"', WORDS) == ("tap($two__help_2)\n", True)


def test_of_several_lists_that_is_taken_which_has_the_item() -> None:
    script, whole = page_acts_plan('Click on the link "ferry"', WORDS)
    assert whole
    assert script == (
        'if len(match($one__words, "ferry")) > 0:\n'
        '    tap(match($one__words, "ferry")[0])\n'
        'elif len(match($two__words, "ferry")) > 0:\n'
        '    tap(match($two__words, "ferry")[0])\n'
    )


def test_a_field_that_nothing_names_is_not_guessed() -> None:
    assert page_acts_plan('Write "5" somewhere') == ("", False)


def element(
    name: str,
    role: str,
    label: str,
    *,
    value: ValueType = "none",
    options: tuple[str, ...] = (),
    effect: EffectClass = "draft",
) -> Element:
    found = (Locator("role", label, role=role),)
    return Element(f"page__{name}", "page", role, label, found, value, options, effect=effect)


DOCUMENT = AppDocument(
    "page",
    "1",
    ("http://127.0.0.1:8000",),
    "page",
    (AppState("page", "0", "/page"),),
    (
        element("user", "textbox", "Username", value="text"),
        element("mail", "textbox", "Email", value="text"),
        element("tea", "checkbox", "Tea", value="switch"),
        element("milk", "radio", "Milk", value="switch"),
        element("size", "combobox", "Size", value="choice", options=("Small", "Large")),
        element("submit", "button", "Submit", effect="unknown"),
    ),
)


def plan_acts_plan(text: str) -> tuple[str, bool]:
    plans = list(act_plans(read_intent(read_task(text)), DocumentForms(DOCUMENT)))
    if not plans:
        return "", False
    body, _, whole = max(plans, key=lambda one: one[1])
    return print_script(Script(tuple(body))), whole


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ('Click on the "Submit" button.', "tap($page__submit)\n"),
        (
            'Select "Tea" and press "Submit".',
            "choose($page__tea, true)\ntap($page__submit)\n",
        ),
        ("Select Milk and click Submit.", "choose($page__milk, true)\ntap($page__submit)\n"),
        (
            'Choose "Large", then click "Submit"',
            'choose($page__size, "Large")\ntap($page__submit)\n',
        ),
        (
            'Enter the username "ann" and the email "a@b.example", and press "Submit"',
            'set_text($page__user, "ann")\nset_text($page__mail, "a@b.example")\n'
            "tap($page__submit)\n",
        ),
    ],
)
def test_each_part_is_an_act(text: str, script: str) -> None:
    assert plan_acts_plan(text) == (script, True)


def test_a_part_that_nothing_fits_makes_it_no_whole() -> None:
    script, whole = plan_acts_plan('Select "Coffee" and press "Submit"')
    assert (script, whole) == ("tap($page__submit)\n", False)
    assert plan_acts_plan("What is the total?") == ("", False)
