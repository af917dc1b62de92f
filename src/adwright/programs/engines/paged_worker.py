"""The process of a `PagedEngine`: `python -P -m adwright.programs.engines.paged_worker`.

It opens our paged engine over one base, takes one connection on its socket file and ends with its
lifeline. Requests, beside those of `child_link`:

    {"id": 1, "do": "describe"}                     what the engine is
    {"id": 2, "do": "generate", "prompt": "..." or [5, 6], "settings": {...}, "adapter": null,
     "salt": ""}            by pieces {"text", "logprobs", "cached", "tokens", "over", "reason"}
    {"id": 3, "do": "fill", "prompt", "adapter", "salt"}        {"cached"}; held until it is freed
    {"id": 4, "do": "free", "prompt", "salt"}       what was filled with this prompt
    {"id": 5, "do": "stats"}                        after a further step of the engine
    {"id": 6, "do": "score", "prompt", "continuation", "adapter", "salt", "shared"}    {"logprobs"}
    {"id": 7, "do": "snapshot", "prompt", "file", "adapter", "salt"}    {"tokens"} that were saved
    {"id": 8, "do": "restore", "file"}              {"tokens"} that are there

One thread computes, and between two steps tells what has come of each request, all in one write. A
second one reads; it prepares requests, so that a step never waits for a tokeniser or a grammar.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from queue import SimpleQueue
from typing import Any

from adwright.core.child_process import JsonLines, take_up
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import (
    Cancellation,
    Chunk,
    GenerationConfig,
    TokenPrompt,
    error_to_wire,
)
from adwright.lm.serving.adapter_folder import open_base
from adwright.lm.serving.adapter_model import AdapterModel
from adwright.lm.serving.config import PassResult, ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.lm.serving.scheduler import AnswerRow, PrefixRow, Row, ScoreRow
from adwright.lm.torch_engine.config import TorchConfig

_Told = Mapping[str, Any]
_PATIENCE = 0.05
#: Settings whose texts have to be compiled, which may take seconds.
_FORMS = frozenset(("json_schema", "grammar", "regex", "lark"))
#: Prefixes that are held at a time; those that came first are let go.
_MOST_HELD = 4096


@dataclass(eq=False)
class _RowJob:
    """A request whose row is in the batch or waits for it. chunks: of an answer. held: what is to
    be held once it is read."""

    ident: int
    row: Row
    chunks: SimpleQueue[Chunk | None] | None = None
    held: tuple[tuple[int, ...], str | None, str] | None = None
    cached_told: bool = False


class PagedServer:
    """Answers requests with one paged engine, whose steps it runs. say: sends lines."""

    def __init__(self, models: AdapterModels, say: Callable[..., None]) -> None:
        self._models, self._say = models, say
        self._arrivals: SimpleQueue[_RowJob] = SimpleQueue()
        self._controls: SimpleQueue[_Told] = SimpleQueue()
        self._jobs: dict[int, _RowJob] = {}
        self._cancels: dict[int, Cancellation] = {}
        self._held: OrderedDict[tuple[tuple[int, ...], str | None, str], tuple[bytes, ...]]
        self._held = OrderedDict()
        self._grammars = ThreadPoolExecutor(1, thread_name_prefix="adwright-grammar")
        self._last = PassResult(0, 0, 0, 0)
        self._out: list[_Told] = []
        self._ended = False

    def hand(self, told: _Told) -> None:
        """Take a request, from the thread that reads."""
        if "ping" in told:
            self._say({"pong": told["ping"]})
            return
        match told["do"]:
            case "cancel":
                cancel = self._cancels.get(told["job"])
                if cancel is not None:
                    cancel.cancel()
            case "generate" | "fill" | "score":
                self._cancels[told["id"]] = Cancellation()
                if _FORMS.isdisjoint(told.get("settings", {})):
                    self._prepare(told)
                else:
                    self._grammars.submit(self._prepare, told)
            case _:
                self._controls.put(told)
        self._models.submit([])  # wakes the thread that computes

    def work(self) -> None:
        """Compute until `end` is called."""
        while not self._ended:
            if not self.step():
                self._models.wait(_PATIENCE)

    def step(self) -> bool:
        """Run one step, and tell what came of it; whether there was anything to do."""
        due = [self._controls.get() for _ in range(self._controls.qsize())]
        self._last = self._models.step()
        while not self._arrivals.empty():
            job = self._arrivals.get()
            self._jobs[job.ident] = job
        for job in list(self._jobs.values()):
            self._tell(job)
        for told in due:
            self._control(told)
        if self._out:
            out, self._out = self._out, []
            self._say(*out)
        return bool(self._last) or bool(due)

    def end(self) -> None:
        """Let `work` return."""
        self._ended = True

    def _prepare(self, told: _Told) -> None:
        ident = told["id"]
        try:
            job = self._job(told, self._cancels[ident])
            self._models.submit([job.row])
        except Exception as error:  # whatever is wrong with one request, the others go on
            self._cancels.pop(ident, None)
            self._say({"id": ident, "error": error_to_wire(error)})
            return
        self._arrivals.put(job)

    def _job(self, told: _Told, cancel: Cancellation) -> _RowJob:
        ident, adapter, salt = told["id"], told.get("adapter"), told.get("salt", "")
        model = self._model(adapter)
        ids = self._ids(model, told["prompt"])
        match told["do"]:
            case "generate":
                chunks: SimpleQueue[Chunk | None] = SimpleQueue()
                config = from_jsonable(GenerationConfig, told["settings"])
                row = model.row(ids, config, cancel=cancel, chunks=chunks, salt=salt)
                return _RowJob(ident, row, chunks)
            case "fill":
                own: Row = PrefixRow(adapter, ids, cancel)
                own.salt = salt
                return _RowJob(ident, own, held=(tuple(ids), adapter, salt))
            case _:
                after = model.tokens.encode(told["continuation"], special=False)
                if not after:
                    raise ConfigError("a continuation has a token", where="continuation")
                scored: Row = ScoreRow(adapter, ids, after, cancel)
                scored.salt, scored.shares = salt, bool(told.get("shared", True))
                return _RowJob(ident, scored)

    def _model(self, adapter: str | None) -> AdapterModel:
        name = self._models.name if adapter is None else adapter
        try:
            return self._models.batched(name)
        except KeyError:
            raise ConfigError(
                "the engine has no such adapter",
                where=name,
                hint=f"it has {', '.join(self._models)}",
            ) from None

    def _ids(self, model: AdapterModel, prompt: str | list[int]) -> list[int]:
        return model.prompt_ids(prompt if isinstance(prompt, str) else TokenPrompt(tuple(prompt)))

    def _tell(self, job: _RowJob) -> None:
        """Put what a job has by now among the lines that go out."""
        row, what = job.row, dict[str, Any]()
        if job.chunks is not None and isinstance(row, AnswerRow):
            what = self._pieces(job, job.chunks, row)
        if row.over:
            what["over"] = True
            del self._jobs[job.ident]
            self._cancels.pop(job.ident, None)
            if row.error is not None and not row.cancelled:
                what = {"error": error_to_wire(row.error)}
            elif isinstance(row, PrefixRow):
                what["cached"] = row.cached or 0
                self._hold(job, row)
            elif isinstance(row, ScoreRow) and not row.cancelled:
                what["logprobs"] = row.logprobs.tolist()
        if what:
            self._out.append({"id": job.ident, **what})

    def _pieces(
        self, job: _RowJob, chunks: SimpleQueue[Chunk | None], row: AnswerRow
    ) -> dict[str, Any]:
        what: dict[str, Any] = {}
        while not chunks.empty():
            chunk = chunks.get()
            if chunk is not None:
                what["text"] = what.get("text", "") + chunk.text
                if chunk.logprobs:
                    what["logprobs"] = [*what.get("logprobs", ()), *chunk.logprobs]
                if chunk.usage is not None:
                    what["reason"], what["tokens"] = (
                        chunk.finish_reason,
                        chunk.usage.completion_tokens,
                    )
        if what and not job.cached_told and row.answer.cached is not None:
            what["cached"], job.cached_told = row.answer.cached, True
        return what

    def _hold(self, job: _RowJob, row: PrefixRow) -> None:
        if job.held is None or row.cancelled or job.held in self._held:
            return
        ids, adapter, salt = job.held
        with suppress(ConfigError), self._models.prefixes() as store:
            self._held[job.held] = store.hold(ids, adapter=adapter, salt=salt)
            if len(self._held) > _MOST_HELD:
                store.let_go(self._held.popitem(last=False)[1])

    def _control(self, told: _Told) -> None:
        try:
            what = self._done(told)
        except Exception as error:  # whatever is wrong with one request, the others go on
            what = {"error": error_to_wire(error)}
        self._out.append({"id": told["id"], "over": True, **what})

    def _done(self, told: _Told) -> dict[str, Any]:
        match told["do"]:
            case "describe":
                return self._described()
            case "stats":
                pool = self._models.pool()
                # What only might be of use again is no more than free.
                used = (pool.keys + pool.held) * self._models.config.block
                live = {"running": self._last.live, "waiting": self._last.waiting}
                return live | {"kv_tokens": used, "shared_tokens": pool.shared_tokens}
            case "free":
                return {"freed": self._free(told["prompt"], told.get("salt", ""))}
            case "snapshot":
                adapter, salt = told.get("adapter"), told.get("salt", "")
                ids = self._ids(self._model(adapter), told["prompt"])
                with self._models.prefixes() as store:
                    return {"tokens": store.save(told["file"], ids, adapter=adapter, salt=salt)}
            case "restore":
                with self._models.prefixes() as store:
                    return {"tokens": store.restore(told["file"])}
            case other:
                raise ConfigError("there is no such request", where=str(other))

    def _free(self, prompt: str | list[int], salt: str) -> int:
        ids = tuple(self._ids(self._model(None), prompt))
        found = [key for key in self._held if (key[0], key[2]) == (ids, salt)]
        with self._models.prefixes() as store:
            for key in found:
                store.let_go(self._held.pop(key))
        return len(found)

    def _described(self) -> dict[str, Any]:
        models = self._models
        pool, config = models.pool(), models.config
        page = pool.bytes // (pool.pages + 1)
        return {
            "name": models.name,
            "adapters": [name for name in models if name != models.name],
            "max_batch": config.rows,
            "kv_tokens": pool.pages * config.block,
            "kv_bytes_per_token": page // config.block,
            "block_size": config.block,
            "context_length": models.batched(models.name).info.context,
            "chunk_tokens": config.prompt_tokens,
            "prefix_cache": config.share_prefixes,
            "grammar": find_spec("llguidance") is not None,
        }


def serve(connection: socket.socket, models: AdapterModels) -> None:
    """Answer what comes over the connection until it is closed."""
    lines = JsonLines(connection)

    def say(*whats: _Told) -> None:
        # Where the parent has gone, the loop below ends too.
        with suppress(OSError):
            lines.say(*whats)

    server = PagedServer(models, say)
    thread = threading.Thread(target=server.work, name="adwright-paged", daemon=True)
    thread.start()
    with closing(lines):
        for told in lines:
            server.hand(told)
    server.end()
    thread.join()


def main() -> None:
    """Serve until the lifeline ends."""
    lifeline = take_up()
    settings = lifeline.settings
    try:
        models = open_base(
            from_jsonable(TorchConfig, settings["torch"]),
            ServingConfig(drive="outside", **settings["serving"]),
            name=settings["name"],
        )
        for name, folder in settings["adapters"].items():
            models.add(name, folder)
        for text in settings["public"]:
            models.make_public(text)
    except Exception as error:  # those of transformers are of any kind
        lifeline.failed(error)
    serve(lifeline.connection(), models)
    os._exit(0)


if __name__ == "__main__":
    main()
