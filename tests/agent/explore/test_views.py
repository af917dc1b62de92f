"""Which parts are tried, and what a tap has shown."""

from __future__ import annotations

import pytest

from adwright.agent.document.elements import EffectClass, Element, Locator
from adwright.agent.drivers.protocol import GateDecision, PendingRequest, SeenRequest
from adwright.agent.explore.describe import SeenElement
from adwright.agent.explore.explorer import kind_of, may_be_tried, new_in, tried_to_send


def seen(
    role: str, label: str, effect: EffectClass = "unknown", path: str = "/p[1]"
) -> SeenElement:
    return SeenElement(
        Element("page__x", "page", role, label, (Locator("xpath", path),), effect=effect)
    )


@pytest.mark.parametrize(
    ("one", "tried"),
    [
        (seen("generic", "drawer"), True),
        (seen("listitem", ""), True),
        (seen("listitem", "", "read"), False),
        (seen("button", "Save draft"), False),
        (seen("generic", "bin", "destructive"), False),
        (seen("textbox", "Name", "draft"), False),
    ],
)
def test_what_may_send_is_not_tried(one: SeenElement, tried: bool) -> None:
    assert may_be_tried(one) is tried


def test_parts_that_stand_alike_are_of_one_kind() -> None:
    first, second = (seen("generic", x, path=f"/ul[1]/li[{x}]") for x in ("1", "2"))
    assert kind_of(first) == kind_of(second)


def test_what_tries_to_send_is_noticed() -> None:
    get, post = (PendingRequest(one, "http://h/x") for one in ("GET", "POST"))
    assert not tried_to_send((SeenRequest(get, GateDecision(True)),))
    assert tried_to_send((SeenRequest(post, GateDecision(False)),))


def test_lists_without_a_label_are_told_apart_by_their_place() -> None:
    before = (seen("generic", "", path="/a[1]"), seen("button", "More", path="/b[1]"))
    shown = (*before, seen("generic", "", path="/a[2]"), seen("button", "More", path="/b[2]"))
    assert new_in(shown, before) == (shown[2],)
