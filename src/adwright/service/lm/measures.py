"""Counters and times of answers, for Prometheus. They name no tenant and no model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from prometheus_client import CollectorRegistry, Counter, Histogram

from adwright.lm.engine.generation import Usage
from adwright.service.lm.streams import Piece

_FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_EACH = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2.5)


class LmMeasures:
    """Tokens of all answers; of streams, whose callers see it, the time of their tokens."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._tokens = Counter(
            "adwright_lm_tokens", "Tokens of prompts and answers.", ["kind"], registry=registry
        )
        self.first = Histogram(
            "adwright_lm_first_token_seconds",
            "From a request for a stream to its first token.",
            buckets=_FIRST,
            registry=registry,
        )
        self.each = Histogram(
            "adwright_lm_token_seconds",
            "Mean time from one token of a streamed answer to the next.",
            buckets=_EACH,
            registry=registry,
        )

    def used(self, usage: Usage) -> None:
        """Count tokens."""
        self._tokens.labels("prompt").inc(usage.prompt_tokens)
        self._tokens.labels("answer").inc(usage.completion_tokens)

    def watch(self, now: Callable[[], float]) -> Watch:
        """Begin to watch a stream that has just been asked for."""
        return Watch(self, now)


class Watch:
    """The times of one stream, and what it has used. now: seconds."""

    def __init__(self, measures: LmMeasures, now: Callable[[], float]) -> None:
        self._measures, self._now, self._began = measures, now, now()
        self._firsts: dict[int, float] = {}
        self._usages: dict[int, Usage] = {}

    def saw(self, piece: Piece) -> None:
        """Take the time of a piece."""
        index, chunk = piece
        now = self._now()
        if index not in self._firsts:
            if not self._firsts:
                self._measures.first.observe(now - self._began)
            self._firsts[index] = now
        if chunk.usage is not None:
            self._usages[index] = chunk.usage
            steps = chunk.usage.completion_tokens - 1
            if steps > 0:
                self._measures.each.observe((now - self._firsts[index]) / steps)

    def end(self, n: int) -> Usage:
        """What all answers have used, n to each prompt, which is counted once."""
        ordered = [self._usages[index] for index in sorted(self._usages)]
        asked = sum(ordered[::n], Usage())
        written = sum(one.completion_tokens for one in ordered)
        usage = replace(asked, completion_tokens=written)
        self._measures.used(usage)
        return usage
