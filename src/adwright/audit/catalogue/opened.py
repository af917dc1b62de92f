"""Read a catalogue: JSON lines, CSV or Parquet of a user's, a table in memory, or items of a log.

    opened = open_catalogue("coffee_machines.jsonl", request="I want a coffee machine.", own=True)
    opened.catalogue, opened.said

What cannot compete is left out and said: rows without a name, and a second row of one name. One
bad row never harms another.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from adwright.audit.catalogue.catalogue import CatalogueSchema, ShopCatalogue
from adwright.audit.catalogue.columns import schema_of
from adwright.audit.catalogue.listing import Fact, ShopListing
from adwright.core.errors import DataError
from adwright.data.schema import Catalogue
from adwright.data.sources.frames import Tabular, as_frame, name_of
from adwright.data.table_door import bare_name, find_column

_SHOWN = 3
_NEVER_NEGATIVE = frozenset(("price", "rating", "stars", "stock", "weight", "capacity"))


@dataclass(frozen=True)
class OpenedCatalogue:
    """catalogue: as it was read. said: what was guessed and what was left out, in sentences."""

    catalogue: ShopCatalogue
    said: tuple[str, ...] = ()


def open_catalogue(
    source: Tabular,
    *,
    request: str = "",
    wordings: Sequence[str] = (),
    name: str = "",
    attributes: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    merchant: str = "",
    where: Mapping[str, str] | None = None,
    most: int | None = None,
    own: bool = False,
) -> OpenedCatalogue:
    """The catalogue of a table.

    request: what the shopper asks; empty makes a sentence of the file's name, and says so. name,
    attributes, texts, merchant: columns, see `schema_of`. where: only rows with these cells, by
    column. most: only so many first rows. own: declares it as one's own.

    Raises as `as_frame` and `schema_of`; SchemaError where `where` names no column; DataError where
    fewer than two products are left.
    """
    table = as_frame(source, text=lambda names: _text_columns(names, name, where))
    frame = table.frame.collect()
    file = table.name
    frame = _only(frame, where or {}, file)
    frame = frame if most is None else frame.head(most)
    schema = schema_of(
        frame, name=name, attributes=attributes, texts=texts, merchant=merchant, file=file
    )
    said = [schema.in_words(), *_below_zero(frame, schema.attributes)]
    listings = _listings(frame, schema, said)
    if len(listings) < 2:
        raise DataError(
            f"{len(listings)} of {frame.height} rows is a product that can compete",
            file=file,
            hint="a list needs at least two products with names of their own",
        )
    if not request:
        request = usual_request(name_of(source))
        said.append(f"the shopper asks, by the file's name: {request}")
    made = ShopCatalogue(
        name_of(source), request, listings, own=own, wordings=tuple(wordings), schema=schema
    )
    return OpenedCatalogue(made, tuple(said))


def shop_of_items(
    catalogue: Catalogue,
    *,
    request: str,
    name: str = "item_id",
    shop: str = "items",
    where: Mapping[str, str] | None = None,
    most: int | None = None,
) -> OpenedCatalogue:
    """The items of a catalogue of ours, as `open_log` gives it, and the texts of their creatives:
    an item's first one with a text, in the field "ad". name: the column of the shown name.

    The features of an item are facts. Raises as `open_catalogue`.
    """
    items = catalogue.items
    ads = catalogue.creatives.filter(pl.col("text").is_not_null()).unique(
        "item_id", keep="first", maintain_order=True
    )
    if ads.height:
        items = items.join(
            ads.select("item_id", ad=pl.col("text")),
            on="item_id",
            how="left",
            maintain_order="left",
        )
    texts = ["ad"] if ads.height else []
    opened = open_catalogue(
        items, request=request, name=name, texts=texts, where=where, most=most, own=True
    )
    made = opened.catalogue
    renamed = ShopCatalogue(shop, made.request, made.listings, own=True, schema=made.schema)
    return OpenedCatalogue(renamed, opened.said)


def usual_request(name: str) -> str:
    """What somebody asks a shop for, by the name of a catalogue: "I am looking for coffee
    machines. Can I get some recommendations?" """
    words = name.replace("_", " ").replace("-", " ").strip() or "a product"
    return f"I am looking for {words}. Can I get some recommendations?"


def _text_columns(names: Sequence[str], name: str, where: Mapping[str, str] | None) -> list[str]:
    """Columns of a CSV file that stay as they are written: a name 007 is no number."""
    kept = {bare_name(one) for one in (name, *(where or {}))} - {""}
    usual = ("name", "title", "product", "item", "id", "sku")
    return [
        one for one in names if bare_name(one) in kept or any(word in one.lower() for word in usual)
    ]


def _only(frame: pl.DataFrame, where: Mapping[str, str], file: str) -> pl.DataFrame:
    for told, value in where.items():
        column = find_column(told, frame.columns, file=file)
        cells = frame[column].map_elements(_shown_cell, return_dtype=pl.String)
        frame = frame.filter(cells.fill_null("") == value)
    return frame


def _listings(
    frame: pl.DataFrame, schema: CatalogueSchema, said: list[str]
) -> tuple[ShopListing, ...]:
    known: dict[str, ShopListing] = {}
    nameless, twice = 0, []
    for cells in frame.iter_rows(named=True):
        name = _shown_cell(cells[schema.name]).strip()
        if not name:
            nameless += 1
        elif name in known:
            twice.append(name)
        else:
            known[name] = ShopListing(
                name,
                {one: _fact(cells[one]) for one in schema.attributes},
                {one: _shown_cell(cells[one]) for one in schema.texts},
                _shown_cell(cells[schema.merchant]) if schema.merchant else "",
                schema.order,
                schema.name,
            )
    if nameless:
        said.append(f"{nameless} rows have no name and are left out")
    if twice:
        few = ", ".join(repr(one[:60]) for one in twice[:_SHOWN])
        said.append(
            f"{len(twice)} rows have a name that an earlier row has, and are left out: {few}"
        )
    return tuple(known.values())


def _below_zero(frame: pl.DataFrame, facts: Sequence[str]) -> list[str]:
    """What is to be said of facts that are no such numbers: a sentence a column."""
    named = [one for one in facts if one.strip().lower() in _NEVER_NEGATIVE]
    cells = ((one, frame[one].cast(pl.String).str.contains(r"^\D*[-\u2212]\D*\d")) for one in named)
    return [
        f"{name}: {number:,} of {frame.height:,} are below 0, and are shown as they are"
        for name, below in cells
        if (number := int(below.sum()))
    ]


def _fact(cell: Any) -> Fact:
    if isinstance(cell, float) and not math.isfinite(cell):
        return None
    return cell if isinstance(cell, str | int | float | bool | None) else _shown_cell(cell)


def _shown_cell(cell: Any) -> str:
    """A cell as text; lists and objects as JSON."""
    if cell is None:
        return ""
    if isinstance(cell, pl.Series):
        cell = cell.to_list()
    if isinstance(cell, list | dict):
        return json.dumps(cell, ensure_ascii=False, default=str)
    return str(cell)
