"""A page that an app shows after a form was sent, which asks whether to do it.

    node = confirming_button(screen, element, sent)       # its one button, or None

It is one only where a single button sends to the very address that the form was sent to, by the
same method, with nothing to be filled beside it. The gate then lets nothing through in which a
field says something else than before, see `GateAct.repeats`, and asks the person again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urldefrag, urljoin

from adwright.agent.document.elements import Element
from adwright.agent.document.groups import FIELDS
from adwright.agent.drivers.protocol import PendingRequest, Screen, ScreenNode, SeenRequest
from adwright.agent.explore.effects import word_effect
from adwright.agent.policy.shapes import SAFE_METHODS

__all__ = [
    "came_back",
    "confirming_button",
    "first_sent",
    "named_record",
    "repeated",
    "sent_fields",
]

_LONGEST_NAME = 80


def first_sent(requests: Iterable[SeenRequest]) -> PendingRequest | None:
    """The form that a page answered itself, without leading elsewhere; None without one."""
    for one in requests:
        request = one.request
        if request.kind == "page" and request.method.upper() not in SAFE_METHODS:
            return request if one.decision.allowed and one.status == 200 else None
    return None


def confirming_button(screen: Screen, element: Element, sent: PendingRequest) -> ScreenNode | None:
    """The button that confirms what was sent; None where it is not sure that there is one."""
    seen = [one for one in screen.nodes if one.visible]
    same = [
        one
        for one in seen
        if one.role == "button"
        and one.facts.get("method", "").upper() == sent.method.upper()
        and _address(urljoin(screen.url, one.facts.get("action", ""))) == _address(sent.url)
    ]
    if len(same) != 1 or not same[0].enabled:
        return None
    (node,) = same
    form = node.facts.get("form", "")
    if any(one.role in FIELDS and one.facts.get("form", "") == form for one in seen):
        return None
    says = word_effect(node.name)
    return node if says is None or says == element.effect else None


def came_back(requests: Iterable[SeenRequest]) -> bool:
    """Whether a form was answered by a page: one that is accepted is answered by a redirect."""
    sent = [one for one in requests if one.request.method not in SAFE_METHODS]
    return any(one.request.kind == "page" and one.status == 200 for one in sent)


def named_record(screen: Screen | None, item: str) -> str:
    """What a person is told of the record that is acted on: the item by which it was reached, and
    the heading and first text field of its page. item: text of it in its list, empty for none."""
    if screen is None:
        return f"of {item[:_LONGEST_NAME]!r}" if item else ""
    seen = [one for one in screen.nodes if one.visible]
    heads = (one.name or one.text for one in seen if one.role == "heading")
    head = next(filter(None, heads), screen.title)
    name = next((one.value for one in seen if one.role == "textbox" and one.facts.get("name")), "")
    parts = [f"of {item[:_LONGEST_NAME]!r}"] if item else []
    parts += [f"on {head[:_LONGEST_NAME]!r}"] if head else []
    parts += [f"of {name[:_LONGEST_NAME]!r}"] if name and name not in item else []
    return ", ".join(parts)


def sent_fields(nodes: Iterable[ScreenNode]) -> dict[str, str]:
    """The names and values with which fields would be sent."""
    return dict(filter(None, map(_sent, nodes)))


def repeated(sent: PendingRequest, shown: Mapping[str, str]) -> dict[str, str]:
    """What was sent of the fields that the page had shown: what nobody sees may change."""
    return {name: value for name, value in sent.fields.items() if name in shown}


def _address(url: str) -> str:
    return urldefrag(url)[0]


def _sent(node: ScreenNode) -> tuple[str, str] | None:
    """The name and value with which a field is sent; None of what is not."""
    name = node.facts.get("name")
    if not name or node.secret:
        return None
    if node.role in ("checkbox", "radio", "switch"):
        return (name, node.facts.get("value", "on")) if node.value == "true" else None
    return name, node.value
