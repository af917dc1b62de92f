"""Which writes a person must confirm, and what the person is shown: the request itself.

    change.sentence()
    # "destructive: POST /offers/7/ of 'Spring 10', on 'Offer'; 2 of this run; reason: '' -> 'old'"

What is shown comes from the pending request, from what the page says of the record and from what
stood in the fields before, never from a model's words. Tokens against forgery are left out, secrets
are masked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import urlsplit

from adwright.agent.document.elements import WRITING, EffectClass
from adwright.agent.drivers.protocol import PendingRequest
from adwright.core.config import Count, settings

__all__ = [
    "ConfirmRules",
    "Confirmer",
    "FieldChange",
    "PendingChange",
    "must_ask",
    "pending_change",
]

_TOKENS = re.compile(r"csrf|xsrf|authenticity_token|__requestverification|nonce", re.I)
_MOST_SHOWN = 200
#: What a browser sends for a box that is ticked, where the page does not say; unticked it sends
#: nothing.
_TICKED = ("on", "y", "yes", "true")


@settings
class ConfirmRules:
    """ask: effects that are always asked about. bulk: from this write of a run on, each is asked
    about, whatever its effect."""

    ask: tuple[EffectClass, ...] = ("message", "spend", "destructive", "unknown")
    bulk: Count = 5


@dataclass(frozen=True)
class FieldChange:
    """A field of a request. old: what stood there when the page came; None where nobody saw. new:
    empty also for a box that was ticked and is no longer sent."""

    name: str
    old: str | None
    new: str


@settings
class PendingChange:
    """A write that waits for a yes. element: that the script acts on. number: it is the number-th
    write of this run. documented: the document knows this request of this element. record: what the
    pages say of what it is done to, empty where nobody saw."""

    element: str
    effect: EffectClass
    method: str
    url: str
    fields: tuple[FieldChange, ...]
    number: int
    documented: bool
    record: str = ""

    def sentence(self) -> str:
        """The change in one line."""
        return "; ".join(self.lines())

    def lines(self) -> tuple[str, ...]:
        """What is sent, then each field that differs or of which nobody saw what stood there; long
        values are shortened, and signs that hide are spelled."""
        path = urlsplit(self.url)
        place = path.path + (f"?{path.query}" if path.query else "")
        what = f"{self.effect}: {self.method} {_shown(place)}"
        parts = [f"{what} {_shown(self.record)}" if self.record else what]
        parts[0] += f"; {self.number} of this run"
        for one in self.fields:
            if one.old is None:
                parts.append(f"{_shown(one.name)} = {_shown(one.new, quoted=True)}")
            elif one.old != one.new:
                new = _shown(one.new, quoted=True)
                parts.append(f"{_shown(one.name)}: {_shown(one.old, quoted=True)} -> {new}")
        if not self.documented:
            parts.append("this request is not in the document")
        return tuple(parts)


#: Asked by the gate; true is a yes. It may take as long as a person does.
Confirmer: TypeAlias = Callable[[PendingChange], bool]


def pending_change(
    request: PendingRequest,
    *,
    element: str,
    effect: EffectClass,
    before: Mapping[str, str],
    number: int,
    documented: bool,
    record: str = "",
    mask: Callable[[str], str] = str,
) -> PendingChange:
    """What `request` would change. before: names of fields and what stood in them."""
    fields = tuple(
        FieldChange(name, mask(before[name]) if name in before else None, mask(value))
        for name, value in request.fields.items()
        if not _TOKENS.search(name)
    )
    if request.fields:
        # An unticked box is not sent, and that is the change.
        unticked = (name for name in before if name not in request.fields)
        fields += tuple(
            FieldChange(name, mask(before[name]), "")
            for name in unticked
            if before[name] in _TICKED and not _TOKENS.search(name)
        )
    if not request.fields and request.body:
        body = request.body[: 4 * _MOST_SHOWN].decode("utf-8", errors="replace")
        fields = (FieldChange("body", None, mask(body)),)
    url = mask(request.url)
    return PendingChange(
        element, effect, request.method, url, fields, number, documented, mask(record)
    )


def must_ask(change: PendingChange, rules: ConfirmRules) -> bool:
    """Whether a person must say yes to this change."""
    if change.effect not in WRITING:
        return True  # a write by what should not write
    return change.effect in rules.ask or change.number >= rules.bulk or not change.documented


def _shown(text: str, *, quoted: bool = False) -> str:
    short = text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 3] + "..."
    visible = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in short)
    return f"'{visible}'" if quoted else visible
