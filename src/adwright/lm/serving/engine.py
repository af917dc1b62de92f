"""Continuous batching over one base and its adapters: one `LanguageModel` per adapter.

    models = AdapterModels(model, tokens, name="base")
    models.add("shop-1", folder_of_a_lora)
    models.add("shop-2", folder_of_a_serial_adapter)
    models["shop-1"].generate(["The best tea"])         # several threads: one batch

Requests join and leave between passes (Orca: Yu et al., OSDI 2022). A pass takes one token of
every row that is being written and up to `prompt_tokens` of prompts, whatever adapters they have;
pages come from one pool (`page_pool`), adapters are loaded as they are asked for (`adapter_cache`).

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
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from adwright.core.errors import ConfigError, ResourceError
from adwright.lm.engine.generation import FURTHER, Chunk, Health, LanguageModel, ModelInfo
from adwright.lm.engine.hf_tokens import HuggingFaceTokens
from adwright.lm.serving.adapter_cache import (
    AdapterCache,
    AdapterInUseError,
    AdapterState,
    BaseMaps,
    NotGathered,
    Tier,
)
from adwright.lm.serving.adapter_folding import Merger
from adwright.lm.serving.adapter_model import (
    AdapterModel,
    AloneAdapters,
    AloneModel,
    PagedNetwork,
    Passes,
)
from adwright.lm.serving.config import PassResult, PoolState, ServingConfig
from adwright.lm.serving.prefixes import PagePool, PageShape, PrefixStore
from adwright.lm.serving.scheduler import AnswerRow, Row, Scheduler, Turn, failed_pass
from adwright.lm.torch_engine.decode import Grammars

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_log = logging.getLogger("adwright.lm")
_DEFAULT = ServingConfig()
#: Seconds after which a waiting thread looks again by itself.
_PATIENCE = 0.05
#: Seconds without a pass, while there are rows, after which it is stuck.
_QUIET = 60.0


class AdapterModels(Mapping[str, LanguageModel]):
    """The models of one base: the base itself under `name`, and one per registered adapter.

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
        config: ServingConfig = _DEFAULT,
    ) -> None:
        self._base = BaseMaps.of(model)
        self.name, self.note, self.tokens, self.config = name, note, tokens, config
        network = PagedNetwork(model)
        weight = next(iter(self._base.linears.values()))[1].weight
        shape = PageShape.of(self._base.sizes, config.block)
        pages = config.pool_bytes // (shape.numbers * weight.element_size())
        self._pool = PagePool(shape, pages, weight.dtype, weight.device)
        self._cache = AdapterCache(
            self._base,
            self._pool,
            host_bytes=config.host_bytes,
            share=config.share_prefixes,
            prefix_bytes=config.prefix_bytes,
        )
        self._scheduler = Scheduler(self._pool, self._cache, config.rows)
        self._store = PrefixStore(
            self._pool,
            self._cache.prefixes,
            room=self._cache.room,
            identity=lambda name: f"{self._base.base} {name and self._cache.stamp(name)}",
            chain=self._scheduler.chain_of,
        )
        self._passes = Passes(network, self._pool, self._base.sizes, self._cache.grain)
        self.vocabulary = network.network.vocabulary
        self.grammars = Grammars(tokens.tokenizer, self.vocabulary, tokens.end_ids)
        self._context = network.network.context
        self._alone = AloneAdapters(model, tokens, config.host_bytes, note)
        self._merger: Merger | None = None
        if config.merge is not None:
            grain = self._cache.grain
            self._merger = Merger(config.merge, network.maps, self._pool, grain)
        # Held for a pass, and to look at or change what passes change.
        self._compute = threading.RLock()
        # Notified when a pass is over, or rows have arrived.
        self._told = threading.Condition()
        self._arrivals: SimpleQueue[Row] = SimpleQueue()
        self._wanting = 0
        self._closed = False
        self._moved = time.monotonic()
        self._thread: threading.Thread | None = None
        if config.drive == "thread":
            self._thread = threading.Thread(target=self._loop, name="adwright-serving", daemon=True)
            self._thread.start()

    def step(self, prompt_tokens: int | None = None) -> PassResult:
        """Run one pass; return at once, with a false result, where there is nothing to do.

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

    def wait(self, seconds: float) -> None:
        """Return when rows have arrived, at the latest after so many seconds; for whoever calls
        `step` in a loop."""
        with self._told:
            if self._arrivals.empty() and not self._closed:
                self._told.wait(seconds)

    def add(self, name: str, folder: str | Path) -> None:
        """Register what `Tuned.save` wrote; errors as `AdapterCache.add` and `load_tuned`, and
        ConfigError for the name of the base.

        A kind that no batch holds is served alone, in turns with the others of such kinds; where
        somebody else calls `step`, whose bounds it would not keep, it is refused.
        """
        if name == self.name:
            raise ConfigError("the base has this name", where=name, hint="take another")
        if name in self._cache or name in self._alone:
            raise ConfigError("the name is taken", where=name, hint="remove that adapter first")
        # Reading may take long, for ever where the folder does not answer: passes go on meanwhile.
        try:
            checked = self._cache.check(folder)
        except NotGathered:
            if self.config.drive == "outside":
                raise
            self._alone.check(folder)
            with self._still():
                self._alone.register(name, folder)
            return
        with self._still():
            self._cache.register(name, checked)

    def make_public(self, text: str) -> None:
        """Let rows of all salts share this beginning of their prompts, or as much of it as they
        have: whole blocks. For texts that are nobody's secret. Raises ValueInvalidError where it
        has no room in the context."""
        ids = self.batched(self.name).prompt_ids(text)
        with self._still():
            self._scheduler.public.append(tuple(ids))

    def remove(self, name: str) -> None:
        """Forget an adapter; ConfigError where there is none, AdapterInUseError where a request in
        the batch needs it. Answers of one that is served alone are written to their end."""
        if name in self._alone:
            self._alone.remove(name)
            return
        with self._still():
            self._arrive()
            if self._scheduler.uses(name):
                raise AdapterInUseError(name)
            self._cache.remove(name)
            if self._merger is not None and self._merger.merged == name:
                self._merger.unmerge()

    def health(self) -> Health:
        """Whether passes run: stuck where there are rows, and no pass has ended for long."""
        if self._closed or (self._thread is not None and not self._thread.is_alive()):
            return "dead"
        rows = len(self._scheduler.live) + len(self._scheduler.waiting) + self._arrivals.qsize()
        return "stuck" if rows and time.monotonic() - self._moved > _QUIET else "ready"

    def adapters(self) -> Sequence[AdapterState]:
        """Say where each adapter is now, in the order they came, those that are served alone last.
        Waits for nothing."""
        alone = []
        for one in self._alone.states():
            tier: Tier = "alone" if one.bytes else "disk"
            alone.append(AdapterState(one.name, one.method, tier, one.bytes, 0, 0, one.hits))
        return [*self._cache.states(), *alone]

    def pool(self) -> PoolState:
        """Say how full the pool is now, and what has happened. Waits for nothing."""
        return PoolState(
            self._pool.capacity,
            self._pool.used("adapters"),
            self._pool.used("keys"),
            self._pool.bytes,
            self._cache.host_bytes,
            self._scheduler.preemptions,
            replace(self._cache.counts),
            *((None, 0, 0) if self._merger is None else self._merger.state()),
            self._pool.used("prefixes"),
            self._cache.prefixes.shared_tokens,
            self._cache.prefixes.restored_tokens,
            self._cache.prefixes.host.bytes,
            self._cache.prefixes.kept,
        )

    @contextmanager
    def prefixes(self) -> Iterator[PrefixStore]:
        """Yield what holds, saves and restores prefixes; no pass runs meanwhile."""
        with self._still():
            yield self._store

    def submit(self, rows: Sequence[Row]) -> None:
        """Put rows into the queue and return; passes take them until they are `over`.

        Raises ConfigError where the models are closed, or an adapter is not registered;
        ValueInvalidError, with its index, where a row cannot fit into the pool. None is queued
        then.
        """
        if self._closed:
            raise ConfigError("the models are closed", where=self.name, hint="open them again")
        for index, row in enumerate(rows):
            self._scheduler.check(row, index)
        if not (self._scheduler.live or self._scheduler.waiting or self._arrivals.qsize()):
            self._moved = time.monotonic()
        for row in rows:
            self._arrivals.put(row)
        with self._told:
            self._told.notify_all()

    def run(self, rows: Sequence[Row]) -> None:
        """Run passes, or wait for them, until all rows are over.

        Raises the error of the first row that has one, and what `submit` does.
        """
        self.submit(rows)
        try:
            while not all(row.over for row in rows):
                self._advance()
        except BaseException:
            self._give_up(rows)
            raise
        for row in rows:
            if row.error is not None:
                raise row.error

    def streamed(self, row: AnswerRow, chunks: SimpleQueue[Chunk | None]) -> Iterator[Chunk]:
        """Yield what comes into `chunks` until the row is over; errors as `run`."""
        # A generator: nothing happens before the first chunk is asked for.
        self.submit([row])
        try:
            while True:
                while chunks.empty() and not row.over:
                    self._advance()
                chunk = chunks.get()
                if chunk is None:
                    break
                yield chunk
        finally:
            self._give_up([row])
        if row.error is not None:
            raise row.error

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

    def batched(self, name: str) -> AdapterModel:
        """The model of that name, whose calls become rows of the batch; KeyError where there is
        none, or it is served alone."""
        if name != self.name and name not in self._cache:
            raise KeyError(name)
        adapter = None if name == self.name else name
        context = self._context
        if adapter is not None and context:
            context -= self._cache.ahead(adapter).moved
        return AdapterModel(self, adapter, ModelInfo(name, "torch", context, self.note, FURTHER))

    def __getitem__(self, name: str) -> AdapterModel | AloneModel:
        """The model of that name; KeyError where there is none."""
        return self._alone[name] if name in self._alone else self.batched(name)

    def __iter__(self) -> Iterator[str]:
        return iter((self.name, *self._cache.names, *self._alone.names))

    def __len__(self) -> int:
        return 1 + len(self._cache.names) + len(self._alone.names)

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Hold off passes. With a lock alone, the next pass would take it again and again."""
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

    def _give_up(self, rows: Sequence[Row]) -> None:
        with self._still():
            for row in rows:
                if not row.over:
                    row.end("cancelled")
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
            row = self._arrivals.get()
            if self._closed:
                row.end("cancelled")
            elif not row.over:
                self._scheduler.add(row)

    def _pass(self, prompt_tokens: int) -> PassResult:
        """Run one pass. It raises nothing: its caller may be a loop that tunes, or may wait for
        another answer; and no row is to wait for ever."""
        written, new = 0, 0
        turns: list[Turn] | None = None
        try:
            self._arrive()
            turns = self._turns(prompt_tokens)
            written = sum(turn.row.writes for turn in turns)
            new = sum(turn.new for turn in turns)
            if turns:
                self._run(turns)
            self._scheduler.settle()
        except Exception as error:  # a fault of ours
            # Before it is known who takes part, it can be anyone's.
            everybody = (*self._scheduler.live, *self._scheduler.waiting)
            rows = everybody if turns is None else [turn.row for turn in turns]
            _log.exception("a pass for %d requests failed", len(rows))
            told = ResourceError(f"the pass failed: {error}", hint="ask again")
            self._scheduler.fail(rows, told)
        self._moved = time.monotonic()
        live, waiting = len(self._scheduler.live), len(self._scheduler.waiting)
        return PassResult(written, new - written, live, waiting)

    def _run(self, turns: Sequence[Turn]) -> None:
        """Run a pass; where it fails, each of its turns alone, so that nobody ends by the fault of
        another. A failed pass has changed no row, see `Passes.run`."""
        try:
            self._passes.run(turns)
        except Exception as error:  # memory, a request that cannot be computed, a fault of ours
            if len(turns) == 1:
                turns[0].row.fail(failed_pass(error))
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
                self.wait(_PATIENCE)
