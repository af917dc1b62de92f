"""The addresses of the queue.

GET  /                   a page of the queue, by the filter in the address
GET  /progress           how far the review is, for a page that asks again and again
GET  /drafts/7           a draft
POST /drafts/7           approve, edit, reject, undo; then the next draft
POST /drafts/7/check     what checks say of a text that is being edited
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from adwright.console.review.desk import REASONS, TEXT_LENGTH, Moved, ReviewDesk
from adwright.console.review.filters import QueueFilter, read_filter
from adwright.console.review.views import DoneView, DraftView, facts_of, origin_of, told_of
from adwright.console.shell.pages import see_other
from adwright.console.shell.state import ConsoleState, Posted, Reviewer, State
from adwright.web.errors import ApiError

review_router = APIRouter(default_response_class=Response)
_DONE = {
    "approve": "Approved",
    "edit": "Saved the edit of",
    "reject": "Rejected",
    "undo": "Took back the decision about",
}


async def _desk(request: Request) -> ReviewDesk:
    desk: ReviewDesk = request.app.state.desk
    return desk


async def _shown(request: Request) -> QueueFilter:
    return read_filter(request.query_params)


Desk = Annotated[ReviewDesk, Depends(_desk)]
Shown = Annotated[QueueFilter, Depends(_shown)]


@review_router.get("/")
def queue(request: Request, state: State, desk: Desk, shown: Shown, reviewer: Reviewer) -> Response:
    """A page of the queue."""
    page = _number(request.query_params.get("page", "1"))
    place, rows, counts, slots = desk.listed(shown, page, state.config.rows)
    values = {
        "place": place,
        "rows": rows,
        "counts": counts,
        "slots": slots,
        "shown": shown,
        "done": _done(request, desk),
        **state.known(reviewer, "drafts"),
    }
    return state.pages.page(request, "queue.html", values)


@review_router.get("/progress")
def progress(state: State, desk: Desk) -> Response:
    """How far the review is, for a page that is open for long."""
    return state.pages.fragment("progress.html", {"counts": desk.counts()})


@review_router.get("/drafts/{number}")
def draft(
    request: Request, number: str, state: State, desk: Desk, shown: Shown, reviewer: Reviewer
) -> Response:
    """A draft."""
    view = desk.view(_number(number))
    return _page(request, state, desk, shown, reviewer, view)


@review_router.post("/drafts/{number}")
def decide(
    request: Request,
    number: str,
    state: State,
    desk: Desk,
    shown: Shown,
    reviewer: Reviewer,
    form: Posted,
) -> Response:
    """Decide about a draft, and go on to the next one; where it has moved, show it again."""
    at, action = _number(number), form.one("action", most=20)
    try:
        desk.act(at, action, form, reviewer)
    except Moved as moved:
        return _page(request, state, desk, shown, reviewer, moved.view, moved.text, moved=True)
    if action == "undo":
        return see_other(f"/drafts/{at}{shown.query({'done': at, 'did': action})}")
    with desk.queue.turn():
        following = desk.queue.following(shown, at)
    place = "/" if following is None else f"/drafts/{following}"
    return see_other(place + shown.query({"done": at, "did": action}))


@review_router.post("/drafts/{number}/check")
def check(
    request: Request,
    number: str,
    state: State,
    desk: Desk,
    shown: Shown,
    reviewer: Reviewer,
    form: Posted,
) -> Response:
    """What checks say of a text: alone for a script, else the page with the text in it."""
    at, text = _number(number), form.one("text", most=TEXT_LENGTH)
    view = desk.view(at, text)
    if "hx-request" in request.headers:
        return state.pages.fragment("checked.html", {"view": view})
    return _page(request, state, desk, shown, reviewer, view, text)


def _page(
    request: Request,
    state: ConsoleState,
    desk: ReviewDesk,
    shown: QueueFilter,
    reviewer: str,
    view: DraftView,
    text: str = "",
    *,
    moved: bool = False,
) -> Response:
    """text: what the field for an edit holds; empty for the text itself."""
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
        "done": None if moved else _done(request, desk),
        **state.known(reviewer, "drafts"),
    }
    return state.pages.page(request, "draft.html", values, status=409 if moved else 200)


def _done(request: Request, desk: ReviewDesk) -> DoneView | None:
    """What was just done, by the address."""
    query = request.query_params
    words, number = _DONE.get(query.get("did", "")), query.get("done", "")
    if words is None or not number.isascii() or not number.isdigit():
        return None
    try:
        return desk.done(_number(number), words)
    except ApiError:
        return None


def _number(text: str) -> int:
    """A number of an address. Raises ApiError 404 for what is none."""
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ApiError(404, "there is no draft of this number", hint="go back to the queue")
    return int(text)
