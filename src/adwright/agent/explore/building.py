"""Makes a document out of the pages that were seen: states, names, and where elements lead.

Pages with one skeleton and one path are one state: forms that make and that change a thing stay
apart though they look the same. Where more than six paths share a skeleton, their last parts are
taken for data, and they are one state, too. An element leads to the state of the first page that
was seen under the template of its address; a list leads where its items do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element
from adwright.agent.document.guards import guarded
from adwright.agent.document.naming import state_name
from adwright.agent.document.urls import url_template
from adwright.agent.explore.describe import UNNAMED
from adwright.agent.explore.records import PageRecord
from adwright.core.errors import DataError

__all__ = ["CROWD", "build_document", "state_keys"]

#: So many paths with one skeleton are states of their own; more are data. Our choice.
CROWD = 6


def build_document(
    app: str, records: Sequence[PageRecord], origins: tuple[str, ...], *, version: str = "1"
) -> AppDocument:
    """The document of all records; its start is the state of the first.

    Raises DataError where no page was seen.
    """
    if not records:
        raise DataError(f"no page of {app} was seen", hint="explore it first")
    keys = state_keys(records)
    names: dict[tuple[str, str], str] = {}  # of states
    states: list[AppState] = []
    by_template: dict[str, str] = {}
    by_asked: dict[str, str] = {}  # what leads to another address by a redirect
    first: list[PageRecord] = []
    for record in records:
        key = keys[record.key]
        if key not in names:
            name = _state_name(record, set(names.values()))
            names[key] = name
            title = guarded(record.title).text
            states.append(AppState(name, record.skeleton, record.template, title))
            first.append(record)
        if not record.tapped:
            by_template.setdefault(record.template, names[key])
            by_asked.setdefault(url_template(record.url), names[key])
    elements: list[Element] = []
    for record in first:
        elements += _elements(record, names[keys[record.key]], by_asked | by_template)
    of_page = {key: names[state] for key, state in keys.items()}
    edges = _taps(records, of_page, {one.name for one in elements})
    return AppDocument(
        app, version, origins, states[0].name, tuple(states), tuple(elements), tuple(edges)
    )


def state_keys(records: Sequence[PageRecord]) -> dict[str, tuple[str, str]]:
    """What tells the state of each page from others, by the page's key: skeleton and path."""
    paths: dict[str, set[str]] = {}
    for record in records:
        paths.setdefault(record.skeleton, set()).add(_path(record))
    return {
        one.key: (one.skeleton, _path(one) if len(paths[one.skeleton]) <= CROWD else "")
        for one in records
    }


def _path(record: PageRecord) -> str:
    return record.template.partition("?")[0]


def _state_name(record: PageRecord, taken: set[str]) -> str:
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
        source = names[before.key]
        element = source + record.tapped[-1].removeprefix(UNNAMED)
        if element in known:
            edge = AppEdge(source, element, names[record.key])
            found.setdefault((source, element), edge)
    return list(found.values())
