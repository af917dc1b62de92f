"""What kind an expression has, with the elements and the page data in it; notes what is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import cached_property

from adwright.agent.document.elements import AppDocument, EffectClass, Element
from adwright.agent.language.kinds import (
    ATTRIBUTES,
    DIRECTIONS,
    NOTHING,
    VERBS,
    KindName,
    ValueKind,
    Verb,
)
from adwright.agent.language.problems import quoted
from adwright.agent.language.script import (
    BinaryTerm,
    DecimalLiteral,
    ElementUse,
    Expression,
    IndexedTerm,
    ListLiteral,
    SourcePosition,
    TextLiteral,
    TruthLiteral,
    UnaryTerm,
    VariableUse,
    VerbCall,
    WholeLiteral,
)
from adwright.core.config import closest_name, package_toml

# --------------------------------------------------------------------------------------------------
# Which states a run can be in, and which it can go to without writing anything.
#
# A route uses edges of elements that write nothing and need nothing filled before: what the runner
# does by itself is harmless. Which item of a list is meant, only a script can say. States of one
# path
# count as one: what leads to the page of a record may show any of them.

_HARM: tuple[EffectClass, ...] = ("unknown", "destructive", "spend", "message", "commit")


def leads(element: Element) -> bool:
    """Whether a route may use an element: it writes nothing, and there is one of it."""
    return element.effect in ("navigate", "read") and not element.many


class StateReach:
    """The harmless edges of a document."""

    def __init__(self, document: AppDocument) -> None:
        self._document = document
        self._known: dict[str, frozenset[str]] = {}

    @cached_property
    def _next(self) -> Mapping[str, frozenset[str]]:
        found: dict[str, set[str]] = defaultdict(set)
        for edge in self._document.edges:
            if not edge.needs and leads(self._document.by_name[edge.element]):
                found[edge.source].add(edge.target)
        for one in self._document.elements:
            if one.target and leads(one):
                found[one.state].add(one.target)
        return {state: self._with_alike(targets) for state, targets in found.items()}

    @cached_property
    def _alike(self) -> Mapping[str, frozenset[str]]:
        """States of one path, by each of them: which one comes, only the run shows."""
        by_template: dict[str, set[str]] = defaultdict(set)
        for one in self._document.states:
            by_template[one.url_template.partition("?")[0] or one.name].add(one.name)
        return {one: frozenset(many) for many in by_template.values() for one in many}

    def _with_alike(self, states: Iterable[str]) -> frozenset[str]:
        return frozenset[str]().union(*(self._alike[one] for one in states))

    @cached_property
    def everywhere(self) -> frozenset[str]:
        """All states."""
        return frozenset(one.name for one in self._document.states)

    def from_state(self, state: str) -> frozenset[str]:
        """All states that harmless edges lead to from `state`, itself among them."""
        if state not in self._known:
            seen = set(self._alike[state])
            ahead = list(seen)
            while ahead:
                for target in self._next.get(ahead.pop(), frozenset()) - seen:
                    seen.add(target)
                    ahead.append(target)
            self._known[state] = self._with_alike(seen)
        return self._known[state]

    def is_reachable(self, goal: str, here: Iterable[str]) -> bool:
        """Whether `goal` can be reached from the start, or from each state in `here`."""
        if goal in self.from_state(self._document.start):
            return True
        places = list(here)
        return bool(places) and all(goal in self.from_state(one) for one in places)

    def after(self, element: Element) -> frozenset[str]:
        """Where a run can be once it has acted on `element`."""
        targets = {
            edge.target
            for edge in self._document.edges
            if edge.element == element.name and edge.source == element.state
        }
        if element.target:
            targets.add(element.target)
        return self._with_alike(targets or {element.state})

    def enter_effect(self, states: Iterable[str]) -> EffectClass:
        """What the key Enter may do in one of `states`: the worst of what their elements do."""
        found = {one.effect for state in states for one in self._document.elements_of(state)}
        return next((one for one in _HARM if one in found), "navigate")


def automatic_routes(document: AppDocument) -> AppDocument:
    """The document with the ways that a runner may go by itself, and no other."""
    elements = tuple(one if leads(one) else replace(one, target=None) for one in document.elements)
    edges = tuple(
        one for one in document.edges if not one.needs and leads(document.by_name[one.element])
    )
    return replace(document, elements=elements, edges=edges)


#: What `range` takes at most.
MOST_RANGE = 1000
#: The messages of the checker by their keys: code, what is wrong, and a hint.
MESSAGES = package_toml(__package__, "messages.toml")


class ExpressionKinds:
    """note: told of each problem by its key in `MESSAGES`, where, and its words. visited: told of
    each element that is looked at on the screen, so that the states of the app can be followed."""

    def __init__(
        self,
        document: AppDocument,
        note: Callable[..., None],
        visited: Callable[[frozenset[str], SourcePosition], None],
    ) -> None:
        self._document = document
        self._note = note
        self._visited = visited

    def kind(self, term: Expression, names: Mapping[str, ValueKind]) -> ValueKind | None:
        """The kind of `term` where variables have the kinds `names`; None after a problem."""
        match term:
            case TextLiteral():
                return ValueKind("text")
            case WholeLiteral():
                return ValueKind("whole")
            case DecimalLiteral():
                return ValueKind("number")
            case TruthLiteral():
                return ValueKind("truth")
            case ListLiteral(items):
                return self._list(items, names, term.at)
            case VariableUse(name):
                return self._variable(name, names, term.at)
            case ElementUse(name):
                return self._element(name, term.at)
            case _:
                return self._composed(term, names)

    def _composed(self, term: Expression, names: Mapping[str, ValueKind]) -> ValueKind | None:
        match term:
            case IndexedTerm(sequence, index):
                return self._indexed(self.kind(sequence, names), self.kind(index, names), term.at)
            case UnaryTerm(operator, operand):
                wanted: KindName = "truth" if operator == "not" else "number"
                found = self.kind(operand, names)
                return self._wanted(found, (wanted,), operator, term.at)
            case BinaryTerm():
                return self._binary(term, names)
            case VerbCall():
                return self.call(term, names)
        return None

    # --- names -------------------------------------------------------------------------

    def _variable(
        self, name: str, names: Mapping[str, ValueKind], at: SourcePosition
    ) -> ValueKind | None:
        if name in names:
            return names[name]
        if name in self._document.by_name:
            self._note("element_sign", at, name=name)
        elif meant := closest_name(name, names):
            self._note("other_variable", at, name=name, meant=meant)
        else:
            self._note("no_value", at, name=name)
        return None

    def _element(self, name: str, at: SourcePosition) -> ValueKind | None:
        element = self._document.by_name.get(name)
        if element is None:
            near = nearest_elements(name, self._document.by_name)
            self._note("no_element", at, name=name, near=near)
            return None
        names = frozenset((name,))
        if element.many:
            self._visited(names, at)  # the list is read here
        return ValueKind("elements" if element.many else "element", names=names)

    def _list(
        self, items: tuple[Expression, ...], names: Mapping[str, ValueKind], at: SourcePosition
    ) -> ValueKind | None:
        kinds = [self.kind(one, names) for one in items]
        item: ValueKind | None = None
        for one in kinds:
            if one is None:
                return None
            if one.name in ("element", "elements", "secret", "nothing", "list"):
                self._note("not_in_list", at, kind=one)
                return None
            joined = one if item is None else item.joined(one)
            if joined is None:
                self._note("mixed_list", at, one=item, other=one)
                return None
            item = joined
        return ValueKind("list", item, sources=item.sources if item else frozenset())

    # --- operators ---------------------------------------------------------------------

    def _indexed(
        self, sequence: ValueKind | None, index: ValueKind | None, at: SourcePosition
    ) -> ValueKind | None:
        if sequence is None or index is None:
            return None
        if index.name != "whole":
            self._note("not_an_index", at, kind=index)
            return None
        if sequence.name == "elements":
            return replace(sequence, name="element")
        if sequence.name == "list" and sequence.item:
            return replace(sequence.item, sources=sequence.item.sources | sequence.sources)
        self._note("no_items", at, kind=sequence)
        return None

    def _binary(self, term: BinaryTerm, names: Mapping[str, ValueKind]) -> ValueKind | None:
        left, right = self.kind(term.left, names), self.kind(term.right, names)
        if left is None or right is None:
            return None
        sources, operator = left.sources | right.sources, term.operator
        gives: KindName = "truth"
        joined = left.joined(right)
        plain = joined is not None and joined.name in ("text", "whole", "number", "truth")
        match operator:
            case "or" | "and":
                good = left.name == right.name == "truth"
            case "==" | "!=":
                good = plain
            case "in":
                within = right.item is None or right.item.joined(left) is not None
                good = right.name == "list" and within
                good |= left.name == right.name == "text"
            case "+" if left.name == right.name == "text":
                return ValueKind("text", sources=sources)
            case "+" | "-" | "*":
                good = plain and joined is not None and joined.name in ("whole", "number")
                gives = joined.name if joined else "number"
            case "/":
                good = plain and joined is not None and joined.name in ("whole", "number")
                gives = "number"
            case _:
                good = plain and joined is not None and joined.name in ("whole", "number")
        if not good:
            self._note("wrong_terms", term.at, operator=operator, left=left, right=right)
            return None
        return _kind(gives, sources)

    def _wanted(
        self,
        found: ValueKind | None,
        wanted: Iterable[KindName],
        what: str,
        at: SourcePosition,
    ) -> ValueKind | None:
        if found is None:
            return None
        kinds = [ValueKind(one) for one in wanted]
        for one in kinds:
            fits = found.name == "list" if one.name == "list" else one.accepts(found)
            if fits:
                return found
        words = " or ".join(str(one) for one in kinds).replace("an empty list", "a list")
        key = "wrong_list" if found.name == "elements" else "wrong_argument"
        self._note(key, at, verb=what, wanted=words, kind=found)
        return None

    # --- verbs -------------------------------------------------------------------------

    def call(self, call: VerbCall, names: Mapping[str, ValueKind]) -> ValueKind | None:
        """The kind that a call gives; None after a problem."""
        verb = VERBS.get(call.verb)
        if verb is None:
            if meant := closest_name(call.verb, VERBS):
                self._note("other_verb", call.at, verb=quoted(call.verb), meant=meant)
            else:
                self._note("no_verb", call.at, verb=quoted(call.verb), verbs=", ".join(VERBS))
            return None
        kinds = [self.kind(one, names) for one in call.arguments]
        if not verb.fewest <= len(kinds) <= len(verb.takes):
            count = f"{verb.fewest}" if verb.fewest == len(verb.takes) else "1 or 2"
            self._note("count", call.at, verb=verb, wanted=count, given=len(kinds))
            return None
        known: list[ValueKind] = []
        for one, wanted, term in zip(kinds, verb.takes, call.arguments, strict=False):
            fitting = self._wanted(one, wanted, verb.name, term.at)
            if fitting is None:
                return None
            known.append(fitting)
        return self._given(verb, call, known)

    def _given(self, verb: Verb, call: VerbCall, kinds: list[ValueKind]) -> ValueKind | None:
        sources = frozenset[str]().union(*(one.sources for one in kinds))
        if verb.nature == "look":
            looked = kinds[0].names
            sources |= looked
            if looked and kinds[0].name == "element":
                self._visited(looked, call.at)
        match verb.name:
            case "get_attributes":
                name = self._literal(call, 1, tuple(ATTRIBUTES))
                return _kind(ATTRIBUTES[name], sources) if name else None
            case "scroll":
                last = len(kinds) - 1
                if (last == 0) != (kinds[0].name == "text"):
                    self._note("direction_last", call.at, verb=verb)
                    return None
                return _kind("truth", sources) if self._literal(call, last, DIRECTIONS) else None
            case "match":
                return replace(kinds[0], sources=frozenset())
            case "find" | "inside":
                place = 0 if verb.name == "find" else 1
                if isinstance(call.arguments[place], ElementUse):
                    return ValueKind("element", names=kinds[place].names)
                self._note("element_last" if place else "list_first", call.at, verb=verb)
                return None
            case "range":
                return self._range(call)
            case "secret":
                known = isinstance(call.arguments[0], TextLiteral)
                if not known:
                    self._note("secret_name", call.at, verb=verb)
                return ValueKind("secret") if known else None
            case _:
                return NOTHING if verb.gives == "nothing" else _kind(verb.gives, sources)

    def _range(self, call: VerbCall) -> ValueKind | None:
        term = call.arguments[0]
        if isinstance(term, WholeLiteral) and 1 <= term.value <= MOST_RANGE:
            return ValueKind("list", ValueKind("whole"))
        self._note("range", call.at, most=MOST_RANGE)
        return None

    def _literal(self, call: VerbCall, place: int, allowed: tuple[str, ...]) -> str:
        term = call.arguments[place]
        if isinstance(term, TextLiteral) and term.value in allowed:
            return term.value
        self._note("literal", term.at, verb=VERBS[call.verb], allowed=", ".join(allowed))
        return ""


def nearest_elements(name: str, known: Iterable[str]) -> str:
    """A hint that names the elements that may have been meant."""
    names = list(known)
    first = closest_name(name, names)
    others = [
        one
        for one in names
        if one != first and one.split("__")[0] == name.split("__", maxsplit=1)[0]
    ]
    found = ", ".join(f"${one}" for one in [*([first] if first else ()), *others[:3]])
    return f"did you mean {found}?" if found else "the document names none like it"


def _kind(name: KindName, sources: frozenset[str]) -> ValueKind:
    return ValueKind(name, sources=sources)
