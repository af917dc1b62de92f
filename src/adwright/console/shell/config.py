"""What may be set about pages."""

from __future__ import annotations

from dataclasses import dataclass, field

from adwright.web.gate import LOCAL_HOSTS
from adwright.web.limits import GateLimits, is_positive, require


@dataclass(frozen=True)
class ConsoleConfig:
    """Limits of one process that shows pages.

    key: people sign in with it and a name of their own, by the dialogue of their browser (HTTP
        Basic); empty where everybody who reaches the page may use it.
    reviewer: the name of who has not given one; not used with a key.
    rows: drafts of one page of the queue.
    max_in_flight, max_body_bytes, allowed_hosts: as in `GateLimits`. Without a key and without
        names of hosts, only those that a machine has for itself are answered.
    drain_seconds: as in `serve`.

    Raises ConfigError that names the setting.
    """

    key: str = field(default="", repr=False)
    reviewer: str = ""
    rows: int = 25
    max_in_flight: int = 64
    max_body_bytes: int = 1 << 18
    allowed_hosts: tuple[str, ...] = ()
    drain_seconds: float = 0.0

    def __post_init__(self) -> None:
        require(self, "rows", 1 <= self.rows <= 200, "must be from 1 to 200")
        require(self, "key", self.key.isascii() and self.key.isprintable(), "must be plain text")
        drains = self.drain_seconds == 0 or is_positive(self.drain_seconds)
        require(self, "drain_seconds", drains, "must not be negative")
        self.gate()

    def gate(self) -> GateLimits:
        """The limits that the gate in front of every request checks."""
        return GateLimits(
            max_in_flight=self.max_in_flight,
            max_body_bytes=self.max_body_bytes,
            allowed_hosts=self.allowed_hosts or (() if self.key else LOCAL_HOSTS),
            tenant_share=1.0,
        )
