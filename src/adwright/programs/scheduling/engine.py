"""What an engine can do, and what it must be able to do.

What differs between engines is declared once (`EngineCapabilities`). Contexts that can be forked,
prefixes that are found by themselves and plain texts need no three interfaces: a context is a
prefix that is held, and an engine without prefixes holds none.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple, Protocol

from adwright.core.config import Count, settings
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.program import Objective

# --------------------------------------------------------------------------------------------------
# The unit of scheduling: a prompt up to one generation, all of whose inputs are known.


@dataclass(frozen=True)
class ReadyChain:
    """A chain whose inputs are all known.

    prefix: chained hashes of the prompt at its variable borders, outermost first; the chain starts
    from tenant (or cache domain), model and adapter, so that equal hashes may share their cache.
    prefix_tokens: tokens up to each of these borders, ascending; the last is the whole prompt.
    new_tokens: expected tokens to generate. objective: of the chain, deduced. group: of the chains
    that feed one consumer. depth, critical_tokens: the longest way to an output that is wanted, in
    calls and in tokens to generate, this chain included. arrived: of the program, seconds on the
    scheduler's clock.
    Raises ValueInvalidError where borders and tokens do not belong together.
    """

    chain_id: str
    program_id: str
    tenant: str
    model: str
    adapter: str | None
    prefix: tuple[int, ...]
    prefix_tokens: tuple[int, ...]
    new_tokens: int
    objective: Objective
    group: str | None
    depth: int
    critical_tokens: int
    arrived: float

    def __post_init__(self) -> None:
        tokens = self.prefix_tokens
        if not tokens or len(tokens) != len(self.prefix):
            raise ValueInvalidError(
                f"chain {self.chain_id} has {len(self.prefix)} borders and {len(tokens)} counts",
                hint="give the tokens up to each border, the last one the whole prompt's",
            )
        if tokens[0] < 1 or any(b <= a for a, b in pairwise(tokens)):
            raise ValueInvalidError(
                f"the tokens up to the borders of chain {self.chain_id} do not ascend",
                value=str(tokens),
                hint="leave out a border that adds no token",
            )

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt."""
        return self.prefix_tokens[-1]


@dataclass(frozen=True)
class UpcomingPrefix:
    """A prefix that a chain which is not ready yet will begin with.

    steps: how many chains must end one after the other before it is ready; None: nothing of this
    program will read it any more.
    """

    program_id: str
    prefix: int
    steps: int | None


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


# --------------------------------------------------------------------------------------------------
# How many chains an engine may run at once, from what was measured of it.
#
# An engine that writes for b chains at once takes `step_seconds(b)` for a token of each. Every row
# added makes all of them slower, and the engine as a whole faster. So an objective is a bound on
# the seconds of a step, and an engine takes what keeps within the bounds of all that it runs.
#
#     tpot        the seconds that were asked for
#     deadline    what is left of them, over the tokens on the longest way to the output
#     ttft        none on a step, but one on the prompts that are read before its own
#     throughput  none
#     latency     none, but as many rows as make the programs that are there be over soonest, on
#                 average (`burst`), of chains that are wanted soon. Those that are not may join
# them
#                 up to the batch of the greatest power, tokens per second over seconds per token
#                 (Kleinrock, "Power and deterministic rules of thumb", ICC 1979): beyond it, a row
#                 costs more of everyone's time than it adds in throughput
#
# Of n programs with w chains each, b chains at a time are m = max(1, b / w) programs at a time,
# which are over after (n + m) / 2 times w (p + d(b)) seconds on average, for prompts that take p
# seconds one after the other and answers that take d(b) = tokens / rate(b). While they run about as
# many arrive as end, so that n counts twice. Chains that are each a program wait for each other
# where prompts are long, and the chains of one program do not.


@dataclass(frozen=True)
class StepLimit:
    """What a chain tolerates on its engine. step: seconds per token of its own; queue: seconds of
    prompts that are computed before its first token. rows: of chains that are wanted soon, where it
    is one of these."""

    step: float = math.inf
    queue: float = math.inf
    rows: int | None = None


_NO_LIMIT = StepLimit()


