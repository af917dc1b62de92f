"""Which column of a shop's table is which field of a product, and where new texts go.

Shopify's product CSV has had two headers: the one that its exports had for years (Handle, Body
(HTML), Variant Price) and the one of its template since 2025 (URL handle, Description, Price); both
are known. WooCommerce's is that of its built-in importer and exporter ("Product CSV Import Schema"
in its wiki, October 2022, and the column Brands since). Google's is the product data specification
of Merchant Center, as a tab-separated feed, whose names may have spaces for underscores, or as XML,
see `feed_xml`.

The names are in data/synonyms/shops.toml.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, get_args

from adwright.core.errors import ConfigError
from adwright.data.table_door import (
    TableSpec,
    bare_name,
    find_column,
    synonyms,
    table_specs,
    usual_columns,
)

ShopName = Literal["shopify", "woocommerce", "google-feed", "table"]
ProductField = Literal[
    "id", "title", "description", "brand", "category", "price", "currency", "locale"
]


@dataclass(frozen=True)
class ShopFormat:
    """A kind of table.

    spec: its columns and the signs of it. attributes: columns that are attributes. pairs: name and
    value columns of attributes, with {n} for a number. texts: slot -> names of the column that its
    text goes to; other slots get columns of their own, named by `own`, with {slot} and {number}.
    html: texts in the column of descriptions are HTML. grouped: rows of one id are variants of one
    product.
    """

    name: str
    spec: TableSpec
    attributes: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    texts: Mapping[str, Sequence[str]] = field(default_factory=dict)
    own: str = "{slot}_{number}"
    html: bool = False
    grouped: bool = False


@dataclass(frozen=True)
class FeedColumns:
    """The columns of one table.

    fields: field of a product -> its column. attributes: columns that are attributes, by their
    names. pairs: columns of the name and the value of attributes. texts: slot -> the column that
    its text goes to.
    """

    fields: Mapping[str, str]
    attributes: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]
    texts: Mapping[str, str]

    @property
    def used(self) -> tuple[str, ...]:
        """All that is read, each once."""
        pairs = (name for pair in self.pairs for name in pair)
        return tuple(dict.fromkeys((*self.fields.values(), *self.attributes, *pairs)))


@cache
def shop_formats() -> dict[ShopName, ShopFormat]:
    """All kinds of table, by their names."""
    specs = table_specs("shops")
    return {
        name: ShopFormat(
            name,
            specs[name],
            attributes=tuple(said.get("attributes", ())),
            pairs=tuple((first, second) for first, second in said.get("pairs", ())),
            texts=said["texts"],
            own=said.get("own", "{slot}_{number}"),
            html=said.get("html", False),
            grouped=said.get("grouped", False),
        )
        for name in get_args(ShopName)
        for said in [synonyms("shops")[name]]
    }


#: The most numbered pairs of attribute columns that are looked for.
_PAIRS = 30


def format_of(names: Sequence[str], asked: ShopName | None = None) -> ShopFormat:
    """The kind of a table with these columns: as asked, else that of which most signs are there."""
    found = shop_formats()
    if asked is not None:
        if asked not in found:
            raise ConfigError(
                f"there is no format {asked!r}",
                where="format",
                hint=f"use one of {', '.join(found)}",
            )
        return found[asked]
    best = max(found.values(), key=lambda one: len(usual_columns(one.spec.signs, names)))
    return best if len(usual_columns(best.spec.signs, names)) >= 2 else found["table"]


def name_columns(
    names: Sequence[str],
    shop: ShopFormat,
    *,
    given: Mapping[str, str] | None = None,
    attributes: Sequence[str] = (),
    file: str = "",
) -> FeedColumns:
    """Which column is which.

    given: field -> column, which wins. attributes: columns that are attributes beside those known.
    Raises ConfigError for a field that there is not, SchemaError naming the column that is given
    and missing, or needed and not found.
    """
    given, spec = given or {}, shop.spec
    spec.check_fields(given, also=get_args(ProductField))
    own = [find_column(name, names, file=file) for name in attributes]
    found = spec.name(names, given, once=False, file=file).columns
    spec.require(found, names, file=file)
    known = usual_columns(shop.attributes, names)
    taken = set(found.values())
    texts = {}
    for slot, accepted in shop.texts.items():
        there = found.get(slot) if slot in ("title", "description") else None
        texts[slot] = there or next(iter(usual_columns(accepted, names)), accepted[0])
    return FeedColumns(
        found,
        tuple(name for name in dict.fromkeys((*own, *known)) if name not in taken),
        _pairs(shop, names),
        texts,
    )


def _pairs(shop: ShopFormat, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    by_bare = {bare_name(name): name for name in reversed(names)}
    wanted = [
        tuple(bare_name(part.format(n=number)) for part in pair)
        for pair in shop.pairs
        for number in range(1, _PAIRS + 1)
    ]
    return tuple(
        (by_bare[name], by_bare[value])
        for name, value in wanted
        if name in by_bare and value in by_bare
    )
