"""Kinds of drift, and what a seed draws: which words are changed, and into what.

    drift = Drift("labels", seed=3)
    drift.hits("Title"), drift.renamed("Title")         # (True, "Heading")

The same kind and seed change the same page in the same way, whenever it is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

from adwright.core.config import check_literals
from adwright.core.hashing import content_hash

#: "none": the page is read and written again, and nothing changed.
DriftKind: TypeAlias = Literal[
    "none", "labels", "moved", "confirm", "ids", "button", "extra", "columns"
]
KINDS: tuple[DriftKind, ...] = get_args(DriftKind)

#: Words of labels and buttons, in small letters, and what they may be called later.
_OTHERS: Mapping[str, tuple[str, ...]] = {
    "title": ("Heading", "Caption"),
    "name": ("Display name", "Called"),
    "discount": ("Rebate", "Percentage off"),
    "upc": ("Barcode", "Product code"),
    "price": ("Selling price", "Unit price"),
    "number in stock": ("Units on hand", "Quantity available"),
    "low stock threshold": ("Warn below", "Reorder level"),
    "status": ("Current state", "Progress"),
    "priority": ("Rank", "Order of precedence"),
    "code": ("Voucher word", "Promotion key"),
    "usage": ("May be used", "How often"),
    "type": ("Sort", "Category of it"),
    "start": ("Begins", "From"),
    "end": ("Finishes", "Until"),
    "text": ("Wording", "Copy"),
    "subject": ("Headline", "Subject line"),
    "search": ("Look up", "Find"),
    "save": ("Store changes", "Apply"),
    "delete": ("Delete for good", "Remove"),
    "add": ("Insert", "Put in"),
    "submit": ("Go ahead", "Finish"),
}
_LABEL_TEMPLATES = ("{} (as shown)", "Our {}", "{} value")
_BUTTON_TEMPLATES = ("{} now", "OK, {}", "{} this")


@dataclass(frozen=True)
class Drift:
    """One drift. seed: which parts it hits, and how."""

    kind: DriftKind = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        check_literals(self)

    def number(self, text: str, below: int) -> int:
        """A number from 0, below `below`, for a text."""
        return int(content_hash([self.kind, self.seed, text])[:8], 16) % below

    def hits(self, label: str) -> bool:
        """Whether a label is one of those that were renamed: every second one."""
        return self.number(f"hit {_plain(label)}", 2) == 0

    def renamed(self, words: str, *, button: bool = False) -> str:
        """What a label, or a button, is called now."""
        templates = _BUTTON_TEMPLATES if button else _LABEL_TEMPLATES
        others = _OTHERS.get(_plain(words)) or tuple(one.format(words) for one in templates)
        return others[self.number(_plain(words), len(others))]


def _plain(text: str) -> str:
    return " ".join(text.replace("*", " ").replace(":", " ").split()).casefold()
