"""What an operator may set about serving language models."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from adwright.service.lm.keys import require_keys
from adwright.web.gate import LOCAL_HOSTS
from adwright.web.limits import GateLimits, is_positive, require


@dataclass(frozen=True)
class LmServiceConfig:
    """Limits of one process that serves language models.

    max_running: requests that are computed at a time. An engine with continuous batching, such as
        OpenVINO, or adapters over one base, computes them together; torch in turns.
    max_queue: requests that may wait for one of them to end. max_in_flight: requests of all kinds.
        Beyond either, a request is shed with 429.
    max_seconds: the longest that a request may wait and be computed. An answer that is being
        written then ends as one whose max_tokens are used up; what has nothing by then gets a 503.
    max_tokens: the most that a request may ask for. max_texts: the most answers, or embedded
        texts, of one request.
    max_body_bytes, body_seconds: a longer body is refused with 413 while it arrives, one that
        takes longer with 408.
    drain_seconds: how long the service still answers, not ready, after it was told to stop.
    key: where it is not empty, each call has to carry it as a bearer token. keys: by tenant; each
        call has to carry one of them.
    tenant_queue, tenant_tokens: where there is more than one key, the requests of one tenant that
        may wait, and the tokens (of prompts and of the longest answers that were asked for) that it
        may have in work; `shares` says how tenants share the rest.
    allowed_hosts: names that the header Host may have, and the origin of a page that calls. Where
        it is empty: any with a key; without one, those that a machine has for itself.
    head_seconds, max_connections, connections_per_address, max_arriving: those of `GateLimits`.

    Raises ConfigError that names the setting.
    """

    max_running: int = 16
    max_queue: int = 64
    max_in_flight: int = 256
    max_seconds: float = 300.0
    max_tokens: int = 2048
    max_texts: int = 64
    max_body_bytes: int = 1 << 20
    body_seconds: float = 10.0
    drain_seconds: float = 0.0
    key: str = field(default="", repr=False)
    allowed_hosts: tuple[str, ...] = ()
    head_seconds: float = GateLimits.head_seconds
    max_connections: int = GateLimits.max_connections
    connections_per_address: int = GateLimits.connections_per_address
    max_arriving: int = GateLimits.max_arriving
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    tenant_queue: int = 32
    tenant_tokens: int = 16_384

    def __post_init__(self) -> None:
        names = ("max_running", "max_in_flight", "max_tokens", "max_texts", "max_body_bytes")
        for name in (*names, "tenant_queue", "tenant_tokens"):
            require(self, name, getattr(self, name) >= 1, "must be at least 1")
        require(self, "max_queue", self.max_queue >= 0, "must not be negative")
        require(self, "max_seconds", is_positive(self.max_seconds), "must be above 0")
        require(self, "body_seconds", is_positive(self.body_seconds), "must be above 0")
        drains = self.drain_seconds == 0 or is_positive(self.drain_seconds)
        require(self, "drain_seconds", drains, "must not be negative")
        require(self, "key", self.key.isascii() and self.key.isprintable(), "must be plain text")
        self.gate()
        require_keys(self.keys)

    def gate(self) -> GateLimits:
        """The limits that the gate in front of every request checks."""
        return GateLimits(
            max_in_flight=self.max_in_flight,
            max_body_bytes=self.max_body_bytes,
            body_seconds=self.body_seconds,
            allowed_hosts=self.allowed_hosts or (() if self.key or self.keys else LOCAL_HOSTS),
            head_seconds=self.head_seconds,
            max_connections=self.max_connections,
            connections_per_address=self.connections_per_address,
            max_arriving=self.max_arriving,
            tenant_share=GateLimits.tenant_share if self.keys else 1.0,
        )
