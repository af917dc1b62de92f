"""Which column of a catalogue is the name, a fact of the shop, or a text of its seller.

    schema_of(frame, attributes=("Price",), texts=("Description",))

What is given is taken. What is left open is guessed, and the guess is said: the name by its usual
names, the merchant likewise, and every other column as a fact where

- it holds numbers or truth values, or has the usual name of a fact (price, rating, brand ..), or
- its cells are short: at most three words and 30 characters each;

else as a text. A column that is taken for a text although it is a fact makes an audit look worse
than the shop is; the other way round would hide a hole, and so what is in doubt is a text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import polars as pl

from adwright.audit.catalogue.catalogue import CatalogueSchema
from adwright.core.config import closest_name
from adwright.core.errors import ConfigError, SchemaError

__all__ = ["schema_of"]

_NAMES = (
    *("name", "productname", "title", "producttitle", "itemname", "itemtitle", "product"),
    *("item", "itemid", "productid"),
)
_MERCHANTS = ("merchant", "seller", "merchantid", "sellerid", "vendor", "shop", "merchantname")
_TEXTS = frozenset(
    (
        *("description", "shortdescription", "longdescription", "productdescription", "details"),
        *("about", "features", "bullets", "bulletpoints", "highlights", "idealfor", "tagline"),
        *("summary", "review", "reviews", "keywords", "notes", "text", "body", "headline"),
    )
)
_FACTS = frozenset(
    (
        *("price", "rating", "stars", "brand", "manufacturer", "category", "capacity", "size"),
        *("colour", "color", "material", "weight", "genre", "author", "resolution", "stock"),
        *("sku", "id", "itemid", "productid", "gtin", "ean", "isbn", "asin", "url", "currency"),
        *("availability", "warranty", "candidate", "department", "type"),
    )
)
_WORDS, _CHARACTERS = 3, 30


def schema_of(
    frame: pl.DataFrame,
    *,
    name: str = "",
    attributes: Sequence[str] | None = None,
    texts: Sequence[str] | None = None,
    merchant: str = "",
    file: str = "",
) -> CatalogueSchema:
    """The schema of a table.

    attributes, texts: None guesses. Where one of the two is given, all other columns are of the
    other kind; where both are, columns that neither names are not shown. file: for errors.

    Raises SchemaError for a column that is not there, and where no column is the name; ConfigError
    where one column is to be two things.
    """
    columns = frame.columns
    given = {"name": name, "merchant": merchant}
    name = _there(name, columns, file) if name else _guess(columns, _NAMES)
    if not name:
        raise SchemaError(
            "no column is the name of a product",
            file=file,
            hint=f"say which one it is; the table has {_few(columns)}",
        )
    merchant = _there(merchant, columns, file) if merchant else _guess(columns, _MERCHANTS)
    facts = None if attributes is None else [_there(one, columns, file) for one in attributes]
    prose = None if texts is None else [_there(one, columns, file) for one in texts]
    _check_once(name, facts or [], prose or [], file)
    named = {name, *(facts or []), *(prose or [])}
    rest = [one for one in columns if one not in named and one != merchant]
    guessed = [one for one in (name, merchant) if one and not given[_kind(one, name)]]
    if facts is None and prose is None:
        facts = [one for one in rest if _is_fact(frame[one])]
        prose = [one for one in rest if one not in facts]
        guessed += rest
    elif facts is None:
        facts, guessed = rest, guessed + rest
    elif prose is None:
        prose, guessed = rest, guessed + rest
    shown = {name, *facts, *(prose or [])}
    order = tuple(one for one in columns if one in shown)
    return CatalogueSchema(name, tuple(facts), tuple(prose or []), merchant, order, tuple(guessed))


def _kind(column: str, name: str) -> str:
    return "name" if column == name else "merchant"


def _is_fact(column: pl.Series) -> bool:
    bare = _bare(column.name)
    if bare in _TEXTS:
        return False
    if bare in _FACTS or column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return True
    if column.dtype.is_temporal():
        return True
    if column.dtype != pl.String:
        return False
    cells = [cell for cell in column.to_list() if cell]
    return all(len(cell) <= _CHARACTERS and len(cell.split()) <= _WORDS for cell in cells)


def _check_once(name: str, facts: Sequence[str], texts: Sequence[str], file: str) -> None:
    every = [name, *facts, *texts]
    twice = next((one for one in every if every.count(one) > 1), None)
    if twice is not None:
        raise ConfigError(
            "one column is to be two things",
            where=f"{file} {twice}".strip(),
            hint="it is the name, a fact of the shop, or a text of its seller",
        )


def _there(theirs: str, columns: Sequence[str], file: str) -> str:
    """The column as the table writes it; capitals do not count."""
    if theirs in columns:
        return theirs
    same = [one for one in columns if one.strip().lower() == theirs.strip().lower()]
    if same:
        return same[0]
    close = closest_name(theirs, columns)
    alike = f"is it {close!r}? " if close else ""
    raise SchemaError(
        f"the table has no column {theirs!r}",
        file=file,
        column=theirs,
        hint=f"{alike}the table has {_few(columns)}",
    )


def _guess(columns: Sequence[str], known: Sequence[str]) -> str:
    bare = {_bare(one): one for one in reversed(columns)}
    return next((bare[one] for one in known if one in bare), "")


def _bare(name: str) -> str:
    return re.sub(r"[\W_]", "", name.lower())


def _few(columns: Sequence[str]) -> str:
    return ", ".join(one[:60] for one in columns[:20])
