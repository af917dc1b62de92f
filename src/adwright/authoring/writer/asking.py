"""Ask a model for many texts at a time, so that one that fails harms no other.

The prompt of the first row of a slot is read alone: then the instruction and the voice, with which
all prompts of the slot begin, are in the engine's cache, and the rows that follow together share
them. A call that fails is made again after a pause; one that still fails is divided, and rows that
fail alone are told with the reason.
"""

from __future__ import annotations

import os
import re
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from typing import NamedTuple

from adwright.authoring.checks.limits import CheckConfig, Finding, errors_of
from adwright.authoring.checks.policy import alikeness
from adwright.authoring.checks.verdict import check, repair, usable
from adwright.authoring.checks.whole import sentences_of
from adwright.authoring.tasks import AuthoringRequest, constrained, messages_of, read_answer
from adwright.authoring.writer.drafts import Draft, Provenance, WriteRow
from adwright.authoring.writer.feeds import plain_text
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
from adwright.lm.open_model import LmSpec, adapter_hash, open_model

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
    share of the call. seed: that its tokens were drawn with. cut: whether it stopped at the most
    tokens that it may have."""

    asked: AskedRow
    text: str | None
    reason: str
    usage: Usage
    seconds: float
    seed: int
    cut: bool = False


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
    cut = found.finish_reason == "length" and asked.request.task.form == "text"
    return RowAnswer(asked, found.text, "", found.usage, seconds, seed, cut)


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, AdwrightError) else f"{type(error).__name__}: {error}"


# --------------------------------------------------------------------------------------------------
# Seconds that processors spent on a job: this process, and the engines that it started.

_TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds() -> float:
    """Of this process, its children that have ended, and, on Linux, of those that live and theirs.

    The difference of two calls is what was spent between them.
    """
    own = resource.getrusage(resource.RUSAGE_SELF)
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = own.ru_utime + own.ru_stime + ended.ru_utime + ended.ru_stime
    return used + sum(_used(process) for process in _descendants(os.getpid()))


def _descendants(process: int) -> Iterator[int]:
    """Children that live, and theirs; none where the system does not tell."""
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for thread in threads:
        try:
            with open(f"/proc/{process}/task/{thread}/children", encoding="ascii") as found:
                children = [int(one) for one in found.read().split()]
        except OSError:
            continue
        for child in children:
            yield child
            yield from _descendants(child)


def _used(process: int) -> float:
    try:
        with open(f"/proc/{process}/stat", encoding="utf-8", errors="replace") as stream:
            # The name, in brackets, may hold blanks; user and system time are the 14th and 15th,
            # of ended children the two after them.
            fields = stream.read().rpartition(")")[2].split()
        return sum(int(one) for one in fields[11:15]) / _TICKS
    except (OSError, ValueError):
        return 0.0


# --------------------------------------------------------------------------------------------------
# Make a draft of an answer: read in the form that was asked for, tidied, checked and repaired.

#: What a spreadsheet would take for the beginning of a formula.
_FORMULA = "=+-@\t\r"
_BLANK = re.compile(r"[ \t]+")
#: ROUGE-L from which on two variants are alike, and what is said then.
_ALIKE = 0.7
_SAID, _FIX = "it is like another variant", "keep one of them"
#: Names that models put before what they write.
_NAMED = re.compile(
    r"^\W*(?:ad|ad text|headline|title|description|product description|sentence|text)\s*:\s*",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class DraftSource:
    """What the provenance of all drafts of a job says: see `Provenance`."""

    model: str
    adapter: str
    adapter_hash: str
    job: str


class FinishedRow(NamedTuple):
    """draft: None where the answer cannot be used, for the `reason`. before: findings in the
    answer as it came; after: in the draft."""

    answer: RowAnswer
    draft: Draft | None
    reason: str
    before: tuple[Finding, ...] = ()
    after: tuple[Finding, ...] = ()


def finish(
    answer: RowAnswer,
    config: CheckConfig,
    source: DraftSource,
    *,
    mend: bool,
    attempts: int,
    others: Sequence[str] = (),
    last: bool = False,
    instead: Callable[[], str] = str,
) -> FinishedRow:
    """The draft of an answer. mend: no text that cannot be used is kept: it is asked for again, and
    of the `last` attempt mended, or what is written `instead` takes its place. attempts: times
    that it was asked for. others: texts of the other variants, none of which it is to be like: one
    that is the same is no draft, nor is one that is alike (ROUGE-L of 0.7, our choice) unless it
    is the `last` attempt; then it has a finding that says so."""
    if answer.text is None:
        return FinishedRow(answer, None, answer.reason)
    request, slot = answer.asked.request, answer.asked.row.slot
    # Markup of an answer is no turn of a chat, and is taken out before turns are looked for.
    shown = answer.text if request.task.form == "label" else plain_text(answer.text)[0]
    read = read_answer(request, shown)
    if not read.valid and (read.label is not None or not (mend and last) or not instead()):
        return FinishedRow(answer, None, f"the answer cannot be used: {read.reason}")
    if read.label is not None:
        draft = _draft(answer, read.label, (), source, attempts)
        return FinishedRow(answer, draft, "")
    text = tidy(read.text) if read.valid else ""
    before: tuple[Finding, ...] = ()
    if mend:
        before = usable(text, request, config, sentences=slot.sentences)
        if answer.cut:
            before = (*before, Finding("form/cut", len(text), len(text), "error", "it was cut"))
            text = "".join(list(sentences_of(text))[:-1][:1]) if slot.sentences else ""
        if before and not last:
            rules = ", ".join(sorted({one.rule for one in before}))
            return FinishedRow(answer, None, f"the answer cannot be used: {rules}", before)
        mended = repair(text, request, config, sentences=slot.sentences, instead=instead)
        text, after = mended.text, mended.findings_after
        before = before or mended.findings_before
        if mended.failed or not text:
            rules = ", ".join(sorted({one.rule for one in errors_of(before)})) or "empty"
            what = f"the answer cannot be mended: {rules}"
            return FinishedRow(answer, None, what, before, after)
    else:
        if not text:
            return FinishedRow(answer, None, "the answer cannot be used: empty")
        before = after = usable(text, request, config, sentences=slot.sentences) or check(
            text, request, config
        )
    if folded(text) in map(folded, others):
        return FinishedRow(answer, None, "the answer is that of another variant", before, after)
    if others and alikeness((text, *others))[0, 1:].max() >= _ALIKE:
        if not last:
            return FinishedRow(answer, None, "the answer is like another variant", before, after)
        after = (*after, Finding("variants/alike", 0, len(text), "warning", _SAID, _FIX))
    return FinishedRow(answer, _draft(answer, text, after, source, attempts), "", before, after)


def planned_draft(
    asked: AskedRow, text: str, config: CheckConfig, source: DraftSource, seconds: float
) -> FinishedRow:
    """The draft of a text that was written by plan."""
    answer = RowAnswer(asked, text, "", Usage(), seconds, 0)
    found = check(text, asked.request, config) if asked.request.task.form == "text" else ()
    return FinishedRow(answer, _draft(answer, text, found, source, 1), "", found, found)


def tidy(text: str) -> str:
    """The text without markup, its own name before it, quotes and blanks around it, and what would
    begin a formula."""
    shown, _ = plain_text(text)
    bare = _NAMED.sub("", shown).strip('"\u201c\u201d* \n')
    return _BLANK.sub(" ", bare.lstrip(_FORMULA + " \n")).strip()


def folded(text: str) -> str:
    """Letters and digits alone, in lower case: what two variants must differ in."""
    return re.sub(r"[\W_]", "", text.casefold())


def _draft(
    answer: RowAnswer,
    text: str,
    findings: tuple[Finding, ...],
    source: DraftSource,
    attempts: int,
) -> Draft:
    row, usage = answer.asked.row, answer.usage
    by = Provenance(
        model=source.model,
        adapter=source.adapter,
        adapter_hash=source.adapter_hash,
        job=source.job,
        prompt=answer.asked.prompt_hash,
        inputs=row.inputs,
        product=row.product_hash,
        seed=answer.seed,
        prompt_tokens=usage.prompt_tokens,
        cached_tokens=usage.cached_tokens,
        answer_tokens=usage.completion_tokens,
        seconds=round(answer.seconds, 4),
        attempts=attempts,
    )
    return Draft(*row.key, text, answer.text or "", findings, by, answer.asked.request.values)


# --------------------------------------------------------------------------------------------------
# The language model of a writing job, and what its drafts say of it.
#
#     with open_writer(LmSpec("smollm2", adapter="runs/ads")) as opened:
#         opened.model.generate(...)
#
# On this machine OpenVINO writes where it can run the model, else our own paged engine, which
# shares the beginning of all prompts and takes adapters.


@dataclass(frozen=True)
class OpenedWriter:
    """A model that is open; None where a rule chooses. engine: what runs it, in words.
    adapter_hash: of the adapter's manifest, which holds the hashes of its files."""

    model: LanguageModel | None
    name: str
    engine: str
    adapter: str = ""
    adapter_hash: str = ""


#: Named in the place of a model: the rule chooses.
RULE = "rule"


@contextmanager
def open_writer(spec: str | LmSpec, *, scores: bool = False) -> Iterator[OpenedWriter]:
    """Open the model, and close it when the block ends. scores: it is to score many texts of one
    prompt, which our engine reads once. Raises as `open_lm` and `adapter_hash`."""
    spec = LmSpec.of(spec)
    if scores and spec.engine == "auto" and not spec.url and spec.model != RULE:
        spec = replace(spec, engine="paged")
    if spec.model == RULE and not spec.url:
        yield OpenedWriter(None, RULE, RULE)
        return
    digest = adapter_hash(spec.adapter)
    config = spec.config(auto="paged")
    with closing(open_model(config)) as model:
        engine = "paged" if config.engine == "paged" else model.info.engine
        yield OpenedWriter(model, spec.model, engine, spec.adapter, digest)
