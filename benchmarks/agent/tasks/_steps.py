"""An agent that takes one step at a time, in the manner of AutoDroid v1 and browser-use.

    solved = take_steps("Delete the offer Spring", app, model)

After each act the model reads the page anew, as numbered lines of what can be acted on, with the
task and what was done so far, and names the next act: tap, type, choose, answer or done. It has the
same screen, the same gate and the same yes as scripts have, so that only the way of deciding
differs. Decoding is held to the acts by a grammar.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from adwright.agent.document.finding import CONTROLS, FIELDS
from adwright.agent.drivers.protocol import (
    DriverError,
    GateDecision,
    PendingRequest,
    RequestGate,
    Screen,
    ScreenDriver,
    ScreenNode,
)
from adwright.agent.policy.origins import OriginRules, check_origin
from adwright.core.clock import SystemClock
from adwright.core.errors import AdwrightError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message
from benchmarks.agent.tasks._apps import TaskApp
from benchmarks.agent.tasks._solved import Solved

MOST_STEPS = 12
_MOST_LINES, _LONGEST = 120, 80
_HELP = """You operate a web application, one act at a time. The page is a list of numbered parts.
Answer with one JSON object:
{"act": "tap", "part": 3, "text": ""}        tap a part
{"act": "type", "part": 4, "text": "Tea"}    replace the text in a field
{"act": "choose", "part": 5, "text": "Open"} choose an option
{"act": "answer", "part": 0, "text": "12"}   answer the question, and end
{"act": "done", "part": 0, "text": ""}       the task is done"""
_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "act": {"enum": ["tap", "type", "choose", "answer", "done"]},
        "part": {"type": "integer", "minimum": 0, "maximum": 999},
        "text": {"type": "string", "maxLength": 120},
    },
    "required": ["act", "part", "text"],
    "additionalProperties": False,
}


def take_steps(
    task: str,
    app: TaskApp,
    model: LanguageModel,
    *,
    most: int = MOST_STEPS,
    gate: RequestGate | None = None,
) -> Solved:
    """At most `most` acts; "done" is what the model says, "stopped" where it never does.

    gate: None lets all through that stays at the app.
    """
    with ExitStack() as stack:
        rules = OriginRules((app.url,))

        def at_the_app(request: PendingRequest) -> GateDecision:
            return check_origin(request, rules)

        driver = app.open(gate or at_the_app, stack)
        driver.open(app.start)
        return _Steps(task, driver, model).take(most)


def page_lines(screen: Screen) -> tuple[list[str], list[ScreenNode]]:
    """What a model sees of a screen: a line for each part that can be acted on or read, and the
    parts by number; long pages are cut."""
    lines: list[str] = []
    parts: list[ScreenNode] = []
    for one in screen.nodes:
        shown = one.visible and (one.role in CONTROLS or one.role in ("heading", "cell", "alert"))
        words = " ".join((one.name or one.text).split())[:_LONGEST]
        if not shown or (not words and one.role not in FIELDS):
            continue
        value = f" = {one.value[:_LONGEST]!r}" if one.value else ""
        options = f" of {', '.join(one.options[:8])}" if one.options else ""
        lines.append(f"{len(parts)} {one.role} {words!r}{value}{options}")
        parts.append(one)
        if len(parts) == _MOST_LINES:
            break
    return lines, parts


class _Steps:
    def __init__(self, task: str, driver: ScreenDriver, model: LanguageModel) -> None:
        self._task, self._driver, self._model = task, driver, model
        self._done: list[str] = []
        self._in = self._out = self._writes = 0
        self._seconds = 0.0

    def take(self, most: int) -> Solved:
        """Step after step."""
        clock = SystemClock()
        start = clock.monotonic()
        verdict, problem = "stopped", f"not done after {most} steps"
        answers: tuple[str, ...] = ()
        for _ in range(most):
            lines, parts = page_lines(self._driver.observe())
            act = self._asked(lines)
            self._done.append(json.dumps(act))
            if act["act"] in ("answer", "done"):
                verdict, problem = "done", ""
                answers = (str(act["text"]),) if act["act"] == "answer" else ()
                break
            try:
                self._do(act, parts)
            except AdwrightError as error:
                self._done[-1] += f" failed: {str(error)[:_LONGEST]}"
        return Solved(
            verdict,
            answers,
            problem,
            "\n".join(self._done),
            "steps",
            self._in,
            self._out,
            self._seconds,
            clock.monotonic() - start - self._seconds,
            len(self._done),
            0,
            self._writes,
        )

    def _asked(self, lines: Sequence[str]) -> dict[str, Any]:
        clock = SystemClock()
        done = "\n".join(self._done[-6:]) or "nothing"
        page = "\n".join(lines)
        text = f"Page:\n{page}\n\nTask: {self._task}\nDone so far:\n{done}\nThe next act:"
        messages = [Message("system", _HELP), Message("user", text)]
        start = clock.monotonic()
        config = GenerationConfig(max_tokens=80, temperature=0.0, json_schema=_SCHEMA)
        answer = self._model.generate([messages], config)
        self._seconds += clock.monotonic() - start
        self._in += answer.usage.prompt_tokens
        self._out += answer.usage.completion_tokens
        try:
            found = json.loads(answer.texts[0])
            return {"act": str(found["act"]), "part": int(found["part"]), "text": found["text"]}
        except (ValueError, KeyError, TypeError):
            return {"act": "tap", "part": -1, "text": ""}

    def _do(self, act: dict[str, Any], parts: Sequence[ScreenNode]) -> None:
        if not 0 <= act["part"] < len(parts):
            raise DriverError(f"there is no part {act['part']}")
        part, text = parts[act["part"]], str(act["text"])
        match act["act"]:
            case "type":
                self._driver.set_text(part, text)
            case "choose":
                self._driver.choose(part, text)
            case _:
                self._driver.tap(part)
        sent = self._driver.requests()
        self._writes += sum(one.request.method not in ("GET", "HEAD") for one in sent)
