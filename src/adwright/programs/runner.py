"""Run programs: a session starts what is needed and ready, and passes values on inside itself.

    async with Session(engine) as session:
        session.submit(program)
        text = await session.get("ad", Objective("ttft", 0.5))

A chain starts once the variables that it reads are set and somebody needs what it writes. A failure
is passed on to all that would have been made of it and to nothing else: the session goes on. What
nobody needs any more is cancelled. Parts may be submitted while others run, on variables that are
there already; a variable may be set from outside.

All of it happens on one event loop. Memory is bounded by the limits, whatever a program does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Literal, Protocol, Self

from adwright.core.config import settings
from adwright.core.errors import AdwrightError, ConfigError, ProgramError
from adwright.programs.deduction import Deduced, Deduction, UpcomingChain, deduce, upcoming_chains
from adwright.programs.graph import (
    Chain,
    Graph,
    Needs,
    ProgramLimits,
    build_graph,
    check_text,
    misplaced_texts,
    require_within,
)
from adwright.programs.program import LATENCY, NativeStep, Objective, Program
from adwright.programs.steps import OutputSchema, run_step

# --------------------------------------------------------------------------------------------------
# Variables of a program that runs: texts that are there later, and are set once.
#
#     pending ──> set        it has its text
#             ──> failed     what should make it, or something before that, failed
#             ──> cancelled  somebody cancelled it
#
# A variable belongs to one event loop. Nothing here looks at a clock.

VariableState = Literal["pending", "set", "failed", "cancelled"]
FailureKind = Literal["call", "output", "step", "outside", "cancelled"]


@settings
class Failure:
    """Why there is no text. It is passed on as it is to all that would have been made of it.

    kind: a call that failed; an output that is not as it must be; a step; who should have set it
        from outside; or that it was cancelled.
    origin: the chain, step or variable in which it began. what: in words.
    """

    kind: FailureKind
    origin: str
    what: str


class Variable:
    """One variable. Readers wait with `get` or `stream`; whoever makes it calls the others."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.failure: Failure | None = None
        self._text: str | None = None
        self._said: list[str] = []
        self._length = 0
        #: How often what was said was taken back.
        self._takes = 0
        self._waiters: set[asyncio.Future[None]] = set()

    @property
    def state(self) -> VariableState:
        """Pending, set, failed or cancelled."""
        if self._text is not None:
            return "set"
        if self.failure is None:
            return "pending"
        own = self.failure.kind == "cancelled" and self.failure.origin == self.name
        return "cancelled" if own else "failed"

    @property
    def is_settled(self) -> bool:
        """Whether nothing more happens to it."""
        return self._text is not None or self.failure is not None

    @property
    def text(self) -> str:
        """Its text. Raises ProgramError where it has none, naming what failed; or not yet."""
        if self._text is not None:
            return self._text
        if self.failure is None:
            raise ProgramError(
                "it has no text yet", where=f"variable {self.name}", hint="wait with get()"
            )
        origin = self.failure.origin
        begun = "" if origin == self.name else f", from {origin}"
        raise ProgramError(self.failure.what, where=f"variable {self.name}{begun}")

    @property
    def said(self) -> str:
        """What is known of the text by now."""
        return "".join(self._said) if self._text is None else self._text

    @property
    def characters(self) -> int:
        """How long that is."""
        return self._length if self._text is None else len(self._text)

    def set(self, text: str) -> None:
        """Give it its text, of which all that was said is the beginning.

        Raises ProgramError where it is settled already, or another text was begun.
        """
        self._require_pending()
        if not text.startswith(self.said):
            raise ProgramError(
                "what was streamed is not the beginning of the text", where=f"variable {self.name}"
            )
        self._text = text
        self._said.clear()
        self._wake()

    def fail(self, failure: Failure) -> None:
        """Say that there will be no text, and why. Raises ProgramError where it is settled."""
        self._require_pending()
        self.failure = failure
        self._said.clear()
        self._length = 0
        self._wake()

    def add(self, piece: str) -> None:
        """Say how the text goes on. Raises ProgramError where it is settled."""
        self._require_pending()
        if piece:
            self._said.append(piece)
            self._length += len(piece)
            self._wake()

    def take_back(self) -> None:
        """Nothing was said: the text is begun anew, perhaps another one. Who has read a part of
        it gets an error."""
        self._require_pending()
        if self._said:
            self._said.clear()
            self._length = 0
            self._takes += 1
            self._wake()

    async def get(self) -> str:
        """Wait for the text. Raises ProgramError as `text`."""
        while not self.is_settled:
            await self._changed()
        return self.text

    async def stream(self) -> AsyncGenerator[str, None]:
        """The text piece by piece as it is written; the pieces make the text.

        Raises ProgramError as `text`, behind what was written before that; or where what was read
        was taken back.
        """
        characters, pieces, takes = 0, 0, self._takes
        while self._text is None and self.failure is None:
            if takes != self._takes:
                if characters:
                    raise ProgramError(
                        "the text was begun anew", where=f"variable {self.name}", hint="read again"
                    )
                pieces, takes = 0, self._takes
            if pieces == len(self._said):
                await self._changed()
                continue
            piece = self._said[pieces]
            pieces, characters = pieces + 1, characters + len(piece)
            yield piece
        if rest := self.text[characters:]:
            yield rest

    async def _changed(self) -> None:
        """Wait until something was said or settled."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.add(waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _require_pending(self) -> None:
        if self.is_settled:
            raise ProgramError(
                f"it is {self.state} already, and a variable is settled once",
                where=f"variable {self.name}",
            )


# --------------------------------------------------------------------------------------------------
# What a session asks of whatever runs chains: one text for one prompt.


@dataclass(frozen=True)
class AskedChain:
    """A chain that is to be run. segments: its prompt, cut at the borders of variables. deduced:
    what the outputs that are wanted ask of it."""

    chain: Chain
    segments: tuple[str, ...]
    deduced: Deduced

    @property
    def prompt(self) -> str:
        """All of the prompt."""
        return "".join(self.segments)


class Saying(Protocol):
    """Is told each piece of an answer as it is written."""

    def __call__(self, piece: str, /) -> None:
        """The answer goes on so."""
        ...

    def take_back(self) -> None:
        """Nothing was said: the answer is begun anew, perhaps another one."""
        ...


class ChainEngine(Protocol):
    """What runs chains: an engine, or a scheduler before several."""

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """Write the output of a chain. say: told each piece as it is written, if there are pieces.

        Cancelled where nobody needs the text any more. Any exception fails this chain alone.
        """
        ...


_log = logging.getLogger("adwright.programs")

_LIMITS = ProgramLimits()
_SHOWN = 500


class Session:
    """A graph that runs and may grow.

    in_flight: chains that the engine has at a time; None: all that are ready. limits: of all that
    is submitted together.
    """

    def __init__(
        self,
        engine: ChainEngine,
        *,
        limits: ProgramLimits = _LIMITS,
        in_flight: int | None = None,
    ) -> None:
        if in_flight is not None and in_flight < 1:
            raise ConfigError(
                "in_flight must be at least 1",
                where=f"in_flight {in_flight}",
                hint="None: no bound",
            )
        self._engine, self._limits, self._in_flight = engine, limits, in_flight
        self._graph = build_graph(Program(), limits)
        self._needs = Needs(self._graph)
        self._variables: dict[str, Variable] = {}
        #: Variables that a node waits for.
        self._waits: dict[str, int] = {}
        self._asked: dict[str, list[Objective]] = {}
        self._deduction: Deduction | None = None
        self._ready: OrderedDict[str, None] = OrderedDict()
        self._running: dict[str, asyncio.Task[str]] = {}
        #: Those of them that the session cancelled.
        self._ending: set[str] = set()
        self._settled: deque[Variable] = deque()
        self._characters = 0
        self._is_closed = self._is_draining = False

    @property
    def graph(self) -> Graph:
        """All that was submitted."""
        return self._graph

    @property
    def deduction(self) -> Deduction:
        """What is asked of each chain that is needed now."""
        if self._deduction is None:
            known = {name for name, one in self._variables.items() if one.is_settled}
            self._deduction = deduce(self._graph, self._asked, known)
        return self._deduction

    @property
    def upcoming(self) -> tuple[UpcomingChain, ...]:
        """The chains that are needed and wait, with what is known of their prompts."""
        texts = {name: one.text for name, one in self._variables.items() if one.state == "set"}
        return upcoming_chains(self._graph, self._needs.needed, texts)

    @property
    def running(self) -> tuple[str, ...]:
        """Ids of the chains that the engine has."""
        return tuple(self._running)

    def variable(self, name: str) -> Variable:
        """A variable. Raises ConfigError where there is none of that name."""
        if name not in self._variables:
            raise ConfigError(
                f"there is no variable {name[:64]!r}", where="session", hint="submit it first"
            )
        return self._variables[name]

    def submit(self, program: Program) -> None:
        """Add a program, which may read variables that are there.

        Raises ConfigError as `build_graph`, and then nothing is added.
        """
        self._require_open()
        graph = build_graph(self._graph.program.joined(program), self._limits)
        added = sum(map(len, program.values.values()))
        self._require_room(added, "values")
        self._characters += added
        self._say_misplaced(program)
        new = [one for node_id, one in graph.nodes.items() if node_id not in self._graph.nodes]
        self._graph = self._needs.graph = graph
        self._variables |= {
            name: Variable(name) for name in graph.variables if name not in self._variables
        }
        for node in new:
            inputs = [self._variables[one] for one in dict.fromkeys(node.inputs)]
            self._waits[node.node_id] = sum(one.state != "set" for one in inputs)
            failure = next((one.failure for one in inputs if one.failure), None)
            if failure is not None:
                self._fail(node.outputs, failure)
        for wanted in program.outputs:
            self._ask(wanted.variable, wanted.objective)
        for name, text in program.values.items():
            self._variables[name].set(text)
            self._settled.append(self._variables[name])
        self._deduction = None
        self._drain()

    def set(self, name: str, text: str) -> None:
        """Set an awaited variable. Raises ConfigError where it is none, or the text is too long;
        ProgramError where it is settled."""
        variable = self._awaited(name)
        check_text(name, text, self._limits)
        self._require_room(len(text), f"variable {name}")
        variable.set(text)
        self._characters += len(text)
        self._settled.append(variable)
        self._drain()

    def fail(self, name: str, what: str) -> None:
        """Say that an awaited variable will not be set. Raises as `set`."""
        variable = self._awaited(name)
        variable.fail(Failure("outside", name, what[:_SHOWN]))
        self._settled.append(variable)
        self._drain()

    def cancel(self, name: str) -> None:
        """Cancel a variable: all that would be made of it fails, and what nobody else needs is
        ended. Nothing where it is settled. Raises ConfigError where there is none."""
        self.variable(name)
        self._fail((name,), Failure("cancelled", name, "it was cancelled"))
        self._drain()

    async def get(self, name: str, objective: Objective = LATENCY) -> str:
        """Ask for a variable and wait for it; who is cancelled meanwhile asks no more.

        Raises ConfigError where there is none; ProgramError where it has no text.
        """
        variable = self.variable(name)
        self._ask(name, objective)
        try:
            self._drain()
            return await variable.get()
        finally:
            self._leave(name, objective)

    async def stream(self, name: str, objective: Objective = LATENCY) -> AsyncGenerator[str, None]:
        """Ask for a variable and read it as it is written. Raises as `get`."""
        variable = self.variable(name)
        self._ask(name, objective)
        try:
            self._drain()
            async with aclosing(variable.stream()) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self._leave(name, objective)

    async def close(self) -> None:
        """Cancel what is not settled, and wait until the engine has let go of it."""
        self._is_closed = True
        for name in self._variables:
            self._fail((name,), Failure("cancelled", name, "the session was closed"))
        self._drain()
        while self._running:
            await asyncio.wait(set(self._running.values()))
            await asyncio.sleep(0)  # what is told that they ended comes first

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _say_misplaced(self, program: Program) -> None:
        """Warn of templates whose calls share less than they could, once each."""
        known = {one.template for one in self._graph.program.calls}
        new = {one.template: one for one in program.calls if one.template not in known}
        for name, found in misplaced_texts(new.values()).items():
            for one in found:
                _log.warning("call %s, template, %s", name, one)

    def _awaited(self, name: str) -> Variable:
        variable = self.variable(name)
        if name not in self._graph.program.awaited:
            raise ConfigError(
                "it is not set from outside", where=f"variable {name}", hint="list it in awaited"
            )
        return variable

    def _require_open(self) -> None:
        if self._is_closed:
            raise ProgramError("the session is closed", where="session", hint="open another one")

    def _require_room(self, characters: int, where: str) -> None:
        most = self._limits.all_characters
        if self._characters + characters > most:
            raise ConfigError(
                f"all texts of a session have at most {most:,} characters",
                where=where,
                hint="open another session",
            )

    def _ask(self, name: str, objective: Objective) -> None:
        asked = self._asked.setdefault(name, [])
        if objective not in asked:
            self._deduction = None
        asked.append(objective)
        for node_id in self._needs.ask(name):
            self._offer(node_id)

    def _leave(self, name: str, objective: Objective) -> None:
        asked = self._asked[name]
        asked.remove(objective)
        if not asked:
            del self._asked[name]
        if objective not in asked:
            self._deduction = None
        self._end(self._needs.leave(name))
        self._drain()

    def _offer(self, node_id: str) -> None:
        """Queue a node that may have become ready."""
        if not self._waits[node_id]:
            self._ready[node_id] = None

    def _end(self, node_ids: Sequence[str]) -> None:
        for node_id in node_ids:
            if node_id in self._running:
                self._ending.add(node_id)
                self._running[node_id].cancel()

    def _fail(self, names: Sequence[str], failure: Failure) -> None:
        for name in names:
            variable = self._variables[name]
            if not variable.is_settled:
                self._characters -= variable.characters
                variable.fail(failure)
                self._settled.append(variable)

    def _drain(self) -> None:
        """Do what follows from what was settled, then start what is ready, until nothing is."""
        if self._is_draining:
            return
        self._is_draining = True
        try:
            while self._settled or self._may_start():
                if self._settled:
                    self._pass_on(self._settled.popleft())
                else:
                    self._start(self._ready.popitem(last=False)[0])
        finally:
            self._is_draining = False

    def _may_start(self) -> bool:
        room = self._in_flight is None or len(self._running) < self._in_flight
        return bool(self._ready) and room

    def _pass_on(self, variable: Variable) -> None:
        """Tell the readers of a variable that it is settled."""
        self._end(self._needs.settle(variable.name))
        for node in self._graph.get_consumers(variable.name):
            if variable.failure is not None:
                self._fail(node.outputs, variable.failure)
                continue
            self._waits[node.node_id] -= 1
            if node.node_id in self._needs.needed:
                self._offer(node.node_id)

    def _start(self, node_id: str) -> None:
        """Start a node, if it is still needed and does not run yet."""
        if node_id not in self._needs.needed or node_id in self._running:
            return
        node = self._graph.nodes[node_id]
        if isinstance(node, NativeStep):
            self._step(node)
            return
        texts = {name: self._variables[name].text for name in node.reads}
        asked = AskedChain(node, node.segments(texts), self.deduction.chains[node_id])
        task = asyncio.get_running_loop().create_task(self._generate(asked))
        self._running[node_id] = task
        task.add_done_callback(lambda task: self._done(node, task))

    def _step(self, step: NativeStep) -> None:
        texts = [self._variables[name].text for name in step.inputs]
        if sum(map(len, texts)) > self._limits.text_characters:
            what = f"its texts have more than {self._limits.text_characters:,} characters"
            self._fail(step.outputs, Failure("step", step.name, what))
            return
        try:
            made = run_step(step.function, texts, len(step.outputs))
        except AdwrightError as error:
            self._fail(step.outputs, Failure("step", step.name, _told(error)))
            return
        for name, text in zip(step.outputs, made, strict=True):
            self._give(step.name, "step", name, text)

    async def _generate(self, asked: AskedChain) -> str:
        variable = self._variables[asked.chain.output]
        return await self._engine.generate(asked, _Told(self._say, self._take_back, variable))

    def _done(self, chain: Chain, task: asyncio.Task[str]) -> None:
        """The engine has let go of a chain."""
        node_id, variable = chain.node_id, self._variables[chain.output]
        del self._running[node_id]
        is_ended = node_id in self._ending
        self._ending.discard(node_id)
        error = None if task.cancelled() else task.exception()
        if error is None and not task.cancelled():
            self._written(chain, task.result())
        elif not is_ended:
            told = "the engine cancelled it" if error is None else _told(error)
            self._fail(chain.outputs, Failure("call", node_id, told))
        if not variable.is_settled:
            self._take_back(variable)
            self._offer(node_id)  # somebody may need it again by now
        self._drain()

    def _say(self, variable: Variable, piece: str) -> None:
        """Take a piece of what a chain writes; what comes late, for a settled variable, is lost."""
        if variable.is_settled:
            return
        self._require_room(len(piece), f"variable {variable.name}")
        most, characters = self._limits.text_characters, variable.characters + len(piece)
        require_within("characters", characters, most, where=f"variable {variable.name}")
        self._characters += len(piece)
        variable.add(piece)

    def _take_back(self, variable: Variable) -> None:
        if not variable.is_settled:
            self._characters -= variable.characters
            variable.take_back()

    def _written(self, chain: Chain, text: str) -> None:
        schema = chain.settings.json_schema
        problem = OutputSchema(schema).problem_of_text(text) if schema is not None else ""
        if problem:
            self._fail(chain.outputs, Failure("output", chain.node_id, problem))
        else:
            self._give(chain.node_id, "output", chain.output, text)

    def _give(self, origin: str, kind: FailureKind, name: str, text: str) -> None:
        """Set a variable that a node made, unless it was cancelled before."""
        variable = self._variables[name]
        if variable.is_settled:
            return
        more = len(text) - variable.characters
        try:
            check_text(name, text, self._limits)
            self._require_room(more, f"variable {name}")
            variable.set(text)
        except AdwrightError as error:
            self._fail((name,), Failure(kind, origin, _told(error)))
            return
        self._characters += more
        self._settled.append(variable)


@dataclass(frozen=True)
class _Told:
    """What an engine says goes to a variable."""

    say: Callable[[Variable, str], None]
    back: Callable[[Variable], None]
    variable: Variable

    def __call__(self, piece: str, /) -> None:
        self.say(self.variable, piece)

    def take_back(self) -> None:
        self.back(self.variable)


def _told(error: BaseException) -> str:
    return (str(error) if isinstance(error, AdwrightError) else repr(error))[:_SHOWN]


async def run_program(
    program: Program,
    engine: ChainEngine,
    *,
    limits: ProgramLimits = _LIMITS,
    in_flight: int | None = None,
) -> dict[str, str | Failure]:
    """Run a program that waits for nothing from outside: the text of each output, or why there is
    none.

    Raises ConfigError as `build_graph`, where nothing is wanted, and where a variable is awaited.
    """
    if not program.outputs or program.awaited:
        what = "nothing is asked for" if not program.outputs else "a variable is awaited"
        hint = "list what you want in outputs" if not program.outputs else "open a Session"
        raise ConfigError(what, where="program", hint=hint)
    async with Session(engine, limits=limits, in_flight=in_flight) as session:
        session.submit(program)
        names = [one.variable for one in program.outputs]
        variables = [session.variable(name) for name in names]
        await asyncio.gather(*(one.get() for one in variables), return_exceptions=True)
        return {one.name: one.failure or one.text for one in variables}
