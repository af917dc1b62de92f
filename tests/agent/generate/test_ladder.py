"""The cheapest means first."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from functools import partial
from pathlib import Path

import pytest

from adwright.agent.document.elements import AppState, Element
from adwright.agent.generate.ladder import ScriptLadder, generalise, macro_arguments
from adwright.agent.generate.planner import plan_scripts
from adwright.agent.generate.retrieve import ElementIndex, RetrieveConfig
from adwright.agent.generate.task import read_task
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import print_script, read_script
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import Macro, MacroBook, Postconditions, RunPolicy
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from adwright.lm.engine.scripted import ScriptedConfig, ScriptedModel
from tests.support.agent.macros import run_macro
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
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
    made.keep(MACRO, DOCUMENT)
    return made


def test_a_macro_is_taken_with_its_arguments(tmp_path: Path) -> None:
    ladder = ScriptLadder(DOCUMENT, macros=book(tmp_path))
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
    found = ScriptLadder(DOCUMENT, open_model=partial(nullcontext, model)).script(
        'Delete the offer "Autumn"'
    )
    assert (found.source, found.tokens_in) == ("plan", 0)


def test_a_model_is_asked_where_no_plan_fits() -> None:
    bad, good = (ScriptedModel(ScriptedConfig((said,))) for said in ("tap($x)\n", GOOD))
    ladder = ScriptLadder(DOCUMENT, open_model=partial(nullcontext, good))
    found = ladder.script(ODD)
    assert (found.source, print_script(found.script.script)) == ("model", GOOD)
    assert 0 < found.tokens_in == ladder.tokens_in
    with pytest.raises(ScriptError, match="passes the check") as caught:
        ScriptLadder(DOCUMENT, open_model=partial(nullcontext, bad)).script(ODD)
    assert "unknown_element" in {one.code for one in caught.value.problems}


def test_without_a_model_what_does_not_fit_is_said() -> None:
    with pytest.raises(ScriptError, match="no plan fits"):
        ScriptLadder(DOCUMENT).script(ODD)


def test_a_macro_that_no_longer_fits_is_passed_over(tmp_path: Path) -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offers__edit")
    later = type(DOCUMENT)("shop", "2", DOCUMENT.origins, "home", DOCUMENT.states, kept)
    with pytest.raises(ScriptError):
        ScriptLadder(later, macros=book(tmp_path)).script('Set the discount of "Spring" to 5')


def yes(change: PendingChange) -> bool:
    return True


def macro(task: str) -> Macro:
    plan = plan_scripts(task, DOCUMENT)[0]
    general = generalise(plan.script.script, task, DOCUMENT)
    assert general.postconditions is not None
    return Macro("a", general.task, "shop", "1", general.script, general.postconditions)


def run(one: Macro, app: ShopApp, task: str) -> str:
    arguments = macro_arguments(one, read_task(task))
    assert arguments is not None
    policy = RunPolicy(GateRules(OriginRules((ORIGIN,))), confirm=yes)
    return run_macro(
        one, DOCUMENT, lambda gate: ShopDriver(app, gate), policy, arguments, clock=FixedClock()
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
    general = generalise(read_script(source), 'Send a mail to "ann"', DOCUMENT)
    assert print_script(general.script) == "param to: text\n" + source.replace('"ann"', "to")


def test_scripts_with_blocks_keep_their_values() -> None:
    source = 'for t in ["ann"]:\n    set_text($mail__to, t)\n    tap($mail__send)\n'
    general = generalise(read_script(source), 'Send a mail to "ann"', DOCUMENT)
    assert print_script(general.script) == source
    assert general.task == 'Send a mail to "ann"'
    assert general.postconditions is not None
    assert general.postconditions.requests == ("POST /mail/",)


def test_what_writes_nothing_has_nothing_to_check() -> None:
    script = read_script("answer(len($offers__rows))")
    assert generalise(script, "How many offers are there?", DOCUMENT).postconditions is None


INDEX = ElementIndex(DOCUMENT)


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
    assert set(found.states) <= {one.name for one in DOCUMENT.states}


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
    states = (*DOCUMENT.states, AppState("sorted", "x", "/offers/?sort"))
    extra = Element("sorted__discount", "sorted", "textbox", "Discount", value_type="text")
    document = replace(DOCUMENT, states=states, elements=(*DOCUMENT.elements, extra))
    names = {one.name for one in ElementIndex(document).retrieve("Set the discount").elements}
    assert "offer_edit__share" in names
    assert "sorted__discount" not in names


def test_the_number_is_bounded() -> None:
    found = INDEX.retrieve("Set the discount to 25", RetrieveConfig(best=2, most=4))
    assert len(found.elements) <= 4
    assert found.ranked == 2
    for wrong in ({"best": 0}, {"most": 0}):
        with pytest.raises(ConfigError):
            RetrieveConfig(**wrong)
