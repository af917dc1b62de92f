"""One act on a screen: through the gate, with its requests, its verdict and a line of the trace.

    acts = TracedActs(document, driver, gate, trace)
    acts.perform(partial(driver.tap, node), step, (element,), before)     # or ScriptError

An act fails where the gate raised an alarm, where the driver could not do it, and where a write was
answered with an error, whatever the page shows. A touch of an app on a phone has no answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias

from adwright.agent.document.elements import AppDocument, Element
from adwright.agent.document.finding import where_am_i
from adwright.agent.drivers.protocol import DriverError, Screen, ScreenDriver, SeenRequest
from adwright.agent.language.problems import ProblemCode, ScriptError, ScriptProblem
from adwright.agent.policy.gate import GateAct, PolicyGate
from adwright.agent.policy.sent_form import SentForm
from adwright.agent.run.trace import RunTrace, TraceRequest, TraceStep

__all__ = ["KeepPicture", "TracedActs"]

#: Given the number of a step and a PNG, keeps it and says the name of its file.
KeepPicture: TypeAlias = Callable[[int, bytes], str]

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
            return ScriptProblem(known.get(act.alarm.code, "effect"), act.alarm.reason)
        if failed:
            blocked = bool(act.blocked) and self._gate.rules.dry
            return None if blocked else ScriptProblem("driver", failed)
        written = {(one.method, one.url) for one in act.written}
        for one in requests:
            key = one.request.method, self._gate.secrets.mask(one.request.url)
            # A touch has no answer: what came of it, postconditions tell.
            answered = one.request.kind != "touch"
            if answered and key in written and one.decision.allowed and not 200 <= one.status < 400:
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
