"""The next script where the one before has done nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.operate.policy_file import AgentPolicy
from adwright.agent.operate.tasks import find_scripts, is_untouched, run_in_turn
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import FixedClock
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
POLICY = AgentPolicy(OriginRules((ORIGIN,)))
TASK = 'Set the discount of "Spring" to 25'
EDIT = 'tap(inside(find($offers__rows, "{}"), $offers__edit))\n'
SAVE = "set_text($offer_edit__share, 25)\ntap($offer_edit__save)\n"
# A list that has no such item: its links all say "Edit".
MISSING, THERE = f'tap(find($offers__edit, "Spring"))\n{SAVE}', EDIT.format("Spring") + SAVE


def found(script: str) -> FoundScript:
    return FoundScript(check_script(read_script(script), DOCUMENT), "plan")


class Shop:
    """Runs scripts on one app, and counts."""

    def __init__(self, *, says: bool = True, dry: bool = False, lie: str = "") -> None:
        self.app = ShopApp(lie=lie)
        self.runs: list[RunReport] = []
        self._says, self._dry = says, dry

    def run(self, one: FoundScript) -> RunReport:
        report = run_on_screen(
            one.script,
            DOCUMENT,
            lambda gate: ShopDriver(self.app, gate),
            RunPolicy(POLICY.gate_rules(dry=self._dry), confirm=lambda _: self._says),
            {},
            clock=FixedClock(),
        )
        self.runs.append(report)
        return report


def test_an_item_that_is_not_in_one_list_is_looked_for_in_another() -> None:
    shop = Shop()
    scripts = iter([found(MISSING), found(THERE), found(MISSING)])
    last, report = run_in_turn(TASK, scripts, shop.run)
    assert (report.verdict, shop.app.offers[7].share) == ("done", "25")
    assert last == found(THERE)
    assert [is_untouched(one) for one in shop.runs] == [True, False]
    assert next(scripts) == found(MISSING)  # which nobody has asked for


def test_of_scripts_that_all_stop_the_last_is_told() -> None:
    shop = Shop()
    last, report = run_in_turn(TASK, [found(MISSING), found(MISSING + MISSING)], shop.run)
    assert (last, report) == (found(MISSING + MISSING), shop.runs[1])
    assert len(shop.runs) == 2
    shop = Shop()
    run_in_turn(TASK, [found(MISSING)] * 9, shop.run)
    assert len(shop.runs) == 4


@pytest.mark.parametrize(
    ("task", "after", "runs"),
    [
        # Mistyped: neither the other value is the item, nor is one made of that name.
        ('Rename "Sprnig" to "Autumn"', EDIT.format("Autumn"), 1),
        ('Set the discount of "Sprnig" to 25', "tap($offers__new)\n", 1),
        ('Set the discount of "Sprnig" to 25', EDIT.format("Sprnig"), 2),
        ('Create the offer "Sprnig" with a discount of 25', "tap($offers__new)\n", 2),
    ],
)
def test_another_item_is_never_taken_for_one_that_nobody_finds(
    task: str, after: str, runs: int
) -> None:
    shop = Shop()
    run_in_turn(task, [found(EDIT.format("Sprnig") + SAVE), found(after)], shop.run)
    assert len(shop.runs) == runs


def test_the_plans_of_a_mistyped_task_change_nothing() -> None:
    for task in (
        'Rename "Sprnig" to "Autumn"',
        'Set the discount of "Sprnig" to 25',
        'Give the offer "Sprnig" the name "Autumn"',
        'Delete the offer "Sprnig"',
    ):
        shop = Shop()
        _, report = run_in_turn(task, find_scripts(task, DOCUMENT), shop.run)
        assert (report.verdict, shop.app.writes) == ("stopped", [])


def test_an_item_that_several_may_be_is_not_chosen() -> None:
    shop = Shop()
    shop.app.offers[9] = Offer("Spring")
    _, report = run_in_turn(TASK, [found(THERE), found(THERE)], shop.run)
    assert report.problem is not None
    assert (report.problem.code, len(shop.runs), shop.app.writes) == ("ambiguous", 1, [])


@pytest.mark.parametrize("dry", [False, True])
def test_nothing_is_tried_after_a_no_or_after_what_was_sent(dry: bool) -> None:
    shop = Shop(says=False)
    _, report = run_in_turn(TASK, [found(THERE), found(THERE)], shop.run)
    assert (report.verdict, len(shop.runs), shop.app.writes) == ("stopped", 1, [])
    shop = Shop(dry=dry)
    _, report = run_in_turn(TASK, [found(THERE + MISSING), found(THERE)], shop.run)
    assert (report.verdict, len(shop.runs)) == ("stopped", 1)
    assert not is_untouched(report)


def test_without_a_script_there_is_no_run() -> None:
    def none() -> Iterator[FoundScript]:
        yield from ()

    with pytest.raises(ValueError, match="no script"):
        run_in_turn(TASK, none(), Shop().run)
