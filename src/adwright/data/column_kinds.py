"""What the columns of a catalogue, or the keys of a context, are: categories, numbers, lists, text.

The type alone does not tell: shop 7 is a number to a CSV reader, and no number to a model. A table
without a word about it is read by these rules, in this order:

    truth values               category
    lists                      list; none where they hold numbers with fractions
    numbers with fractions     number
    whole numbers              by a word of the name: category for id, code, category, type, brand
                               and the like, number for price, year, age, count and the like;
                               else category where a value stands in five rows or more on average
                               and the values leave few gaps, low as high (fill both halves of
                               their range to 40% or more; counts thin out); else number
    text, nine in ten cells    as these numbers; where that is a number, the other cells are left
    of it numbers              empty, and named in a warning
    text with | or ; in one    list, where the parts repeat more than the wholes
    cell in ten
    text of several words,     text
    half of it told apart
    other text                 category

What a person says of a column wins over all of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import polars as pl

from adwright.core.config import settings
from adwright.core.errors import ConfigError, SchemaError, ValueInvalidError
from adwright.data.schema import is_category

ColumnKind = Literal["category", "number", "list", "text", "none"]

#: The rule of whole numbers, in one sentence.
RULE = (
    "whole numbers are a category where their name says so (id, code, category, type, ...) or "
    "where a value stands in 5 rows or more and the values leave few gaps, low as high; else a "
    "number"
)
_CATEGORY_WORDS = {
    *("id", "ids", "code", "codes", "category", "categories", "cat", "subcategory", "type", "kind"),
    *("class", "brand", "store", "shop", "department", "dept", "group", "segment", "zip"),
    *("postcode", "genre", "gender", "sex", "occupation", "manufacturer", "supplier", "vendor"),
    *("seller", "channel", "colour", "color", "country", "region", "city", "language", "cluster"),
    *("family", "section", "line", "level", "status", "publisher", "author", "artist"),
}
_NUMBER_WORDS = {
    *("price", "cost", "year", "age", "amount", "quantity", "qty", "count", "counts", "number"),
    *("num", "size", "weight", "rating", "score", "stars", "discount", "length", "width"),
    *("height", "depth", "volume", "stock", "sales", "sold", "views", "clicks", "purchases"),
    *("days", "date", "time", "timestamp", "percent", "share", "rate", "margin", "duration"),
    *("minutes", "seconds", "pages", "popularity", "position", "rank", "calories", "budget"),
}
_NEVER_NEGATIVE = {"price", "cost", "age", "quantity", "qty", "count", "stock", "weight", "size"}
_ROWS_PER_VALUE, _FILLED, _MOSTLY = 5, 0.5, 0.9
_SEPARATORS = ("|", ";")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


@settings
class FoundColumn:
    """kind: what the column is. values: different ones in it (of lists, in all of them). why: the
    rule that decided. odd: a warning about it, or nothing. separator: of a text that is a list."""

    kind: ColumnKind
    values: int
    why: str
    odd: str = ""
    separator: str = ""

    def in_words(self) -> str:
        """For example "category, 12 values"."""
        counted = "" if self.kind in ("number", "text", "none") else f", {self.values:,} values"
        return f"{self.kind}{counted} ({self.why})"


def check_column_kinds(kinds: Mapping[str, str], where: str) -> None:
    """Raise ConfigError for a column that is said to be what no column is. where: the setting."""
    for column, kind in kinds.items():
        if kind not in get_args(ColumnKind):
            raise ConfigError(
                f"{column} cannot be {str(kind)[:60]!r}",
                where=where,
                hint=f"use one of {', '.join(get_args(ColumnKind))}",
            )


def find_kinds(
    table: pl.DataFrame,
    given: Mapping[str, ColumnKind] | None = None,
    *,
    skip: Sequence[str] = ("item_id", "user_id"),
    file: str = "",
) -> dict[str, FoundColumn]:
    """What each column of `table` is, but for those of `skip`.

    given: what a person says; it wins. file: named in errors.
    Raises SchemaError for a column that cannot be what is said of it.
    """
    given = given or {}
    found = {}
    for name in table.columns:
        if name in skip:
            continue
        column = table[name]
        if name in given:
            found[name] = _as_given(column, given[name], file)
        else:
            found[name] = _by_rule(column)
    return found


def with_kinds(
    table: pl.DataFrame, found: Mapping[str, FoundColumn], *, file: str = ""
) -> pl.DataFrame:
    """The table in types that say what its columns are: categories and text are text, numbers are
    numbers, lists are lists of text.

    Columns that `found` lacks stay. Raises ValueInvalidError for the first cell that is no number
    in a column that a person called one, unless the rule left it empty with a warning.
    """
    columns = []
    for name, one in found.items():
        column = table[name]
        match one.kind:
            case "category" | "text":
                columns.append(_as_text(column))
            case "number":
                columns.append(_as_number(column, lenient=bool(one.odd), file=file))
            case "list":
                columns.append(_as_list(column, one.separator))
            case "none":
                continue
    return table.with_columns(columns)


def number_kind(column: pl.Series) -> tuple[ColumnKind, str]:
    """What a column of numbers is, and the rule that says so: see the module's first lines."""
    if column.dtype.is_float():
        finite = column.filter(column.is_finite())
        if (finite != finite.round()).any():
            return "number", "fractions"
        column = finite.cast(pl.Int64, strict=False)
    elif not column.dtype.is_integer():
        return "number", "decimals"
    words = _words_of(column.name)
    # Of "number of categories" it is the number that counts.
    for kind, known in (("number", _NUMBER_WORDS), ("category", _CATEGORY_WORDS)):
        named = sorted(words & known)
        if named:
            return kind, f"its name says {named[0]}"  # type: ignore[return-value]
    filled = column.drop_nulls()
    if not len(filled):
        return "number", "empty"
    values = filled.unique().to_numpy()
    if len(values) * _ROWS_PER_VALUE > len(filled):
        return "number", "values that seldom repeat"
    # Counts are dense where they are low and thin out, codes are as dense everywhere.
    low, high = int(values.min()), int(values.max())
    middle = low + (high - low) // 2
    lower, upper = (values <= middle).sum(), (values > middle).sum()
    if lower < _FILLED * (middle - low + 1) or upper < _FILLED * (high - middle):
        return "number", "values with gaps between them"
    return "category", "whole numbers that repeat"


