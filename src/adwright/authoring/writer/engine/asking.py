"""Ask a model for many texts at a time, so that one that fails harms no other.

The prompt of the first row of a slot is read alone: then the instruction and the voice, with which
all prompts of the slot begin, are in the engine's cache, and the rows that follow together share
them. A call that fails is made again after a pause; one that still fails is divided, and rows that
fail alone are told with the reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from adwright.authoring.tasks.labels import constrained
from adwright.authoring.tasks.prompts import messages_of
from adwright.authoring.tasks.task import AuthoringRequest
from adwright.authoring.writer.plan import WriteRow
from adwright.core.clock import Clock
from adwright.core.errors import AdwrightError, ConfigError, ResourceError
from adwright.core.hashing import content_hash
from adwright.lm.engine.generation import (
    Completion,
    GenerationConfig,
    LanguageModel,
    Message,
    Usage,
)

_DIGITS = 24


@dataclass(frozen=True)
class SlotPrompt:
    """What all rows of a slot are told. voice: text for the system turn."""

    instruction: str
    voice: str

    def messages(self, request: AuthoringRequest) -> tuple[Message, ...]:
        """The turns of a request: what is the same for all rows comes first."""
        return messages_of(request, instruction=self.instruction, voice=self.voice)


@dataclass(frozen=True)
class AskedRow:
    """A row, and what a model is asked for it."""

    row: WriteRow
    request: AuthoringRequest
    messages: tuple[Message, ...]

    @property
    def prompt_hash(self) -> str:
        """Of the messages."""
        return content_hash([[one.role, one.content] for one in self.messages])[:_DIGITS]


@dataclass(frozen=True)
class RowAnswer:
    """What a model answered; `text` is None where it failed, and `reason` says why. seconds: its
    share of the call. seed: that its tokens were drawn with."""

    asked: AskedRow
    text: str | None
    reason: str
    usage: Usage
    seconds: float
    seed: int


class Asker:
    """Asks one model. attempts, pause: of a call that fails because the engine does not answer.
    sleep: waits so many seconds.
    """

    def __init__(
        self,
        model: LanguageModel,
        *,
        clock: Clock,
        attempts: int = 3,
        pause: float = 1.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._model, self._clock = model, clock
        self._attempts, self._pause, self._sleep = attempts, pause, sleep
        self._good: tuple[Message, ...] | None = None
        self._warmed: set[str] = set()
        #: Tokens of the calls that warmed.
        self.warming = Usage()

    def ask(
        self, rows: Sequence[AskedRow], *, temperature: float, seeds: Sequence[int]
    ) -> list[RowAnswer]:
        """Answers to rows of one slot, in their order. seeds: what each draws from.

        Raises ResourceError where the engine does not answer, and ConfigError where it refuses
        everything.
        """
        if not rows:
            return []
        config = self._config(rows[0], temperature, seeds)
        self._warm(rows)
        return self._call(rows, config)

    def _warm(self, rows: Sequence[AskedRow]) -> None:
        """Let the engine read what the prompts of a slot begin with, once."""
        slot = rows[0].row.slot.name
        if slot in self._warmed or len(rows) == 1:
            return
        self._warmed.add(slot)
        # What is wrong with it, if anything, is found by the call for all of them.
        with suppress(Exception):
            found = self._model.generate([rows[0].messages], GenerationConfig(max_tokens=1))
            self.warming = self.warming + found.usage
            self._good = rows[0].messages

    def _config(
        self, asked: AskedRow, temperature: float, seeds: Sequence[int]
    ) -> GenerationConfig:
        slot = asked.row.slot
        stop = ("\n",) if slot.one_line and slot.task.form != "label" else ()
        config = GenerationConfig(
            max_tokens=slot.tokens, temperature=temperature, seeds=tuple(seeds), stop=stop
        )
        if slot.task.form != "label":
            return config
        # Servers know schemas of JSON rather than grammars.
        if self._model.info.engine == "http":
            return constrained(config, asked.request, form="schema")
        return constrained(config, asked.request, form="grammar")

    def _call(self, rows: Sequence[AskedRow], config: GenerationConfig) -> list[RowAnswer]:
        start = self._clock.monotonic()
        pause = self._pause
        for attempt in range(self._attempts):
            try:
                found = self._model.generate([one.messages for one in rows], config)
            except ResourceError as error:
                failed: Exception = error
                if attempt + 1 < self._attempts:
                    self._sleep(pause)
                    pause *= 2
            except Exception as error:
                failed = error
                break
            else:
                self._good = rows[0].messages
                share = (self._clock.monotonic() - start) / len(rows)
                return [
                    _answer(asked, one, share, config.seed_of(at))
                    for at, (asked, one) in enumerate(zip(rows, found, strict=True))
                ]
        return self._divided(rows, config, failed)

    def _divided(
        self, rows: Sequence[AskedRow], config: GenerationConfig, failed: Exception
    ) -> list[RowAnswer]:
        """Each half by itself; the one row that fails alone is told."""
        if isinstance(failed, ResourceError) and not self._speaks(rows, config):
            raise ResourceError(
                f"the engine does not answer: {failed.what}",
                where=failed.where,
                hint="what is written is kept; see to the engine and give the same command again",
            ) from failed
        if len(rows) == 1:
            # Where not even the first row is taken, it is the settings that are wrong.
            if self._good is None and isinstance(failed, ConfigError):
                raise failed
            return [RowAnswer(rows[0], None, _told(failed), Usage(), 0.0, config.seed_of(0))]
        half = len(rows) // 2
        return [
            *self._call(rows[:half], replace(config, seeds=config.seeds[:half])),
            *self._call(rows[half:], replace(config, seeds=config.seeds[half:])),
        ]

    def _speaks(self, rows: Sequence[AskedRow], config: GenerationConfig) -> bool:
        """Whether the engine still answers a row that it answered before, or one of these."""
        ends = [rows[-1].messages, rows[0].messages] if len(rows) > 1 else []
        for messages in ends if self._good is None else [self._good]:
            with suppress(Exception):
                self._model.generate([messages], replace(config, max_tokens=1))
                return True
        return False


def _answer(asked: AskedRow, found: Completion, seconds: float, seed: int) -> RowAnswer:
    if found.finish_reason == "cancelled":
        return RowAnswer(asked, None, "it was cancelled", found.usage, seconds, seed)
    return RowAnswer(asked, found.text, "", found.usage, seconds, seed)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, AdwrightError) else f"{type(error).__name__}: {error}"
