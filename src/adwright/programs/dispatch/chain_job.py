"""One chain that somebody waits for, over however many attempts: what was said of its answer.

An attempt may break off in the middle, as its engine dies. What was said by then has been read by
whoever streams it, so the next attempt goes on from there: it reads the prompt and what was said,
and writes what is left. A model writes each token given all before it, so that this is an answer as
good as an unbroken one; the same one, where the tokenizer makes of what was said the tokens that it
came from. It costs reading what was written, not writing it again. Where it cannot be (a form that
the whole answer has to have; an engine that takes a prompt for a turn of a chat), what was said is
taken back, and the answer is begun anew.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.chain_engine import AskedChain, Saying
from adwright.programs.dispatch.ready import ProgramSeat
from adwright.programs.dispatch.trace import ProgramTrace, TraceEvent, TraceEventKind
from adwright.programs.scheduling.engine import EngineCapabilities
from adwright.programs.scheduling.placement import PlacementScore
from adwright.programs.scheduling.ready_chain import ReadyChain

__all__ = ["ChainJob", "ChainRequest", "SayingFailedError", "further_settings"]

_DEFAULTS = tuple(
    (one.name, getattr(GenerationConfig(), one.name))
    for one in fields(GenerationConfig)
    if one.name not in ("max_tokens", "json_schema")
)


class SayingFailedError(Exception):
    """Whoever is told the pieces does not take one; `__cause__` says why."""


@dataclass(frozen=True)
class ChainRequest:
    """What an attempt asks of an engine. settings: where there are others than the length and the
    schema."""

    prompt: str
    max_tokens: int
    schema: str | None
    settings: GenerationConfig | None


def further_settings(settings: GenerationConfig) -> GenerationConfig | None:
    """The settings, where there are others than the length and the schema."""
    plain = all(getattr(settings, name) == value for name, value in _DEFAULTS)
    return None if plain else settings


@dataclass(eq=False)
class ChainJob:
    """A chain that is asked for. answer: who waits for it. tokens: that were let in for it.
    is_begun: whether the scheduler knows of it. attempts: begun so far; errors: how many of them
    failed; error: that of the last. moved: how often an engine died under it. before: tokens that
    were said before this attempt."""

    chain: ReadyChain
    asked: AskedChain
    seat: ProgramSeat
    say: Saying
    trace: ProgramTrace
    answer: asyncio.Future[str]
    tokens: int
    is_begun: bool = False
    attempts: int = 0
    errors: int = 0
    error: Exception | None = None
    moved: int = 0
    before: int = 0
    _said: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._said)

    def add(self, piece: str) -> None:
        """The answer goes on. Raises SayingFailedError where that is not taken."""
        if not piece:
            return
        try:
            self.say(piece)
        except Exception as error:
            raise SayingFailedError from error
        self._said.append(piece)

    def settle(self, what: str | Exception) -> None:
        """It has come to this, unless it came to something before."""
        if self.answer.done():
            return
        if isinstance(what, str):
            self.answer.set_result(what)
        else:
            self.answer.set_exception(what)

    def note(
        self,
        kind: TraceEventKind,
        now: float,
        *,
        engine: str = "",
        tokens: int | None = None,
        group: str | None = None,
        score: PlacementScore | None = None,
        why: str = "",
    ) -> None:
        """Write an event into the program's trace."""
        chain_id = self.asked.chain.node_id
        self.trace.note(TraceEvent(now, kind, chain_id, engine, tokens, group, score, why))

    def begin(self, can: EngineCapabilities, count: Callable[[str], int]) -> ChainRequest | None:
        """Begin an attempt on an engine that can do so much; None where the answer is whole as it
        is. count: tokens of a text."""
        settings, prompt, written = self.asked.chain.settings, self.asked.prompt, 0
        if self._said:
            if can.continues and not settings.constrained and not settings.logprobs:
                prompt, written = prompt + self.text, count(self.text)
            else:
                self._said.clear()
                self.say.take_back()
        self.before, left = written, settings.max_tokens - written
        if left < 1:
            return None
        if self.attempts and settings.temperature:
            # Else it would draw again what it has drawn for the tokens that were said.
            settings = replace(settings, seed=settings.seed + self.attempts)
        self.attempts += 1
        schema = settings.json_schema
        told = None if schema is None else json.dumps(schema)
        if written:
            least = max(0, settings.min_tokens - written)
            settings = replace(settings, max_tokens=left, min_tokens=least)
        return ChainRequest(prompt, left, told, further_settings(settings))
