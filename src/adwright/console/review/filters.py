"""Which drafts of the queue are shown; it travels in the address of each page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Literal, get_args
from urllib.parse import urlencode

from adwright.authoring.writer.drafts import TextState
from adwright.core.config import settings
from adwright.web.errors import ApiError

StatusShown = Literal["unreviewed", "approved", "edited", "rejected", "all"]
#: errors: at least one. some: errors or warnings. none: neither.
FindingsShown = Literal["all", "errors", "some", "none"]
_MOST = 200
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "status": get_args(StatusShown),
    "findings": get_args(FindingsShown),
    "slot": (),
    "product": (),
}


@settings
class QueueFilter:
    """status, findings: see the types. slot: of that alone; empty for all. product: what the id of
    the product holds, in any case; empty for all.

    Raises ConfigError for a choice that is none.
    """

    status: StatusShown = "unreviewed"
    findings: FindingsShown = "all"
    slot: str = ""
    product: str = ""

    def takes(self, state: TextState) -> bool:
        """Whether a text is shown."""
        if self.status not in ("all", state.status):
            return False
        if self.findings != "all" and not _takes_findings(self.findings, state):
            return False
        product, slot, _ = state.key
        return (not self.slot or slot == self.slot) and self.product.lower() in product.lower()

    def query(self, more: Mapping[str, str | int] | None = None) -> str:
        """The part of an address behind the path, which `read_filter` reads: "?slot=headline", or
        empty. more: further values for it."""
        kept = {
            one.name: value
            for one in fields(self)
            if (value := getattr(self, one.name)) != one.default
        }
        pairs = kept | dict(more or {})
        return f"?{urlencode(pairs, errors='replace')}" if pairs else ""


def read_filter(query: Mapping[str, str]) -> QueueFilter:
    """The filter of an address. Raises ApiError 422 for a choice that there is none of."""
    given: dict[str, Any] = {}
    for name, choices in _CHOICES.items():
        value = query.get(name, "")[:_MOST]
        if value and choices and value not in choices:
            raise ApiError(422, f"{name} cannot be that", hint=f"it is one of {', '.join(choices)}")
        if value:
            given[name] = value
    return QueueFilter(**given)


def _takes_findings(wanted: FindingsShown, state: TextState) -> bool:
    match wanted:
        case "errors":
            return state.errors > 0
        case "some":
            return state.errors + state.warnings > 0
        case _:
            return state.errors + state.warnings == 0
