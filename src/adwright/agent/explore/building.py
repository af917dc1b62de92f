"""Makes a document out of the pages that were seen: states, names, and where elements lead.

Pages with one skeleton are one state. An element leads to the state of the first page that was seen
under the template of its address; a list leads where its items do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element
from adwright.agent.document.guards import guarded
from adwright.agent.document.naming import state_name
from adwright.agent.explore.describe import UNNAMED
from adwright.agent.explore.records import PageRecord
from adwright.core.errors import DataError

__all__ = ["build_document"]


def build_document(
    app: str, records: Sequence[PageRecord], origins: tuple[str, ...], *, version: str = "1"
) -> AppDocument:
    """The document of all records; its start is the state of the first.

    Raises DataError where no page was seen.
    """
    if not records:
        raise DataError(f"no page of {app} was seen", hint="explore it first")
    names: dict[str, str] = {}  # of states, by skeleton
    states: list[AppState] = []
    by_template: dict[str, str] = {}
    first: list[PageRecord] = []
    for record in records:
        if record.skeleton not in names:
            name = _state_name(record, names)
            names[record.skeleton] = name
            title = guarded(record.title).text
            states.append(AppState(name, record.skeleton, record.template, title))
            first.append(record)
        if not record.tapped:
            by_template.setdefault(record.template, names[record.skeleton])
    elements: list[Element] = []
    for record in first:
        elements += _elements(record, names[record.skeleton], by_template)
    edges = _taps(records, names, {one.name for one in elements})
    return AppDocument(
        app, version, origins, states[0].name, tuple(states), tuple(elements), tuple(edges)
    )


def _state_name(record: PageRecord, names: dict[str, str]) -> str:
    taken = set(names.values())
    if not record.tapped:
        return state_name(record.template, taken)
    opened = record.tapped[-1].removeprefix(f"{UNNAMED}__")
    base = state_name(record.template, ())
    name, number = f"{base}_{opened}", 2
    while name in taken:
        name, number = f"{base}_{opened}_{number}", number + 1
    return name


def _elements(record: PageRecord, state: str, by_template: dict[str, str]) -> list[Element]:
    found = []
    for seen in record.elements:
        target = by_template.get(seen.leads_to) if seen.leads_to else None
        if seen.leads_to and target is None:
            # A form by GET adds its fields to the address.
            target = by_template.get(seen.leads_to.partition("?")[0])
        name = state + seen.element.name.removeprefix(UNNAMED)
        found.append(replace(seen.element, name=name, state=state, target=target))
    return found


def _taps(records: Sequence[PageRecord], names: dict[str, str], known: set[str]) -> list[AppEdge]:
    """Edges of what shows more of a page when it is tapped."""
    by_key = {one.key: one for one in records}
    found: dict[tuple[str, str], AppEdge] = {}
    for record in records:
        if not record.tapped:
            continue
        before = by_key.get(" ".join((record.url, *record.tapped[:-1])))
        if before is None or before.skeleton == record.skeleton:
            continue
        source = names[before.skeleton]
        element = source + record.tapped[-1].removeprefix(UNNAMED)
        if element in known:
            edge = AppEdge(source, element, names[record.skeleton])
            found.setdefault((source, element), edge)
    return list(found.values())
