"""Pages of notes and rooms, for plans of acts."""

from __future__ import annotations

from adwright.agent.document.elements import (
    AppDocument,
    AppEdge,
    AppState,
    EffectClass,
    Element,
    Locator,
    ValueType,
)
from adwright.agent.generate.field_values import DocumentForms
from adwright.agent.generate.task import TaskIntent, read_intent, read_task


def part(
    name: str,
    role: str,
    label: str = "",
    path: str = "",
    *,
    value: ValueType = "none",
    many: bool = False,
    effect: EffectClass = "unknown",
    about: str = "",
) -> Element:
    """An element; its state is what stands before the two underscores."""
    found = [Locator("role", label, role=role)] if label else []
    found += [Locator("xpath", path)] if path else []
    return Element(
        *(name, name.partition("__")[0], role, label, tuple(found), value),
        many=many,
        effect=effect,
        description=about,
    )


def document(*elements: Element, edges: tuple[AppEdge, ...] = ()) -> AppDocument:
    """One page, all of whose states have its address."""
    names = dict.fromkeys(one.state for one in elements)
    states = tuple(AppState(one, one, "/page") for one in names)
    return AppDocument("a", "1", ("http://h",), states[0].name, states, elements, edges)


def forms(*elements: Element, edges: tuple[AppEdge, ...] = ()) -> DocumentForms:
    """The forms of such a page."""
    return DocumentForms(document(*elements, edges=edges))


def intent(text: str) -> TaskIntent:
    """What a task wants."""
    return read_intent(read_task(text))


#: Notes, each with a pin and a bin; tapping one shows it, and a form to respond.
NOTES = forms(
    part("page__rows", "listitem", path="/m/div", many=True),
    part("page__pin", "generic", "pin", "/m/div/i[1]", many=True),
    part("page__bin", "generic", "bin", "/m/div/i[2]", many=True, effect="destructive"),
    part("page__submit", "button", "Submit"),
    part("note__respond", "generic", "Respond"),
    part("form__body", "textbox", path="/f/textarea[1]", value="text", effect="draft"),
    part("form__send", "generic", "send note", effect="message"),
    edges=(AppEdge("page", "page__rows", "note"), AppEdge("note", "note__respond", "form")),
)
#: Rooms with a price on their buttons, and with a column for how long they are free.
ROOMS = forms(
    part("page__rows", "listitem", path="/m/div", many=True, effect="read"),
    part("page__free", "cell", path="/m/div/p[1]", many=True, about="one of a list, column Time"),
    part("page__take", "button", path="/m/div/button[1]", many=True),
)
