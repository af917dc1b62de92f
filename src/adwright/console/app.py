"""The pages of the console as an ASGI application.

with closing(Drafts.open(folder)) as drafts:
    app = create_console_app(ConsoleConfig(reviewer="ann"), drafts, JobChecks(drafts))
    with listen("127.0.0.1", 8003) as door:
        serve(app, door)
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from adwright.authoring.describe.review import CRITERIA, Choice
from adwright.authoring.writer.drafts import Drafts, TextState
from adwright.console.ads import StoredAds
from adwright.console.ads import router as ads_router
from adwright.console.pairs import PairTable
from adwright.console.review import (
    REASONS,
    TEXT_LENGTH,
    DraftChecker,
    DraftView,
    Moved,
    QueueFilter,
    ReviewDesk,
    ReviewQueue,
    facts_of,
    origin_of,
    read_filter,
    told_of,
)
from adwright.console.shell import (
    ConsoleConfig,
    ConsoleState,
    Form,
    Pages,
    Posted,
    Reviewer,
    State,
    by_name_and_key,
    load_assets,
    name_of,
    see_other,
    set_name,
)
from adwright.core.clock import Clock, SystemClock
from adwright.core.errors import AdwrightError
from adwright.web.errors import ApiError, allowed_methods
from adwright.web.gate import Gate, ServiceMetrics
from adwright.web.server import Connections

_router = APIRouter(default_response_class=Response)
#: With drafts alone.
_drafts = APIRouter(default_response_class=Response)

# --------------------------------------------------------------------------------------------------
# The addresses of the blind comparison.
#
# GET  /pairs       the first pair that the rater has not judged, or that all are
# GET  /pairs/7     a pair, in the order of this rater
# POST /pairs/7     which is better, and scores; then the next pair

_CHOICES: dict[str, Choice] = {"left": "left", "right": "right", "tie": "tie"}
_SCORES = "12345"


async def _table(request: Request) -> PairTable:
    table: PairTable | None = request.app.state.pairs
    if table is None:
        hint = "start `adwright author review` with --pairs or --against"
        raise ApiError(404, "there is nothing to compare", hint=hint)
    return table


async def _rater(reviewer: Reviewer) -> str:
    if not reviewer:
        raise ApiError(422, "a judgement needs a name", hint="type one at the top of the page")
    return reviewer


Table = Annotated[PairTable, Depends(_table)]
Rater = Annotated[str, Depends(_rater)]


@_router.get("/pairs")
def pairs(request: Request, state: State, table: Table, rater: Rater) -> Response:
    """The first pair that is not judged."""
    number = table.next_open(rater)
    if number is not None:
        return see_other(f"/pairs/{number}")
    judged, total = table.progress(rater)
    values = {"judged": judged, "total": total, **state.known(rater, "pairs")}
    return state.pages.page(request, "pairs_done.html", values)


@_router.get("/pairs/{number}")
def pair(request: Request, number: str, state: State, table: Table, rater: Rater) -> Response:
    """A pair."""
    view = table.view(rater, _number(number, "pair"))
    values = {"view": view, "criteria": CRITERIA, **state.known(rater, "pairs")}
    return state.pages.page(request, "pair.html", values)


@_router.post("/pairs/{number}")
def judge(number: str, table: Table, rater: Rater, form: Posted) -> Response:
    """Take a judgement, and go on to the next pair."""
    at, choice = _number(number, "pair"), _CHOICES.get(form.one("choice", most=10))
    if choice is None:
        raise ApiError(422, "which one is better?", hint="choose A, B, or that neither is")
    table.judge(rater, at, form.one("pair", most=64), choice, _rubric(form))
    following = table.next_open(rater, behind=at)
    return see_other("/pairs" if following is None else f"/pairs/{following}")


def _rubric(form: Form) -> dict[str, tuple[int, int]]:
    """The scores of the criteria of which both texts have one."""
    found = {}
    for name in CRITERIA:
        left, right = (form.one(f"{name}-{side}", most=1) for side in ("left", "right"))
        if left and right and left in _SCORES and right in _SCORES:
            found[name] = int(left), int(right)
        elif left or right:
            raise ApiError(422, f"{name} needs a score of each text", hint="1 to 5, or neither")
    return found


def _number(text: str, what: Literal["pair", "draft"] = "draft") -> int:
    """A number of an address. Raises ApiError 404 for what is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        back = "pairs" if what == "pair" else "queue"
        raise ApiError(404, f"there is no {what} of this number", hint=f"go back to the {back}")
    return int(text)


# --------------------------------------------------------------------------------------------------
# The addresses of the queue.
#
# GET  /                   a page of the queue, by the filter in the address
# GET  /progress           how far the review is, for a page that asks again and again
# GET  /drafts/7           a draft
# POST /drafts/7           approve, edit, reject, undo; then the next draft
# POST /drafts/7/check     what checks say of a text that is being edited

_DONE = {
    "approve": "Approved",
    "edit": "Saved the edit of",
    "reject": "Rejected",
    "undo": "Took back the decision about",
}


