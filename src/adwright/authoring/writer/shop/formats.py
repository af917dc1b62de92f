"""Which column of a shop's table is which field of a product, and where new texts go.

Shopify's product CSV has had two headers: the one that its exports had for years (Handle, Body
(HTML), Variant Price) and the one of its template since 2025 (URL handle, Description, Price); both
are known. WooCommerce's is that of its built-in importer and exporter ("Product CSV Import Schema"
in its wiki, October 2022, and the column Brands since). Google's is the product data specification
of Merchant Center, as a tab-separated feed, whose names may have spaces for underscores, or as XML,
see `feed_xml`.

Names are compared in lower case, letters and digits alone.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, get_args

from adwright.core.config import settings
from adwright.core.errors import ConfigError, SchemaError

__all__ = [
    "FORMATS",
    "FeedColumns",
    "ProductField",
    "ShopFormat",
    "ShopName",
    "bare_name",
    "format_of",
    "name_columns",
]

ShopName = Literal["shopify", "woocommerce", "google-feed", "table"]
ProductField = Literal[
    "id", "title", "description", "brand", "category", "price", "currency", "locale"
]


@settings
class ShopFormat:
    """A kind of table.

    columns: field of a product -> names that its column may have, the best first. attributes:
    columns that are attributes. pairs: name and value columns of attributes, with N for a number.
    signs: bare names that no other kind has. texts: slot -> names of the column that its text goes
    to; other slots get columns of their own, named by `own`, with {slot} and {number}. html: texts
    in the column of descriptions are HTML. grouped: rows of one id are variants of one product.
    """

    name: ShopName
    columns: Mapping[str, tuple[str, ...]]
    attributes: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    signs: tuple[str, ...] = ()
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
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


_ATTRIBUTES = (
    *("color", "colour", "size", "material", "pattern", "gender", "age_group", "condition"),
    *("flavour", "flavor", "weight", "volume", "pack_size", "features"),
)
FORMATS: tuple[ShopFormat, ...] = (
    ShopFormat(
        "shopify",
        {
            "id": ("Handle", "URL handle"),
            "title": ("Title",),
            "description": ("Body (HTML)", "Description"),
            "brand": ("Vendor",),
            "category": ("Product Category", "Type"),
            "price": ("Variant Price", "Price"),
        },
        attributes=("Google Shopping / Gender", "Google Shopping / Age Group"),
        pairs=(("Option{n} Name", "Option{n} Value"),),
        signs=("bodyhtml", "variantprice", "variantsku", "urlhandle", "option1name", "seotitle"),
        texts={
            "title": ("Title",),
            "description": ("Body (HTML)", "Description"),
            "meta_title": ("SEO Title",),
            "meta_description": ("SEO Description",),
            "category": ("Type",),
        },
        html=True,
        grouped=True,
    ),
    ShopFormat(
        "woocommerce",
        {
            "id": ("ID", "SKU"),
            "title": ("Name",),
            "description": ("Description", "Short description"),
            "brand": ("Brands", "Brand"),
            "category": ("Categories",),
            "price": ("Regular price",),
        },
        pairs=(("Attribute {n} name", "Attribute {n} value(s)"),),
        signs=(
            *("visibilityincatalog", "regularprice", "isfeatured", "instock", "shortdescription"),
            *("attribute1name", "crosssells", "upsells"),
        ),
        texts={
            "title": ("Name",),
            "description": ("Description",),
            "short_description": ("Short description",),
            "category": ("Categories",),
        },
        own="Meta: adwright_{slot}_{number}",
        html=True,
    ),
    ShopFormat(
        "google-feed",
        {
            "id": ("id",),
            "title": ("title", "structured_title"),
            "description": ("description", "structured_description"),
            "brand": ("brand",),
            "category": ("google_product_category", "product_type"),
            "price": ("price",),
        },
        attributes=(
            *("color", "size", "material", "pattern", "gender", "age_group", "condition"),
            *("product_detail", "product_highlight", "multipack", "energy_efficiency_class"),
        ),
        signs=(
            *("googleproductcategory", "imagelink", "gtin", "itemgroupid", "availability"),
            *("identifierexists", "customlabel0", "mpn"),
        ),
        texts={
            "title": ("title",),
            "description": ("description",),
            "short_title": ("short_title",),
            "category": ("product_type",),
        },
    ),
    ShopFormat(
        "table",
        {
            "id": ("id", "product_id", "item_id", "sku", "article_number"),
            "title": ("title", "name", "product_name"),
            "description": ("description", "body", "text", "long_description"),
            "brand": ("brand", "manufacturer", "vendor"),
            "category": ("category", "product_type", "department", "type"),
            "price": ("price",),
            "currency": ("currency", "currency_code"),
            "locale": ("locale", "language", "lang"),
        },
        attributes=_ATTRIBUTES,
        texts={"title": ("title", "name"), "description": ("description",)},
    ),
)
#: The most numbered pairs of attribute columns that are looked for.
_PAIRS = 30
_NEEDED = ("id", "title")
#: Names of columns that an error shows.
_SHOWN = 20


def format_of(names: Sequence[str], asked: ShopName | None = None) -> ShopFormat:
    """The kind of a table with these columns: as asked, else that of which most signs are there."""
    found = {one.name: one for one in FORMATS}
    if asked is not None:
        if asked not in found:
            raise ConfigError(
                f"there is no format {asked!r}",
                where="format",
                hint=f"use one of {', '.join(found)}",
            )
        return found[asked]
    bare = {bare_name(name) for name in names}
    counts = {one.name: sum(sign in bare for sign in one.signs) for one in FORMATS}
    best = max(FORMATS, key=lambda one: counts[one.name])
    return best if counts[best.name] >= 2 else found["table"]


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
    given = dict(given or {})
    fields_known = get_args(ProductField)
    for ours in given:
        if ours not in fields_known:
            raise ConfigError(
                f"a product has no field {ours!r}",
                where="columns",
                hint=f"use {', '.join(fields_known)}; name others as attributes",
            )
    by_bare = {bare_name(name): name for name in reversed(names)}
    found = {ours: _there(theirs, names, by_bare, file) for ours, theirs in given.items()}
    for ours, accepted in shop.columns.items():
        theirs = next((by_bare[b] for b in map(bare_name, accepted) if b in by_bare), None)
        if ours not in found and theirs is not None:
            found[ours] = theirs
    for ours in _NEEDED:
        if ours not in found:
            _missing(ours, shop, names, file)
    own = [_there(name, names, by_bare, file) for name in attributes]
    known = [by_bare[b] for b in map(bare_name, shop.attributes) if b in by_bare]
    taken = set(found.values())
    return FeedColumns(
        found,
        tuple(dict.fromkeys(name for name in (*own, *known) if name not in taken)),
        _pairs(shop, by_bare),
        _texts(shop, found, by_bare),
    )


def bare_name(name: str) -> str:
    """The name in lower case, letters and digits alone."""
    return re.sub(r"[\W_]", "", name.lower())


def _pairs(shop: ShopFormat, by_bare: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
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


def _texts(
    shop: ShopFormat, found: Mapping[str, str], by_bare: Mapping[str, str]
) -> dict[str, str]:
    """Where texts go: a column that was read as that field, else the one that is known."""
    texts = {}
    for slot, accepted in shop.texts.items():
        there = next((by_bare[b] for b in map(bare_name, accepted) if b in by_bare), accepted[0])
        texts[slot] = found.get(slot, there) if slot in ("title", "description") else there
    return texts


def _missing(ours: str, shop: ShopFormat, names: Sequence[str], file: str) -> None:
    wanted = shop.columns.get(ours, (ours,))
    near = [
        name
        for name in list(names)[:1000]
        if difflib.get_close_matches(bare_name(name), list(map(bare_name, wanted)), n=1)
    ]
    close = near[0] if near else "THEIRS"
    raise SchemaError(
        f"no column is the {ours} of a product (looked for {', '.join(wanted)})",
        file=file,
        column=ours,
        hint=f"say which one it is: --columns {ours}={close}; the table has "
        f"{', '.join(name[:60] for name in names[:_SHOWN])}",
    )


def _there(theirs: str, names: Sequence[str], by_bare: Mapping[str, str], file: str) -> str:
    if theirs in names:
        return theirs
    if bare_name(theirs) in by_bare:
        return by_bare[bare_name(theirs)]
    near = difflib.get_close_matches(theirs, list(names)[:1000], n=1)
    close = f" (is it {near[0]!r}?)" if near else ""
    raise SchemaError(
        f"the table has no column {theirs!r}",
        file=file,
        column=theirs,
        hint=f"correct the name{close}; the table has "
        f"{', '.join(name[:60] for name in names[:_SHOWN])}",
    )
