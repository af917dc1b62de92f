"""Plans for tasks that say what to do on a page, act by act: 'Select "Tea" and press Submit'.

    for body, merit, is_whole in act_plans(intent, forms):
        ...                       # choose($page__tea, true), tap($page__submit)

A task is cut at "and", "then", commas and ends of sentences; each part has a verb and what it is
done to: a value that is the name of an element, or words of its label. What is typed goes into the
field that the part names, or into the only one that is left.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from adwright.agent.document.elements import Element
from adwright.agent.generate.form_ways import DocumentForms
from adwright.agent.generate.task_intent import TaskIntent
from adwright.agent.generate.task_terms import terms_of
from adwright.agent.language.tree import (
    Act,
    ElementUse,
    Expression,
    Statement,
    TextLiteral,
    TruthLiteral,
    VerbCall,
)

__all__ = ["act_plans"]

_PART = re.compile(r"(?:[,;.]\s+|\s+)(?:and then|and|then)\s+|[,;.]\s+|\n+", re.I)
_TAP = re.compile(r"\b(?:click|tap|press|hit|push|open|expand|close|go to|focus|submit)\b", re.I)
_TYPE = re.compile(r"\b(?:enter|type|write|fill|input|set|put)\b", re.I)
_PICK = re.compile(r"\b(?:select|choose|check|tick|pick|mark)\b", re.I)
_QUOTED = re.compile(r"\"([^\"]+)\"|“([^”]+)”")
_BARE = re.compile(
    r"\b(?:enter|type|write|select|choose|check|tick|pick|click|press)\s+(?:on\s+)?(\S.*)", re.I
)
_ROLES = r"(?:button|link|tab|checkbox|option|field|menu|section|icon|textbox)"
#: What a sign on a button means.
_SIGNS = {"x": ("close", "\u00d7"), "+": ("add", "expand"), "ok": ("okay",)}


def act_plans(
    intent: TaskIntent, forms: DocumentForms
) -> Iterator[tuple[list[Statement], float, bool]]:
    """One plan for each state that has elements for all parts."""
    masked, quotes = _hidden(intent.task.text)
    parts = [one for one in _PART.split(masked) if one and one.strip()]
    if not any(p.search(masked) for p in (_TAP, _TYPE, _PICK)):
        return
    for state in forms.document.states:
        elements = forms.of_page(state.name)
        body: list[Statement] = []
        merit, missing, used = 0.0, 0, set[str]()
        kind = ""
        for part in parts:
            kind = _verb(part) or kind
            if not kind:
                continue
            values = [quotes[int(n)] for n in re.findall(r"\x00(\d+)\x00", part)]
            acts, score = _acts(kind, part, values, elements, used)
            missing += not acts
            body += acts
            merit += score
        if body:
            yield body, merit - 2.0 * missing, not missing


def _hidden(text: str) -> tuple[str, list[str]]:
    """The text with numbers for what stands in quotes."""
    quotes: list[str] = []

    def hide(found: re.Match[str]) -> str:
        quotes.append(found[1] or found[2])
        return f"\x00{len(quotes) - 1}\x00"

    return _QUOTED.sub(hide, text), quotes


def _verb(part: str) -> str:
    for kind, pattern in (("type", _TYPE), ("pick", _PICK), ("tap", _TAP)):
        if pattern.search(part):
            return kind
    return ""


def _acts(
    kind: str, part: str, values: Sequence[str], elements: Sequence[Element], used: set[str]
) -> tuple[list[Statement], float]:
    """What one part does."""
    rest = re.sub(r"\x00\d+\x00", " ", part)
    if kind == "type" and values:
        fields = [one for one in elements if one.value_type in ("text", "number", "date")]
        fields = [one for one in fields if not one.many and one.name not in used]
        ranked = sorted(fields, key=lambda one: -_alike(one, rest))
        if not ranked or (len(ranked) > 1 and _alike(ranked[0], rest) <= 0):
            return [], 0.0
        used.add(ranked[0].name)
        act = VerbCall("set_text", (ElementUse(ranked[0].name), TextLiteral(values[0])))
        return [Act(act)], 1.0 + _alike(ranked[0], rest)
    named = list(values) or _words(rest)
    found: list[Statement] = []
    score = 0.0
    for name in named:
        one = _named(name, elements, kind)
        option = None if one is not None else _with_option(name, elements)
        if option is not None:
            use = ElementUse(option[0].name)
            found.append(Act(VerbCall("choose", (use, TextLiteral(option[1])))))
        elif one is not None:
            found.append(Act(_on(one, kind)))
        else:
            return [], 0.0
        score += 1.5
    return found, score


def _on(one: Element, kind: str) -> VerbCall:
    use: Expression = ElementUse(one.name)
    if one.value_type == "switch" and one.role != "radio":
        return VerbCall("choose", (use, TruthLiteral(value=True)))
    if one.role == "radio":
        return VerbCall("choose", (use, TruthLiteral(value=True)))
    return VerbCall("tap", (use,))


def _words(rest: str) -> list[str]:
    """What a part without quotes names: the words after its verb, without the word for its role."""
    found = _BARE.search(rest)
    text = found[1] if found else rest
    text = re.sub(r"\s+from the\b.*$", "", text.strip(" .!"), flags=re.I)
    text = re.sub(r"^(?:(?:the|on|all|a|an)\s+)+", "", text, flags=re.I)
    bare = re.sub(rf"^{_ROLES}\s+|\s+{_ROLES}$", "", text, flags=re.I)
    return [bare] if bare else []


def _named(name: str, elements: Sequence[Element], kind: str) -> Element | None:
    """The element with this name, in capitals or not; where several have it, one that is chosen
    for picks and one that is tapped for taps."""
    folded = " ".join(name.split()).casefold().strip(" .")
    same = [
        one
        for one in elements
        if not one.many
        and one.role not in ("heading", "row", "listitem")
        and " ".join(one.label.split()).casefold().strip(" .") == folded
    ]
    if not same and folded in _SIGNS:
        same = [one for one in elements if one.label.casefold() in _SIGNS[folded]]
    if not same and folded in ("button", "link", "checkbox", "textbox", "tab"):
        same = [one for one in elements if one.role == folded and not one.many]
        same = same if len(same) == 1 else []
    if kind == "pick":
        same.sort(key=lambda one: one.value_type != "switch")
    return same[0] if same else None


def _with_option(name: str, elements: Sequence[Element]) -> tuple[Element, str] | None:
    folded = " ".join(name.split()).casefold()
    for one in elements:
        for option in one.options:
            if option.casefold() == folded:
                return one, option
    return None


def _alike(one: Element, rest: str) -> float:
    """The share of a label's terms that a part has."""
    label = set(terms_of(f"{one.label} {one.description}")) or set(terms_of(one.name))
    has = set(terms_of(rest))
    return len(label & has) / len(label) if label else 0.0
