"""Which element the words of an act mean: by its name, its place among its kind, or its list.

    targets = ActTargets(forms, "page")
    targets.named("Submit", "tap")          # by its name, a button before a mere part of the page
    targets.nth("radio button", 2)          # the third of its kind
    targets.with_item("Ann")                # a list that may hold it
    targets.likest(("star", "icon"))        # whose words are nearest; None where two are as near

Lists of items are elements as well: which of their items is meant, a script looks up when it runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Sequence

from adwright.agent.document.elements import Element
from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.task_terms import near_terms, terms_of

__all__ = ["ActTargets", "alike", "bare_name", "named_words"]

_BARE = re.compile(
    r"\b(?:enter|type|write|select|choose|check|tick|pick|click|press|into)\s+(?:on\s+)?(\S.*)",
    re.I,
)
_ROLES = r"(?:button|link|tab|checkbox|option|field|menu|section|icon|textbox)"
#: What a sign on a button means.
_SIGNS = {"x": ("close", "\u00d7"), "+": ("add", "expand"), "ok": ("okay",)}
#: Words for kinds of elements, the longer first, and the roles that are meant.
_KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"radio(?: button)?s?", ("radio",)),
    (r"check ?box(?:es)?", ("checkbox", "switch")),
    (r"text ?area", ("textbox",)),
    (r"(?:text ?box|(?:text|input) ?field|input|field)", ("textbox", "searchbox", "spinbutton")),
    (r"button", ("button",)),
    (r"link", ("link",)),
    (r"tab", ("tab",)),
    (r"slider", ("slider",)),
    (r"(?:drop ?down|select box|list ?box)", ("combobox", "listbox")),
)
#: A button that is none by its role, such as a clickable part of the page, comes last.
_ORDER = ("button", "link", "menuitem", "option", "tab", "checkbox", "radio")
_READ = ("heading", "row", "listitem", "dialog", "alertdialog", "cell", "gridcell")
_ITEMS = ("row", "listitem", "article", "generic", "link", "menuitem", "option", "button", "cell")
_SENDS = re.compile(r"^\W*(?:submit|send|save|ok|okay|done|finish|apply|confirm|go)\b\W*$", re.I)
_SENDING = frozenset(("submit", "send", "sav", "ok", "don", "finish", "apply", "confirm", "login"))
_LEAST_ALIKE = 0.5


class ActTargets:
    """The elements of one page, those of the state one begins in first."""

    def __init__(self, forms: DocumentForms, state: str) -> None:
        self._weights = forms.weights
        self.all: tuple[Element, ...] = forms.of_page(state)
        self.state = state

    def named(self, name: str, kind: str) -> Element | None:
        """The element with this name, in capitals or not; where several have it, one that is chosen
        for picks, and a button for taps."""
        folded = bare_name(name)
        same = self._acting(lambda one: bare_name(one.label) == folded)
        if not same and folded in _SIGNS:
            same = self._acting(lambda one: one.label.casefold() in _SIGNS[folded])
        if not same and folded in ("button", "link", "checkbox", "textbox", "tab"):
            same = self._acting(lambda one: one.role == folded)
            same = same if len(same) == 1 else []
        rank = {role: n for n, role in enumerate(_ORDER)}
        same.sort(key=lambda one: rank.get(one.role, len(rank)))
        if kind == "pick":
            same.sort(key=lambda one: one.value_type != "switch")
        return same[0] if same else None

    def nth(self, words: str, place: int | None) -> Element | None:
        """The element of the kind that the words name, in its place; without one, the only one."""
        for pattern, roles in _KINDS:
            if not re.search(rf"\b{pattern}\b", words, re.I):
                continue
            same = [one for one in self.all if one.role in roles and not one.many]
            areas = [one for one in same if _tag(one) == "textarea"]
            if "area" in pattern:
                same = areas
            elif place is None and 0 < len(areas) < len(same):
                same = [one for one in same if one not in areas]
            if place is None:
                return same[0] if len(same) == 1 else None
            return same[place] if -len(same) <= place < len(same) else None
        return None

    def with_option(self, name: str) -> tuple[Element, str] | None:
        """A choice that has this option."""
        folded = bare_name(name)
        for one in self.all:
            for option in one.options:
                if bare_name(option) == folded:
                    return one, option
        return None

    def lists(self, roles: Collection[str] = _ITEMS) -> list[Element]:
        """The lists of the page: rows and records before links and other parts."""
        found = [one for one in self.all if one.many and one.role in roles]
        order = {role: n for n, role in enumerate(_ITEMS)}
        return sorted(found, key=lambda one: order[one.role])

    def likest(
        self, terms: Sequence[str], takes: Callable[[Element], bool]
    ) -> tuple[Element, float] | None:
        """The element whose label has most of its words in `terms`, and that share."""
        found: list[tuple[float, int, Element]] = []
        for n, one in enumerate(self.all):
            if one.label and takes(one):
                score = _share(self._words(one), terms)
                if score >= _LEAST_ALIKE:
                    found.append((score, -n, one))
        found.sort(key=lambda one: one[:2], reverse=True)
        if not found:
            return None
        best = found[0]
        twins = [one for one in found[1:] if one[0] >= best[0] and one[2].state == best[2].state]
        return None if twins else (best[2], best[0])

    def sending(self, state: str) -> Element | None:
        """The one button of a state that sends what was typed there."""
        own = [one for one in self.all if one.state == state and not one.many]
        tapped = [one for one in own if one.value_type == "none" and one.role not in _READ]
        plain = [one for one in tapped if _SENDS.match(one.label)]
        some = [one for one in tapped if _SENDING & set(terms_of(one.label))]
        return plain[0] if len(plain) == 1 else some[0] if len(some) == 1 else None

    def fields(self, state: str | None = None) -> list[Element]:
        """Fields for text, numbers and dates."""
        return [
            one
            for one in self.all
            if one.value_type in ("text", "number", "date")
            and not one.many
            and state in (None, one.state)
        ]

    def _acting(self, takes: Callable[[Element], bool]) -> list[Element]:
        return [one for one in self.all if not one.many and one.role not in _READ and takes(one)]

    def _words(self, one: Element) -> tuple[str, ...]:
        return tuple(word for word in terms_of(one.label) if not word.isdigit())


def bare_name(text: str) -> str:
    """Without capitals, doubled blanks and a full stop or colon at the end."""
    return " ".join(text.split()).casefold().strip(" .:")


def named_words(rest: str) -> list[str]:
    """What a part without quotes names: the words after its verb, without the word for its role."""
    found = _BARE.search(rest)
    text = found[1] if found else rest
    text = re.sub(r"(?<!\s)\s+from the\b.*$", "", text.strip(" .!"), flags=re.I)
    text = re.sub(r"^(?:(?:the|on|all|a|an)\s+)+", "", text, flags=re.I)
    bare = re.sub(rf"^{_ROLES}\s+|\s+{_ROLES}$", "", text, flags=re.I)
    return [bare] if bare else []


def alike(one: Element, rest: str) -> float:
    """The share of a label's terms that a part has."""
    label = set(terms_of(f"{one.label} {one.description}")) or set(
        terms_of(one.name.partition("__")[2])
    )
    has = set(terms_of(rest))
    return len(label & has) / len(label) if label else 0.0


def _tag(one: Element) -> str:
    """The tag of an element, as the end of its path says."""
    path = next((at.value for at in one.locators if at.kind == "xpath"), "")
    return path.rpartition("/")[2].partition("[")[0]


def _share(label: Iterable[str], terms: Collection[str]) -> float:
    """The share of a label's words that are there, near ones for half."""
    words, there = set(label), set(terms)
    if not words:
        return 0.0
    near = sum(0.6 for one in words - there if near_terms(one) & there)
    return (len(words & there) + near) / len(words)
