"""Every error that the API answers, in one shape, and what each looks like in the OpenAPI.

    {"error": {"code": "not_found", "message": "...", "hint": "...", "details": []}}

`code` is for programs and does not change; the rest is for people. Nothing of what the caller
sent is repeated but the names of fields, shortened and without control characters.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, TypeVar, cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from adwright.core.errors import AdwrightError, ResourceError

ErrorCode = Literal[
    "invalid",  # 422: a field is missing, unknown or out of range
    "bad_request",  # 400: the body is not JSON
    "unauthorized",  # 401: no key, or one that is not known
    "forbidden",  # 403: the key lacks a scope; asked by another host's name, or by another's page
    "not_found",  # 404: no such path, item or campaign of this tenant
    "method_not_allowed",  # 405
    "too_slow",  # 408: the body did not arrive in time
    "conflict",  # 409: the id is taken by something else
    "no_model",  # 409: no model is deployed for this tenant
    "too_large",  # 413: the body is longer than allowed
    "unsupported",  # 415: the body is of another content type
    "too_busy",  # 429: come back after Retry-After seconds
    "head_too_large",  # 431: the head of the request is longer than allowed
    "internal",  # 500: a fault of the service
    "unavailable",  # 503: the store cannot be written now
]
_CODES: dict[int, ErrorCode] = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    409: "conflict",
    413: "too_large",
    415: "unsupported",
    422: "invalid",
    429: "too_busy",
    431: "head_too_large",
    500: "internal",
    503: "unavailable",
}
_MEANINGS = {
    400: "The body is not JSON.",
    401: "The header X-API-Key is missing, or its key is not known.",
    403: "The key lacks the scope, or the service is not called by this name or from there.",
    404: "There is no such thing of this tenant.",
    408: "The body did not arrive in time.",
    409: "The id is taken by something else, or no model is deployed.",
    413: "The body is longer than allowed.",
    415: "The body is of another content type.",
    422: "A field is missing, unknown or out of range.",
    429: "Too busy to answer in time: come back after Retry-After seconds.",
    503: "The store cannot be reached: come back later.",
}
_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
_MAX_DETAILS = 20
_MAX_NAME = 64
_log = logging.getLogger("adwright.service")
FAILED = "the service failed; it has logged why"
E = TypeVar("E", bound=Exception)


class ErrorDetail(BaseModel):
    """One field that is wrong."""

    model_config = ConfigDict(extra="forbid")
    where: str = Field(description="Path of the field, its parts joined by dots.")
    message: str


class ErrorOut(BaseModel):
    """What went wrong."""

    model_config = ConfigDict(extra="forbid")
    code: ErrorCode
    message: str
    hint: str = ""
    details: list[ErrorDetail] = []


class ErrorBody(BaseModel):
    """The body of every answer that is no success."""

    model_config = ConfigDict(extra="forbid")
    error: ErrorOut


class ApiError(Exception):
    """Raised by an endpoint to answer with an error.

    status: HTTP status. headers: sent along.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: ErrorCode | None = None,
        hint: str = "",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.code: ErrorCode = _CODES.get(status, "internal") if code is None else code
        self.hint = hint
        self.headers = dict(headers or {})

    def response(self) -> Response:
        """The answer that it is sent as."""
        return error_response(
            self.status, self.message, code=self.code, hint=self.hint, headers=self.headers
        )


class Busy(ApiError):
    """429: the service cannot answer in time.

    reason: what is full, for the metrics. seconds: when to come back. what, hint: in words, where
    there is more to say.
    """

    def __init__(
        self,
        reason: str,
        seconds: float,
        *,
        what: str = "too busy to answer in time",
        hint: str = "",
    ) -> None:
        retry = str(max(1, min(60, round(seconds + 0.5))))
        later = f"come back in {retry} s, and add a random part to it"
        super().__init__(
            429,
            what,
            hint=f"{hint}; or {later}" if hint else later,
            headers={"Retry-After": retry},
        )
        self.reason = reason


