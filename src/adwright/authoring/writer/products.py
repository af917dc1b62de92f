"""Read a table of products: any file that `as_frame` reads, in the columns of a shop, or Google's
feed as XML.

    table = read_products(Path("products_export.csv"))
    table.products, table.bad, table.said

Markup is taken out of titles and descriptions, and that is said. A row that cannot be used is told
with its number and the reason, and harms no other row.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import polars as pl

from adwright.authoring.tasks import Product
from adwright.authoring.writer.feeds import (
    XML_ENDINGS,
    EncodingFound,
    in_utf8,
    plain_text,
    read_feed,
)
from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import ConfigError, DataError, FileUnreadableError, SchemaError
from adwright.data.sources.bounds import PARQUET_ENDINGS, ReadBounds, reading
from adwright.data.sources.frames import as_frame
from adwright.data.table_door import (
    TableSpec,
    bare_name,
    find_column,
    synonyms,
    table_specs,
    usual_columns,
)

# --------------------------------------------------------------------------------------------------
# Which column of a shop's table is which field of a product, and where new texts go.
#
# Shopify's product CSV has had two headers: the one that its exports had for years (Handle, Body
# (HTML), Variant Price) and the one of its template since 2025 (URL handle, Description, Price);
# both are known. WooCommerce's is that of its built-in importer and exporter ("Product CSV Import
# Schema" in its wiki, October 2022, and the column Brands since). Google's is the product data
# specification of Merchant Center, as a tab-separated feed, whose names may have spaces for
# underscores, or as XML, see `feed_xml`.
#
# The names are in data/synonyms/shops.toml.

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


# --------------------------------------------------------------------------------------------------
# Put new texts into the table that the products came from, and show what that changes.
#
#     changes = list(changes_of(table, texts))
#     write_back(table, texts, Path("products_new.csv"))
#
# All other columns and rows are as they came. Texts go to the columns of the shop that
# `ShopFormat.texts` names, and others to new columns at the end. Text files are written in UTF-8,
# which all shops take, with the separator and the byte-order mark of the input.

#: (product, slot) -> its texts, a variant each, in their order.
NewTexts: TypeAlias = Mapping[tuple[str, str], Sequence[str]]

_JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
_TEXT_ENDINGS = (".csv", ".tsv", ".txt")
_SPACES = re.compile(r"[\t\r\n]+")


class Change(NamedTuple):
    """A cell that gets another text. before: as it is, empty where there is none."""

    product: str
    column: str
    before: str
    after: str


def changes_of(table: ProductTable, texts: NewTexts) -> Iterator[Change]:
    """The cells that `write_back` changes, row after row."""
    cells = _cells(table, texts)
    names = {name: number for number, name in enumerate(table.frame.columns)}
    known = {row: product for product, row in table.rows.items()}
    for row in sorted({row for column in cells.values() for row in column}):
        values = table.frame.row(row)
        for column, new in cells.items():
            if row in new:
                before = "" if column not in names else str(values[names[column]] or "")
                if before != new[row]:
                    yield Change(known[row], column, before, new[row])


def write_back(table: ProductTable, texts: NewTexts, path: Path) -> int:
    """Write the table with new texts to `path`, whole or not at all; return the cells changed.

    The ending says what is written: .csv, .tsv, .txt, .parquet, .pq, .jsonl, .ndjson.
    Raises SchemaError for another ending, or for lists in a text file; ResourceError where the
    disk is full.
    """
    changed = sum(1 for _ in changes_of(table, texts))
    frame = table.frame
    for column, new in _cells(table, texts).items():
        if column not in frame.columns:
            frame = frame.with_columns(pl.lit(None, pl.String).alias(column))
        rows = list(new)
        values = (
            frame[column].cast(pl.String) if frame[column].dtype != pl.String else frame[column]
        )
        frame = frame.with_columns(values.scatter(rows, [new[row] for row in rows]).alias(column))
    atomic_write_bytes(path, _written(table, frame, path))
    return changed


def _cells(table: ProductTable, texts: NewTexts) -> dict[str, dict[int, str]]:
    """Column -> row -> text."""
    cells: dict[str, dict[int, str]] = {}
    for (product, slot), variants in texts.items():
        row = table.rows.get(product)
        if row is None:
            continue
        for number, text in enumerate(variants, start=1):
            own = table.columns.texts.get(slot)
            column = own if own is not None and number == 1 else _own(table, slot, number)
            rich = table.shop.html and column == table.columns.texts.get("description")
            cells.setdefault(column, {})[row] = _as_html(text) if rich else text
    return cells


def _own(table: ProductTable, slot: str, number: int) -> str:
    return table.shop.own.format(slot=slot, number=number)


def _as_html(text: str) -> str:
    """Paragraphs, in which nothing is markup."""
    lines = (html.escape(line.strip(), quote=False) for line in text.splitlines())
    return "".join(f"<p>{line}</p>" for line in lines if line)


def _written(table: ProductTable, frame: pl.DataFrame, path: Path) -> bytes:
    ending, out = path.suffix.lower(), io.BytesIO()
    if ending in PARQUET_ENDINGS:
        frame.write_parquet(out, compression="zstd")
    elif ending in _JSON_ENDINGS:
        frame.write_ndjson(out)
    elif ending in _TEXT_ENDINGS:
        _write_text(table, frame, path, out)
    else:
        raise SchemaError(
            f"tables are written as .csv, .tsv, .txt, .parquet or .jsonl, not as "
            f"{ending or 'nothing'}",
            file=str(path),
            hint="name it so",
        )
    return out.getvalue()


def _write_text(table: ProductTable, frame: pl.DataFrame, path: Path, out: io.BytesIO) -> None:
    lists = [name for name, dtype in frame.schema.items() if isinstance(dtype, pl.List | pl.Struct)]
    if lists:
        raise SchemaError(
            "a text file cannot hold lists", file=str(path), column=lists[0], hint="write .jsonl"
        )
    separator = table.separator or ("\t" if path.suffix.lower() == ".tsv" else ",")
    if separator == "\t":
        # A feed has no quotes: what would end a field or a row becomes a space.
        text = pl.col(pl.String).str.replace_all(_SPACES.pattern, " ")
        frame = frame.with_columns(text)
    frame.write_csv(
        out,
        separator=separator,
        include_bom=table.encoding.encoding == "utf-8-sig",
        quote_style="never" if separator == "\t" else "necessary",
    )
