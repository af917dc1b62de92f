"""The next script where the one before has done nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.agent.generate.ladder import FoundScript
from adwright.agent.language.checker import check_script
from adwright.agent.language.parser import read_script
from adwright.agent.operate.policy_file import AgentPolicy
from adwright.agent.operate.turns import is_untouched, run_in_turn
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen
from adwright.core.clock import FixedClock
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
POLICY = AgentPolicy(OriginRules((ORIGIN,)))
EDIT = 'tap(inside(find($offers__rows, "{}"), $offers__edit))\n'
SAVE = "set_text($offer_edit__share, 25)\ntap($offer_edit__save)\n"
MISSING, THERE = EDIT.format("Hardware") + SAVE, EDIT.format("Spring") + SAVE


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


def test_an_item_that_is_not_there_is_looked_for_otherwise() -> None:
    shop, told = Shop(), []
    scripts = iter([found(MISSING), found(THERE), found(MISSING)])
    last, report = run_in_turn(scripts, shop.run, on_next=told.append)
    assert (report.verdict, shop.app.offers[7].share) == ("done", "25")
    assert last == found(THERE)
    assert told == shop.runs[:1]
    assert next(scripts) == found(MISSING)  # which nobody has asked for


def test_of_scripts_that_all_stop_the_last_is_told() -> None:
    shop = Shop()
    last, report = run_in_turn([found(MISSING), found(MISSING + MISSING)], shop.run)
    assert (last, report) == (found(MISSING + MISSING), shop.runs[1])
    assert is_untouched(report)
    assert len(shop.runs) == 2
    shop = Shop()
    run_in_turn([found(MISSING)] * 9, shop.run, most=3)
    assert len(shop.runs) == 3


@pytest.mark.parametrize("dry", [False, True])
def test_nothing_is_tried_after_a_no_or_after_what_was_sent(dry: bool) -> None:
    shop = Shop(says=False)
    _, report = run_in_turn([found(THERE), found(THERE)], shop.run)
    assert (report.verdict, len(shop.runs), shop.app.writes) == ("stopped", 1, [])
    shop = Shop(dry=dry)
    _, report = run_in_turn([found(THERE + MISSING), found(THERE)], shop.run)
    assert (report.verdict, len(shop.runs)) == ("stopped", 1)
    assert not is_untouched(report)


def test_without_a_script_there_is_no_run() -> None:
    def none() -> Iterator[FoundScript]:
        yield from ()

    with pytest.raises(ValueError, match="no script"):
        run_in_turn(none(), Shop().run)
