"""Continuous batching over one base and its tuned parts: one `LanguageModel` a part.

    models = AdapterModels(model, tokens, name="base")
    models.add("shop-1", folder_of_a_lora)
    models.add("shop-2", folder_of_a_serial_adapter)
    models["shop-1"].generate(["The best tea"])         # several threads: one batch

Requests join and leave between passes (Orca: Yu et al., OSDI 2022). A pass takes one token of
every row that is being written and up to `prompt_tokens` of prompts, whatever parts they have;
pages come from one pool (see `pool`), parts are brought in as they are asked for (`residency`).

Who computes is a setting. "callers": whoever waits for an answer runs the next pass, for all;
no thread is needed. "thread": one thread of ours does. "outside": somebody else calls `step`,
which does one bounded piece of work and returns; so a loop that tunes can serve in its gaps:

    while tuning:
        training_step()
        while models.step(prompt_tokens=64) and time_is_left():
            pass
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal

from adwright.core.config import check_literals
from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import Chunk, ModelInfo
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.engine.language_model import LanguageModel
from adwright.lm.serving.adapter_cache import AdapterState, Counts, Residency
from adwright.lm.serving.adapter_folding import MergePolicy, Merger
from adwright.lm.serving.adapter_model import AdapterModel
from adwright.lm.serving.gathered_adapters import BaseMaps
from adwright.lm.serving.page_pool import PagePool, PageShape
from adwright.lm.serving.paged_network import PagedNetwork
from adwright.lm.serving.passes import Passes
from adwright.lm.serving.rows import Job, Writing, failed_pass
from adwright.lm.serving.scheduler import Scheduler, Turn
from adwright.lm.torch_engine.constraint import Grammars

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["AdapterModels", "PoolState", "ServingConfig", "Step"]

_log = logging.getLogger("adwright.lm")
#: Seconds after which who waits looks again by himself.
_PATIENCE = 0.05

Drive = Literal["callers", "thread", "outside"]


@dataclass(frozen=True)
class ServingConfig:
    """Bounds of one served base.

    pool_bytes: the pool of pages, for parts in use and keys and values. host_bytes: parts that
    were pushed out of it. block: tokens of a page. rows: requests in the batch. prompt_tokens: the
    most tokens of prompts in one pass. drive: who computes, see the module. merge: fold a part that
    most requests ask for, by this policy; see `credit_merge` for what it costs. Beside these bounds
    a pass takes copies of one layer's matrices and keys, and activations, as long as it runs.

    Raises ConfigError that names the setting.
    """

    pool_bytes: int = 512 << 20
    host_bytes: int = 256 << 20
    block: int = 16
    rows: int = 32
    prompt_tokens: int = 256
    drive: Drive = "callers"
    merge: MergePolicy | None = None

    def __post_init__(self) -> None:
        check_literals(self)
        for name in ("pool_bytes", "block", "rows", "prompt_tokens"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1", where=name, hint="correct it")
        if self.host_bytes < 0:
            raise ConfigError("host_bytes must not be negative", where="host_bytes", hint="0")


@dataclass(frozen=True)
class Step:
    """What one pass did. written: tokens of answers. prompted: tokens of prompts. live: rows in
    the batch. waiting: requests in the queue. False where there was nothing to do."""

    written: int
    prompted: int
    live: int
    waiting: int

    def __bool__(self) -> bool:
        return bool(self.written or self.prompted)


@dataclass(frozen=True)
class PoolState:
    """Pages: those that can be given out, those that parts and keys have, bytes of all of them;
    bytes of parts in host memory; rows that had to begin again; what happened to parts; the part
    that is folded now, folds so far, and bytes of its weights."""

    pages: int
    adapters: int
    keys: int
    bytes: int
    host_bytes: int
    preemptions: int
    counts: Counts
    merged: str | None = None
    merges: int = 0
    merged_bytes: int = 0


class AdapterModels(Mapping[str, LanguageModel]):
    """The models of one base: the base itself under `name`, and one a registered part.

    model: a plain causal LM of transformers, in eval mode; its weights are shared and never
    written to, so it may be tuned or used elsewhere between passes. tokens: its tokeniser. name,
    note: of the base, see `ModelInfo`.

    A mapping from names to `LanguageModel`s, as `create_lm_app` takes it. All methods may be
    called from several threads. Raises ConfigError where the model is not plain, its attention
    cannot be paged, or the pool is too small for a page.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokens: HuggingFaceTokens,
        *,
        name: str,
        note: str = "",
        config: ServingConfig = ServingConfig(),
    ) -> None:
        self._base = BaseMaps.of(model)
        self.name, self.note, self.tokens, self.config = name, note, tokens, config
        network = PagedNetwork(model)
        weight = next(iter(self._base.linears.values()))[1].weight
        shape = PageShape.of(self._base.sizes, config.block)
        pages = config.pool_bytes // (shape.numbers * weight.element_size())
        self._pool = PagePool(shape, pages, weight.dtype, weight.device)
        self._residency = Residency(self._base, self._pool, host_bytes=config.host_bytes)
        self._scheduler = Scheduler(self._pool, self._residency, config.rows)
        self._passes = Passes(network, self._pool, self._base.sizes, self._residency.grain)
        self.vocabulary = network.network.vocabulary
        self.grammars = Grammars(tokens.tokenizer, self.vocabulary, tokens.end_ids)
        self._context = network.network.context
        self._merger: Merger | None = None
        if config.merge is not None:
            grain = self._residency.grain
            self._merger = Merger(config.merge, network.maps, self._pool, grain)
        # Held for a pass, and to look at or change what passes change.
        self._compute = threading.RLock()
        # Tells that a pass is over, or that something came.
        self._told = threading.Condition()
        self._arrivals: SimpleQueue[Job] = SimpleQueue()
        self._wanting = 0
        self._closed = False
        self._thread: threading.Thread | None = None
        if config.drive == "thread":
            self._thread = threading.Thread(target=self._loop, name="adwright-serving", daemon=True)
            self._thread.start()

    def step(self, prompt_tokens: int | None = None) -> Step:
        """One pass; at once, and false, where there is nothing to do.

        prompt_tokens: the most tokens of prompts in it, by default that of the config; 0 lets
        nobody new in. A pass costs about as much as its tokens do, at most `rows` and those.
        Where a pass fails, its requests are computed again one by one, and those end that fail by
        themselves.
        """
        most = self.config.prompt_tokens if prompt_tokens is None else prompt_tokens
        self._let_others()
        with self._compute:
            done = self._pass(most)
        with self._told:
            self._told.notify_all()
        return done

    def add(self, name: str, folder: str | Path) -> None:
        """Register what `Tuned.save` wrote; errors as `Residency.add`, and ConfigError for the
        name of the base."""
        with self._still():
            if name == self.name:
                raise ConfigError("the base has this name", where=name, hint="take another")
            self._residency.add(name, folder)

    def remove(self, name: str) -> None:
        """Forget a part; ConfigError where there is none, or a request waits for it or uses it."""
        with self._still():
            self._arrive()
            if self._scheduler.uses(name):
                raise ConfigError("the part is in use", where=name, hint="wait for its requests")
            self._residency.remove(name)
            if self._merger is not None and self._merger.merged == name:
                self._merger.unmerge()

    def adapters(self) -> Sequence[AdapterState]:
        """Where each part is at this moment, in the order they came. Waits for nothing."""
        return self._residency.states()

    def pool(self) -> PoolState:
        """How full the pool is at this moment, and what has happened. Waits for nothing."""
        return PoolState(
            self._pool.capacity,
            self._pool.used("adapters"),
            self._pool.used("keys"),
            self._pool.bytes,
            self._residency.host_bytes,
            self._scheduler.preemptions,
            replace(self._residency.counts),
            *(() if self._merger is None else self._merger.state()),
        )

    def submit(self, jobs: Sequence[Job]) -> None:
        """Put jobs into the queue and return; passes take them until they are `over`.

        Raises ConfigError where the models are closed, or a part is not registered;
        ValueInvalidError, with the row, where a job cannot fit into the pool. None is queued then.
        """
        if self._closed:
            raise ConfigError("the models are closed", where=self.name, hint="open them again")
        for row, job in enumerate(jobs):
            self._scheduler.check(job, row)
        for job in jobs:
            self._arrivals.put(job)
        with self._told:
            self._told.notify_all()

    def run(self, jobs: Sequence[Job]) -> None:
        """Until all are over; raises the error of the first that has one, and as `submit`."""
        self.submit(jobs)
        try:
            while not all(job.over for job in jobs):
                self._advance()
        except BaseException:
            self._give_up(jobs)
            raise
        for job in jobs:
            if job.error is not None:
                raise job.error

    def streamed(self, job: Writing, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        """What comes into `chunks`, until the job is over; errors as `run`, with the first."""
        # In here nothing happens before the first piece is asked for.
        self.submit([job])
        try:
            while True:
                while chunks.empty() and not job.over:
                    self._advance()
                chunk = chunks.get()
                if chunk is None:
                    break
                yield chunk
        finally:
            self._give_up([job])
        if job.error is not None:
            raise job.error

    def close(self) -> None:
        """End what is being written, as cancelled, and free the pool. Any number of times."""
        with self._still():
            self._arrive()
            self._closed = True
            self._give_up((*self._scheduler.live, *self._scheduler.waiting))
            self._scheduler.settle()
        with self._told:
            self._told.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def __getitem__(self, name: str) -> AdapterModel:
        """The model of that name; KeyError where there is none."""
        if name != self.name and name not in self._residency:
            raise KeyError(name)
        adapter = None if name == self.name else name
        return AdapterModel(self, adapter, ModelInfo(name, "torch", self._context, self.note))

    def __iter__(self) -> Iterator[str]:
        return iter((self.name, *self._residency.names))

    def __len__(self) -> int:
        return 1 + len(self._residency.names)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """No pass runs meanwhile. A lock alone would go to the next pass again and again."""
        with self._told:
            self._wanting += 1
        try:
            with self._compute:
                yield
        finally:
            with self._told:
                self._wanting -= 1
                self._told.notify_all()

    def _let_others(self) -> None:
        with self._told:
            while self._wanting:
                self._told.wait(_PATIENCE)

    def _give_up(self, jobs: Sequence[Job]) -> None:
        with self._still():
            for job in jobs:
                if not job.over:
                    job.end("cancelled")
            self._scheduler.settle()

    def _advance(self) -> None:
        """Run a pass where callers do, or wait until somebody has."""
        if self._closed:
            with self._still():  # what came while it was being closed
                self._arrive()
            return
        self._let_others()
        if self.config.drive == "callers" and self._compute.acquire(blocking=False):
            try:
                done = self._pass(self.config.prompt_tokens)
            finally:
                self._compute.release()
            with self._told:
                self._told.notify_all()
            if done:
                return
        with self._told:
            self._told.wait(_PATIENCE)

    def _arrive(self) -> None:
        while not self._arrivals.empty():
            job = self._arrivals.get()
            if self._closed:
                job.end("cancelled")
            elif not job.over:
                self._scheduler.add(job)

    def _pass(self, prompt_tokens: int) -> Step:
        """One pass. It raises nothing: whoever computes may be a loop that tunes, or somebody who
        waits for another answer; and nobody is to wait for ever."""
        written, new = 0, 0
        turns: list[Turn] | None = None
        try:
            self._arrive()
            turns = self._turns(prompt_tokens)
            written = sum(turn.job.writes for turn in turns)
            new = sum(turn.new for turn in turns)
            if turns:
                self._run(turns)
            self._scheduler.settle()
        except Exception as error:  # a fault of ours
            # Before it is known who takes part, it can be anyone's.
            everybody = (*self._scheduler.live, *self._scheduler.waiting)
            jobs = everybody if turns is None else [turn.job for turn in turns]
            _log.exception("a pass for %d requests failed", len(jobs))
            told = ResourceError(f"the pass failed: {error}", hint="ask again")
            self._scheduler.fail(jobs, told)
        live, waiting = len(self._scheduler.live), len(self._scheduler.waiting)
        return Step(written, new - written, live, waiting)

    def _run(self, turns: Sequence[Turn]) -> None:
        """Run a pass; where it fails, each of its turns alone, so that nobody ends by the fault of
        another. A failed pass has changed no job, see `Passes.run`."""
        try:
            self._passes.run(turns)
        except Exception as error:  # memory, a request that cannot be computed, a fault of ours
            if len(turns) == 1:
                turns[0].job.fail(failed_pass(error))
                return
            _log.warning("a pass for %d requests failed; they go on one by one", len(turns))
            for turn in turns:
                self._run([turn])

    def _turns(self, prompt_tokens: int) -> list[Turn]:
        allowed = None
        if self._merger is not None:
            allowed = self._merger.decide(self._scheduler.live, self._scheduler.waiting)
            self._passes.merged = self._merger.merged
        return self._scheduler.turns(prompt_tokens, allowed)

    def _loop(self) -> None:
        while not self._closed:
            if not self.step():
                with self._told:
                    if self._arrivals.empty() and not self._closed:
                        self._told.wait(_PATIENCE)
