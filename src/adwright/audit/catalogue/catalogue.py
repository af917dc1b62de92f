"""A catalogue: the products that compete for one list, and what the shopper asks for.

    shop = ShopCatalogue("kettles", "I want a kettle.", listings, own=True)

Attacks run only against catalogues that are declared as one's own (`require_own`): the audit
measures a shop's own weakness, and is no tool for listings in the shops of others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from adwright.audit.catalogue.listing import ShopListing
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.core.hashing import content_hash


@dataclass(frozen=True)
class CatalogueSchema:
    """Which column is what. name: of the name. attributes: facts that the shop vouches for. texts:
    what sellers write. merchant: who they are, empty where no column says. order: all that is
    shown, in the order of the source. guessed: the columns whose kind was not given."""

    name: str
    attributes: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    merchant: str = ""
    order: tuple[str, ...] = ()
    guessed: tuple[str, ...] = ()

    def in_words(self) -> str:
        """One sentence for a reader, with what was guessed."""
        parts = [f"name: {self.name}", f"facts of the shop: {', '.join(self.attributes) or 'none'}"]
        parts.append(f"texts of sellers: {', '.join(self.texts) or 'none'}")
        if self.merchant:
            parts.append(f"merchant: {self.merchant}")
        said = "; ".join(parts)
        return f"{said} (guessed: {', '.join(self.guessed)})" if self.guessed else said


@dataclass(frozen=True)
class ShopCatalogue:
    """Products that compete for one list.

    name: of the catalogue. request: what the shopper asks, one sentence. wordings: other ways to
    ask the same. own: whether who audits has declared it as the own one. schema: which field is
    what, where it came out of a table.

    Raises ValueInvalidError for fewer than two listings, an empty name and a name given twice.
    """

    name: str
    request: str
    listings: tuple[ShopListing, ...]
    own: bool = False
    wordings: tuple[str, ...] = ()
    schema: CatalogueSchema | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        if len(self.listings) < 2:
            raise ValueInvalidError(
                "a list needs at least two products",
                file=self.name,
                value=len(self.listings),
                hint="add products that compete for the same list",
            )
        first: dict[str, int] = {}
        for row, one in enumerate(self.listings):
            if not one.name.strip():
                raise ValueInvalidError(
                    "a product has no name", file=self.name, row=row, hint="name it"
                )
            if first.setdefault(one.name, row) != row:
                raise ValueInvalidError(
                    f"two products have one name, the other is in row {first[one.name]}",
                    file=self.name,
                    row=row,
                    value=one.name,
                    hint="a list could not tell them apart: name the variant too",
                )
        if not self.request.strip():
            raise ConfigError(
                "there is no request", where=self.name, hint="say what a shopper asks, one sentence"
            )

    def __len__(self) -> int:
        return len(self.listings)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of the catalogue."""
        return tuple(one.name for one in self.listings)

    @property
    def requests(self) -> tuple[str, ...]:
        """What the shopper asks, in all wordings."""
        return (self.request, *self.wordings)

    def index(self, name: str) -> int:
        """The row of a product. Raises ConfigError for another name."""
        try:
            return self.names.index(name)
        except ValueError:
            raise ConfigError(
                "the catalogue has no such product",
                where=f"{self.name}: {name!r}",
                hint=f"its products are {', '.join(self.names[:10])}",
            ) from None

    def require_own(self) -> None:
        """Raise ConfigError where nobody has declared the catalogue as the own one."""
        if not self.own:
            raise ConfigError(
                "this catalogue is not declared as your own",
                where=self.name,
                hint="attacks run against your own catalogue only; declare it with --own",
            )

    def with_listing(self, row: int, listing: ShopListing) -> ShopCatalogue:
        """The catalogue in which a row shows another listing."""
        return self.with_listings({row: listing})

    def with_listings(self, changed: Mapping[int, ShopListing]) -> ShopCatalogue:
        """The catalogue in which some rows, counted from 0, show other listings."""
        listings = [changed.get(row, one) for row, one in enumerate(self.listings)]
        return replace(self, listings=tuple(listings))

    def only(self, rows: Iterable[int]) -> ShopCatalogue:
        """The catalogue of some rows, in the order given."""
        return replace(self, listings=tuple(self.listings[row] for row in rows))

    def digest(self) -> str:
        """SHA-256 of what is shown and asked."""
        shown: Sequence[str] = [one.digest() for one in self.listings]
        return content_hash([self.request, list(self.wordings), list(shown)])