@dataclass(frozen=True)
class LatencyCurve:
    """Measured tokens per second of all rows together, by batch.

    batches: ascending, from 1 on. rates: of the same length; between two batches it is linear, and
    beyond the last as there. prefill: tokens of a prompt per second. kv_seconds: by how much a
    token that is held in the cache makes a step longer; 0 where the curve was measured with it.
    Raises ConfigError where batches do not ascend from 1, or a rate is not positive.
    """

    batches: tuple[int, ...]
    rates: tuple[float, ...]
    prefill: float
    kv_seconds: float = 0.0
    #: The batch of the greatest power.
    knee: int = field(init=False, repr=False, compare=False)
    _bursts: dict[tuple[int, int, int], int] = field(init=False, repr=False, compare=False)
    #: step_seconds of 0, 1, ... rows, without what is held.
    _steps: tuple[float, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        where = f"LatencyCurve {self.batches} {self.rates}"
        ascending = all(a < b for a, b in pairwise(self.batches))
        if not self.batches or self.batches[0] != 1 or not ascending:
            raise ConfigError("the batches of a curve ascend from 1", where=where)
        if len(self.rates) != len(self.batches) or min(*self.rates, self.prefill) <= 0:
            raise ConfigError("a curve has a positive rate for each batch", where=where)
        if self.kv_seconds < 0:
            raise ConfigError("kv_seconds is at least 0", where=where)
        steps = (0.0, *(b / self._between(b) for b in range(1, self.batches[-1] + 1)))
        knee = max(range(1, len(steps)), key=lambda b: (b / steps[b] ** 2, -b))
        object.__setattr__(self, "_steps", steps)
        object.__setattr__(self, "knee", knee)
        object.__setattr__(self, "_bursts", {})

    def step_seconds(self, batch: int, kv_tokens: float = 0.0) -> float:
        """Seconds in which each of `batch` rows writes a token, with so many tokens held."""
        steps = self._steps
        if batch < len(steps):
            return steps[batch] + self.kv_seconds * kv_tokens
        return batch / self.rates[-1] + self.kv_seconds * kv_tokens

    def prefill_seconds(self, tokens: float) -> float:
        """Seconds for so many tokens of prompts."""
        return tokens / self.prefill

    def burst(self, chains: int, programs: int, prefill: float, new_tokens: int) -> int:
        """The batch at which so many programs, with so many chains in all, are over soonest.

        prefill: seconds of a chain's prompt. new_tokens: of its answer.
        """
        steps = self._steps
        most = min(max(chains, 1), len(steps) - 1)
        # In steps of an eighth of a power of two, so that few are worked out.
        ratio = prefill / (max(new_tokens, 1) * steps[1])
        fine = round(8 * math.log2(max(ratio, 1e-3)))
        key = most, programs, fine
        found = self._bursts.get(key)
        if found is None:
            read = 2 ** (fine / 8) * steps[1]
            width = max(chains, 1) / max(programs, 1)
            found = min(
                range(1, most + 1),
                key=lambda b: ((2 * programs + max(1.0, b / width)) * (read + steps[b] / b), b),
            )
            self._bursts[key] = found
        return found

    def limit(
        self,
        chain: ReadyChain,
        now: float,
        *,
        cached: int = 0,
        shared: int = 0,
        chains: int = 1,
        programs: int = 1,
    ) -> StepLimit:
        """What `chain` tolerates here, where so many chains of so many programs are wanted soon.

        cached: tokens of its prompt that are held; shared: of these, that a step reads for others
        anyway. Where it asks for more than the engine can do alone, what it does alone: then at
        least nobody joins it.
        """
        seconds = chain.objective.seconds or 0.0
        match chain.objective.kind:
            case "throughput":
                return _NO_LIMIT
            case "latency":
                prefill = self.prefill_seconds(chain.prompt_tokens - cached)
                # What it reads in each step is its own, too, however many there are.
                prefill += chain.new_tokens * self.kv_seconds * (_held(chain) - shared)
                return StepLimit(rows=self.burst(chains, programs, prefill, chain.new_tokens))
            case "ttft":
                left = seconds - (now - chain.arrived)
                return StepLimit(queue=max(left, self.prefill_seconds(chain.prompt_tokens)))
            case "tpot":
                return StepLimit(step=max(seconds, self.step_seconds(1, _held(chain))))
            case "deadline":
                left = seconds - (now - chain.arrived) - self.prefill_seconds(chain.prompt_tokens)
                step = left / max(chain.critical_tokens, chain.new_tokens, 1)
                return StepLimit(step=max(step, self.step_seconds(1, _held(chain))))

    def in_flight(self, step: float, kv_tokens: float = 0.0) -> int:
        """The most rows, each with so many tokens held, whose step takes at most `step` seconds; at
        least one."""
        most = len(self._steps) - 1
        found = 1
        for batch in range(2, most + 1):
            if self.step_seconds(batch, batch * kv_tokens) > step * (1 + 1e-9):
                break
            found = batch
        return found

    def _between(self, batch: int) -> float:
        at = bisect_left(self.batches, batch)
        if self.batches[at] == batch:
            return self.rates[at]
        (x0, x1), (y0, y1) = self.batches[at - 1 : at + 1], self.rates[at - 1 : at + 1]
        return y0 + (y1 - y0) * (batch - x0) / (x1 - x0)


def _held(chain: ReadyChain) -> int:
    """Tokens that a row of it holds in the end."""
    return chain.prompt_tokens + chain.new_tokens
