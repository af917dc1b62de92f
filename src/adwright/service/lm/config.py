"""What an operator may set about serving language models."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import field, fields
from pathlib import Path

from starlette.types import Scope

from adwright.core.config import Count, Natural, NotNegative, Positive, settings
from adwright.core.errors import ConfigError
from adwright.web.errors import ApiError
from adwright.web.gate import LOCAL_HOSTS, Authenticate, header
from adwright.web.limits import GateLimits, require

# --------------------------------------------------------------------------------------------------
# Who calls: the keys of a service, each of one tenant, and the file that holds them.
#
# # tenant   key
# shop-1     kZ3v...
# shop-2     9fQw...

_MOST_BYTES = 1 << 20
_BEARER = "bearer "
_LINES = "write `tenant key` in each line"


class Callers:
    """Finds the tenant of a key. key: of the unnamed tenant, empty for none; keys: by tenant.

    Where there is none at all, everybody is the unnamed tenant.
    """

    def __init__(self, key: str, keys: Mapping[str, str]) -> None:
        known = {**({"": key} if key else {}), **keys}
        self._digests = {tenant: _digest(one) for tenant, one in known.items()}

    @property
    def several(self) -> bool:
        """Whether there is more than one tenant."""
        return len(self._digests) > 1

    def tenant_of(self, authorization: str) -> str | None:
        """Tenant of the header Authorization; None where its key is missing or not known."""
        if not self._digests:
            return ""
        if not authorization.lower().startswith(_BEARER):
            return None
        sent = _digest(authorization[len(_BEARER) :])
        found = None
        for tenant, digest in self._digests.items():  # all, so that the time tells nothing
            if hmac.compare_digest(sent, digest):
                found = tenant
        return found


def by_key(callers: Callers) -> Authenticate:
    """Let in who has a key as a bearer token; the gate asks it."""

    async def authenticate(scope: Scope) -> str:
        tenant = callers.tenant_of(header(scope, b"authorization"))
        if tenant is None:
            raise ApiError(
                401,
                "the key is missing or not known",
                hint="send it as a bearer token",
                headers={"WWW-Authenticate": "Bearer"},
            )
        return tenant

    return authenticate


def read_keys(path: str | Path) -> dict[str, str]:
    """The keys by tenant: one in each line, `tenant key`; what follows # at its start is passed
    over.

    Raises ConfigError that names the line, but never a key.
    """
    try:
        file = Path(path)
        if not file.is_file() or file.stat().st_size > _MOST_BYTES:
            raise OSError("it is no file, or one of more than 1 MB")
        lines = file.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the keys cannot be read: {error}", where=str(path), hint="name a text file"
        ) from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        parts = line.split()
        if not parts or parts[0].startswith("#"):
            continue
        where = f"{path}: line {number}"
        if len(parts) != 2:
            raise ConfigError("a line is not a tenant and its key", where=where, hint=_LINES)
        tenant, key = parts
        if tenant in found:
            raise ConfigError("the tenant stands here twice", where=where, hint=_LINES)
        found[tenant] = key
        try:
            require_keys(found)
        except ConfigError as error:
            raise ConfigError(error.what, where=where, hint=error.hint) from None
    if not found:
        raise ConfigError("there is no key in the file", where=str(path), hint=_LINES)
    return found


def require_keys(keys: Mapping[str, str]) -> None:
    """Raises ConfigError where a name or a key is not plain, or two tenants have one key."""
    for tenant, key in keys.items():
        for what, text in (("the name of a tenant", tenant), ("a key", key)):
            if not (text and text.isascii() and text.isprintable() and " " not in text):
                raise ConfigError(
                    f"{what} must be plain text without spaces", where="keys", hint="correct it"
                )
    if len(set(keys.values())) < len(keys):
        raise ConfigError("two tenants have the same key", where="keys", hint="give each its own")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()


@settings
class EndpointConfig(GateLimits):
    """Limits of one process that speaks the OpenAI protocol.

    max_seconds: the longest that a request may wait and be computed. An answer that is being
        written then ends as one whose max_tokens are used up; what has nothing by then gets a 503.
    max_tokens: the most that a request may ask for. max_texts: the most answers, or embedded
        texts, of one request.
    drain_seconds: how long the service still answers, not ready, after it was told to stop.
    key: where it is not empty, each call has to carry it as a bearer token. keys: by tenant; each
        call has to carry one of them.
    max_in_flight: requests of all kinds; beyond it, a request is shed with 429.
    allowed_hosts: where it is empty: any with a key; without one, those that a machine has for
        itself. max_body_bytes, body_seconds and so on: those of `GateLimits`.

    Raises ConfigError that names the setting.
    """

    max_seconds: Positive = 300.0
    max_tokens: Count = 2048
    max_texts: Count = 16
    drain_seconds: NotNegative = 0.0
    key: str = field(default="", repr=False)
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "key", self.key.isascii() and self.key.isprintable(), "must be plain text")
        require_keys(self.keys)

    def gate(self) -> GateLimits:
        """The limits that the gate in front of every request checks."""
        told = {one.name: getattr(self, one.name) for one in fields(GateLimits)}
        hosts = self.allowed_hosts or (() if self.key or self.keys else LOCAL_HOSTS)
        share = self.tenant_share if self.keys else 1.0
        return GateLimits(**told | {"allowed_hosts": hosts, "tenant_share": share})


@settings
class LmServiceConfig(EndpointConfig):
    """Limits of one process that serves language models.

    max_running: requests that are computed at a time. An engine with continuous batching, such as
        OpenVINO, or adapters over one base, computes them together; torch in turns.
    max_queue: requests that may wait for one of them to end; beyond it, a request is shed with 429.
    tenant_queue, tenant_tokens: where there is more than one key, the requests of one tenant that
        may wait, and the tokens (of prompts and of the longest answers that were asked for) that it
        may have in work; `LmShares` says how tenants share the rest.
    """

    max_running: Count = 16
    max_queue: Natural = 64
    max_in_flight: Count = 256
    max_texts: Count = 64
    tenant_queue: Count = 32
    tenant_tokens: Count = 16_384
