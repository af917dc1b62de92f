"""Names for states and elements that stay the same from one exploration to the next.

    element_name("offer_edit", "Save changes", "button", taken)     # "offer_edit__save_changes"

They come from labels and addresses, not from numbers of nodes or from hashes: a page that gets one
more button renames nothing but the names that would stand twice.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection

from adwright.agent.document.elements import Locator
from adwright.agent.drivers.protocol import ScreenNode

__all__ = ["element_name", "locators_of", "state_name", "word_of"]

_LONGEST = 40
_LETTERS = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"})


def word_of(text: str) -> str:
    """Small ASCII letters, digits and underscores out of a text; empty where nothing is left."""
    plain = unicodedata.normalize("NFKD", text.lower().translate(_LETTERS))
    word = re.sub(r"[^a-z0-9]+", "_", plain.encode("ascii", "ignore").decode()).strip("_")
    return word[:_LONGEST].rstrip("_")


def state_name(template: str, taken: Collection[str]) -> str:
    """The name of a state after its URL template, a number behind it where that is taken.

    >>> state_name("/dashboard/offers/{}/", set())
    'dashboard_offers_item'
    """
    path, _, query = template.partition("?")
    parts = [word_of(one) if one != "{}" else "item" for one in path.split("/") if one]
    while len("_".join(parts)) > _LONGEST and len(parts) > 1:
        parts.pop(0)
    if query:
        parts.append("by_" + word_of(query.replace("&", " ")))
    return _free(_letter_first("_".join(filter(None, parts)) or "home"), taken)


def element_name(state: str, label: str, role: str, taken: Collection[str]) -> str:
    """`state__label`, with the role behind it where that is taken, and then a number."""
    word, kind = word_of(label), word_of(role) or "part"
    name = f"{state}__{word or kind}"
    if name in taken and word:
        name = f"{name}_{kind}"
    return _free(name, taken)


def locators_of(node: ScreenNode) -> tuple[Locator, ...]:
    """Ways to find a node again, the most lasting first: role and name, label, test id, CSS, path.

    A field is also found by its label alone where that is not its name. Without a name, a role is
    no locator.
    """
    facts, frame = node.facts, node.frame
    found = []
    if node.name:
        found.append(
            Locator("role", node.name, role=node.role, nth=node.nth, of=node.of, frame=frame)
        )
    if facts.get("label"):
        found.append(Locator("label", facts["label"], frame=frame))
    if facts.get("test_id"):
        found.append(Locator("test_id", facts["test_id"], frame=frame))
    if facts.get("css"):
        found.append(Locator("css", facts["css"], frame=frame))
    if facts.get("xpath"):
        found.append(Locator("xpath", facts["xpath"], frame=frame))
    return tuple(found)


def _letter_first(name: str) -> str:
    return name if name[:1].isalpha() else f"s_{name}"


def _free(name: str, taken: Collection[str]) -> str:
    found, number = name, 2
    while found in taken:
        found, number = f"{name}_{number}", number + 1
    return found
