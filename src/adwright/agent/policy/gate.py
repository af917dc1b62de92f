"""Decide on every request of a run: where it goes, what it may change, and who said yes.

    gate = PolicyGate(rules, document, confirm=ask, caps=ledger, secrets=keeper)
    driver = open_driver(gate.decide)
    with gate.acting(element, before) as act:
        driver.tap(node)
    act.alarm            # why the run must stop, or None
    act.written          # what was let through, and may have changed something

A request that may write passes only while the script acts on an element that may, if the document
knows the request of that element, the caps have room, and a person said yes where one must. In a
dry run none passes, and each is written down. What is let through is written down first: who looks
after a kill knows what may have left. Whatever goes wrong in here is a no.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from urllib.parse import urlsplit

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.drivers.protocol import GateDecision, PendingRequest, Screen, ScreenNode
from adwright.agent.policy.confirmation import (
    CapLedger,
    Confirmer,
    ConfirmRules,
    PendingChange,
    SecretKeeper,
    must_ask,
    pending_change,
)
from adwright.agent.policy.origins import (
    SAFE_METHODS,
    OriginRules,
    check_origin,
    matching_shape,
    method_of,
)
from adwright.core.config import settings

# --------------------------------------------------------------------------------------------------
# What a form may send: what stood on the screen when the script sent it, and to the same record.
#
#     form = sent_form(screen, node, {"name"})      # node: a button; the script has filled in
# "name"
#     form.why_not(request, ["POST /offers/{}/"])   # "" or in which way the request is another one
#
# A page may change what it sends after it was looked at: by a script that runs when the form is
# sent, by a second field of the same name, or by the same form sent to another record besides.

#: Roles of fields that are sent as they stand there.
_SENT_AS_SHOWN = ("textbox", "searchbox", "spinbutton", "combobox", "listbox")


@settings
class SentForm:
    """method, address: of the form that a button sends, by the page's own attributes; empty where
    it sends none. fields: names of those that can be seen, and what stands in them."""

    method: str = ""
    address: str = ""
    fields: Mapping[str, str] = field(default_factory=dict)

    def why_not(self, request: PendingRequest, shapes: Iterable[str]) -> str:
        """Why a documented request is not what this form sends; empty where it may be. Where a
        script of the page sends something of another shape, its address is not compared."""
        shapes = tuple(shapes)
        own = matching_shape(self.method, self.address, shapes) if self.address else None
        if own is not None and matching_shape(request.method, request.url, [own]) is not None:
            here, there = _place(self.address), _place(request.url)
            if here != there:
                return f"would send to {there}, and its form goes to {here}"
        for name, shown in self.fields.items():
            sent = request.fields.get(name)
            if sent is not None and not _same(sent, shown):
                return f"would send {sent[:80]!r} as {name}, and {shown[:80]!r} stands there"
        return ""


def sent_form(screen: Screen, node: ScreenNode, typed: Collection[str]) -> SentForm:
    """What tapping a node sends. typed: names of the fields that the script has filled in, which
    count wherever they stand; others where they stand in the form of the node, and can be seen."""
    form = node.facts.get("form")
    named = Counter(one.facts.get("name", "") for one in screen.nodes)
    fields = {
        one.facts["name"]: _value(one)
        for one in screen.nodes
        if one.role in _SENT_AS_SHOWN
        and one.facts.get("name")
        and named[one.facts["name"]] == 1
        and (one.facts.get("name") in typed or (one.visible and one.facts.get("form") == form))
        and not one.secret
        and "multiple" not in one.facts
    }
    method = _sends(node)
    if not method:
        return SentForm(fields={key: one for key, one in fields.items() if key in typed})
    return SentForm(method, node.facts.get("action", ""), fields)


def first_unsent_field(filled: Mapping[str, str], node: ScreenNode) -> str:
    """The first of the elements that were filled, with their forms, which a button does not send as
    it sends another form; empty where there is none, or where it sends no form by itself."""
    form = node.facts.get("form")
    if not form or not _sends(node):
        return ""
    return next((name for name, other in filled.items() if other and other != form), "")


def _sends(node: ScreenNode) -> str:
    """The method by which a button sends its form; empty where it sends none, or only reads."""
    kind = node.facts.get("type", "submit" if node.facts.get("tag") == "button" else "")
    method = node.facts.get("method", "").upper()
    is_sent = kind in ("submit", "image") and method not in SAFE_METHODS
    return method if is_sent else ""


def _value(node: ScreenNode) -> str:
    """With which a field is sent: of a list that of its choice, not the choice's label."""
    return node.facts.get("chosen", "") if node.facts.get("tag") == "select" else node.value


