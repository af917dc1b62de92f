"""The settings of the service, with the defaults that it was measured with."""

from __future__ import annotations

import math
from dataclasses import dataclass

from adwright.web.limits import GateLimits, is_positive, require

__all__ = ["ServiceConfig"]


@dataclass(frozen=True)
class ServiceConfig(GateLimits):
    """Limits of one process of the service; lengths of ids and lists are in `schemas`.

    deadline_ms: time for a decision where the request names none. max_deadline_ms: the longest
        that a request may name.
    batch_size, batch_wait_ms: a batch of decisions closes at this many, or so long after its
        first one; also the most that are computed together.
    max_queue: decisions that may wait for the worker. max_pending_rows: events that may wait for
        the store. Beyond either, as beyond max_in_flight, a request is shed with 429.
    commit_rows: the most rows of one transaction.
    store_seconds: how long a connection, a lock or a statement of the store may take; a call about
        campaigns that takes longer is answered with 503.
    key_seconds: how long a key is believed without asking the store; a revoked key lives on at
        most so long.
    key_stale_seconds: how long it is believed since it was last asked for, while the store cannot
        be asked; 0 for no longer than key_seconds.
    poll_seconds: how often the folder of models is looked at.
    drain_seconds: how long the service still answers, not ready, after it was told to stop.
    max_in_flight, max_body_bytes, body_seconds, head_seconds and so on: those of `GateLimits`.

    Raises ConfigError that names the setting.
    """

    deadline_ms: float = 40.0
    max_deadline_ms: float = 2000.0
    batch_size: int = 32
    batch_wait_ms: float = 2.0
    max_queue: int = 256
    max_pending_rows: int = 20_000
    commit_rows: int = 5_000
    store_seconds: float = 5.0
    key_seconds: float = 5.0
    key_stale_seconds: float = 300.0
    poll_seconds: float = 1.0
    drain_seconds: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("batch_size", "max_queue", "max_pending_rows", "commit_rows"):
            require(self, name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("deadline_ms", "max_deadline_ms", "poll_seconds", "store_seconds"):
            require(self, name, is_positive(getattr(self, name)), "must be above 0")
        for name in ("batch_wait_ms", "key_seconds", "key_stale_seconds", "drain_seconds"):
            value = getattr(self, name)
            require(self, name, math.isfinite(value) and value >= 0, "must not be negative")
        require(
            self,
            "deadline_ms",
            self.deadline_ms <= self.max_deadline_ms,
            f"must not exceed max_deadline_ms, {self.max_deadline_ms:g}",
        )