def error_response(
    status: int,
    message: str,
    *,
    code: ErrorCode | None = None,
    hint: str = "",
    details: Sequence[ErrorDetail] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """The answer in the shape of ErrorBody; `code` follows from the status where it is None."""
    name: ErrorCode = _CODES.get(status, "internal") if code is None else code
    error = ErrorOut(code=name, message=message, hint=hint, details=list(details))
    content = ErrorBody(error=error).model_dump()
    return JSONResponse(content, status_code=status, headers=dict(headers or {}))


def error_docs(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of an endpoint for FastAPI: a typed body and an example each."""
    docs: dict[int | str, dict[str, Any]] = {}
    for status in statuses:
        example = {"code": _CODES[status], "message": _MEANINGS[status], "hint": "", "details": []}
        docs[status] = {
            "model": ErrorBody,
            "description": _MEANINGS[status],
            "content": {"application/json": {"example": {"error": example}}},
        }
        if status in (429, 503):
            docs[status]["headers"] = {
                "Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}
            }
    return docs


def answers(app: FastAPI, kind: type[E], answer: Callable[[Request, E], Response]) -> None:
    """Have `app` answer errors of this kind so."""

    async def handle(request: Request, error: Exception) -> Response:
        return answer(request, cast(E, error))

    app.add_exception_handler(kind, handle)


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error of `app`, the framework's own included, with an ErrorBody."""
    answers(app, ApiError, lambda _, error: error.response())
    answers(app, HTTPException, _http_error)
    answers(app, RequestValidationError, lambda _, error: invalid_response(error))
    answers(app, AdwrightError, lambda _, error: own_error_response(error))
    # The framework raises it again after the answer, so that the server logs the traceback.
    answers(app, Exception, lambda *_: error_response(500, FAILED))


def _http_error(request: Request, error: HTTPException) -> Response:
    headers = {name: value for name, value in (error.headers or {}).items()}
    if error.status_code == 405:
        headers["Allow"] = ", ".join(allowed_methods(request))
    status = error.status_code
    return error_response(status, _MEANINGS.get(status, str(error.detail)), headers=headers)


def allowed_methods(request: Request) -> list[str]:
    """The methods of a path; the framework names those of its first route alone."""
    routes = request.app.router.routes
    asked = ((method, {**request.scope, "method": method}) for method in _METHODS)
    return [
        method
        for method, scope in asked
        if any(route.matches(scope)[0] == Match.FULL for route in routes)
    ]


def invalid_response(error: RequestValidationError) -> Response:
    """The answer to a body that is not as the endpoint takes it."""
    problems = error.errors()
    if any(problem["type"] == "json_invalid" for problem in problems):
        return error_response(400, _MEANINGS[400])
    return error_response(422, _MEANINGS[422], details=described(problems))


def described(problems: Sequence[Any]) -> list[ErrorDetail]:
    """The first of the problems that pydantic found, in words that repeat nothing of a body."""
    return [
        ErrorDetail(where=_path(problem["loc"]), message=_message(str(problem["msg"])))
        for problem in problems[:_MAX_DETAILS]
    ]


def own_error_response(error: Exception) -> Response:
    """The answer to an error of this package that no caller made; it is logged."""
    if isinstance(error, ResourceError):
        _log.error("the store cannot be used: %s", error)
        return error_response(503, _MEANINGS[503], headers={"Retry-After": "1"})
    _log.error("a request failed: %s", error, exc_info=error)
    return error_response(500, FAILED)


def _message(text: str) -> str:
    return _plain(text.removeprefix("Value error, "), 200)


def _path(parts: Sequence[object]) -> str:
    return ".".join(_plain(str(part), _MAX_NAME) for part in parts)


def _plain(text: str, length: int) -> str:
    """Printable and in valid Unicode, whatever the caller sent."""
    shown = text[:length].encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() else "?" for c in shown)
