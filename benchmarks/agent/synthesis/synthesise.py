"""Make tasks with solutions of an app, prove each, and keep them in a file to go on with.

    report = synthesise(document, app, Path("rows.jsonl"), SynthesisConfig(seed=7), clock=clock)
    report.kept, report.refused             # 212, {"run: wrong_state": 14, "stored: nothing": 3}
    rows = read_synthesised(Path("rows.jsonl"))

One line an intent: what it is, whether it is kept and if not why, its script, and its wordings,
with where all of that comes from. A run that was stopped goes on where it was. Elements with which
two solutions failed and none was kept are left alone from then on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from adwright.agent.document.elements import AppDocument
from adwright.agent.document.text_format import document_text
from adwright.agent.language.script import print_script
from adwright.core.clock import Clock
from adwright.core.config import (
    Count,
    from_jsonable,
    settings,
    to_jsonable,
)
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.journal import append_rows, read_rows
from adwright.core.progress import progress
from benchmarks.agent.synthesis.compose import compose
from benchmarks.agent.synthesis.disposable import DisposableApp
from benchmarks.agent.synthesis.intents import DrawnIntent, IntentConfig, IntentKind, make_intents
from benchmarks.agent.synthesis.known_items import KnownApp, look_around
from benchmarks.agent.synthesis.verifying import SolutionProof, prove, quiet_noise
from benchmarks.agent.synthesis.wordings import TaskWording, word_task

_FAILURES = 2


@settings
class SynthesisConfig:
    """intents: which are made. learn, judge: wordings of each. held: one in so many states is kept
    for judging, 0 for none. seed: of the wordings and of the held states."""

    intents: IntentConfig = field(default_factory=IntentConfig)
    learn: Count = 3
    judge: int = 1
    held: int = 6
    seed: int = 0


@settings
class SynthesisedTask:
    """One line of the file. app, document: the name and the hash of what it was made of. held: its
    state is kept for judging. cause: why it was refused; empty of what is kept."""

    key: str
    app: str
    document: str
    seed: int
    kind: IntentKind
    state: str
    held: bool
    script: str
    elements: tuple[str, ...]
    wordings: tuple[TaskWording, ...]
    cause: str = ""


@dataclass(frozen=True)
class SynthesisReport:
    """kept: solutions. tasks: their wordings. refused: by cause. left: intents that were not tried,
    since time was up or their elements had failed."""

    kept: int
    tasks: int
    refused: Mapping[str, int]
    left: int


def synthesise(
    document: AppDocument,
    app: DisposableApp,
    path: Path,
    config: SynthesisConfig | None = None,
    *,
    clock: Clock,
    known: KnownApp | None = None,
    seconds: float = float("inf"),
) -> SynthesisReport:
    """Make, prove and keep tasks of one app; several apps may share a file.

    known: what there is in the app; None looks. seconds: then it stops, and can be gone on with.
    Raises DataError for a file that is none, ResourceError where it cannot be written, and what the
    app raises.
    """
    config = config or SynthesisConfig()
    ends = clock.monotonic() + seconds
    digest = document_hash(document)
    before = [
        one for one in read_synthesised(path) if (one.app, one.document) == (app.name, digest)
    ]
    done = {one.key: one for one in before}
    found = known if known is not None else look_around(document, app)
    intents = make_intents(document, found, config.intents)
    waiting = [one for one in intents if one.key not in done]
    book = _Book(before)
    if waiting:
        noise = quiet_noise(document, app)
        with progress(len(waiting), f"tasks of {app.name}", "tasks", note=book.note) as bar:
            for intent in waiting:
                if clock.monotonic() > ends:
                    break
                if not book.is_hopeless(intent.elements):
                    task = _worded(intent, document, app.name, digest, config)
                    proof = (
                        prove(intent, document, app, clock=clock, noise=noise)
                        if task.wordings
                        else SolutionProof(False, "words: its values cannot be read out of a task")
                    )
                    told: dict[str, Any] = to_jsonable(task) | {"cause": proof.cause}
                    append_rows(path, [told], flush="system")
                    book.take(replace(task, cause=proof.cause))
                bar.advance()
    return book.report(len(intents))


def read_synthesised(path: Path) -> tuple[SynthesisedTask, ...]:
    """All lines of a file, none where there is no file; an end that was cut off is left out.

    Raises DataError naming the line that is none.
    """
    read = partial(from_jsonable, SynthesisedTask)
    return tuple(read_rows(path, read, hint="name a file that `synthesise` wrote"))


def document_hash(document: AppDocument) -> str:
    """The same for the same document, wherever its app lives."""
    lines = document_text(document).splitlines()
    return sha256_bytes("\n".join(one for one in lines if not one.startswith("origin ")).encode())


def is_held_state(app: str, state: str, held: int, seed: int) -> bool:
    """Whether a state is kept for judging: one in `held`, by a hash of its name."""
    return held > 0 and int(content_hash([app, state, seed])[:8], 16) % held == 0


class _Book:
    """Counts, and knows which elements fail."""

    def __init__(self, before: list[SynthesisedTask]) -> None:
        self._kept = self._tasks = 0
        self._refused: Counter[str] = Counter()
        self._good: set[str] = set()
        self._failed: Counter[str] = Counter()
        for one in before:
            self.take(one)

    def take(self, one: SynthesisedTask) -> None:
        if one.cause:
            self._refused[one.cause] += 1
            self._failed.update(one.elements)
        else:
            self._kept += 1
            self._tasks += len(one.wordings)
            self._good |= set(one.elements)

    def is_hopeless(self, elements: frozenset[str]) -> bool:
        """Whether one of them has failed again and again, and never been part of a good one."""
        return any(self._failed[one] >= _FAILURES and one not in self._good for one in elements)

    def note(self) -> str:
        return f"{self._kept} kept, {self._refused.total()} refused"

    def report(self, intents: int) -> SynthesisReport:
        left = intents - self._kept - self._refused.total()
        return SynthesisReport(self._kept, self._tasks, dict(self._refused), max(left, 0))


def _worded(
    intent: DrawnIntent, document: AppDocument, app: str, digest: str, config: SynthesisConfig
) -> SynthesisedTask:
    words = word_task(intent, "learn", config.learn, seed=config.seed)
    words += word_task(intent, "judge", config.judge, seed=config.seed)
    return SynthesisedTask(
        intent.key,
        app,
        digest,
        config.seed,
        intent.kind,
        intent.state,
        is_held_state(app, intent.state, config.held, config.seed),
        print_script(compose(intent, document)),
        tuple(sorted(intent.elements)),
        words,
    )
