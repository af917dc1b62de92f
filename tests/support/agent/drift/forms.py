"""Drift of forms: fields in another order, one more that nobody has to fill, one more page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from lxml import html as lxml_html
from lxml.html import HtmlElement

from tests.support.agent.drift.kinds import Drift

#: The name of the field that is added; servers do not know it.
EXTRA = "clerk_reference"
_FEWEST = 2
_GROUPS = ("div", "p", "li", "label", "fieldset")


def move_fields(form: HtmlElement, drift: Drift) -> None:
    """Turn the order of fields that stand side by side."""
    for groups in _side_by_side(form):
        by = 1 + drift.number("moved", len(groups) - 1)
        parent = groups[0].getparent()
        assert parent is not None
        places = [parent.index(one) for one in groups]
        copies = [*groups[by:], *groups[:by]]
        for one in groups:
            parent.remove(one)
        for place, one in zip(places, copies, strict=True):
            parent.insert(place, one)


def add_field(form: HtmlElement, drift: Drift) -> None:
    """One more field, which looks as if it had to be filled."""
    if not any(_fills(one) for one in form.iter("input", "select", "textarea")):
        return
    words = ("Reference of the clerk *", "Reason for the change *")[drift.number("extra", 2)]
    name = f"id_{EXTRA}"
    text = (
        f'<div class="form-group"><label for="{name}">{words}</label>'
        f'<input class="form-control" type="text" id="{name}" name="{EXTRA}" value=""></div>'
    )
    form.insert(0, lxml_html.fragment_fromstring(text))


def confirmation_page(address: str, fields: Sequence[tuple[str, str]], kind: str) -> bytes:
    """A page that asks whether to do what was sent. kind: of the form's encoding."""
    hidden = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in fields
    )
    return (
        "<!DOCTYPE html><html lang=en><head><meta charset=utf-8><title>Please confirm</title>"
        "</head><body><h1>Please confirm</h1><p>Do you want to go on with this?</p>"
        f'<form method="post" action="{escape(address)}" enctype="{kind}">{hidden}'
        '<button type="submit">Confirm</button> <a href="/">Do not</a></form></body></html>'
    ).encode()


def _side_by_side(form: HtmlElement) -> list[list[HtmlElement]]:
    """Groups of elements with one parent and tag that hold a field each, and no button."""
    found: dict[tuple[str, str], list[HtmlElement]] = defaultdict(list)
    tree = form.getroottree()
    for field in form.iter("input", "select", "textarea"):
        if not _fills(field):
            continue
        around: HtmlElement = field
        while (parent := around.getparent()) is not None and parent is not form.getparent():
            inner = [one for one in parent.iter("input", "select", "textarea") if _fills(one)]
            if len(inner) > 1 or parent is form:
                break
            around = parent
        above = around.getparent()
        if above is not None and around.tag in _GROUPS and not _holds_button(around):
            groups = found[tree.getpath(above), str(around.tag)]
            if around not in groups:
                groups.append(around)
    return [groups for groups in found.values() if len(groups) >= _FEWEST]


def _holds_button(element: HtmlElement) -> bool:
    return any(one.get("type", "submit") == "submit" for one in element.iter("button"))


def _fills(field: HtmlElement) -> bool:
    kinds = ("hidden", "submit", "button", "image", "reset")
    return bool(field.get("name")) and field.get("type", "") not in kinds
