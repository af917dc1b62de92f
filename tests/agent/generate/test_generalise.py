"""Macros of scripts that did one task."""

from __future__ import annotations

from decimal import Decimal

import pytest

from adwright.agent.generate.ladder import generalise, macro_arguments
from adwright.agent.generate.planner import plan_scripts
from adwright.agent.generate.task import read_task
from adwright.agent.language.script import print_script, read_script
from adwright.agent.policy.confirmation import PendingChange
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.macros import Macro
from adwright.agent.run.runner import RunPolicy
from adwright.core.clock import FixedClock
from tests.support.agent.macros import run_macro
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()


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