@dataclass(frozen=True)
class _Review:
    """A request for a page of the queue: who asks, and which drafts the address shows."""

    request: Request
    state: ConsoleState
    desk: ReviewDesk
    shown: QueueFilter
    reviewer: str

    def page(self, view: DraftView, text: str = "", *, moved: bool = False) -> Response:
        """The page of a draft. text: what the field for an edit holds; empty for the text itself.
        moved: the draft is not any more what the reviewer saw."""
        desk, shown = self.desk, self.shown
        with desk.queue.turn():
            before = desk.queue.beside(shown, view.number, back=True)
            after = desk.queue.beside(shown, view.number)
            counts = desk.queue.counts(failed=False)
        values = {
            "view": view,
            "counts": counts,
            "shown": shown,
            "before": before,
            "after": after,
            "editing": text or view.text,
            "length": TEXT_LENGTH,
            "reasons": REASONS,
            "origin": origin_of(view.draft),
            "facts": facts_of(view.product),
            "told": told_of(view.draft),
            "moved": moved,
            "done": None if moved else self.done(),
            **self.state.known(self.reviewer, "drafts"),
        }
        return self.state.pages.page(
            self.request, "draft.html", values, status=409 if moved else 200
        )

    def done(self) -> tuple[str, int, TextState] | None:
        """What was just done, in words, and the draft to which it was, by the address."""
        query = self.request.query_params
        words = _DONE.get(query.get("did", ""))
        if words is None:
            return None
        try:
            number = _number(query.get("done", ""))
            return words, number, self.desk.state(number)
        except ApiError:
            return None


async def _review(request: Request, state: State, reviewer: Reviewer) -> _Review:
    shown = read_filter(request.query_params)
    return _Review(request, state, request.app.state.desk, shown, reviewer)


Review = Annotated[_Review, Depends(_review)]


@_drafts.get("/")
def queue(review: Review) -> Response:
    """A page of the queue."""
    page, state = _number(review.request.query_params.get("page", "1")), review.state
    place, rows, counts, slots = review.desk.listed(review.shown, page, state.config.rows)
    values = {
        "place": place,
        "rows": rows,
        "counts": counts,
        "slots": slots,
        "shown": review.shown,
        "done": review.done(),
        **state.known(review.reviewer, "drafts"),
    }
    return state.pages.page(review.request, "queue.html", values)


@_drafts.get("/progress")
def progress(request: Request, state: State) -> Response:
    """How far the review is, for a page that is open for long."""
    return state.pages.fragment("progress.html", {"counts": request.app.state.desk.counts()})


@_drafts.get("/drafts/{number}")
def draft(number: str, review: Review) -> Response:
    """A draft."""
    return review.page(review.desk.view(_number(number)))


@_drafts.post("/drafts/{number}")
def decide(number: str, review: Review, form: Posted) -> Response:
    """Decide about a draft, and go on to the next one; where it has moved, show it again."""
    at, action = _number(number), form.one("action", most=20)
    desk, shown = review.desk, review.shown
    try:
        desk.act(at, action, form, review.reviewer)
    except Moved as moved:
        return review.page(moved.view, moved.text, moved=True)
    following: int | None = at
    if action != "undo":
        with desk.queue.turn():
            following = desk.queue.following(shown, at)
    place = "/" if following is None else f"/drafts/{following}"
    return see_other(place + shown.query({"done": at, "did": action}))


@_drafts.post("/drafts/{number}/check")
def check(number: str, review: Review, form: Posted) -> Response:
    """What checks say of a text: alone for a script, else the page with the text in it."""
    text = form.one("text", most=TEXT_LENGTH)
    view = review.desk.view(_number(number), text)
    if "hx-request" in review.request.headers:
        return review.state.pages.fragment("checked.html", {"view": view})
    return review.page(view, text)


_log = logging.getLogger("adwright.service")
_FOR_EVER = {"Cache-Control": "private, max-age=31536000, immutable"}


def create_console_app(
    config: ConsoleConfig,
    drafts: Drafts | None = None,
    checker: DraftChecker | None = None,
    *,
    ads: StoredAds | None = None,
    pairs: PairTable | None = None,
    token: str | None = None,
    clock: Clock | None = None,
) -> FastAPI:
    """Make the application.

    drafts: the journal, which stays open when the application ends, with the checker of texts that
    are edited; both, or none of them. ads: those of a store. pairs: what is compared blindly; None
    for nothing. token: of forms; a random one by default. Raises MissingExtraError without the
    package that brings htmx.
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
    app.state.service = ConsoleState(
        config,
        pages,
        assets,
        has_drafts=drafts is not None,
        has_ads=ads is not None,
        has_pairs=pairs is not None,
    )
    app.state.pairs, app.state.ads = pairs, ads
    app.include_router(_router)
    app.include_router(ads_router)
    if drafts is not None and checker is not None:
        app.state.desk = ReviewDesk(ReviewQueue(drafts), checker)
        app.include_router(_drafts)
    else:
        app.add_api_route("/", to_ads, methods=["GET"])

    async def on_error(request: Request, error: Exception) -> Response:
        return pages.refusal(request, _told(request, error))

    for kind in (ApiError, HTTPException, RequestValidationError, AdwrightError, Exception):
        app.add_exception_handler(kind, on_error)
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


def to_ads() -> Response:
    """The first page of who reviews no drafts."""
    return see_other("/ads")


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
    room = form.one("room", most=20)
    answer = see_other(f"/{room}" if room in ("pairs", "ads") else "/")
    set_name(answer, name)
    return answer


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
