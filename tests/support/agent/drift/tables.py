"""Drift of tables: their columns in another order."""

from __future__ import annotations

from lxml.html import HtmlElement

from tests.support.agent.drift.kinds import Drift

_FEWEST = 3


def turn_columns(table: HtmlElement, drift: Drift) -> None:
    """Turn the columns of a table with a head; one whose cells span several is left alone."""
    rows = [one for one in table.iter("tr") if _table_of(one) is table]
    heads = [one for row in rows for one in row if one.tag == "th"]
    count = max((len(_cells(row)) for row in rows), default=0)
    spans = any(cell.get("colspan") or cell.get("rowspan") for row in rows for cell in row)
    if not heads or spans or count < _FEWEST:
        return
    by = 1 + drift.number("columns", count - 1)
    for row in rows:
        cells = _cells(row)
        if len(cells) == count:
            for one in cells:
                row.remove(one)
            row.extend([*cells[by:], *cells[:by]])


def _cells(row: HtmlElement) -> list[HtmlElement]:
    return [one for one in row if one.tag in ("td", "th")]


def _table_of(row: HtmlElement) -> HtmlElement | None:
    return next(iter(row.iterancestors("table")), None)