def _place(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


def _same(sent: str, shown: str) -> bool:
    """Line ends and blanks are a browser's, and a page may write a number in its own way."""
    if sent.split() == shown.split():
        return True
    try:
        return Decimal(sent) == Decimal(shown)
    except InvalidOperation:
        return False


_NAVIGATIONS = ("page", "frame", "redirect", "fetch", "script", "popup", "download")


@settings
class GateRules:
    """dry: no request that may write is sent. unknown: acts on elements of unknown effect may
    write, after a yes."""

    origins: OriginRules
    confirm: ConfirmRules = field(default_factory=ConfirmRules)
    dry: bool = False
    unknown: bool = False


@dataclass
class GateAct:
    """What happens while the script acts on one element; elements: what the document says of them,
    several for the key Enter, which may be any of its page. form: what may be sent by it. repeats:
    fields that must be sent with these values, as this act only confirms what was sent before.
    record: what the pages say of what is acted on. asks: what a dialog of the page asked."""

    elements: tuple[Element, ...]
    before: Mapping[str, str]
    form: SentForm = field(default_factory=SentForm)
    repeats: Mapping[str, str] = field(default_factory=dict)
    record: str = ""
    asks: str = ""
    written: list[PendingChange] = field(default_factory=list)
    blocked: list[PendingChange] = field(default_factory=list)
    alarm: GateDecision | None = None
    sent: set[tuple[str, str, bytes]] = field(default_factory=set)


class PolicyGate:
    """The gate of one run. confirm: None says no to all that must be asked about. doubts: of its
    script, shown with each change. note: gets each change before it is let through, and keeps
    it."""

    def __init__(
        self,
        rules: GateRules,
        document: AppDocument,
        *,
        confirm: Confirmer | None = None,
        caps: CapLedger | None = None,
        secrets: SecretKeeper | None = None,
        doubts: tuple[str, ...] = (),
        note: Callable[[PendingChange], None] | None = None,
    ) -> None:
        self.rules = rules
        self.secrets = secrets or SecretKeeper()
        #: What a dry run would have sent, and what a run has.
        self.would_send: list[PendingChange] = []
        self.written: list[PendingChange] = []
        #: Requests that tried to write while nothing acted.
        self.stray: GateDecision | None = None
        self._document = document
        self._confirm = confirm
        self._caps = caps
        self._doubts = doubts
        self._note = note
        self._act: GateAct | None = None
        self._reading = False

    @contextmanager
    def reading(self) -> Iterator[None]:
        """While this lasts, nothing may write."""
        before, self._reading = self._reading, True
        try:
            yield
        finally:
            self._reading = before

    @contextmanager
    def acting(
        self,
        elements: tuple[Element, ...],
        before: Mapping[str, str],
        form: SentForm | None = None,
        repeats: Mapping[str, str] | None = None,
        record: str = "",
    ) -> Iterator[GateAct]:
        """While this lasts, the script acts on one of `elements`; before: the names of the fields
        of the page and what stood in them when it came. form: None where nothing is known of it.
        repeats, record: see `GateAct`."""
        act = GateAct(elements, before, form or SentForm(), repeats or {}, record)
        self._act = act
        try:
            yield act
        finally:
            self._act = None

    def decide(self, request: PendingRequest) -> GateDecision:
        """Whether a request may leave; of a dialog, whether it is answered with yes."""
        if request.kind == "dialog":
            return self._decide_dialog(request)
        try:
            decision = check_origin(request, self.rules.origins)
            if decision.allowed and self._may_write(request):
                decision = self._decide_write(request)
        except Exception as error:
            decision = GateDecision(
                allowed=False, code="gate_error", reason=f"the gate failed: {type(error).__name__}"
            )
        if not decision.allowed and decision.code in ("effect", "unexpected_write", "gate_error"):
            if self._act is None:
                self.stray = self.stray or decision
            else:
                self._act.alarm = self._act.alarm or decision
        return decision

    def _decide_dialog(self, request: PendingRequest) -> GateDecision:
        """An app that asks before it changes something is told yes, once: a person is then shown
        its question with the change, and nothing is sent without them."""
        act = self._act
        if act is None or self._reading or act.asks or not any(one.writes for one in act.elements):
            return _no("dialog", "the page asks something, and nothing is to be changed")
        act.asks = request.fields.get("message", "") or "(without a word)"
        return GateDecision(allowed=True)

    def _may_write(self, request: PendingRequest) -> bool:
        if request.method.upper() not in SAFE_METHODS:
            return True
        if self._act is None or request.kind not in _NAVIGATIONS:
            return False
        # Apps that write by GET: what the document says of the element counts.
        for one in self._act.elements:
            if not one.writes:
                continue
            if matching_shape(request.method, request.url, one.requests) is not None:
                return True
            unsafe = any(method_of(shape) not in SAFE_METHODS for shape in one.requests)
            if not unsafe and not self._act.sent:
                return True
        return False

    def _decide_write(self, request: PendingRequest) -> GateDecision:
        act = self._act
        if act is None:
            return _no("unexpected_write", "something would write while the script does not act")
        if act.alarm is not None:
            return _no("stopped", "nothing more is sent by an act that raised an alarm")
        if self._reading:
            return _no("effect", f"a check would send {request.method} {request.url}")
        element, documented = self._meant(act, request)
        if element is None or not element.writes:
            name = f"${element.name}" if element else "the key Enter"
            shown = f"{request.method} {request.url}"
            return _no("effect", f"{name} would send {shown}, which the document does not say")
        other = f"would send {request.method} {request.url}" if element.requests else ""
        why = act.form.why_not(request, element.requests) if documented else other
        if any(request.fields.get(name) != value for name, value in act.repeats.items()):
            why = "would confirm something else than was sent"
        if why:
            return _no("effect", f"${element.name} {why}")
        if element.effect == "unknown" and not self.rules.unknown:
            return _no("effect", f"the effect of ${element.name} is unknown")
        change = pending_change(
            request,
            element=element.name,
            effect=element.effect,
            before=act.before,
            number=len(self.written) + len(self.would_send) + 1,
            documented=documented,
            record=act.record,
            asks=act.asks,
            doubts=self._doubts,
            mask=self.secrets.mask,
        )
        # A form is sent once, whatever stands in it; a script of a page may send several things.
        body = b"" if act.form.address else request.body
        key = (request.method.upper(), request.url, body)
        if key in act.sent:
            return _no("double_submit", "the same request was sent by this act before")
        act.sent.add(key)
        if self.rules.dry:
            self.would_send.append(change)
            act.blocked.append(change)
            return _no("dry_run", "nothing is sent in a dry run")
        return self._ask(request, change, act)

    def _ask(self, request: PendingRequest, change: PendingChange, act: GateAct) -> GateDecision:
        if must_ask(change, self.rules.confirm) and not (self._confirm and self._confirm(change)):
            act.blocked.append(change)
            act.alarm = act.alarm or _no("refused", f"not confirmed: {change.sentence()}")
            return _no("refused", "nobody said yes")
        if self._caps is not None:
            why = self._caps.reserve(request.method, request.url, request.fields, act.before)
            if why is not None:
                act.blocked.append(change)
                act.alarm = act.alarm or _no("cap", why)
                return _no("cap", why)
        if self._note is not None:
            self._note(change)
        self.written.append(change)
        act.written.append(change)
        return GateDecision(allowed=True)

    def _meant(self, act: GateAct, request: PendingRequest) -> tuple[Element | None, bool]:
        """The element that triggered a request, and whether the document lists the request."""
        for one in act.elements:
            if matching_shape(request.method, request.url, one.requests) is not None:
                return one, True
        return (act.elements[0], False) if len(act.elements) == 1 else (None, False)


def _no(code: str, reason: str) -> GateDecision:
    return GateDecision(allowed=False, code=code, reason=reason)
