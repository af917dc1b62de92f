"""What is typed, chosen and tapped on a page."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

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
from adwright.agent.generate.ladder import ScriptLadder, generalise, macro_arguments
from adwright.agent.generate.planner import plan_scripts
from adwright.agent.generate.retrieve import ElementIndex, RetrieveConfig
from adwright.agent.generate.task import read_intent, read_parts, read_task
from adwright.agent.generate.writing import BeamConfig
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import Script, print_script, read_script
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import Macro, MacroBook, Postconditions, RunPolicy
from adwright.core.clock import FixedClock
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.act_pages import NOTES, ROOMS, forms, intent, part
from tests.support.agent.macros import run_macro
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

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
        ("Locate Ann's note and delete it", 'tap(inside(find($page__rows, "Ann"), $page__bin))\n'),
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
        ('Select "Tea" and press "Submit".', "choose($page__tea, true)\ntap($page__submit)\n"),
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


LADDER_DOCUMENT = shop_document()
MACRO = Macro(
    "set_share",
    "Set the discount of {code} to {share}",
    "shop",
    "1",
    read_script(
        "param code: text\nparam share: number\n"
        "tap(inside(match($offers__rows, code)[0], $offers__edit))\n"
        "set_text($offer_edit__share, share)\ntap($offer_edit__save)\n"
    ),
    Postconditions(("POST /offers/{}/",)),
)
ODD = "Kindly see to the correspondence"
GOOD = "tap($mail__send)\n"


def book(folder: Path) -> MacroBook:
    made = MacroBook(folder)
    made.keep(MACRO, LADDER_DOCUMENT)
    return made


def test_a_macro_is_taken_with_its_arguments(tmp_path: Path) -> None:
    ladder = ScriptLadder(LADDER_DOCUMENT, macros=book(tmp_path))
    found = ladder.script('set the discount of "Spring" to 12.5')
    assert (found.source, found.name, found.tokens_in) == ("macro", "set_share", 0)
    assert found.arguments == {"code": "Spring", "share": Decimal("12.5")}
    assert found.postconditions == MACRO.postconditions


@pytest.mark.parametrize(
    ("task", "arguments"),
    [
        ("Set the discount of Spring to 5.", {"code": "Spring", "share": Decimal(5)}),
        ("Set the discount of 'A to B' to 5%", {"code": "A to B", "share": Decimal(5)}),
        ("Set the discount of Spring to many", None),
        ("Set the discount of Spring", None),
        ("Please set the discount of Spring to 5", None),
    ],
)
def test_the_words_around_the_values_must_be_those(
    task: str, arguments: dict[str, object] | None
) -> None:
    assert macro_arguments(MACRO, read_task(task)) == arguments


def test_a_plan_comes_before_a_model(tmp_path: Path) -> None:
    model = ScriptedModel(ScriptedConfig((GOOD,)))
    found = ScriptLadder(LADDER_DOCUMENT, open_model=partial(nullcontext, model)).script(
        'Delete the offer "Autumn"'
    )
    assert (found.source, found.tokens_in) == ("plan", 0)


def test_words_that_a_plan_leaves_over_are_told_and_a_model_may_know_better() -> None:
    whole, odd = 'Set the discount of "Spring" to 25', 'Set the winter discount of "Spring" to 25'
    written = "set_text($offer_edit__share, 25)\ntap($offer_edit__save)\n"
    written = f'tap(inside(find($offers__rows, "Spring"), $offers__edit))\n{written}'
    good, bad = (
        partial(nullcontext, ScriptedModel(ScriptedConfig((said,)))) for said in (written, "tap()")
    )

    def found(task: str, **more: Any) -> list[tuple[str, tuple[str, ...]]]:
        ladder = ScriptLadder(LADDER_DOCUMENT, **more)
        return [(one.source, one.unsaid) for one in ladder.scripts(task)]

    assert found(whole, open_model=good) == [("plan", ())]
    assert found(odd) == [("plan", ("winter",))]
    assert found(odd, open_model=good) == [("model", ("winter",)), ("plan", ("winter",))]
    assert found(odd, open_model=bad) == [("plan", ("winter",))]
    assert found(whole, open_model=good, first="model") == [("model", ()), ("plan", ())]
    # A tuned writer is too small to know better.
    brief = BeamConfig(brief=True)
    assert found(odd, open_model=good, config=brief)[0] == ("plan", ("winter",))


def test_what_deletes_or_makes_leaves_no_word_over_that_the_app_knows() -> None:
    assert ScriptLadder(LADDER_DOCUMENT).script('Delete the old offer "Autumn"').unsaid == ("old",)
    for task in ('Delete the mail offer "Autumn"', 'Make a new budget offer with the name "May"'):
        with pytest.raises(ScriptError, match="no plan fits"):
            ScriptLadder(LADDER_DOCUMENT).script(task)
    assert ScriptLadder(LADDER_DOCUMENT).script('Make a new offer with the name "May"')


def test_what_saves_settings_makes_nothing() -> None:
    links = ("offers__new", "offers__edit")
    kept = tuple(one for one in LADDER_DOCUMENT.elements if one.name not in links)
    open_form = replace(LADDER_DOCUMENT.by_name["home__offers"], target="offer_edit")
    kept = tuple(open_form if one.name == "home__offers" else one for one in kept)
    task = 'Create a page with the name "Returns"'
    with pytest.raises(ScriptError, match="no plan fits"):
        ScriptLadder(replace(LADDER_DOCUMENT, elements=kept)).script(task)


def test_a_model_is_asked_where_no_plan_fits() -> None:
    bad, good = (ScriptedModel(ScriptedConfig((said,))) for said in ("tap($x)\n", GOOD))
    ladder = ScriptLadder(LADDER_DOCUMENT, open_model=partial(nullcontext, good))
    found = ladder.script(ODD)
    assert (found.source, print_script(found.script.script)) == ("model", GOOD)
    assert 0 < found.tokens_in == ladder.tokens_in
    with pytest.raises(ScriptError, match="passes the check") as caught:
        ScriptLadder(LADDER_DOCUMENT, open_model=partial(nullcontext, bad)).script(ODD)
    assert "unknown_element" in {one.code for one in caught.value.problems}


def test_without_a_model_what_does_not_fit_is_said() -> None:
    with pytest.raises(ScriptError, match="no plan fits"):
        ScriptLadder(LADDER_DOCUMENT).script(ODD)


def test_a_macro_that_no_longer_fits_is_passed_over(tmp_path: Path) -> None:
    kept = tuple(one for one in LADDER_DOCUMENT.elements if one.name != "offers__edit")
    later = type(LADDER_DOCUMENT)(
        "shop", "2", LADDER_DOCUMENT.origins, "home", LADDER_DOCUMENT.states, kept
    )
    with pytest.raises(ScriptError):
        ScriptLadder(later, macros=book(tmp_path)).script('Set the discount of "Spring" to 5')


def yes(change: PendingChange) -> bool:
    return True


def macro(task: str) -> Macro:
    plan = plan_scripts(task, LADDER_DOCUMENT)[0]
    general = generalise(plan.script.script, task, LADDER_DOCUMENT)
    assert general.postconditions is not None
    return Macro("a", general.task, "shop", "1", general.script, general.postconditions)


def run(one: Macro, app: ShopApp, task: str) -> str:
    arguments = macro_arguments(one, read_task(task))
    assert arguments is not None
    policy = RunPolicy(GateRules(OriginRules((ORIGIN,))), confirm=yes)
    return run_macro(
        one,
        LADDER_DOCUMENT,
        lambda gate: ShopDriver(app, gate),
        policy,
        arguments,
        clock=FixedClock(),
    ).verdict


def test_values_become_parameters_and_a_check_is_made() -> None:
    one = macro('Set the discount of "Spring" to 25')
    assert one.task == "Set the discount of {item} to {share}"
    assert print_script(one.script) == (
        "param item: text\nparam share: number\n"
        "tap(inside(find($offers__rows, item), $offers__edit))\n"
        "set_text($offer_edit__share, share)\ntap($offer_edit__save)\n"
    )
    assert one.postconditions.requests == ("POST /offers/{}/",)
    assert one.postconditions.check is not None
    assert print_script(one.postconditions.check) == (
        "param item: text\nparam share: number\n"
        "tap(inside(find($offers__rows, item), $offers__edit))\n"
        'expect(number(get_attributes($offer_edit__share, "value")) == share)\n'
    )


@pytest.mark.parametrize("lie", ["", "silent", "status"])
def test_the_macro_does_another_task_and_sees_a_lie(lie: str) -> None:
    app = ShopApp(lie=lie)  # type: ignore[arg-type]
    one = macro('Set the discount of "Spring" to 25')
    verdict = run(one, app, 'Set the discount of "Autumn" to 7.5')
    assert verdict == {"": "verified", "silent": "contradicted", "status": "stopped"}[lie]
    assert (Decimal(app.offers[8].share) == Decimal("7.5")) == (not lie)


@pytest.mark.parametrize("lie", ["", "silent"])
def test_a_deletion_is_looked_up(lie: str) -> None:
    app = ShopApp(lie=lie)  # type: ignore[arg-type]
    one = macro('Delete the offer "Spring"')
    verdict = run(one, app, 'Delete the offer "Autumn"')
    assert verdict == ("contradicted" if lie else "verified")
    assert (8 in app.offers) == bool(lie)


def test_of_a_message_the_request_is_checked() -> None:
    one = macro('Send a mail to "ann@shop.example" with text "Hi"')
    assert one.task == "Send a mail to {to} with text {text}"
    assert one.postconditions.check is None
    app = ShopApp()
    assert run(one, app, 'Send a mail to "bob" with text "Bye"') == "verified"
    assert app.mails == [("bob", "Bye")]


def test_what_the_task_does_not_name_stays() -> None:
    source = 'set_text($mail__to, "ann")\nset_text($mail__text, "Hi")\ntap($mail__send)\n'
    general = generalise(read_script(source), 'Send a mail to "ann"', LADDER_DOCUMENT)
    assert print_script(general.script) == "param to: text\n" + source.replace('"ann"', "to")


def test_scripts_with_blocks_keep_their_values() -> None:
    source = 'for t in ["ann"]:\n    set_text($mail__to, t)\n    tap($mail__send)\n'
    general = generalise(read_script(source), 'Send a mail to "ann"', LADDER_DOCUMENT)
    assert print_script(general.script) == source
    assert general.task == 'Send a mail to "ann"'
    assert general.postconditions is not None
    assert general.postconditions.requests == ("POST /mail/",)


def test_what_writes_nothing_has_nothing_to_check() -> None:
    script = read_script("answer(len($offers__rows))")
    assert generalise(script, "How many offers are there?", LADDER_DOCUMENT).postconditions is None


INDEX = ElementIndex(LADDER_DOCUMENT)


@pytest.mark.parametrize(
    ("task", "names"),
    [
        ("Set the discount to 25", {"offer_edit__share", "offer_edit__save", "offers__rows"}),
        ("Send a mail", {"mail__send", "mail__to", "home__mail"}),
        ("Delete an offer", {"offer_delete__confirm", "offer_edit__delete"}),
        ("Launch the budget with an amount", {"budget__launch", "budget__amount"}),
    ],
)
def test_what_a_task_needs_is_among_them(task: str, names: set[str]) -> None:
    found = INDEX.retrieve(task)
    assert names <= {one.name for one in found.elements}
    assert 0 < found.ranked <= 10
    assert set(found.states) <= {one.name for one in LADDER_DOCUMENT.states}


def test_a_form_comes_with_its_button_its_fields_and_its_door() -> None:
    task = 'Edit "Spring": name "May", discount 25, active on'
    found = INDEX.retrieve(task, RetrieveConfig(best=1, most=12))
    names = {one.name for one in found.elements}
    assert {"offer_edit__name", "offer_edit__share", "offer_edit__active"} <= names
    assert {"offer_edit__save", "offers__edit", "offers__rows"} <= names
    assert "offer_edit__status" not in names  # the task does not name it
    found = INDEX.retrieve("Delete an offer", RetrieveConfig(best=1, most=9))
    assert {"offer_delete__confirm", "offers__edit"} <= {one.name for one in found.elements}


def test_the_frame_and_other_views_are_left_out() -> None:
    found = INDEX.retrieve("Home of the mail")
    assert not {one.name for one in found.elements if one.name.endswith("__home")}
    states = (*LADDER_DOCUMENT.states, AppState("sorted", "x", "/offers/?sort"))
    extra = Element("sorted__discount", "sorted", "textbox", "Discount", value_type="text")
    document = replace(LADDER_DOCUMENT, states=states, elements=(*LADDER_DOCUMENT.elements, extra))
    names = {one.name for one in ElementIndex(document).retrieve("Set the discount").elements}
    assert "offer_edit__share" in names
    assert "sorted__discount" not in names


def test_the_number_is_bounded() -> None:
    found = INDEX.retrieve("Set the discount to 25", RetrieveConfig(best=2, most=4))
    assert len(found.elements) <= 4
    assert found.ranked == 2
