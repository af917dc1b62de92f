"""Columns of tables: which one an element of a list stands in, and which one a node does.

column_of(element)               # "Status", of what the document calls "column Status"
header_of(screen, node)          # "Status", of the header over its cell; empty without one
"""

from __future__ import annotations

import re

from adwright.agent.document.elements import Element
from adwright.agent.document.guards import guarded
from adwright.agent.drivers.protocol import Screen, ScreenNode

__all__ = ["column_of", "header_of"]

_COLUMN = re.compile(r"\bcolumn (.+?)(?:;|$)")
_CELLS = ("cell", "gridcell", "rowheader")


def column_of(element: Element) -> str:
    """The header of the column in which a list's parts stand, or empty."""
    found = _COLUMN.search(element.description)
    return found[1].strip() if found else ""


def header_of(screen: Screen, node: ScreenNode) -> str:
    """The header over a cell, or over the cell around a node; empty where there is none."""
    by_key = {one.key: one for one in screen.nodes}
    cell: ScreenNode | None = node
    while cell is not None and cell.role not in _CELLS:
        cell = by_key.get(cell.parent)
    if cell is None:
        return ""
    row = [one for one in screen.nodes if one.parent == cell.parent and one.role in _CELLS]
    head, table, rest = cell.facts.get("xpath", "").rpartition("/table")
    start = f"{head}{table}{rest.partition('/')[0]}/"
    heads = [
        one
        for one in screen.nodes
        if one.role == "columnheader" and one.facts.get("xpath", "").startswith(start)
    ]
    place = [one.key for one in row].index(cell.key)
    return guarded(heads[place].name).text if table and place < len(heads) else ""
