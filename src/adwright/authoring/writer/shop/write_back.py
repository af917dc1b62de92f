"""Put new texts into the table that the products came from, and show what that changes.

    changes = list(changes_of(table, texts))
    write_back(table, texts, Path("products_new.csv"))

All other columns and rows are as they came. Texts go to the columns of the shop that
`ShopFormat.texts` names, and others to new columns at the end. Text files are written in UTF-8,
which all shops take, with the separator and the byte-order mark of the input.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import polars as pl

from adwright.authoring.writer.shop.products import ProductTable
from adwright.core.atomic import atomic_write_bytes
from adwright.core.errors import SchemaError
from adwright.data.sources.parquetfile import PARQUET_ENDINGS

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
