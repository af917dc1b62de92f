"""The pages of the console as an ASGI application.

with closing(Drafts.open(folder)) as drafts:
    app = create_console_app(ConsoleConfig(reviewer="ann"), drafts, JobChecks(drafts))
    with listen("127.0.0.1", 8003) as door:
        serve(app, door)
"""

from __future__ import annotations

import logging
import secrets

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from adwright.authoring.writer.drafts import Drafts
from adwright.console.pairwise.routes import pairs_router
from adwright.console.pairwise.table import PairTable
from adwright.console.review.checking import DraftChecker
from adwright.console.review.desk import ReviewDesk
from adwright.console.review.queue import ReviewQueue
from adwright.console.review.routes import review_router
from adwright.console.shell.assets import load_assets
from adwright.console.shell.config import ConsoleConfig
from adwright.console.shell.pages import Pages, see_other
from adwright.console.shell.reviewers import by_name_and_key, name_of, set_name
from adwright.console.shell.state import ConsoleState, Posted, State
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import AdwrightError
from adwright.web.errors import ApiError, allowed_methods
from adwright.web.gate import Gate, ServiceMetrics
from adwright.web.server import Connections

_router = APIRouter()
_log = logging.getLogger("adwright.service")
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def create_console_app(
    config: ConsoleConfig,
    drafts: Drafts,
    checker: DraftChecker,
    *,
    pairs: PairTable | None = None,
    token: str | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """Make the application.

    drafts: the journal, which stays open when the application ends. checker: of texts that are
    edited. pairs: what is compared blindly; None for nothing. token: of forms; a random one by
    default. Raises MissingExtraError without the package that brings htmx.
    """
    clock = SystemClock() if clock is None else clock
    metrics, assets = ServiceMetrics(), load_assets()
    pages = Pages(assets, secrets.token_urlsafe(24) if token is None else token)
    app = FastAPI(
        title="adwright console",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )
    app.state.service = ConsoleState(config, pages, assets, has_pairs=pairs is not None)
    app.state.desk = ReviewDesk(ReviewQueue(drafts), checker)
    app.state.pairs = pairs
    for router in (_router, review_router, pairs_router):
        app.include_router(router)
    _add_error_pages(app)
    limits = config.gate()
    app.state.connections = Connections(limits, metrics)
    app.add_middleware(
        Gate,
        limits=limits,
        metrics=metrics,
        clock=clock,
        authenticate=by_name_and_key(config.key) if config.key else None,
        respond=lambda error: pages.refusal(None, error),
        guarded=("/",),
    )
    return app


@_router.get("/static/{name}")
async def static_file(name: str, request: Request, state: State) -> Response:
    """A file of a page, by its name in a closed list."""
    asset = state.assets.get(name)
    if asset is None:
        raise ApiError(404, "there is no such file")
    known = request.query_params.get("v") == asset.digest
    return Response(asset.content, media_type=asset.kind, headers=_FOR_EVER if known else None)


@_router.post("/reviewer")
async def call_oneself(state: State, form: Posted) -> Response:
    """Take a name, and go back to the queue."""
    name = name_of(form.one("name", most=200))
    if not name:
        raise ApiError(422, "that is no name", hint="1 to 64 characters that are seen")
    answer = see_other("/pairs" if form.one("room", most=20) == "pairs" else "/")
    set_name(answer, name)
    return answer


def _add_error_pages(app: FastAPI) -> None:
    """Answer every error with a page."""
    pages: Pages = app.state.service.pages

    async def on_error(request: Request, error: Exception) -> Response:
        return pages.refusal(request, _told(request, error))

    for kind in (ApiError, HTTPException, RequestValidationError, AdwrightError, Exception):
        app.add_exception_handler(kind, on_error)


def _told(request: Request, error: Exception) -> ApiError:
    match error:
        case ApiError():
            return error
        case HTTPException(status_code=405):
            methods = ", ".join(allowed_methods(request))
            return ApiError(405, f"this address takes only {methods}", headers={"Allow": methods})
        case HTTPException(status_code=404):
            return ApiError(404, "there is nothing at this address", hint="go to the drafts")
        case HTTPException(status_code=status):
            return ApiError(status, str(error.detail))
        case RequestValidationError():
            return ApiError(422, "the address or the form is wrong", hint="go to the drafts")
        case AdwrightError():
            _log.error("a page failed: %s", error)
            return ApiError(500, error.what, hint=error.hint)
        case _:
            # The framework raises it again after the answer, so that the server logs the traceback.
            return ApiError(500, "the page failed; the command that serves it has said why")
