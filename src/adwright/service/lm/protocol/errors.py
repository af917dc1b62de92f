"""Errors in the form of the OpenAI protocol, whose clients show `message` alone.

    {"error": {"message": "top_p: Input should be greater than 0", "type":
     "invalid_request_error", "param": "top_p", "code": "invalid", ...}}

What the caller has to correct is a 400; `code`, `hint` and `details` are those of `web.errors`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from adwright.core.errors import AdwrightError, ConfigError, DataError
from adwright.lm.engine.generation import GenerationConfig
from adwright.web.errors import (
    FAILED,
    ApiError,
    Busy,
    ErrorDetail,
    allowed_methods,
    answers,
    described,
)

LmErrorType = Literal[
    "invalid_request_error",
    "authentication_error",
    "permission_error",
    "not_found_error",
    "rate_limit_error",
    "server_error",
]
_TYPES: dict[int, LmErrorType] = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_MEANINGS = {
    400: "The request is wrong; message and param say where.",
    401: "The key is missing, or not known.",
    403: "The key may not do this.",
    404: "There is no such path or model.",
    408: "The body did not arrive in time.",
    409: "The name is taken, or what has it is in use.",
    413: "The body is longer than allowed.",
    415: "The body is not JSON.",
    429: "Too busy to answer in time: come back after Retry-After seconds.",
    503: "The model cannot answer now: come back later.",
}
_FURTHER = "messages", "chat_template_kwargs"
_SETTINGS = frozenset((*(one.name for one in fields(GenerationConfig)), *_FURTHER))
#: What pydantic calls the branches of a choice of types.
_BRANCHES = frozenset(("str", "int", "float", "bool", "dict", "none"))
_BRANCH = re.compile(r"\[|^(constrained|function)-")
#: What is said of a branch whose type is another altogether.
_SORT = "Input should be a valid"
_log = logging.getLogger("adwright.service")


class LmErrorOut(BaseModel):
    """What went wrong. param: the field, where it is one."""

    model_config = ConfigDict(extra="forbid")
    message: str
    type: LmErrorType
    param: str | None
    code: str
    hint: str = ""
    details: list[ErrorDetail] = []


class LmErrorBody(BaseModel):
    """The body of every answer that is no success."""

    model_config = ConfigDict(extra="forbid")
    error: LmErrorOut


def respond(
    error: ApiError, *, param: str | None = None, details: Sequence[ErrorDetail] = ()
) -> Response:
    """The answer that an error is sent as."""
    status = 400 if error.status == 422 else error.status
    content = LmErrorBody(
        error=LmErrorOut(
            message=f"{error.message} ({error.hint})" if error.hint else error.message,
            type=_type(status),
            param=param,
            code=error.code,
            hint=error.hint,
            details=list(details),
        )
    )
    return JSONResponse(content.model_dump(), status_code=status, headers=error.headers)


def broken_stream() -> dict[str, Any]:
    """The event that ends a stream in which the model failed."""
    told = LmErrorOut(
        message="the answer broke off", type="server_error", param=None, code="unavailable"
    )
    return {"error": told.model_dump()}


def lm_error_docs(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint for FastAPI."""
    docs: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        docs[status] = {"model": LmErrorBody, "description": _MEANINGS[status]}
        if status in (429, 503):
            docs[status]["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return docs


def add_lm_errors(app: FastAPI) -> None:
    """Answer every error of `app`, the framework's own included, with an LmErrorBody."""
    answers(app, ApiError, lambda _, error: respond(error))
    answers(app, Busy, _busy)
    answers(app, HTTPException, _http_error)
    answers(app, RequestValidationError, _invalid)
    answers(app, AdwrightError, _own_error)
    # The framework raises it again after the answer, so that the server logs the traceback.
    answers(app, Exception, lambda *_: respond(ApiError(500, FAILED)))


def _busy(request: Request, error: Busy) -> Response:
    request.app.state.service.metrics.shed.labels(error.reason).inc()
    return respond(error)


def _http_error(request: Request, error: HTTPException) -> Response:
    headers: Mapping[str, str] = error.headers or {}
    match error.status_code:
        case 404:
            told = ApiError(404, "there is no such path", hint="GET /openapi.json lists them")
        case 405:
            methods = ", ".join(allowed_methods(request))
            told = ApiError(405, f"the path takes only {methods}", headers={"Allow": methods})
        case status:
            told = ApiError(status, str(error.detail), headers=headers)
    return respond(told)


def _invalid(_: Request, error: RequestValidationError) -> Response:
    details = described(error.errors())
    # Of the branches of a choice, the one that fitted furthest is the one that was meant.
    first = max(details, key=lambda one: (one.where.count("."), _SORT not in one.message))
    param = _param(first.where)
    what = _WORDS.get(first.message, first.message)
    message = what if param is None else f"{param}: {what}"
    return respond(ApiError(400, message, code="invalid"), param=param, details=details)


def _own_error(_: Request, error: AdwrightError) -> Response:
    # What a model refuses is the caller's to correct; its words hold no text of a prompt.
    if isinstance(error, DataError | ConfigError):
        word = str(error.where).partition(" ")[0]
        told = ApiError(400, error.what, code="invalid", hint=error.hint)
        return respond(told, param=word if word in _SETTINGS else None)
    _log.error("a model failed: %s", error, exc_info=error)
    failed = ApiError(503, "the model cannot answer now", headers={"Retry-After": "1"})
    return respond(failed)


#: Words of pydantic that say too little to who reads nothing else.
_WORDS = {
    "Extra inputs are not permitted": "there is no such field here, and none is ignored",
    "Field required": "the field is missing",
}


def _type(status: int) -> LmErrorType:
    if status >= 500 or status == 408:
        return "server_error"
    return _TYPES.get(status, "invalid_request_error")


def _param(where: str) -> str | None:
    """The path of a field, without "body" and the branches of choices; None for the whole body."""
    parts = where.split(".")[1:]
    kept = [one for one in parts if one not in _BRANCHES and not _BRANCH.search(one)]
    return ".".join(kept) or None
