"""What an operator may set about serving programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from adwright.programs.graph import ProgramLimits
from adwright.service.lm.keys import require_keys
from adwright.web.gate import LOCAL_HOSTS
from adwright.web.limits import GateLimits, is_positive, require

_LIMITS = ProgramLimits(
    calls=1000,
    nodes=2000,
    text_characters=1 << 18,
    all_characters=1 << 22,
    total_tokens=1_000_000,
)


@dataclass(frozen=True)
class ProgramServiceConfig:
    """Limits of one process that serves programs.

    limits: of one program, with all that is added to it. max_programs: that are open at a time;
        tenant_programs: of one tenant. queued_tokens: read and written, at most, by all calls that
        are not over yet; tenant_queued_tokens: by those of one tenant. What is above one of the
        four is refused with 429.
    keep_folder: where programs are kept, so that they go on after the process has died; None: they
        end with it.
    keep_seconds: a program ends when nobody has called for it for so long, and nothing of it runs.
    most_seconds: the longest that a program is kept at all.
    wait_seconds: the longest that one request waits for a text; then it is told how far it is.
    max_tokens, max_texts: the most tokens and answers of one chat. max_seconds: the longest that a
        chat may take.
    max_in_flight: requests at a time, those that wait among them. max_body_bytes, body_seconds,
        drain_seconds, key, keys, allowed_hosts, head_seconds, max_connections,
        connections_per_address, max_arriving: as in `LmServiceConfig`.

    Raises ConfigError that names the setting.
    """

    limits: ProgramLimits = _LIMITS
    max_programs: int = 1024
    tenant_programs: int = 64
    queued_tokens: int = 16_000_000
    tenant_queued_tokens: int = 4_000_000
    keep_folder: Path | None = None
    keep_seconds: float = 600.0
    most_seconds: float = 86_400.0
    wait_seconds: float = 300.0
    max_tokens: int = 2048
    max_texts: int = 16
    max_seconds: float = 300.0
    max_in_flight: int = 512
    max_body_bytes: int = 4 << 20
    body_seconds: float = 10.0
    drain_seconds: float = 0.0
    key: str = field(default="", repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    allowed_hosts: tuple[str, ...] = ()
    head_seconds: float = GateLimits.head_seconds
    max_connections: int = GateLimits.max_connections
    connections_per_address: int = GateLimits.connections_per_address
    max_arriving: int = GateLimits.max_arriving

    def __post_init__(self) -> None:
        counts = ("max_programs", "tenant_programs", "queued_tokens", "tenant_queued_tokens")
        for name in (*counts, "max_tokens", "max_texts"):
            require(self, name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("keep_seconds", "most_seconds", "wait_seconds", "max_seconds"):
            require(self, name, is_positive(getattr(self, name)), "must be above 0")
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