def _by_rule(column: pl.Series) -> FoundColumn:
    dtype = column.dtype
    if len(column) and column.null_count() == len(column):
        return FoundColumn("none", 0, "empty", odd=f"{column.name}: no row has a value")
    if len(column) > 1 and column.n_unique() == 1:
        return FoundColumn("none", 1, "one value for all")
    if isinstance(dtype, pl.List):
        if dtype.inner is not None and dtype.inner.is_float():
            return FoundColumn("none", 0, "lists of numbers with fractions")
        return FoundColumn("list", column.explode().n_unique(), "lists")
    if dtype == pl.Boolean:
        return FoundColumn("category", column.drop_nulls().n_unique(), "true or false")
    if dtype.is_numeric():
        kind, why = number_kind(column)
        return FoundColumn(kind, column.drop_nulls().n_unique(), why, _negative(column))
    if dtype == pl.String or is_category(dtype):
        return _of_text(column.cast(pl.String))
    return FoundColumn("category", column.drop_nulls().n_unique(), str(dtype))


def _of_text(column: pl.Series) -> FoundColumn:
    filled = column.filter(column.str.strip_chars() != "").drop_nulls()
    values = filled.n_unique()
    if not len(filled):
        return FoundColumn("none", 0, "empty", odd=f"{column.name}: no row has a value")
    numbers = _numbers(filled)
    bad = numbers.is_null()
    if bad.mean() <= 1 - _MOSTLY:  # type: ignore[operator]
        kind, why = number_kind(numbers.drop_nulls().alias(column.name))
        # A code with a zero in front is no number, and neither is one with a letter.
        zeros = filled.str.contains(r"^0\d").any()
        if kind == "number" and not zeros:
            odd = _odd_cells(column) if bad.any() else _negative(numbers.alias(column.name))
            return FoundColumn(kind, values, why, odd)
        return FoundColumn("category", values, why if kind == "category" else "zeros in front")
    for separator in _SEPARATORS:
        parted = filled.str.contains(separator, literal=True)
        if parted.mean() >= 1 - _MOSTLY:  # type: ignore[operator]
            parts = filled.str.split(separator).explode()
            if parts.n_unique() * len(filled) < values * len(parts):
                return FoundColumn(
                    "list", parts.n_unique(), f"parts between {separator}", separator=separator
                )
    words = filled.str.strip_chars().str.count_matches(r"\s+") + 1
    if values * 2 >= len(filled) and words.mean() >= 2:  # type: ignore[operator]
        return FoundColumn("text", values, "words, most of them once")
    return FoundColumn("category", values, "text")


