"""One adapter loaded or unloaded by a call, as vLLM has it, while all others are served.

    POST /v1/load_lora_adapter    {"lora_name": "shop-1", "lora_path": "shop-1"}
    POST /v1/unload_lora_adapter  {"lora_name": "shop-1"}

What is loaded lies below the folder of adapters. Which models there are is for the operator to say:
where tenants have keys, theirs cannot. An adapter that is unloaded takes no more requests at once,
and goes when those that it has are answered.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import PlainTextResponse

from adwright.core.errors import AdwrightError, AssetError, ResourceError
from adwright.lm.serving.adapter_cache import AdapterInUseError
from adwright.service.lm.adapters import Rescans
from adwright.service.lm.protocol.body import LmBody
from adwright.service.lm.protocol.errors import lm_error_docs
from adwright.service.lm.state import LmState, State
from adwright.service.lm.work import in_thread
from adwright.web.bodies import BodyRoute
from adwright.web.errors import ApiError
from adwright.web.gate import admitted

loading_router = APIRouter(route_class=BodyRoute)
_ERRORS = lm_error_docs(400, 401, 403, 404, 408, 409, 413, 415, 429, 503)
#: Seconds between two looks at whether an adapter is still in use; and those that its requests may
#: take beyond the bound of the service.
_LOOK, _GRACE = 0.05, 5.0
_Name = Annotated[str, Field(min_length=1, max_length=128)]


class LoadAdapterIn(LmBody):
    """lora_path: of the folder that holds it, relative to the folder of adapters or whole."""

    lora_name: _Name
    lora_path: Annotated[str, Field(min_length=1, max_length=4096)]


class UnloadAdapterIn(LmBody):
    """lora_int_id: is allowed, and not used: names tell which."""

    lora_name: _Name
    lora_int_id: int | None = None


@loading_router.post("/v1/load_lora_adapter", responses=_ERRORS)
async def load_lora_adapter(
    body: LoadAdapterIn, request: Request, state: State
) -> PlainTextResponse:
    """Serve an adapter as a model of its own."""
    folder = _folder(request, state)
    name, path = body.lora_name, body.lora_path
    if name in state.models:
        raise ApiError(409, "a model has this name", hint="unload it, or take another name")
    try:
        await in_thread(lambda: folder.load(name, path), state.config.max_seconds)
    except ResourceError:
        raise
    except AssetError as error:
        raise ApiError(404, error.what, hint=error.hint) from error
    except AdwrightError as error:
        # Another call may have been quicker.
        status = 409 if name in state.models else 400
        raise ApiError(status, error.what, hint=error.hint) from error
    return PlainTextResponse(f"Success: LoRA adapter '{name}' added successfully.")


@loading_router.post("/v1/unload_lora_adapter", responses=_ERRORS)
async def unload_lora_adapter(
    body: UnloadAdapterIn, request: Request, state: State
) -> PlainTextResponse:
    """Serve an adapter no more, once its requests are answered."""
    folder = _folder(request, state)
    name = body.lora_name
    if state.adapters is not None and name == state.adapters.models.name:
        raise ApiError(400, "the base cannot be unloaded", hint="GET /v1/adapters lists what can")
    if name not in state.models or name in state.leaving:
        raise ApiError(404, "there is no adapter of this name", hint="GET /v1/models lists them")
    state.leaving.add(name)
    try:
        await _unloaded(name, folder, state)
    finally:
        state.leaving.discard(name)
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


async def _unloaded(name: str, folder: Rescans, state: LmState) -> None:
    """Unload it, once nobody uses it any more. Raises ApiError where somebody does for longer than
    any request may take."""
    loop = asyncio.get_running_loop()
    until = loop.time() + state.config.max_seconds + _GRACE
    while loop.time() < until:
        if not state.work.asks(name):
            try:
                await in_thread(lambda: folder.unload(name), state.config.max_seconds)
                return
            except AdapterInUseError:  # by a caller within this program
                pass
        await asyncio.sleep(_LOOK)
    raise ApiError(
        409, "the adapter is in use", hint="unload it later", headers={"Retry-After": "5"}
    )


def _folder(request: Request, state: LmState) -> Rescans:
    """The folder of adapters. Raises ApiError where the caller is a tenant, or there is none."""
    if admitted(request.scope).tenant:
        raise ApiError(
            403,
            "the key of a tenant loads and unloads no adapters",
            hint="call with the key of the endpoint itself",
        )
    if state.adapters is None or state.adapters.folder is None:
        raise ApiError(404, "this service has no folder of adapters", hint="serve with --adapters")
    return state.adapters.folder
