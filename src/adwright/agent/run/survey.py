"""Look whether a script would still find its elements, without doing anything but following links.

    found = survey_script(checked, document, open_driver, rules)
    [one for one in found if one.status != "there"]

Each state that harmless ways lead to is visited once. What lies behind a write, or behind an item
that only the script picks, is "unseen".
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import replace
from typing import Literal

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenDriver
from adwright.agent.language.checker import CheckedScript
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.reach import StateReach
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.run.heal import effect_agrees
from adwright.agent.run.locate import items_on, locate
from adwright.agent.run.renamed import heal_missed
from adwright.agent.run.runner import OpenDriver
from adwright.agent.run.screen_world import ScreenWorld
from adwright.agent.run.trace import RunTrace
from adwright.core.config import settings

__all__ = ["SurveyedElement", "survey_script"]


@settings
class SurveyedElement:
    """status: "there"; "moved", where healing would find it; "gone"; "changed", where it would do
    something else; "unseen", where no harmless way leads to its state. note: why."""

    name: str
    status: Literal["there", "moved", "gone", "changed", "unseen"]
    note: str = ""


def survey_script(
    checked: CheckedScript, document: AppDocument, open_driver: OpenDriver, rules: GateRules
) -> tuple[SurveyedElement, ...]:
    """What became of the elements of a script, in the order of the document.

    Raises ScriptError where the app cannot be opened.
    """
    gate = PolicyGate(replace(rules, dry=True), document)
    driver = open_driver(gate.decide)
    try:
        with gate.during("reading"):
            return _survey(checked, document, driver, gate)
    finally:
        with suppress(DriverError):
            driver.close()


def _survey(
    checked: CheckedScript, document: AppDocument, driver: ScreenDriver, gate: PolicyGate
) -> tuple[SurveyedElement, ...]:
    world = ScreenWorld(document, driver, gate, RunTrace())
    world.go_home()
    reach = StateReach(document).from_state(document.start)
    wanted = [one for one in document.elements if one.name in checked.elements]
    found: dict[str, SurveyedElement] = {}
    for state in dict.fromkeys(one.state for one in wanted):
        here = [one for one in wanted if one.state == state]
        if state not in reach:
            found |= _all(here, "unseen", "only a write or an item leads there")
            continue
        try:
            screen = world.be_at(state)
        except (ScriptError, DriverError) as error:
            found |= _all(here, "unseen", str(error))
            continue
        found |= {one.name: _look(screen, document, one) for one in here}
    return tuple(found[one.name] for one in wanted)


def _all(
    elements: Iterable[Element], status: Literal["unseen"], note: str
) -> dict[str, SurveyedElement]:
    return {one.name: SurveyedElement(one.name, status, note) for one in elements}


def _look(screen: Screen, document: AppDocument, element: Element) -> SurveyedElement:
    if element.many:
        count = len(items_on(screen, element))
        return SurveyedElement(element.name, "there" if count else "gone", f"{count} items")
    try:
        node = locate(screen, element)
    except ScriptError as error:
        moved = heal_missed(screen, document, element, error.code) is not None
        return SurveyedElement(element.name, "moved" if moved else "gone", error.what)
    if not effect_agrees(screen.url, element, node):
        return SurveyedElement(element.name, "changed", "it would do something else")
    return SurveyedElement(element.name, "there")
