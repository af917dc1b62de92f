"""The world of a script that is a screen: finds states and elements, acts through the gate, traces.

Before each act: the state must be the one in which the document knows the element, and the node
must be the element, see `locate`. After it: what was sent must be what the document says, the
answer must not be an error, and the state the one that was to come. Else the run stops.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import NoReturn, TypeAlias, get_args
from urllib.parse import urldefrag, urljoin

from adwright.agent.document.elements import AppDocument, AppEdge, Element, edges_of, find_route
from adwright.agent.document.finding import FIELDS, where_am_i
from adwright.agent.drivers.protocol import (
    Direction,
    DriverError,
    PendingRequest,
    Screen,
    ScreenDriver,
    ScreenNode,
    SeenRequest,
)
from adwright.agent.explore.describe import word_effect
from adwright.agent.language.expression_kinds import automatic_routes
from adwright.agent.language.kinds import VERBS, ElementHandle, SecretName
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem, quoted
from adwright.agent.policy.gate import GateAct, PolicyGate, SentForm, first_unsent_field, sent_form
from adwright.agent.policy.origins import SAFE_METHODS, PolicyRefusalError
from adwright.agent.run.locate import (
    HealedElement,
    ItemSearch,
    effect_agrees,
    heal_in_row,
    heal_missed,
    item_on,
    items_on,
    locate,
    text_of,
)
from adwright.agent.run.trace import RunTrace, TraceRequest, TraceStep

# --------------------------------------------------------------------------------------------------
# One act on a screen: through the gate, with its requests, its verdict and a line of the trace.
#
#     acts = TracedActs(document, driver, gate, trace)
#     acts.perform(partial(driver.tap, node), step, (element,), before)     # or ScriptError
#
# An act fails where the gate raised an alarm, where the driver could not do it, and where a write
# was answered with an error, whatever the page shows.

#: Given the number of a step and a PNG, keeps it and says the name of its file.
KeepPicture: TypeAlias = Callable[[int, bytes], str]

#: What to do where a button sends more than its document says, as keywords beside a page.
_UNKNOWN_REQUEST = (
    "where the app always sends it with this button, name it below the element in the document: "
    'request "METHOD /path/"'
)
#: Of the requests of a step, and of the address of each, that are kept: pages make any number.
_MOST_REQUESTS, _MOST_SHOWN = 1000, 1000


class TracedActs:
    """The acts of one run; `seen`: all requests that were decided on."""

    def __init__(
        self,
        document: AppDocument,
        driver: ScreenDriver,
        gate: PolicyGate,
        trace: RunTrace,
        *,
        keep_picture: KeepPicture | None = None,
    ) -> None:
        self.seen: list[SeenRequest] = []
        #: Those of the last act.
        self.last: tuple[SeenRequest, ...] = ()
        #: As it was after the last act; None where nobody could look.
        self.screen: Screen | None = None
        self._document = document
        self._driver = driver
        self._gate = gate
        self._trace = trace
        self._keep_picture = keep_picture
        self._hidden: set[tuple[str, str]] = set()

    def hide(self, element: Element) -> None:
        """Paint over this element in pictures from now on: a secret was typed there."""
        self._hidden.add((element.role, element.label))

    def perform(
        self,
        do: Callable[[], None],
        step: TraceStep,
        elements: tuple[Element, ...],
        before: Mapping[str, str],
        form: SentForm | None = None,
        repeats: Mapping[str, str] | None = None,
        record: str = "",
    ) -> GateAct:
        """Do it, and add `step` to the trace, with what came of it.

        elements: what the script acts on, or all of a page for the key Enter. before: names of
        fields and what stood in them. form: what a tap may send. repeats, record: see `GateAct`.
        Raises ScriptError, with line 0.
        """
        failed = ""
        self.screen = None
        with self._gate.acting(elements, before, form, repeats, record) as act:
            try:
                do()
                # What the page sends once it has been touched belongs to the act.
                self.screen = self._driver.observe()
            except DriverError as error:
                failed = str(error)
        requests = self.last = self._driver.requests()
        self.seen += requests
        problem = self._problem(act, failed, requests)
        if step.element and elements and elements[0].locators:
            first = elements[0].locators[0]
            step = replace(step, locator=f"{first.kind} {first.value}")
        self._add(step, requests, problem)
        if problem is not None:
            raise ScriptError([problem])
        return act

    def _problem(
        self, act: GateAct, failed: str, requests: tuple[SeenRequest, ...]
    ) -> ScriptProblem | None:
        if act.alarm is not None:
            known: dict[str, ProblemCode] = {"refused": "refused", "cap": "cap"}
            code = known.get(act.alarm.code, "effect")
            hint = _UNKNOWN_REQUEST if " would send " in act.alarm.reason else ""
            return ScriptProblem(code, act.alarm.reason, hint=hint if code == "effect" else "")
        if failed:
            blocked = bool(act.blocked) and self._gate.rules.dry
            return None if blocked else ScriptProblem("driver", failed)
        written = {(one.method, one.url) for one in act.written}
        for one in requests:
            key = one.request.method, self._gate.secrets.mask(one.request.url)
            if key in written and one.decision.allowed and not 200 <= one.status < 400:
                what = f"the write was answered with status {one.status}"
                return ScriptProblem("effect", what, hint="what the page shows is not so")
        return None

    def _add(
        self, step: TraceStep, requests: tuple[SeenRequest, ...], problem: ScriptProblem | None
    ) -> None:
        mask = self._gate.secrets.mask
        screen = self.screen or self._driver.observe()
        made = tuple(
            TraceRequest(
                one.request.method,
                mask(one.request.url)[:_MOST_SHOWN],
                one.request.kind,
                one.decision.code,
                one.status,
            )
            for one in requests[:_MOST_REQUESTS]
        )
        step = replace(
            step,
            value=mask(step.value),
            after=where_am_i(self._document, screen) or "",
            requests=made,
            verdict=problem.code if problem else "ok",
            note=mask(problem.what) if problem else step.note,
            picture=self._picture(screen),
        )
        self._trace.add(step)

    def _picture(self, screen: Screen) -> str:
        if self._keep_picture is None:
            return ""
        hidden = tuple(
            one for one in screen.nodes if one.secret or (one.role, one.name) in self._hidden
        )
        try:
            data = self._driver.picture(hidden)
        except DriverError:
            return ""
        return self._keep_picture(len(self._trace.steps), data) if data else ""


# --------------------------------------------------------------------------------------------------
# A page that an app shows after a form was sent, which asks whether to do it.
#
#     node = confirming_button(screen, element, sent)       # its one button, or None
#
# It is one only where a single button sends to the very address that the form was sent to, by the
# same method, with nothing to be filled beside it. The gate then lets nothing through in which a
# field says something else than before, see `GateAct.repeats`, and asks the person again.

_LONGEST_NAME = 80


def first_sent(requests: Iterable[SeenRequest]) -> PendingRequest | None:
    """The form that a page answered itself, without leading elsewhere; None without one."""
    for one in requests:
        request = one.request
        if request.kind == "page" and request.method.upper() not in SAFE_METHODS:
            return request if one.decision.allowed and one.status == 200 else None
    return None


def confirming_button(screen: Screen, element: Element, sent: PendingRequest) -> ScreenNode | None:
    """The button that confirms what was sent; None where it is not sure that there is one."""
    seen = [one for one in screen.nodes if one.visible]
    same = [
        one
        for one in seen
        if one.role == "button"
        and one.facts.get("method", "").upper() == sent.method.upper()
        and _address(urljoin(screen.url, one.facts.get("action", ""))) == _address(sent.url)
    ]
    if len(same) != 1 or not same[0].enabled:
        return None
    (node,) = same
    form = node.facts.get("form", "")
    if any(one.role in FIELDS and one.facts.get("form", "") == form for one in seen):
        return None
    says = word_effect(node.name)
    return node if says is None or says == element.effect else None


def came_back(requests: Iterable[SeenRequest]) -> bool:
    """Whether a form was answered by a page: one that is accepted is answered by a redirect."""
    sent = [one for one in requests if one.request.method not in SAFE_METHODS]
    return any(one.request.kind == "page" and one.status == 200 for one in sent)


def named_record(screen: Screen | None, item: str) -> str:
    """What a person is told of the record that is acted on: the item by which it was reached, and
    the heading and first text field of its page. item: text of it in its list, empty for none."""
    if screen is None:
        return f"of {item[:_LONGEST_NAME]!r}" if item else ""
    seen = [one for one in screen.nodes if one.visible]
    heads = (one.name or one.text for one in seen if one.role == "heading")
    head = next(filter(None, heads), screen.title)
    name = next((one.value for one in seen if one.role == "textbox" and one.facts.get("name")), "")
    parts = [f"of {item[:_LONGEST_NAME]!r}"] if item else []
    parts += [f"on {head[:_LONGEST_NAME]!r}"] if head else []
    parts += [f"of {name[:_LONGEST_NAME]!r}"] if name and name not in item else []
    return ", ".join(parts)


def sent_fields(nodes: Iterable[ScreenNode]) -> dict[str, str]:
    """The names and values with which fields would be sent."""
    return dict(filter(None, map(_sent, nodes)))


def repeated(sent: PendingRequest, shown: Mapping[str, str]) -> dict[str, str]:
    """What was sent of the fields that the page had shown: what nobody sees may change."""
    return {name: value for name, value in sent.fields.items() if name in shown}


def _address(url: str) -> str:
    return urldefrag(url)[0]


def _sent(node: ScreenNode) -> tuple[str, str] | None:
    """The name and value with which a field is sent; None of what is not."""
    name = node.facts.get("name")
    if not name or node.secret:
        return None
    if node.role in ("checkbox", "radio", "switch"):
        return (name, node.facts.get("value", "on")) if node.value == "true" else None
    return name, node.value


_DIRECTIONS: Mapping[str, Direction] = {one: one for one in get_args(Direction)}
#: How a driver does each act on an element, with the text that is given to it.
TOUCHES: Mapping[str, Callable[[ScreenDriver, ScreenNode, str], None]] = {
    "tap": lambda driver, node, _: driver.tap(node),
    "long_tap": lambda driver, node, _: driver.long_tap(node),
    "set_text": lambda driver, node, text: driver.set_text(node, text),
    "choose": lambda driver, node, text: driver.choose(node, text),
}


@dataclass(frozen=True)
class WorldSettings:
    """heal: look for elements that are not where they were; heal_writes: also for those that may
    write, which only a run with postconditions should."""

    heal: bool = False
    heal_writes: bool = False


@dataclass
class _Page:
    """What is known of the page that is open: which fields had which values when it came, and the
    names with which those are sent that the script filled in."""

    url: str = ""
    state: str | None = None
    before: dict[str, str] = field(default_factory=dict)
    drafts: dict[str, str] = field(default_factory=dict)
    typed: set[str] = field(default_factory=set)


class ScreenWorld:
    """A `ScriptWorld` on a driver. line: that of the script that runs, set by the runner. adding:
    fields that were filled, and are of a form that adds something: they are required, and empty."""

    def __init__(
        self,
        document: AppDocument,
        driver: ScreenDriver,
        gate: PolicyGate,
        trace: RunTrace,
        settings: WorldSettings | None = None,
        *,
        keep_picture: KeepPicture | None = None,
    ) -> None:
        self.line, self.adding = 0, set[str]()
        self.healed: list[HealedElement] = []
        self.acts = TracedActs(document, driver, gate, trace, keep_picture=keep_picture)
        self._document, self._driver = document, driver
        self._gate, self._trace = gate, trace
        self._settings = settings or WorldSettings()
        self._ways = automatic_routes(document)
        self._elements = dict(document.by_name)
        self._page = _Page()
        #: Text of the item that was last acted on or opened.
        self._item = ""

    # --- what scripts ask --------------------------------------------------------------

    def act(
        self, verb: str, target: ElementHandle | None, value: str | bool | SecretName | None
    ) -> bool:
        """See `ScriptWorld`."""
        if target is None:
            return self._without_target(verb, value)
        screen, node, element = self._find(target)
        self._remember(screen, target, node)
        if VERBS[verb].effect == "element":
            self._require_effect(screen, element, node)
        return self._do(verb, element, node, value, screen, "script")

    def _remember(self, screen: Screen, target: ElementHandle, node: ScreenNode) -> None:
        """Which item is acted on; on a page of an item it is the one by which that was opened."""
        state = self._document.state_by_name.get(self._page.state or "")
        with suppress(ScriptError):
            if target.within is not None:
                around = self._elements[target.within.name]
                self._item = text_of(self._node_of(screen, around, target.within))
            elif target.place is not None:
                self._item = text_of(node)
            elif state is None or "{}" not in state.url_template:
                self._item = ""

    def text(self, target: ElementHandle) -> str:
        """See `ScriptWorld`."""
        _, node, _ = self._find(target)
        if node.secret:
            return ""
        return self._driver.read(node) or text_of(node)

    def attribute(self, target: ElementHandle, name: str) -> str | bool:
        """See `ScriptWorld`."""
        _, node, _ = self._find(target)
        match name:
            case "checked":
                return node.value == "true" or node.facts.get("checked") == "true"
            case "selected":
                return node.facts.get("selected") == "true"
            case "enabled":
                return node.enabled
            case "visible":
                return node.visible
            case "label":
                return node.name
            case "value":
                return "" if node.secret else node.value
        _fail("arguments", f"there is no attribute {quoted(name)}", "")

    def items(self, name: str) -> tuple[ElementHandle, ...]:
        """See `ScriptWorld`."""
        element = self._elements[name]
        screen = self.be_at(element.state)
        found = items_on(screen, element)
        if not found and self._unfold(screen, element, ElementHandle(name)) is not None:
            found = items_on(self._observe(self.acts.screen), element)
        return found

    def find(self, name: str, wanted: str) -> ElementHandle:
        """See `ScriptWorld`."""
        return ItemSearch(self._document, self.be_at, self._step).find(self._elements[name], wanted)

    def answer(self, text: str, sources: frozenset[str]) -> None:
        """See `ScriptWorld`."""
        note = f"from {', '.join(sorted(sources))}" if sources else ""
        value = self._gate.secrets.mask(text)[:500]
        self._trace.add(TraceStep(self.line, "answer", "", "script", value=value, note=note))

    # --- where it is -------------------------------------------------------------------

    def look(self) -> None:
        """See what is there now. Raises ScriptError where the page tried to write by itself."""
        self._observe()

    def go_home(self) -> Screen:
        """Open the start of the app. Raises ScriptError where something else is there."""
        start = self._document.state_by_name[self._document.start]
        if "{}" in start.url_template:
            _fail("wrong_state", f"the start {start.name} has no address of its own", "")
        path = start.url_template.partition("?")[0] or "/"
        url = self._document.origins[0].rstrip("/") + path
        self._perform(partial(self._driver.open, url), "open", how="route", value=url)
        screen = self._observe()
        if self._page.state != start.name:
            what = f"{url} shows {self._page.state or 'a page that is not in the document'}"
            _fail("wrong_state", what, "sign in first, or explore the app anew")
        return screen

    def _observe(self, seen: Screen | None = None) -> Screen:
        screen = seen or self._driver.observe()
        state = where_am_i(self._document, screen)
        if screen.url == self._page.url and self._is_like(state, self._page.state or ""):
            self._page.state = state  # another tab or menu of the page
        elif screen.url != self._page.url or state != self._page.state:
            self._page = _Page(screen.url, state, sent_fields(screen.nodes))
        if self._gate.stray is not None:
            _fail("effect", self._gate.stray.reason, "look at what the page sends by itself")
        return screen

    def be_at(self, state: str) -> Screen:
        """Go to a state by harmless ways, where it is not there already.

        Raises ScriptError where none leads to it, or what was typed would be lost.
        """
        screen = self._observe()
        if self._is_like(self._page.state, state):
            return screen
        if self._page.drafts:
            names = ", ".join(sorted(self._page.drafts))
            hint = "send the form first, or go back()"
            _fail("wrong_state", f"going to {state} would lose what was typed in {names}", hint)
        route = self._route(self._page.state, state)
        if route is None:
            screen = self.go_home()
            route = self._route(self._document.start, state)
        if route is None:
            _fail("unreachable", f"no way leads to {state}", "tap what leads there first")
        for edge in route:
            screen, node, element = self._find(ElementHandle(edge.element), go=False)
            self._require_effect(screen, element, node)
            self._do("tap", element, node, None, screen, "route")
            screen = self._observe(self.acts.screen)
        if not self._is_like(self._page.state, state):
            _fail("wrong_state", f"the way led to {self._page.state}, not to {state}", "")
        return screen

    def _is_like(self, here: str | None, wanted: str) -> bool:
        """Whether one is in a state, or in another of the same address: forms of a new and of an
        old record often differ in one link. Which elements are there is looked at in any case."""
        if here is None or here == wanted:
            return here == wanted
        states = self._document.state_by_name
        if wanted not in states:
            return False
        path = states[wanted].url_template.partition("?")[0]
        return bool(path) and states[here].url_template.partition("?")[0] == path

    def _route(self, start: str | None, goal: str) -> tuple[AppEdge, ...] | None:
        return None if start is None else find_route(self._ways, start, goal)

    # --- what it finds -----------------------------------------------------------------

    def _step(self, verb: str, name: str, value: str | None) -> Screen:
        """An act on the way to an item."""
        screen, node, element = self._find(ElementHandle(name))
        self._require_effect(screen, element, node)
        self._do(verb, element, node, value, screen, "route")
        if VERBS[verb].fills:
            self._page.drafts.pop(element.name, None)
        return self._observe(self.acts.screen)

    def _find(
        self, target: ElementHandle, *, go: bool = True
    ) -> tuple[Screen, ScreenNode, Element]:
        element = self._elements[target.name]
        screen = self.be_at(element.state) if go else self._observe()
        if target.place is not None:
            return screen, self._node_of(screen, element, target), element
        try:
            return screen, self._node_of(screen, element, target), element
        except ScriptError as error:
            key = (
                self._unfold(screen, element, target) if error.code == "not_found" and go else None
            )
            if key is not None:
                screen = self._observe(self.acts.screen)
                # What was shown has changed the text of its item, which is known by its key.
                around = next((one for one in screen.nodes if one.key == key), None)
                if key and around is None:
                    raise
                return screen, locate(screen, element, within=around), element
            if target.within is not None:
                return screen, self._heal_in_row(screen, element, target.within, error), element
            healed = self._heal(screen, element, error)
            return screen, healed.node, healed.after

    def _node_of(self, screen: Screen, element: Element, handle: ElementHandle) -> ScreenNode:
        if handle.within is not None:
            around = self._node_of(screen, self._elements[handle.within.name], handle.within)
            return locate(screen, element, within=around)
        if handle.place is None:
            return locate(screen, element)
        return item_on(screen, element, handle)

    def _unfold(self, screen: Screen, element: Element, target: ElementHandle) -> str | None:
        """Tap what the document says to show the element on a page of this path: a tab, or a menu;
        of an item's menu that of the item. The key of the item, empty for none; None where nothing
        shows it."""
        for edge in edges_of(self._document):
            opener = self._elements[edge.element]
            fits = edge.target == element.state and opener.effect == "read" and not edge.needs
            if not fits or not self._is_like(self._page.state, edge.source):
                continue
            if opener.many and target.within is None:
                continue
            key = ""
            try:
                if target.within is not None:
                    outer = self._elements[target.within.name]
                    key = self._node_of(screen, outer, target.within).key
                around = target.within if opener.many else None
                node = self._node_of(screen, opener, ElementHandle(opener.name, within=around))
            except ScriptError:
                continue
            self._do("tap", opener, node, None, screen, "route")
            return key
        return None

    def _heal(self, screen: Screen, element: Element, error: ScriptError) -> HealedElement:
        allowed = self._settings.heal and (self._settings.heal_writes or not element.writes)
        healed = heal_missed(screen, self._document, element, error.code) if allowed else None
        if healed is None:
            raise error
        self.healed.append(healed)
        self._elements[element.name] = healed.after
        return healed

    def _heal_in_row(
        self, screen: Screen, element: Element, item: ElementHandle, error: ScriptError
    ) -> ScreenNode:
        if not self._settings.heal or error.code not in ("not_found", "identity"):
            raise error
        row = self._node_of(screen, self._elements[item.name], item)
        node = heal_in_row(screen, self._document, element, row)
        if node is None:
            raise error
        return node

    def _require_effect(self, screen: Screen, element: Element, node: ScreenNode) -> None:
        if not node.enabled:
            _fail("wrong_state", f"${element.name} is switched off", "fill what it needs first")
        if not effect_agrees(screen.url, element, node):
            what = f"${element.name} would do something else than the document says"
            _fail("effect", what, "look at the page, and correct the document")
        if left := first_unsent_field(self._page.drafts, node):
            what = f"${element.name} sends another form than that of ${left}"
            _fail("wrong_state", what, "tap the button of the form that was filled")

    # --- what it does ------------------------------------------------------------------

    def _without_target(self, verb: str, value: str | bool | SecretName | None) -> bool:
        screen = self._observe()
        if verb == "scroll":
            return self._scroll(None, value)
        if verb == "back":
            self._perform(self._driver.back, "back")
            self._page.drafts.clear()
            return False
        state = self._page.state
        elements = self._document.elements_of(state) if state else ()
        self._perform(self._driver.enter, "enter", elements, screen=screen)
        return False

    def _scroll(self, node: ScreenNode | None, value: str | bool | SecretName | None) -> bool:
        if direction := _DIRECTIONS.get(str(value)):
            return self._driver.scroll(node, direction)
        _fail("arguments", f"{quoted(str(value))} is no direction", "")

    def _do(
        self,
        verb: str,
        element: Element,
        node: ScreenNode,
        value: str | bool | SecretName | None,
        screen: Screen,
        how: str,
    ) -> bool:
        shown = typed = ""
        match value:
            case SecretName(name):
                typed = self._secret_value(name, screen, element, node)
                shown = f"<secret:{name}>"
                self.acts.hide(element)
            case bool():
                typed = shown = "true" if value else "false"
            case str():
                typed = shown = value
        if verb == "scroll":
            return self._scroll(node, value)
        do = partial(TOUCHES[verb], self._driver, node, typed)
        before, fields = self._page.state, self._page.before
        if any(one.after is element for one in self.healed):
            how = "healed"
        form = sent_form(screen, node, self._page.typed)
        act = self._perform(
            do, verb, (element,), form, name=element.name, how=how, value=shown, screen=screen
        )
        if verb == "set_text" and element.constraints.required and not node.value:
            self.adding.add(element.name)
        if VERBS[verb].effect == "draft":
            self._page.drafts[element.name] = node.facts.get("form", "")
            self._page.typed.add(node.facts.get("name", ""))
        self._observe(self.acts.screen)
        if act.written and self._settings.heal_writes and self._settings.heal:
            act = self._confirm(element, act, fields)
        self._require_outcome(verb, element, before, act)
        return False

    def _confirm(self, element: Element, act: GateAct, fields: Mapping[str, str]) -> GateAct:
        """Where the app asks whether to do what was sent: say yes, if the person does again."""
        screen, sent = self.acts.screen, first_sent(self.acts.last)
        if self._page.state is not None or screen is None or sent is None:
            return act
        node = confirming_button(screen, element, sent)
        if node is None:
            return act
        step = TraceStep(self.line, "tap", element.name, "healed", note="a page asks to confirm")
        again = partial(self._driver.tap, node)
        record = named_record(screen, self._item)
        act = self.acts.perform(
            again, step, (element,), fields, repeats=repeated(sent, fields), record=record
        )
        self._page = _Page()
        self._observe(self.acts.screen)
        return act

    def _perform(
        self,
        do: Callable[[], None],
        verb: str,
        elements: tuple[Element, ...] = (),
        form: SentForm | None = None,
        *,
        name: str = "",
        how: str = "script",
        value: str = "",
        screen: Screen | None = None,
    ) -> GateAct:
        step = TraceStep(self.line, verb, name, how, value=value, before=self._page.state or "")
        record = named_record(screen, self._item)
        act = self.acts.perform(do, step, elements, self._page.before, form, record=record)
        if act.written:
            # What stands in the fields now is what was sent.
            self._page = _Page()
        return act

    def _secret_value(self, name: str, screen: Screen, element: Element, node: ScreenNode) -> str:
        try:
            return self._gate.secrets.fill(name, screen.url, element.name, node)
        except PolicyRefusalError as error:
            _fail("refused", error.what, error.hint)

    def _require_outcome(
        self, verb: str, element: Element, before: str | None, act: GateAct
    ) -> None:
        after = self._page.state
        if act.blocked and self._gate.rules.dry:
            self._page.drafts.clear()
            return
        expected = element.target if VERBS[verb].effect == "element" else None
        if expected is None and not element.writes:
            expected = before
        if expected is not None and not self._is_like(after, expected):
            shown = after or "a page that is not in the document"
            hint = "the form may have errors" if after == before else "look at the page"
            code: ProblemCode = "wrong_state" if after == before else "effect"
            _fail(code, f"${element.name} led to {shown}, not to {expected}", hint)
        sends = element.requests and element.writes and verb == "tap"
        if sends and not act.written and after == before:
            hint = "a field that the form requires may be empty, or its value not taken"
            _fail("wrong_state", f"${element.name} sent nothing", hint)
        if act.written and after is not None and after == before and came_back(self.acts.last):
            what = f"the form of ${element.name} came back, as forms with errors do"
            _fail("wrong_state", what, "look at what the page says, and correct the values")


def _fail(code: ProblemCode, what: str, hint: str) -> NoReturn:
    raise ScriptError([ScriptProblem(code, what, hint=hint)])
