"""The addresses of the blind comparison.

GET  /pairs       the first pair that the rater has not judged, or that all are
GET  /pairs/7     a pair, in the order of this rater
POST /pairs/7     which is better, and scores; then the next pair
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response

from adwright.authoring.describe.review import CRITERIA, Choice
from adwright.console.pairwise.table import PairTable
from adwright.console.shell.forms import Form
from adwright.console.shell.pages import see_other
from adwright.console.shell.state import Posted, Reviewer, State
from adwright.web.errors import ApiError

pairs_router = APIRouter()
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


@pairs_router.get("/pairs")
def pairs(request: Request, state: State, table: Table, rater: Rater) -> Response:
    """The first pair that is not judged."""
    number = table.next_open(rater)
    if number is not None:
        return see_other(f"/pairs/{number}")
    judged, total = table.progress(rater)
    values = {"judged": judged, "total": total, **state.known(rater, "pairs")}
    return state.pages.page(request, "pairs_done.html", values)


@pairs_router.get("/pairs/{number}")
def pair(request: Request, number: str, state: State, table: Table, rater: Rater) -> Response:
    """A pair."""
    view = table.view(rater, _number(number))
    values = {"view": view, "criteria": CRITERIA, **state.known(rater, "pairs")}
    return state.pages.page(request, "pair.html", values)


@pairs_router.post("/pairs/{number}")
def judge(number: str, table: Table, rater: Rater, form: Posted) -> Response:
    """Take a judgement, and go on to the next pair."""
    at, choice = _number(number), _CHOICES.get(form.one("choice", most=10))
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


def _number(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise ApiError(404, "there is no pair of this number", hint="go back to the pairs")
    return int(text)
