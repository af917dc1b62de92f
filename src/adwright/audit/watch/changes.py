"""What sellers changed since the last time.

for edit in text_edits(state, shop): print(edit.in_words())
"""

from __future__ import annotations

from typing import Literal

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.watch.state import WatchState
from adwright.core.config import settings

#: new: a product or field that was not there. changed: another text. removed: an empty one now.
EditKind = Literal["new", "changed", "removed"]


@settings
class TextEdit:
    """row, name, merchant, field: whose text. before: empty where there was none. facts_changed:
    attributes of the same product that are others now, too."""

    row: int
    name: str
    merchant: str
    field: str
    before: str
    after: str
    kind: EditKind
    facts_changed: tuple[str, ...] = ()

    def in_words(self) -> str:
        """One line."""
        seller = f" of {self.merchant}" if self.merchant else ""
        facts = f", and so are {', '.join(self.facts_changed)}" if self.facts_changed else ""
        return f"{self.name}{seller}, {self.field}: the text is {self.kind}{facts}"


def text_edits(state: WatchState | None, shop: ShopCatalogue) -> list[TextEdit]:
    """Texts that differ from the state, in the order of the catalogue; all of them without one."""
    known = {} if state is None else state.listings
    found = []
    for row, one in enumerate(shop.listings):
        was = known.get(one.name)
        facts = (
            ()
            if was is None
            else tuple(
                name
                for name in dict.fromkeys([*one.attributes, *was.attributes])
                if one.attributes.get(name) != was.attributes.get(name)
            )
        )
        for field, text in one.texts.items():
            before = None if was is None else was.texts.get(field)
            if text == (before or ""):
                continue
            kind: EditKind = "removed" if not text else "changed" if before else "new"
            found.append(
                TextEdit(row, one.name, one.merchant, field, before or "", text, kind, facts)
            )
    return found
