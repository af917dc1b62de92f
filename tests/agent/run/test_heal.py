"""Healing: only what is surely the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.document.elements import Element, Locator
from adwright.agent.drivers.protocol import Screen, ScreenNode
from adwright.agent.run.locate import apply_healings, effect_agrees, heal_element, healing_text
from tests.support.agent.shop_document import ORIGIN, shop_document

DOCUMENT = shop_document()
SAVE = DOCUMENT.by_name["offer_edit__save"]
NEW = DOCUMENT.by_name["offers__new"]
PAGE = f"{ORIGIN}/offers/7/"
NODE = ScreenNode("1", "button", "SAVE", facts={"action": "/offers/7/", "method": "post"})


def screen(*nodes: ScreenNode) -> Screen:
    return Screen(PAGE, "Edit", nodes)


def test_one_node_of_role_name_and_effect_is_the_element() -> None:
    healed = heal_element(screen(NODE, replace(NODE, key="2", name="Other")), SAVE)
    assert healed is not None
    assert (healed.before, healed.node) == (SAVE, NODE)
    assert healed.after == replace(SAVE, locators=(Locator("role", "SAVE", role="button"),))


@pytest.mark.parametrize(
    "nodes",
    [
        (),
        (NODE, replace(NODE, key="2")),
        (replace(NODE, name="Save all"),),
        (replace(NODE, role="link"),),
        (replace(NODE, visible=False),),
        (replace(NODE, facts={"action": "/offers/7/delete/", "method": "post"}),),
        (replace(NODE, facts={"action": "/offers/7/", "method": "get"}),),
    ],
)
def test_nothing_else_is(nodes: tuple[ScreenNode, ...]) -> None:
    assert heal_element(screen(*nodes), SAVE) is None


def test_lists_and_what_has_no_name_are_not_healed() -> None:
    assert heal_element(screen(NODE), replace(SAVE, many=True)) is None
    bare = replace(NODE, name="")
    assert heal_element(screen(bare), replace(SAVE, label="")) is None


@pytest.mark.parametrize(
    ("element", "facts", "agrees"),
    [
        (SAVE, {"action": "/offers/9/", "method": "post"}, True),
        (SAVE, {"action": f"{ORIGIN}/offers/9/", "method": "POST"}, True),
        (SAVE, {}, True),  # of a script: the gate will see
        (SAVE, {"href": "/offers/9/"}, False),
        (NEW, {"href": "/offers/0/"}, True),
        (NEW, {"href": "javascript:send()"}, False),
        (NEW, {"action": "/mail/", "method": "post"}, False),
        (NEW, {"action": "/search/"}, True),
        (replace(SAVE, requests=("GET /go/",)), {"href": "/go/"}, True),
        (replace(NEW, value_type="text"), {"type": "password"}, False),
        (replace(NEW, value_type="text"), {"action": "/mail/", "method": "post"}, True),
    ],
)
def test_attributes_say_what_a_node_would_do(
    element: Element, facts: dict[str, str], agrees: bool
) -> None:
    assert effect_agrees(PAGE, element, replace(NODE, facts=facts)) == agrees


def test_healings_are_a_new_version_that_can_be_read() -> None:
    healed = heal_element(screen(NODE), SAVE)
    assert healed is not None
    after = apply_healings(DOCUMENT, [healed])
    assert after.version == "2"
    assert after.by_name["offer_edit__save"] == healed.after
    text = healing_text(DOCUMENT, after)
    assert text.startswith("shop 1 -> 2\nchanged element offer_edit__save")
    assert apply_healings(DOCUMENT, []) is DOCUMENT
