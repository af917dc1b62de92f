"""How many chains an engine may run at once, from what was measured of it.

An engine that writes for b chains at once takes `step_seconds(b)` for a token of each. Every row
added makes all of them slower, and the engine as a whole faster. So an objective is a bound on the
seconds of a step, and an engine takes what keeps within the bounds of all that it runs.

    tpot        the seconds that were asked for
    deadline    what is left of them, over the tokens on the longest way to the output
    ttft        none on a step, but one on the prompts that are read before its own
    throughput  none
    latency     none, but as many rows as make the programs that are there be over soonest, on
                average (`burst`), of chains that are wanted soon. Those that are not may join them
                up to the batch of the greatest power, tokens per second over seconds per token
                (Kleinrock, "Power and deterministic rules of thumb", ICC 1979): beyond it, a row
                costs more of everyone's time than it adds in throughput

Of n programs with w chains each, b chains at a time are m = max(1, b / w) programs at a time, which
are over after (n + m) / 2 times w (p + d(b)) seconds on average, for prompts that take p seconds
one after the other and answers that take d(b) = tokens / rate(b). While they run about as many
arrive as end, so that n counts twice. Chains that are each a program wait for each other where
prompts are long, and the chains of one program do not.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise

from adwright.core.errors import ConfigError
from adwright.programs.scheduling.ready_chain import ReadyChain

__all__ = ["LatencyCurve", "StepLimit"]


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
