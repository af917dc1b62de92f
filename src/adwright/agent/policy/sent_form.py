"""What a form may send: what stood on the screen when the script sent it, and to the same record.

    form = sent_form(screen, node, {"name"})      # node: a button; the script has filled in "name"
    form.why_not(request, ["POST /offers/{}/"])   # "" or in which way the request is another one

A page may change what it sends after it was looked at: by a script that runs when the form is sent,
by a second field of the same name, or by the same form sent to another record besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import field
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from adwright.agent.drivers.protocol import PendingRequest, Screen, ScreenNode
from adwright.agent.policy.shapes import SAFE_METHODS, matching_shape
from adwright.core.config import settings

__all__ = ["SentForm", "left_behind", "sent_form"]

#: Roles of fields that are sent as they stand there.
_SENT_AS_SHOWN = ("textbox", "searchbox", "spinbutton", "combobox", "listbox")


@settings
class SentForm:
    """method, address: of the form that a button sends, by the page's own attributes; empty where
    it sends none. fields: names of those that can be seen, and what stands in them."""

    method: str = ""
    address: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, request: PendingRequest, shapes: Iterable[str]) -> str:
        """Why a documented request is not what this form sends; empty where it may be. Where a
        script of the page sends something of another shape, its address is not compared."""
        shapes = tuple(shapes)
        own = matching_shape(self.method, self.address, shapes) if self.address else None
        if own is not None and matching_shape(request.method, request.url, [own]) is not None:
            here, there = _place(self.address), _place(request.url)
            if here != there:
                return f"would send to {there}, and its form goes to {here}"
        for name, shown in self.fields.items():
            sent = request.fields.get(name)
            if sent is not None and not _same(sent, shown):
                return f"would send {sent[:80]!r} as {name}, and {shown[:80]!r} stands there"
        return ""


def sent_form(screen: Screen, node: ScreenNode, typed: Collection[str]) -> SentForm:
    """What tapping a node sends. typed: names of the fields that the script has filled in, which
    count wherever they stand; others where they stand in the form of the node, and can be seen."""
    form = node.facts.get("form")
    named = Counter(one.facts.get("name", "") for one in screen.nodes)
    fields = {
        one.facts["name"]: _value(one)
        for one in screen.nodes
        if one.role in _SENT_AS_SHOWN
        and one.facts.get("name")
        and named[one.facts["name"]] == 1
        and (one.facts.get("name") in typed or (one.visible and one.facts.get("form") == form))
        and not one.secret
        and "multiple" not in one.facts
    }
    method = _sends(node)
    if not method:
        return SentForm(fields={key: one for key, one in fields.items() if key in typed})
    return SentForm(method, node.facts.get("action", ""), fields)


def left_behind(filled: Mapping[str, str], node: ScreenNode) -> str:
    """The first of the elements that were filled, with their forms, which a button does not send as
    it sends another form; empty where there is none, or where it sends no form by itself."""
    form = node.facts.get("form")
    if not form or not _sends(node):
        return ""
    return next((name for name, other in filled.items() if other and other != form), "")


def _sends(node: ScreenNode) -> str:
    """The method by which a button sends its form; empty where it sends none, or only reads."""
    kind = node.facts.get("type", "submit" if node.facts.get("tag") == "button" else "")
    method = node.facts.get("method", "").upper()
    is_sent = kind in ("submit", "image") and method not in SAFE_METHODS
    return method if is_sent else ""


def _value(node: ScreenNode) -> str:
    """With which a field is sent: of a list that of its choice, not the choice's label."""
    return node.facts.get("chosen", "") if node.facts.get("tag") == "select" else node.value


def _place(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _same(sent: str, shown: str) -> bool:
    """Line ends and blanks are a browser's, and a page may write a number in its own way."""
    if sent.split() == shown.split():
        return True
    try:
        return Decimal(sent) == Decimal(shown)
    except InvalidOperation:
        return False
