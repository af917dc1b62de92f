"""A person's edits, and what the app has become since."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element
from adwright.agent.document.text_format import document_changes
from adwright.agent.operate.screens import merge_documents
from tests.support.agent.shop_document import shop_document

BASE = shop_document()


def with_element(document: AppDocument, name: str, **changes: object) -> AppDocument:
    elements = tuple(
        replace(one, **changes) if one.name == name else one  # type: ignore[arg-type]
        for one in document.elements
    )
    return replace(document, elements=elements)


def without(document: AppDocument, name: str) -> AppDocument:
    kept = tuple(one for one in document.elements if one.name != name)
    edges = tuple(one for one in document.edges if name not in (one.element, *one.needs))
    return replace(document, elements=kept, edges=edges)


def test_without_edits_it_is_what_was_built() -> None:
    built = with_element(BASE, "mail__send", label="Send it")
    merged = merge_documents(BASE, BASE, built)
    assert (merged.document, merged.kept, merged.lost) == (built, (), ())


def test_edits_stay_and_the_rest_is_refreshed() -> None:
    edited = with_element(BASE, "budget__launch", effect="commit", description="harmless")
    built = with_element(BASE, "budget__launch", label="Go", effect="unknown")
    found = merge_documents(BASE, edited, built)
    launch = found.document.by_name["budget__launch"]
    assert (launch.label, launch.effect, launch.description) == ("Go", "commit", "harmless")
    assert found.kept == (
        "element budget__launch: effect is yours",
        "element budget__launch: description is yours",
    )


def test_what_a_person_left_out_or_added_stays_so() -> None:
    own = Element("mail__copy", "mail", "checkbox", "Copy", effect="draft")
    edge = AppEdge("mail", "mail__home", "home")
    edited = without(BASE, "offers__search")
    edited = replace(edited, elements=(*edited.elements, own), edges=(*edited.edges, edge))
    new = Element("mail__cc", "mail", "textbox", "Cc", effect="draft")
    built = replace(BASE, elements=(*BASE.elements, new))
    found = merge_documents(BASE, edited, built)
    names = found.document.by_name
    assert "offers__search" not in names
    assert {"mail__copy", "mail__cc"} <= set(names)
    assert edge in found.document.edges
    assert "element offers__search stays left out" in found.kept


def test_edits_of_what_is_gone_are_told() -> None:
    edited = with_element(BASE, "mail__send", label="Dispatch")
    own = Element("attic__door", "attic", "button", "Open", effect="read")
    edited = replace(
        edited, states=(*edited.states, AppState("attic", "s")), elements=(*edited.elements, own)
    )
    found = merge_documents(BASE, edited, without(BASE, "mail__send"))
    assert found.lost == ("element mail__send: the app no longer has it",)
    assert "attic__door" in found.document.by_name
    # An element of one's own in a state that the app has lost.
    mine = replace(BASE, elements=(*BASE.elements, replace(own, state="mail", name="mail__x")))
    left = tuple(one for one in BASE.states if one.name != "mail")
    elements = tuple(
        replace(one, target=None if one.target == "mail" else one.target)
        for one in BASE.elements
        if one.state != "mail"
    )
    found = merge_documents(BASE, mine, replace(BASE, states=left, elements=elements))
    assert found.lost == ("element mail__x: its state mail is gone",)


def test_heads_are_edited_too() -> None:
    edited = replace(BASE, app="Mill Lane", start="offers", origins=("http://other.test",))
    found = merge_documents(BASE, edited, replace(BASE, version="2")).document
    assert (found.app, found.start, found.origins) == ("Mill Lane", "offers", edited.origins)
    assert found.version == "2"
    gone = tuple(one for one in BASE.states if one.name != "offers")
    elements = tuple(
        replace(one, target=None if one.target == "offers" else one.target)
        for one in BASE.elements
        if one.state != "offers"
    )
    built = AppDocument("shop", "2", BASE.origins, "home", gone, elements)
    assert merge_documents(BASE, edited, built).document.start == "home"


NAMES = st.sets(st.sampled_from([one.name for one in BASE.elements]), max_size=6)
LABELS = st.dictionaries(st.sampled_from(["mail__send", "home__mail"]), st.text(max_size=5))


@settings(max_examples=60, deadline=None)
@given(NAMES, LABELS, NAMES, LABELS)
def test_any_edits_and_any_app_make_a_document(
    dropped: set[str], labels: dict[str, str], gone: set[str], now: dict[str, str]
) -> None:
    edited, built = BASE, BASE
    for name in dropped:
        edited = without(edited, name)
    for name in gone:
        built = without(built, name)
    for name, label in labels.items():
        edited = with_element(edited, name, label=label)
    for name, label in now.items():
        built = with_element(built, name, label=label)
    found = merge_documents(BASE, edited, built).document
    names = {one.name for one in BASE.elements} - dropped - gone
    assert set(found.by_name) == names
    for name in names & labels.keys():
        mine = labels[name] != BASE.by_name[name].label
        assert found.by_name[name].label == (labels[name] if mine else built.by_name[name].label)
    # What is merged once is not merged twice.
    assert document_changes(found, merge_documents(built, found, built).document) == ()
