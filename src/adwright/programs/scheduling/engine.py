"""What an engine can do, and what it must be able to do.

What differs between engines is declared once (`EngineCapabilities`). Contexts that can be forked,
prefixes that are found by themselves and plain texts need no three interfaces: a context is a
prefix that is held, and an engine without prefixes holds none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple, Protocol

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.scheduling.ready_chain import ReadyChain

__all__ = ["EngineCapabilities", "EngineReport", "EngineStats", "ExecutionEngine"]


@settings
class EngineCapabilities:
    """What an engine declares.

    models: names it answers to. fork: contexts are ours to fork, pin and free, so that it holds
    what it is told. prefix_cache: it finds common beginnings by itself; in_flight_prefix: also one
    that another request is just computing. priority, salt: it takes such a hint with a request.
    adapters, logprobs, grammar: as the names say. max_batch: rows at once. kv_tokens: tokens of all
    rows and prefixes that fit; kv_bytes_per_token: of one of them. block_size: tokens; only whole
    blocks are found again. context_length: tokens of one prompt and its answer. chunk_tokens: of
    prompts that it reads in one step. shared_reads: whether a step reads a prefix that rows share
    once (cascade attention), and not for each of them. continues: it goes on from a prompt as that
    stands, so that an answer that broke off can be gone on with; a chat server makes a turn of it.
    Raises ConfigError for a number below 1, and a cache of what is in flight without a cache.
    """

    models: tuple[str, ...]
    fork: bool = False
    prefix_cache: bool = True
    in_flight_prefix: bool = False
    priority: bool = False
    salt: bool = False
    adapters: bool = False
    logprobs: bool = False
    grammar: bool = False
    max_batch: Count = 32
    kv_tokens: Count = 100_000
    kv_bytes_per_token: Count = 23_040
    block_size: Count = 1
    context_length: int = 8_192
    chunk_tokens: int = 512
    shared_reads: bool = False
    continues: bool = True

    def __post_init__(self) -> None:
        if self.in_flight_prefix and not self.prefix_cache:
            raise ConfigError(
                "an engine without a prefix cache cannot find what is in flight",
                where="EngineCapabilities.in_flight_prefix",
                hint="set prefix_cache",
            )

    def accepts(self, chain: ReadyChain) -> bool:
        """Whether the chain could ever run here, all else being done."""
        tokens = chain.prompt_tokens + chain.new_tokens
        return (
            chain.model in self.models
            and (chain.adapter is None or self.adapters)
            and tokens <= min(self.context_length, self.kv_tokens)
        )


class EngineStats(NamedTuple):
    """What an engine says of itself. running, waiting: requests; kv_tokens: held."""

    running: int
    waiting: int
    kv_tokens: int


class EngineReport(NamedTuple):
    """What a generation reports: `text` piece by piece; cached_tokens with the first piece or, by
    servers over HTTP, the last, where the engine says it; `over` with the last. logprobs: of the
    tokens since the last report, where they were asked for. tokens: of the whole answer, with the
    last, where the engine counts."""

    text: str
    cached_tokens: int | None = None
    over: bool = False
    logprobs: tuple[float, ...] = ()
    tokens: int | None = None


class ExecutionEngine(Protocol):
    """What the core asks of an engine: in process, in a child process, or over HTTP.

    A context is named by the prompt's tokens or text; which of both the adapter wants is its own.
    All raise ResourceError where the engine is gone; then the scheduler is told that it died.
    """

    @property
    def capabilities(self) -> EngineCapabilities:
        """What it can do."""
        ...

    async def fill(
        self,
        job: str,
        prompt: str | Sequence[int],
        *,
        salt: str = "",
        adapter: str | None = None,
    ) -> int:
        """Compute the prompt for later ones that begin with it; returns tokens already held. On an
        engine without contexts: a request of one token. An engine that holds what it is told holds
        it until it is freed."""
        ...

    def generate(
        self,
        job: str,
        prompt: str | Sequence[int],
        *,
        max_tokens: int,
        adapter: str | None = None,
        schema: str | None = None,
        priority: int = 0,
        salt: str = "",
        settings: GenerationConfig | None = None,
    ) -> AsyncIterator[EngineReport]:
        """Write an answer. schema: a JSON schema it has to fulfil. salt: prompts with another one
        share nothing with it. settings: all of them, where there are others than those."""
        ...

    async def cancel(self, job: str) -> None:
        """End a job; its memory is free from the next step on."""
        ...

    async def free(self, prompt: str | Sequence[int], *, salt: str = "") -> None:
        """Nobody will begin with this any more. A hint, where contexts are not ours."""
        ...

    async def stats(self) -> EngineStats:
        """What it holds now."""
        ...
