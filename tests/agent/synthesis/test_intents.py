"""What could be asked of the shop."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest

from adwright.agent.synthesis.intents import (
    INTENT_KINDS,
    DrawnIntent,
    FieldSetting,
    IntentConfig,
    make_intents,
)
from adwright.agent.synthesis.known_items import KnownApp, KnownItem, KnownList
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
PAGES = {
    "offer_edit": {
        "offer_edit__name": "Spring",
        "offer_edit__share": "10",
        "offer_edit__status": "Open",
        "offer_edit__active": "true",
    }
}
ITEMS = (KnownItem("Spring", "Spring 10% Open", {}, PAGES), KnownItem("Autumn", "Autumn 20% Open"))
KNOWN = KnownApp({"offers__rows": KnownList(2, False, ITEMS)})


@cache
def intents(**settings: object) -> tuple[DrawnIntent, ...]:
    return make_intents(DOCUMENT, KNOWN, IntentConfig(**settings))  # type: ignore[arg-type]


def of(kind: str) -> list[DrawnIntent]:
    return [one for one in intents(a_form=4) if one.kind == kind]


def test_all_kinds_that_the_shop_has_come() -> None:
    kinds = {one.kind for one in intents(a_form=4)}
    assert kinds == set(INTENT_KINDS) - {"look_up", "read_cell"}  # it has no search, and no cells


def test_settings_change_what_stands_there() -> None:
    for one in of("set"):
        assert one.item in ("Spring", "Autumn")
        for setting in one.settings:
            if one.item == "Spring":
                assert setting.said != PAGES["offer_edit"][setting.field]
    assert {len(one.settings) for one in of("set")} >= {1, 2, 4}


def test_what_is_made_has_all_that_is_required() -> None:
    for one in of("create"):
        if one.state == "sign_in":
            continue
        assert {"offer_edit__name", "offer_edit__share"} <= {s.field for s in one.settings}
        assert one.link == ""


def test_questions_know_their_answers() -> None:
    assert {one.expected for one in of("count")} == {"2"}
    reads = of("read")
    assert reads
    assert all(one.expected == PAGES["offer_edit"][one.asked] for one in reads)
    assert all(one.expected == "1" for one in of("count_some") if one.item == "Spring")
    assert not any(one.writes for one in reads)


def test_conditions_are_on_what_is_there() -> None:
    for one in of("if_value"):
        assert one.found == PAGES["offer_edit"][one.asked]
    assert all(one.item == one.settings[0].value for one in of("unless_there"))
    assert {one.button for one in of("if_there")} >= {"offer_edit__save", "offer_delete__confirm"}


def test_messages_and_payments_are_sent() -> None:
    assert {one.pressed for one in of("send")} == {"send", "launch"}


def test_headers_are_not_counted() -> None:
    rows = replace(KNOWN.lists["offers__rows"], headed=True)
    found = make_intents(DOCUMENT, KnownApp({"offers__rows": rows}))
    assert not {"count", "count_some"} & {one.kind for one in found}


def test_settings_of_the_making_hold() -> None:
    assert intents() == make_intents(DOCUMENT, KNOWN)
    assert intents(seed=1) != intents(seed=2)
    assert len(intents(most=3)) == 3
    assert {one.kind for one in intents(kinds=("delete",))} == {"delete"}
    assert len(intents(a_form=1)) < len(intents(a_form=4))
    assert len(intents(kinds=("read",), a_list=1)) < len(intents(kinds=("read",), a_list=3))
    assert len({one.key for one in intents(a_form=4)}) == len(intents(a_form=4))
    with pytest.raises(ConfigError):
        IntentConfig(most=0)
    with pytest.raises(ConfigError):
        IntentConfig(kinds=("steal",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        DrawnIntent("steal", "x", "y")  # type: ignore[arg-type]


def test_a_script_names_these_elements() -> None:
    one = DrawnIntent("set", "s", "n", "r", "l", "i", (FieldSetting("f", "f", True),), "b")
    assert one.elements == {"r", "l", "f", "b"}
