"""What a catalogue calls its items: the column that reads like a title."""

from __future__ import annotations

import polars as pl

__all__ = ["item_names"]

#: Columns that name an item, whatever the catalogue else holds; the first that is there.
_TITLES = (
    *("title", "name", "product_title", "product_name", "item_title", "item_name"),
    *("prod_name", "product", "headline", "description"),
)
#: A text column with so many distinct values to a row, and so many words to a value, names items.
_DISTINCT, _WORDS = 0.5, 1.5
#: So many items are looked at.
_LOOKED_AT = 10_000
#: Columns that name an item together; the first line whose first column the catalogue has.
_TOGETHER = (("type", "brand", "size"), ("category", "brand", "size"), ("brand", "size"))


def item_names(catalogue: pl.DataFrame) -> pl.DataFrame:
    """item_id and name: the title; or else the type (without one, the category), brand and size,
    whichever there are; or else the id. A category alone names no item: the id stands before it.
    """
    title = _title(catalogue)
    if title is not None:
        name = _text(title)
    else:
        first = next((one for one in _TOGETHER if one[0] in catalogue.columns), ())
        together = [column for column in first if column in catalogue.columns]
        parts = [_text(column) for column in together]
        if together == ["category"]:
            parts = [pl.col("item_id").cast(pl.String), *parts]
        name = pl.concat_str(parts, separator=", ", ignore_nulls=True) if parts else pl.lit("")
    return catalogue.select(
        "item_id", name=pl.when(name != "").then(name).otherwise(pl.col("item_id"))
    )


def _title(catalogue: pl.DataFrame) -> str | None:
    by_name = {column.lower(): column for column in catalogue.columns}
    for known in _TITLES:
        if known in by_name and catalogue.schema[by_name[known]] == pl.String:
            return by_name[known]
    if "type" in catalogue.columns:
        return None
    some = catalogue.head(_LOOKED_AT)
    found = [
        (some[column].n_unique(), column)
        for column, dtype in catalogue.schema.items()
        if dtype == pl.String and column != "item_id" and _reads_like_titles(some[column])
    ]
    return max(found)[1] if found else None


def _reads_like_titles(values: pl.Series) -> bool:
    given = values.drop_nulls()
    if not len(given) or given.n_unique() < _DISTINCT * len(values):
        return False
    words = given.str.count_matches(r"\S+").mean()
    return isinstance(words, float) and words >= _WORDS


def _text(column: str) -> pl.Expr:
    """The column as text; null where it is empty, which says as little."""
    text = pl.col(column).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)
