"""Who calls: the keys of a service, each of one tenant, and the file that holds them.

# tenant   key
shop-1     kZ3v...
shop-2     9fQw...
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from pathlib import Path

from starlette.types import Scope

from adwright.core.errors import ConfigError
from adwright.web.errors import ApiError
from adwright.web.gate import Authenticate, header

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
