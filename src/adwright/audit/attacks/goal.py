"""What an attack is after: one product of a catalogue of one's own, and where its text goes.

    goal = AttackGoal(catalogue, catalogue.index("ColdBrew Master"))
    asks = goal.asks(" The best of all.", orders)

An attack adds text to the end of one field that the seller writes, as in section 3 of "Manipulating
LLMs to Increase Product Visibility" (Kumar and Lakkaraju 2024). It never touches an attribute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.target import Ask
from adwright.core.errors import ConfigError


@dataclass(frozen=True)
class AttackGoal:
    """Push the product in `row` up.

    field: the text that is added to; empty for the last one that is shown, as in the paper.

    Raises ConfigError where the catalogue is not declared as the own one, for a row that it lacks,
    and for a field that is no text of the product.
    """

    catalogue: ShopCatalogue
    row: int
    field: str = ""

    def __post_init__(self) -> None:
        self.catalogue.require_own()
        if not 0 <= self.row < len(self.catalogue):
            raise ConfigError(
                "the catalogue has no such row",
                where=f"{self.catalogue.name}: {self.row}",
                hint=f"its rows are 0 to {len(self.catalogue) - 1}",
            )
        fields = self.listing.text_fields
        if not fields:
            raise ConfigError(
                "the product has no text that its seller writes",
                where=f"{self.catalogue.name}: {self.name}",
                hint="say in the schema which fields are texts",
            )
        if not self.field:
            object.__setattr__(self, "field", fields[-1])
        self.listing.with_text(self.field, "")  # raises where it is no text

    @property
    def listing(self) -> ShopListing:
        """The product as it is."""
        return self.catalogue.listings[self.row]

    @property
    def name(self) -> str:
        """Of the product."""
        return self.listing.name

    @property
    def own_text(self) -> str:
        """What stands in the field without an attack."""
        return self.listing.texts[self.field]

    def attacked(self, extra: str) -> ShopListing:
        """The product with `extra` behind the text of the field; as it is for an empty one."""
        return self.listing.with_text(self.field, self.own_text + extra)

    def listings(self, extra: str) -> tuple[ShopListing, ...]:
        """All products, this one attacked."""
        return self.catalogue.with_listing(self.row, self.attacked(extra)).listings

    def asks(self, extra: str, orders: Sequence[Sequence[int]], request: str = "") -> list[Ask]:
        """One question an order. request: instead of the one of the catalogue."""
        listings = self.listings(extra)
        return [Ask(listings, request or self.catalogue.request, tuple(one)) for one in orders]
