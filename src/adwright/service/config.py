"""The settings of the service, with the defaults that it was measured with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adwright.web.limits import GateLimits, is_positive, require

__all__ = ["ServiceConfig"]


@dataclass(frozen=True)
class ServiceConfig:
    """Limits of one process of the service. Lengths of ids and lists are in `schemas`.

    deadline_ms: time for a decision where the request names none. max_deadline_ms: the longest
        that a request may name.
    batch_size, batch_wait_ms: a batch of decisions closes at this many, or so long after its
        first one; also the most that are computed together.
    max_queue: decisions that may wait for the worker. max_pending_rows: events that may wait for
        the store. max_in_flight: requests of all kinds. Beyond any of the three, a request is
        shed with 429.
    max_body_bytes, body_seconds: a longer body is refused with 413 while it arrives, one that
        takes longer with 408.
    commit_rows: the most rows of one transaction.
    key_seconds: how long a key is believed without asking the store; a revoked key lives on at
        most so long.
    poll_seconds: how often the folder of models is looked at.
    drain_seconds: how long the service still answers, not ready, after it was told to stop.
    replica: name of this process, sent as X-Replica where it is not empty.

    Raises ConfigError that names the setting.
    """

    deadline_ms: float = 40.0
    max_deadline_ms: float = 2000.0
    batch_size: int = 32
    batch_wait_ms: float = 2.0
    max_queue: int = 256
    max_pending_rows: int = 20_000
    max_in_flight: int = 512
    max_body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    commit_rows: int = 5_000
    key_seconds: float = 5.0
    poll_seconds: float = 1.0
    drain_seconds: float = 0.0
    replica: str = ""

    def __post_init__(self) -> None:
        at_least_one = (
            "batch_size",
            "max_queue",
            "max_pending_rows",
            "max_in_flight",
            "max_body_bytes",
            "commit_rows",
        )
        for name in at_least_one:
            require(self, name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("deadline_ms", "max_deadline_ms", "body_seconds", "poll_seconds"):
            require(self, name, is_positive(getattr(self, name)), "must be above 0")
        for name in ("batch_wait_ms", "key_seconds", "drain_seconds"):
            value = getattr(self, name)
            require(self, name, math.isfinite(value) and value >= 0, "must not be negative")
        require(
            self,
            "deadline_ms",
            self.deadline_ms <= self.max_deadline_ms,
            f"must not exceed max_deadline_ms, {self.max_deadline_ms:g}",
        )
        self.gate()

    def gate(self) -> GateLimits:
        """The part of it that the gate in front of every request looks at."""
        return GateLimits(
            max_in_flight=self.max_in_flight,
            max_body_bytes=self.max_body_bytes,
            body_seconds=self.body_seconds,
            replica=self.replica,
        )
