"""Read a table of products: any file that `as_frame` reads, in the columns of a shop, or Google's
feed as XML.

    table = read_products(Path("products_export.csv"))
    table.products, table.bad, table.said

Markup is taken out of titles and descriptions, and that is said. A row that cannot be used is told
with its number and the reason, and harms no other row.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from adwright.authoring.tasks.product import Product
from adwright.authoring.writer.shop.encodings import EncodingFound, in_utf8
from adwright.authoring.writer.shop.feed_xml import XML_ENDINGS, read_feed
from adwright.authoring.writer.shop.formats import (
    FeedColumns,
    ShopFormat,
    ShopName,
    format_of,
    name_columns,
)
from adwright.authoring.writer.shop.markup import plain_text
from adwright.core.errors import DataError, FileUnreadableError
from adwright.data.sources.bounds import ReadBounds, reading
from adwright.data.sources.frames import as_frame
from adwright.data.table_door import usual_columns

#: Fields may be long: a row of such a field is refused, not the file.
_BOUNDS = ReadBounds(cell_bytes=1 << 26)
_LONGEST, _LONGEST_ID = 100_000, 200
_TEXTS = (".csv", ".tsv", ".txt")
_MONEY = re.compile(r"\s*+([\d.,'\s]*\d)\s*+([A-Z]{3})\s*+")
_MONEY_FIRST = re.compile(r"\s*+([A-Z]{3})\s*+([\d.,'\s]*\d)\s*+")
_BELOW_ZERO, _NOTHING = re.compile(r"[^\d\u2212-]*[-\u2212]\D*\d"), re.compile(r"[^1-9]*0[^1-9]*")
#: Rows of variations in WooCommerce.
_VARIATION = "variation"


class BadProduct(NamedTuple):
    """A row that makes no product. row: from 0; of a feed as XML, the number of the item.
    product: its id, where it has one."""

    row: int
    product: str
    reason: str


@dataclass(frozen=True)
class ProductTable:
    """The products of a table.

    path: of its file. frame: all its columns, as they came. shop, columns: how it was read.
    products: in the order of their rows. rows: row of each in `frame`. bad: rows that make none.
    said: what a person should know. encoding: of a text file. separator: of its fields, empty for
    others.
    """

    path: Path
    frame: pl.DataFrame
    shop: ShopFormat
    columns: FeedColumns
    products: tuple[Product, ...]
    rows: Mapping[str, int]
    bad: tuple[BadProduct, ...]
    said: tuple[str, ...]
    encoding: EncodingFound
    separator: str


def read_products(
    path: str | Path,
    *,
    shop: ShopName | None = None,
    columns: Mapping[str, str] | None = None,
    attributes: Sequence[str] = (),
    locale: str = "en",
    currency: str = "",
) -> ProductTable:
    """The products of a file.

    shop: the kind of the table; None for what its columns tell. columns: field -> column, which
    wins. attributes: further columns that are attributes. locale, currency: of rows without their
    own.
    Raises FileUnreadableError, SchemaError and ConfigError as `as_frame`, `in_utf8`, `read_feed`
    and `name_columns`; FileUnreadableError where there is no row.
    """
    path = Path(path)
    feed = None
    if path.name.lower().removesuffix(".gz").endswith(XML_ENDINGS):
        feed, shop = read_feed(path), shop or "google-feed"
        frame, encoding, said, separator = feed.frame, EncodingFound("utf-8"), feed.said, ""
    else:
        frame, encoding, said, separator = _frame(path)
    kind = format_of(frame.columns, shop)
    named = name_columns(frame.columns, kind, given=columns, attributes=attributes, file=str(path))
    reader = _ProductRows(frame, kind, named, locale, currency)
    if feed is not None:
        reader.places = feed.places
        reader.bad += [BadProduct(*one) for one in feed.broken]
    reader.read()
    if not reader.products and not reader.bad:
        raise FileUnreadableError(
            "the table has a header and no rows", file=str(path), hint="export it again"
        )
    return ProductTable(
        path,
        frame,
        kind,
        named,
        tuple(reader.products.values()),
        reader.rows,
        tuple(sorted(reader.bad)),
        (*said, *reader.said()),
        encoding,
        separator,
    )


def _frame(path: Path) -> tuple[pl.DataFrame, EncodingFound, tuple[str, ...], str]:
    """The table of the file, with how it is written."""
    name = path.name.lower().removesuffix(".gz")
    if not (path.is_file() and path.stat().st_size and name.endswith(_TEXTS)):
        table = as_frame(path, whole=True, bounds=_BOUNDS)
        return reading(path, table.frame.collect), EncodingFound("utf-8"), (), ""
    with in_utf8(path) as (inside, encoding, said):
        table = as_frame(inside, whole=True, bounds=_BOUNDS)
        frame = reading(path, table.frame.collect)
        names = [re.escape(one) for one in frame.columns]
        between = re.search(f'^"?{names[0]}"?([,;|\\t])', table.first_line) if names else None
        separator = between[1] if between else ("\t" if name.endswith(".tsv") else ",")
    return frame, encoding, said, separator


class _ProductRows:
    """Makes products of rows."""

    def __init__(
        self,
        frame: pl.DataFrame,
        shop: ShopFormat,
        columns: FeedColumns,
        locale: str,
        currency: str,
    ) -> None:
        self._frame, self._shop, self._columns = frame, shop, columns
        self._locale, self._currency = locale, currency
        self.products: dict[str, Product] = {}
        self.rows: dict[str, int] = {}
        self.bad: list[BadProduct] = []
        #: Of each row, where it stands in its file; empty where that is its number.
        self.places: Sequence[int] = ()
        self._stripped = self._variations = self._merged = self._negative = self._free = 0

    def read(self) -> None:
        """Read all rows."""
        used = list(self._columns.used)
        kinds = next(iter(usual_columns(("type",), self._frame.columns)), None)
        skip = kinds if self._shop.name == "woocommerce" else None
        names = [*used, *([skip] if skip and skip not in used else [])]
        rows = self._frame.select(names).iter_rows(named=True)
        for number, group in self._grouped(rows):
            if skip and _VARIATION in str(group[0][skip] or "").lower().split(","):
                self._variations += 1
                continue
            self._add(number, group)

    def said(self) -> tuple[str, ...]:
        """What was done to the rows."""
        said = []
        if self._stripped:
            said.append(
                f"markup or hidden characters were taken out of the fields of {self._stripped:,} "
                "products"
            )
        if self._merged:
            said.append(f"{self._merged:,} rows of variants were read as one product each")
        if self._variations:
            said.append(f"{self._variations:,} rows of variations were left out")
        if self._negative:
            said.append(f"prices below 0 are left out of {self._negative:,} products")
        if self._free:
            said.append(f"{self._free:,} products have a price of 0, which is kept")
        if self.bad:
            said.append(f"{len(self.bad):,} rows cannot be used and are left out")
        return tuple(said)

    def _grouped(
        self, rows: Iterator[dict[str, Any]]
    ) -> Iterator[tuple[int, list[dict[str, Any]]]]:
        """Each row by itself; of a shop that has rows of variants, those of one id that follow each
        other and have no title of their own."""
        if not self._shop.grouped:
            yield from ((number, [row]) for number, row in enumerate(rows))
            return
        title, key = self._columns.fields["title"], self._columns.fields["id"]
        first, group = 0, list[dict[str, Any]]()
        for number, row in enumerate(rows):
            same = group and row[key] == group[0][key]
            if same and (row[title] in (None, "") or row[title] == group[0][title]):
                group.append(row)
                continue
            if group:
                yield first, group
            first, group = number, [row]
        if group:
            yield first, group

    def _add(self, number: int, group: list[dict[str, Any]]) -> None:
        found = _as_text(group[0][self._columns.fields["id"]]).strip()
        self._merged += len(group) > 1
        try:
            product, stripped = self._product(found, group)
        except DataError as error:
            why = f"{error.what} [{error.where}]"
            self.bad.append(BadProduct(self._place(number), found[:_LONGEST_ID], why))
            return
        if product.id in self.products:
            what = f"the id stands twice, first in row {self._place(self.rows[product.id])}"
            self.bad.append(BadProduct(self._place(number), product.id, what))
            return
        self._stripped += stripped
        self.products[product.id] = product
        self.rows[product.id] = number

    def _place(self, row: int) -> int:
        return self.places[row] if self.places else row

    def _product(self, key: str, group: list[dict[str, Any]]) -> tuple[Product, bool]:
        if not key:
            raise DataError("the row has no id", column=self._columns.fields["id"])
        if len(key) > _LONGEST_ID:
            raise DataError(
                f"the id has more than {_LONGEST_ID} characters", column="id", value=key[:40]
            )
        texts: dict[str, str] = {}
        stripped = False
        for ours, theirs in self._columns.fields.items():
            raw = _bounded(_as_text(group[0][theirs]), theirs)
            texts[ours], changed = plain_text(raw, lines=ours == "description")
            stripped |= changed and ours != "id"
        texts["id"] = key
        if not texts["title"]:
            raise DataError("the row has no title", column=self._columns.fields["title"])
        attributes, changed = self._attributes(group)
        price, currency = self._price(texts, group)
        texts |= {"price": price, "currency": currency}
        texts["locale"] = texts.get("locale") or self._locale
        return Product(attributes=attributes, **texts), stripped or changed

    def _attributes(self, group: list[dict[str, Any]]) -> tuple[tuple[tuple[str, str], ...], bool]:
        found: dict[str, list[str]] = {}
        changed = False
        names = [(theirs, theirs) for theirs in self._columns.attributes]
        pairs = [(group[0][name], value) for name, value in self._columns.pairs]
        for name, column in (*names, *pairs):
            shown, _ = plain_text(_as_text(name), lines=False)
            values = found.setdefault(shown.rpartition(" / ")[2], [])
            for row in group:
                raw = _bounded(_as_text(row[column]), column)
                value, stripped = plain_text(raw, lines=False)
                changed |= stripped
                # Shopify's word for a product without options.
                if value and value not in values and value != "Default Title":
                    values.append(value)
        every = ((name, ", ".join(values)) for name, values in found.items())
        return tuple((name, value) for name, value in every if name and value), changed

    def _price(self, texts: Mapping[str, str], group: list[dict[str, Any]]) -> tuple[str, str]:
        """Price and currency; no price where variants differ in it, or it is below 0."""
        price, currency = texts.get("price", ""), texts.get("currency", "") or self._currency
        column = self._columns.fields.get("price")
        if column and len({_as_text(row[column]) for row in group} - {""}) > 1:
            return "", currency
        if _BELOW_ZERO.match(price):
            self._negative += 1
            return "", currency
        self._free += _NOTHING.fullmatch(price) is not None
        if both := _MONEY.fullmatch(price):
            return both[1].strip(), both[2]
        if both := _MONEY_FIRST.fullmatch(price):
            return both[2].strip(), both[1]
        return price, currency


def _bounded(text: str, column: str) -> str:
    if len(text) > _LONGEST:
        raise DataError(
            f"a field has {len(text):,} characters, the bound is {_LONGEST:,}",
            column=column,
            value=text[:40],
        )
    return text


def _as_text(cell: Any) -> str:
    """A cell as a person would write it."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return f"{int(cell)}" if cell.is_integer() and abs(cell) < 1e15 else repr(cell)
    if isinstance(cell, list):
        return ", ".join(filter(None, map(_as_text, cell)))
    if isinstance(cell, dict):
        return ", ".join(
            f"{name}: {_as_text(one)}" for name, one in cell.items() if one is not None
        )
    return str(cell)
