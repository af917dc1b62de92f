"""What a page shows once something on it is tapped: which parts are worth a tap, and what is new.

    new_in(shown.elements, before.elements)     # what the tap has shown
    may_be_tried(seen)                          # unknown, but no word says that it sends

Trying parts of unknown effect is for copies that may be spoilt, or pages whose gate lets nothing be
sent: what tries to send something is noticed, and left alone.
"""

from __future__ import annotations

import re

from adwright.agent.drivers.protocol import SeenRequest
from adwright.agent.explore.describe import SeenElement
from adwright.agent.explore.records import PageRecord
from adwright.agent.policy.shapes import SAFE_METHODS
from adwright.core.hashing import content_hash

__all__ = ["kind_of", "may_be_tried", "mixed_skeleton", "new_in", "tried_to_send"]

_TRIED = ("generic", "button", "link", "listitem", "menuitem")
_SENDS = re.compile(
    r"\b(?:submit|save|send|ok|okay|apply|done|go|log ?in|sign ?in|confirm|order|buy|pay|book"
    r"|create|add|update|finish|generate|yes|no)\b",
    re.I,
)
_NUMBERS = re.compile(r"\[\d+\]")


def may_be_tried(seen: SeenElement) -> bool:
    """Whether a part of unknown effect, or one that only shows more, may be tapped to see what it
    shows."""
    one = seen.element
    harmless = one.effect in ("read", "unknown") and one.value_type == "none"
    is_box = one.role == "listitem" and one.effect == "unknown"
    is_part = one.role in _TRIED and one.role != "listitem"
    return harmless and not seen.href and (is_box or is_part) and not _SENDS.search(one.label)


def kind_of(seen: SeenElement) -> str:
    """What parts that stand alike have in common: where one of them sends, so do the others."""
    one = seen.element
    path = next((at.value for at in one.locators if at.kind == "xpath"), one.name)
    return f"{one.role} {_NUMBERS.sub('', path)}"


def tried_to_send(requests: tuple[SeenRequest, ...]) -> bool:
    """Whether a request was refused, or might have written."""
    return any(
        not one.decision.allowed or one.request.method not in SAFE_METHODS for one in requests
    )


def new_in(
    shown: tuple[SeenElement, ...], before: tuple[SeenElement, ...]
) -> tuple[SeenElement, ...]:
    """What tapping has shown; the rest of the page is described already."""
    known = {_what(one) for one in before}
    return tuple(one for one in shown if _what(one) not in known)


def mixed_skeleton(skeleton: str, opened: PageRecord) -> str:
    """The skeleton of what is like another part of its page: an item's menu like the rest of the
    list, a tab like another tab."""
    parts = [[one.element.name, *_what(one)] for one in opened.elements]
    return content_hash([skeleton, *opened.tapped, *parts])[: len(skeleton)]


def _what(seen: SeenElement) -> tuple[str, ...]:
    """What tells an element of a page from others: where it stands, if it has no label."""
    one = seen.element
    place = "" if one.label else next((at.value for at in one.locators if at.kind == "xpath"), "")
    return one.role, one.label, seen.href, place
