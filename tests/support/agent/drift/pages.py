"""A page of HTML as it is after a drift.

    drifted_page(html, Drift("columns", seed=1))

Only what people see and what programs find things by is changed: which fields a form sends, under
which names and where to, is as before. So the app's server needs to know nothing of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from lxml import html as lxml_html
from lxml.html import HtmlElement

from tests.support.agent.drift.forms import add_field, move_fields
from tests.support.agent.drift.kinds import Drift, DriftKind
from tests.support.agent.drift.tables import turn_columns

_REFERENCES = ("for", "aria-labelledby", "aria-describedby", "aria-controls", "form", "list")
_TARGETS = ("href", "data-bs-target", "data-target")
_NAMED = ("label", "input", "select", "textarea", "button", "form", "table", "fieldset")
_STYLED = ("label", "td", "th", "tr", "h1", "h2", "h3", "h4", "p", "legend")


def drifted_page(page: bytes, drift: Drift, said: dict[str, str] | None = None) -> bytes:
    """The page in UTF-8; what is no whole page is left as it is. said: gets the new names of
    buttons that say their names when they send a form, with the old ones."""
    if b"<html" not in page[:2000].lower():
        return page
    parser = lxml_html.HTMLParser(encoding="utf-8")
    tree = lxml_html.document_fromstring(page, parser=parser)
    if drift.kind == "button":
        _rename_buttons(tree, drift, {} if said is None else said)
    else:
        _CHANGES[drift.kind](tree, drift)
    done = lxml_html.tostring(tree, encoding="utf-8", doctype="<!DOCTYPE html>")
    assert isinstance(done, bytes)
    return done


def _nothing(tree: HtmlElement, drift: Drift) -> None:
    """As it was; an added confirmation is a page of its own."""


def _rename_labels(tree: HtmlElement, drift: Drift) -> None:
    for label in tree.iter("label"):
        words = " ".join(label.text_content().split())
        if words and drift.hits(words):
            _say_first(label, drift.renamed)
    for field in tree.iter("input", "select", "textarea"):
        said = field.get("aria-label", "")
        if said and drift.hits(said):
            field.set("aria-label", drift.renamed(said))


def _rename_buttons(tree: HtmlElement, drift: Drift, said: dict[str, str]) -> None:
    for form in _posting(tree):
        for button in form.iter("button"):
            if button.get("type", "submit") == "submit" and button.text_content().strip():
                _say_first(button, lambda text: drift.renamed(text, button=True))
        for button in form.iter("input"):
            if button.get("type") == "submit":
                old = button.get("value", "Submit")
                new = drift.renamed(old, button=True)
                said[new] = old
                button.set("value", new)


def _change_ids(tree: HtmlElement, drift: Drift) -> None:
    scripts = " ".join(one.text or "" for one in tree.iter("script"))
    known = [
        one.get("id", "")
        for one in tree.iter(*_NAMED)
        if one.get("id") and one.get("id") not in scripts
    ]
    new = {one: f"c{drift.number(one, 9000) + 1000}-{one}" for one in known}
    for one in tree.iter():
        if not isinstance(one.tag, str):
            continue
        if one.get("id") in new:
            one.set("id", new[one.get("id", "")])
        for key in _REFERENCES:
            if one.get(key):
                one.set(key, " ".join(new.get(part, part) for part in one.get(key, "").split()))
        for key in _TARGETS:
            if one.get(key, "").startswith("#"):
                target = one.get(key, "")[1:]
                one.set(key, f"#{new.get(target, target)}")
        if one.tag in _STYLED and one.get("class"):
            parts = one.get("class", "").split()
            one.set("class", " ".join(f"{part}-{drift.number(part, 90) + 10}" for part in parts))


def _posting(tree: HtmlElement) -> Iterator[HtmlElement]:
    for form in tree.iter("form"):
        if form.get("method", "").lower() == "post":
            yield form


def _add_fields(tree: HtmlElement, drift: Drift) -> None:
    for form in _posting(tree):
        add_field(form, drift)


def _move_all(tree: HtmlElement, drift: Drift) -> None:
    for form in _posting(tree):
        move_fields(form, drift)


def _turn_all(tree: HtmlElement, drift: Drift) -> None:
    for table in tree.iter("table"):
        turn_columns(table, drift)


def _say_first(element: HtmlElement, say: Callable[[str], str]) -> None:
    """Replace the first words in an element, its fields left out."""
    if element.text and element.text.strip():
        element.text = say(" ".join(element.text.split()))
        return
    for one in element.iterdescendants():
        is_field = one.tag in ("select", "textarea", "option", "script")
        if not is_field and isinstance(one.tag, str) and one.text and one.text.strip():
            one.text = say(" ".join(one.text.split()))
            return
        if one.tail and one.tail.strip():
            one.tail = f" {say(' '.join(one.tail.split()))} "
            return


_CHANGES: Mapping[DriftKind, Callable[[HtmlElement, Drift], None]] = {
    "none": _nothing,
    "confirm": _nothing,
    "labels": _rename_labels,
    "ids": _change_ids,
    "extra": _add_fields,
    "moved": _move_all,
    "columns": _turn_all,
}
