"""What the gate in front of every request enforces, and how a setting is refused."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Annotated

from adwright.core.config import Count, Gt, Le, Natural, Positive, settings
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@settings
class GateLimits:
    """Limits of one process for requests of all kinds.

    max_in_flight: requests at a time, counted once their body is there; beyond it a request is
        shed with 429.
    max_body_bytes, body_seconds: a longer body is refused with 413 while it arrives, one that
        takes longer with 408.
    replica: name of this process, sent as X-Replica where it is not empty.
    max_arriving: bodies that are received at a time; for one more, the oldest of the tenant that
        has the most of them is given up with 408.
    tenant_share: the part of max_in_flight and of max_arriving that one tenant may have.
    head_seconds: how long a connection may take to send the head of its first request, and each
        further head from its first byte on; then it is closed.
    max_connections: at a time, and never more than the limit on open files leaves; for one more,
        the oldest that is not in the middle of a request is closed.
    connections_per_address: the same for one address of a caller; 0 for no bound of its own. All
        callers behind a proxy have the address of the proxy.
    allowed_hosts: names that the header Host may have, without a port; empty for any. A page of
        another site that a browser shows may then call nothing either.

    Raises ConfigError that names the setting.
    """

    max_in_flight: Count = 512
    max_body_bytes: Count = 1 << 20
    body_seconds: Positive = 10.0
    replica: str = ""
    max_arriving: Count = 256
    tenant_share: Annotated[float, Gt(0), Le(1)] = 0.5
    head_seconds: Positive = 10.0
    max_connections: Count = 2048
    connections_per_address: Natural = 0
    allowed_hosts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        plain = self.replica.isascii() and self.replica.isprintable()
        require(self, "replica", plain, "must be plain text")

    def share_of(self, most: int) -> int:
        """What one tenant may have of `most`: at least 1."""
        return max(1, int(most * self.tenant_share))


def require(config: DataclassInstance, name: str, holds: bool, what: str) -> None:
    """Raise ConfigError about the setting `name` of config unless it holds.

    A secret, which its dataclass leaves out of its text (`repr=False`), is not shown.
    """
    if not holds:
        secret = any(field.name == name and not field.repr for field in fields(config))
        shown = "" if secret else f" {getattr(config, name)!r}"
        raise ConfigError(f"{name} {what}", where=f"{name}{shown}", hint="correct it")
