"""The endpoints that say how the service is, and which models it has."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from starlette.responses import JSONResponse

from adwright.service.lm.protocol.errors import lm_error_docs
from adwright.service.programs.state import Programs
from adwright.web.gate import CONTENT_TYPE

health_router = APIRouter()


@health_router.get("/v1/models", responses=lm_error_docs(401))
async def models(state: Programs) -> JSONResponse:
    """The models that calls may name, the default first."""
    data: list[dict[str, Any]] = [
        {
            "id": name,
            "object": "model",
            "created": 0,
            "owned_by": "adwright",
            "engine": text.engine,
            "context": text.context,
        }
        for name, text in state.texts.items()
    ]
    return JSONResponse({"object": "list", "data": data})


@health_router.get("/healthz")
async def health() -> JSONResponse:
    """Say that the process lives."""
    return JSONResponse({"status": "ok"})


@health_router.get("/readyz", responses={503: {}})
async def ready(state: Programs) -> JSONResponse:
    """Whether requests should be sent here: the model of one engine at least answers."""
    engines = dict(await state.ready())
    is_ready = any(engines.values()) and not state.draining
    told = {"ready": is_ready, "engines": engines}
    return JSONResponse(told, status_code=200 if is_ready else 503)


@health_router.get("/metrics")
async def metrics(state: Programs) -> Response:
    """Measures for Prometheus."""
    return Response(state.metrics.text(), media_type=CONTENT_TYPE)
