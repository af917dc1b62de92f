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

from collections.abc import Sequence

import polars as pl

from adwright.audit.catalogue.catalogue import CatalogueSchema
from adwright.core.errors import ConfigError
from adwright.data.table_door import bare_name, find_column, synonyms, table_specs

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
    columns, spec = frame.columns, table_specs("catalogue")["catalogue"]
    told = {field: one for field, one in (("name", name), ("merchant", merchant)) if one}
    named = spec.name(columns, told, once=False, file=file).columns
    spec.require(named, columns, file=file)
    name, merchant = named["name"], named.get("merchant", "")
    facts, prose = (
        None if given is None else [find_column(one, columns, file=file) for one in given]
        for given in (attributes, texts)
    )
    _check_once((name, *(facts or []), *(prose or [])), file)
    taken = {name, merchant, *(facts or []), *(prose or [])}
    rest = [one for one in columns if one not in taken]
    guessed = [column for field, column in named.items() if field not in told]
    if facts is None or prose is None:
        guessed += rest
    if facts is None and prose is None:
        facts = [one for one in rest if _is_fact(frame[one])]
        prose = [one for one in rest if one not in facts]
    facts, prose = rest if facts is None else facts, rest if prose is None else prose
    order = tuple(one for one in columns if one in {name, *facts, *prose})
    return CatalogueSchema(name, tuple(facts), tuple(prose), merchant, order, tuple(guessed))


def _is_fact(column: pl.Series) -> bool:
    bare, usual = bare_name(column.name), synonyms("catalogue")["kinds"]
    if bare in usual["texts"]:
        return False
    if bare in usual["facts"] or column.dtype.is_numeric() or column.dtype == pl.Boolean:
        return True
    if column.dtype.is_temporal():
        return True
    if column.dtype != pl.String:
        return False
    cells = [cell for cell in column.to_list() if cell]
    return all(len(cell) <= _CHARACTERS and len(cell.split()) <= _WORDS for cell in cells)


def _check_once(every: Sequence[str], file: str) -> None:
    for column in every:
        if every.count(column) > 1:
            raise ConfigError(
                f"column {column!r} was given two roles",
                where=file or column,
                hint="it is the name, a fact of the shop, or a text of its seller",
            )