def _negative(column: pl.Series) -> str:
    """The warning about cells below nothing of what counts or costs."""
    below = (column < 0).fill_null(value=False)
    if _words_of(column.name).isdisjoint(_NEVER_NEGATIVE) or not below.any():
        return ""
    cells = "1 cell is" if below.sum() == 1 else f"{below.sum():,} cells are"
    row = int(below.arg_max() or 0)
    return f"{column.name}: {cells} negative, the first in row {row}: {column[row]}"


def _words_of(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def _numbers(text: pl.Series) -> pl.Series:
    return text.str.strip_chars().cast(pl.Float64, strict=False)


def _odd_cells(column: pl.Series) -> str:
    """The warning about the cells of a column of numbers that are none."""
    filled = column.is_not_null() & (column.str.strip_chars() != "")
    bad = (filled & _numbers(column).is_null()).arg_true()
    row = int(bad[0])
    cells = "1 cell is" if len(bad) == 1 else f"{len(bad):,} cells are"
    return (
        f"{column.name}: {cells} no number, the first in row {row}: {column[row]!r:.60}; left "
        f"empty. Correct them, or say --column-kinds {column.name}=category"
    )


def _as_given(column: pl.Series, kind: ColumnKind, file: str) -> FoundColumn:
    dtype, values = column.dtype, column.drop_nulls().n_unique()
    nested = isinstance(dtype, pl.List)
    separator = ""
    if kind == "list" and not nested:
        counts = {
            one: column.cast(pl.String).str.contains(one, literal=True).sum()
            for one in (*_SEPARATORS, ",", " ")
        }
        separator = max(counts, key=lambda one: counts[one])
    if kind != "none" and nested != (kind == "list") and not separator:
        raise SchemaError(
            f"{column.name} cannot be a {kind}: it holds {dtype}",
            file=file,
            column=column.name,
            hint="leave it out of the column kinds, or convert it",
        )
    return FoundColumn(kind, values, "as you say", separator=separator)


def _as_text(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        whole = column.fill_nan(None).cast(pl.Int64, strict=False)
        if ((whole == column) | column.is_null() | column.is_nan()).all():
            column = whole
    return column.cast(pl.String)


def _as_number(column: pl.Series, *, lenient: bool, file: str) -> pl.Series:
    if column.dtype != pl.String and not is_category(column.dtype):
        return column.cast(pl.Float64) if column.dtype == pl.Boolean else column
    text = column.cast(pl.String).str.strip_chars()
    numbers = _numbers(text)
    bad = (text != "") & numbers.is_null()
    if bad.any() and not lenient:
        row = int(bad.arg_max() or 0)
        raise ValueInvalidError(
            f"{column.name} is to be a number; {int(bad.sum()):,} cells are none",
            file=file,
            row=row,
            column=column.name,
            value=column[row],
            hint="write numbers such as 3 or 0.25, or call the column a category",
        )
    whole = numbers.cast(pl.Int64, strict=False)
    return whole if (whole == numbers).all() and not bad.any() else numbers


def _as_list(column: pl.Series, separator: str) -> pl.Series:
    if isinstance(column.dtype, pl.List):
        return column.cast(pl.List(pl.String))
    parts = column.cast(pl.String).str.split(separator)
    kept = pl.element().str.strip_chars().replace("", None)
    return parts.to_frame().select(pl.col(column.name).list.eval(kept.drop_nulls())).to_series()
