"""Who calls an endpoint, and whether the key opens it: a parameter of every one below /v1/.

    async def stops(tenant: Watches, ...)

What a key opens is said in `adwright.campaigns.store.keys`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import APIKeyHeader

from adwright.campaigns.store.keys import Caller, KeyScope
from adwright.web.errors import ApiError

__all__ = [
    "CALLER",
    "Administers",
    "Asks",
    "Called",
    "Confirms",
    "Decides",
    "FollowsRuns",
    "Reads",
    "Refuses",
    "Sends",
    "Watches",
    "require_scope",
]

#: Where the gate leaves the caller, in the scope of ASGI.
CALLER = "adwright.caller"
_key_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The key of a tenant; it is shown once."
)


async def _called(request: Request) -> Caller:
    caller: Caller = request.scope[CALLER]
    return caller


Called = Annotated[Caller, Depends(_called)]


def require_scope(caller: Caller, *scopes: KeyScope) -> None:
    """Raise ApiError 403 unless the key has one of these scopes."""
    if caller.scopes.isdisjoint(scopes):
        wanted = " or ".join(scopes)
        raise ApiError(
            403,
            f"the key lacks the scope {wanted}",
            hint=f"use a key that has it: `adwright key TENANT --scope {scopes[0]}` makes one",
        )


def _of(*scopes: KeyScope) -> Callable[..., Awaitable[str]]:
    async def tenant(caller: Called, _: Annotated[str | None, Depends(_key_header)]) -> str:
        # The gate has looked at the key; the header stands here for the OpenAPI.
        require_scope(caller, *scopes)
        return caller.tenant

    return tenant


#: The tenant of a key that has one of these scopes.
Sends = Annotated[str, Depends(_of("events", "stops"))]
Decides = Annotated[str, Depends(_of("decide"))]
Reads = Annotated[str, Depends(_of("read"))]
Watches = Annotated[str, Depends(_of("read", "stops"))]
Administers = Annotated[str, Depends(_of("admin"))]
Asks = Annotated[str, Depends(_of("agent:ask"))]
Confirms = Annotated[str, Depends(_of("agent:confirm"))]
Refuses = Annotated[str, Depends(_of("agent:confirm", "agent:ask"))]
FollowsRuns = Annotated[str, Depends(_of("read", "agent:ask", "agent:confirm"))]
