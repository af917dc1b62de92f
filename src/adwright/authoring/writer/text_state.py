"""What a text of a journal is now: where its lines are, and what the last decision makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from adwright.authoring.writer.draft import Key

TextStatus = Literal["unreviewed", "approved", "edited", "rejected"]
#: Offset of a line in the journal, and its length.
Place: TypeAlias = tuple[int, int]

_AFTER: Mapping[str, TextStatus] = {"approve": "approved", "edit": "edited", "reject": "rejected"}


class TextState:
    """What a text is now.

    key: product, slot, variant. status: of its last decision. version: place of its last line in
    the journal, which changes with each thing that happens to it. inputs, product_hash: `inputs`
    and `product` of its draft's `Provenance`. errors, warnings: findings of its draft. rounds:
    drafts so far.
    """

    __slots__ = (
        *("_decisions", "_draft", "errors", "inputs", "key", "product_hash", "rounds"),
        *("version", "warnings"),
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.inputs = self.product_hash = ""
        self.errors = self.warnings = self.rounds = self.version = 0
        self._draft: Place = (0, 0)
        self._decisions: tuple[tuple[int, int, TextStatus], ...] = ()

    @property
    def status(self) -> TextStatus:
        """What the last decision makes of it."""
        return self._decisions[-1][2] if self._decisions else "unreviewed"

    @property
    def draft_place(self) -> Place:
        """Offset and length of its draft's line."""
        return self._draft

    @property
    def decision_place(self) -> Place | None:
        """Offset and length of its decision's line."""
        return self._decisions[-1][:2] if self._decisions else None

    def drafted(self, place: Place, head: Sequence[Any]) -> None:
        """A draft came; decisions about the one before are no longer about this."""
        self._draft, self._decisions, self.version = place, (), place[0]
        self.inputs, self.errors, self.warnings, self.product_hash = head[3:7]
        self.rounds += 1

    def decided(self, place: Place, kind: str) -> None:
        """A decision came."""
        self._decisions = (*self._decisions, (*place, _AFTER[kind]))
        self.version = place[0]

    def undone(self, place: Place) -> None:
        """The last decision is taken back."""
        self._decisions = self._decisions[:-1]
        self.version = place[0]
