"""Products to write for, out of a catalogue: a table with named columns, or Complete Journey.

    columns = ProductColumns(id="sku", title="name", attributes=("size", "colour"))
    for listing in catalogue_products("catalogue.parquet", columns): ...
    for listing in journey_products(): ...

Both go row by row in batches, so that a catalogue of millions is never in memory at once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from adwright.authoring.tasks.product import Product
from adwright.core.config import settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.sources.frames import Tabular, as_frame, id_text, name_of
from adwright.data.table_door import find_column, table_specs

_BATCH = 10_000


@dataclass(frozen=True)
class Listing:
    """A product of a catalogue. cluster: of those that are the same product in other words.
    source: the catalogue's name. query: what a customer searched when looking for it, if known."""

    product: Product
    cluster: str
    source: str
    query: str = ""


@settings
class ProductColumns:
    """Which columns of a table hold what; empty for none. An id or title that is not there by this
    name has one of its usual names.

    attributes: columns whose name and value are an attribute each. cluster: of the same product in
    other words; by default each row is one of its own. query: what was searched.
    """

    id: str = "id"
    title: str = "title"
    description: str = ""
    brand: str = ""
    category: str = ""
    price: str = ""
    currency: str = ""
    attributes: tuple[str, ...] = ()
    cluster: str = ""
    query: str = ""

    def __post_init__(self) -> None:
        if not self.id or not self.title:
            raise ConfigError(
                "a product needs an id and a title", where="ProductColumns", hint="name the columns"
            )

    def named(self) -> dict[str, str]:
        """Column by field of those that are named, attributes aside."""
        fields = ("id", "title", "description", "brand", "category", "price", "currency")
        every = {name: str(getattr(self, name)) for name in (*fields, "cluster", "query")}
        return {name: column for name, column in every.items() if column}


def catalogue_products(
    source: Tabular,
    columns: ProductColumns | None = None,
    *,
    name: str = "",
    locale: str = "en",
    skipped: Counter[str] | None = None,
) -> Iterator[Listing]:
    """The products of a table: CSV, JSON lines, Parquet, or one in memory.

    name: of the catalogue; by default the file's. locale: of its texts. skipped: counts rows that
    are no product, such as one without an id, by reason; None raises for the first of them. Rows
    without a title are passed over in any case.
    Raises as `as_frame`; SchemaError for a column that is not there; ValueInvalidError for a locale
    that is none, and with its row for a row that is no product.
    """
    Product("p", "a check of the locale", locale=locale)
    table = as_frame(source)
    frame = table.frame
    columns = _found(columns or ProductColumns(), frame.collect_schema().names(), table.name)
    wanted = [*columns.named().values(), *columns.attributes]
    texts = {column: pl.col(column).cast(pl.String, strict=False) for column in wanted}
    texts[columns.id] = id_text(frame, columns.id).cast(pl.String)
    row, catalogue = 0, name or name_of(source)
    for batch in _batches(frame.select(**texts)):
        for cells in batch.iter_rows(named=True):
            try:
                if (cells[columns.title] or "").strip():
                    yield _listing(cells, columns, catalogue, locale)
                elif skipped is not None:
                    skipped["no title"] += 1
            except ValueInvalidError as error:
                if skipped is None:
                    raise _in_row(error, table.name, row) from error
                skipped[error.what] += 1
            row += 1


def journey_products(path: Path | None = None, *, offline: bool = False) -> Iterator[Listing]:
    """The described products of Complete Journey: type and size as title, category, department.

    Products of one type are a cluster. The data set's brand says National or Private, which is no
    name of a brand, and is left out. Raises as `CompleteJourney.open`.
    """
    table = CompleteJourney.open(path, offline=offline).products()
    for batch in _batches(table):
        for cells in batch.iter_rows(named=True):
            kind, size = cells["product_type"] or "", cells["package_size"] or ""
            if not kind.strip():
                continue
            pairs = (("Size", size.strip()), ("Department", (cells["department"] or "").title()))
            product = Product(
                f"journey-{cells['product_id']}",
                f"{kind} {size}".strip().title(),
                category=(cells["product_category"] or "").capitalize(),
                attributes=tuple(pair for pair in pairs if pair[1].strip()),
            )
            yield Listing(product, f"journey-{kind}", "complete-journey")


def _found(columns: ProductColumns, names: Sequence[str], file: str) -> ProductColumns:
    """The columns as the table writes them."""
    usual, own = ProductColumns(), table_specs("shops")["table"]
    told = columns.named()
    left = [one for one in ("id", "title") if told[one] == getattr(usual, one) not in names]
    for field in left:
        told[field] = next(iter(own.guesses(field, names)), told[field])
    found = {field: find_column(one, names, field, file=file) for field, one in told.items()}
    facts = tuple(find_column(one, names, "an attribute", file=file) for one in columns.attributes)
    return ProductColumns(**found, attributes=facts)


def _listing(
    cells: dict[str, Any], columns: ProductColumns, catalogue: str, locale: str
) -> Listing:
    found = {name: (cells[column] or "").strip() for name, column in columns.named().items()}
    cluster, query = found.pop("cluster", ""), found.pop("query", "")
    pairs = tuple((name, (cells[name] or "").strip()) for name in columns.attributes)
    product = Product(**found, attributes=tuple(pair for pair in pairs if pair[1]), locale=locale)
    return Listing(product, f"{catalogue}-{cluster or product.id}", catalogue, query)


def _in_row(error: ValueInvalidError, file: str, row: int) -> ValueInvalidError:
    return ValueInvalidError(
        error.what, file=file, row=row, column=error.column, value=error.value, hint=error.hint
    )


def _batches(frame: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """The rows in order; in polars that cannot give batches, the whole table is collected."""
    if hasattr(frame, "collect_batches"):
        yield from frame.collect_batches(chunk_size=_BATCH, maintain_order=True)
    else:
        yield from frame.collect(engine="streaming").iter_slices(_BATCH)
