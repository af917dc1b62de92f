"""The ads of a store that are in review: what each says, what is known of it, and the move of a
person who has looked at it.

GET  /ads           a page of those in review
GET  /ads/ad?id=7   an ad, beside the one that it was made from
POST /ads/ad?id=7   approve, send back, retire; then the next ad in review

A move is made in the store, by the name of who reviews: see `Store.move_creatives`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request, Response

from adwright.console.review import MarkedPiece, changed_spans, pieces_of
from adwright.console.shell import Posted, Reviewer, State, see_other
from adwright.core.errors import ValueInvalidError
from adwright.data.creatives import Creative, CreativeState
from adwright.web.errors import ApiError

if TYPE_CHECKING:  # a review of drafts needs no database
    from adwright.campaigns.store.creatives import CreativeMove, Scores
    from adwright.campaigns.store.store import Store

router = APIRouter(default_response_class=Response)
#: What a reviewer may do with an ad in review, and how it is said when it is done.
_ACTIONS: dict[str, tuple[CreativeState, str]] = {
    "approve": ("approved", "Approved"),
    "back": ("draft", "Sent back"),
    "retire": ("retired", "Retired"),
}
_LONGEST_ID, _LONGEST_WHY = 1_000, 500
#: Ads of an item that are live and shown beside one that is in review.
_BESIDE = 5


@dataclass(frozen=True)
class AdView:
    """An ad in review as a page shows it.

    pieces, parent_pieces: of its text and its parent's, with what differs. parent: what it was made
    from, where the store has it. scores, parent_scores: what judges predict. live: of its item.
    """

    ad: Creative
    pieces: tuple[MarkedPiece, ...]
    parent: Creative | None
    parent_pieces: tuple[MarkedPiece, ...]
    scores: Scores
    parent_scores: Scores
    moves: tuple[CreativeMove, ...]
    live: tuple[Creative, ...]

    @property
    def facts(self) -> list[tuple[str, str]]:
        """What is known of the ad, by name."""
        ad = self.ad
        found = {
            "Item": ad.item_id,
            "Campaign": ad.campaign_id,
            "Label": ad.label,
            "Made by": ad.maker,
            "Edit": ad.edit,
            "Parent": ad.parent,
            "Landing": ad.landing,
            "Image": ad.image_hash,
        }
        return [(name, value) for name, value in found.items() if value]


class StoredAds:
    """The ads of a tenant of a store."""

    def __init__(self, store: Store, tenant: str) -> None:
        self._store, self.tenant = store, tenant

    def page(self, after: str | None, rows: int) -> tuple[list[tuple[Creative, Scores]], str]:
        """Ads in review behind this id, with what judges say of them, and the id behind which the
        next page begins; empty where there is none."""
        found = self._in_review(after, rows + 1)
        more = found[rows - 1].creative_id if len(found) > rows else ""
        scores = self._store.creative_scores(self.tenant, [one.creative_id for one in found[:rows]])
        return [(one, scores.get(one.creative_id, {})) for one in found[:rows]], more

    def view(self, creative_id: str) -> AdView:
        """An ad. Raises ApiError 404 where there is none."""
        ids = [creative_id]
        found = self._store.creatives_full(self.tenant, ids=ids)
        if not found:
            raise ApiError(404, "there is no such ad", hint="go back to the ads")
        (ad,) = found
        parents = self._store.creatives_full(self.tenant, ids=[ad.parent]) if ad.parent else []
        parent = parents[0] if parents else None
        scores = self._store.creative_scores(self.tenant, [creative_id, ad.parent])
        live = self._store.creatives_full(
            self.tenant, states=["live"], item_ids=[ad.item_id], limit=_BESIDE
        )
        removed, added = changed_spans(parent.text, ad.text) if parent else ((), ())
        return AdView(
            ad,
            pieces_of(ad.text, added),
            parent,
            pieces_of(parent.text, removed) if parent else (),
            scores.get(creative_id, {}),
            scores.get(ad.parent, {}),
            tuple(self._store.creative_moves(self.tenant, creative_id)),
            tuple(live),
        )

    def following(self, creative_id: str) -> str | None:
        """The ad in review behind this one; else the first; None where there is none."""
        found = self._in_review(creative_id, 1) or self._in_review(None, 1)
        return found[0].creative_id if found else None

    def act(self, creative_id: str, action: str, why: str, reviewer: str) -> None:
        """Move an ad. Raises ApiError: 422 for what is no action, 404 where there is no such ad,
        409 where it is not in review any more."""
        if action not in _ACTIONS:
            raise ApiError(422, "what is to be done?", hint="approve, send back, or retire")
        state, _ = _ACTIONS[action]
        if (now := self.view(creative_id).ad.state) != "in review":
            raise _moved(now)
        try:
            self._store.move_creatives(self.tenant, [creative_id], state, author=reviewer, why=why)
        except ValueInvalidError as error:
            if error.column != "creative_id":
                raise ApiError(422, error.what, hint=error.hint) from error
            raise _moved(self.view(creative_id).ad.state) from error

    def _in_review(self, after: str | None, limit: int) -> list[Creative]:
        states: list[CreativeState] = ["in review"]
        return self._store.creatives_full(self.tenant, states=states, after=after, limit=limit)


def _moved(state: str) -> ApiError:
    what = f"somebody has decided meanwhile: the ad is {state or 'in no state'}"
    return ApiError(409, what, hint="go back to the ads")


async def _ads(request: Request) -> StoredAds:
    ads: StoredAds | None = request.app.state.ads
    if ads is None:
        hint = "start `adwright author review` with --store and --tenant"
        raise ApiError(404, "no store is open", hint=hint)
    return ads


async def _person(reviewer: Reviewer) -> str:
    if not reviewer:
        raise ApiError(422, "a move needs a name", hint="type one at the top of the page")
    return reviewer


Ads = Annotated[StoredAds, Depends(_ads)]
Person = Annotated[str, Depends(_person)]


@router.get("/ads")
def listed(request: Request, state: State, ads: Ads, reviewer: Reviewer) -> Response:
    """A page of the ads in review."""
    rows, more = ads.page(request.query_params.get("after"), state.config.rows)
    values = {
        "tenant": ads.tenant,
        "rows": [(one, scores, address_of(one.creative_id)) for one, scores in rows],
        "more": f"/ads?{urlencode({'after': more})}" if more else "",
        "did": _did(request),
        **state.known(reviewer, "ads"),
    }
    return state.pages.page(request, "ads.html", values)


@router.get("/ads/ad")
def shown(request: Request, state: State, ads: Ads, reviewer: Reviewer) -> Response:
    """An ad."""
    view = ads.view(_id_of(request))
    values: dict[str, Any] = {
        "view": view,
        "address": address_of(view.ad.creative_id),
        "did": _did(request),
        "longest": _LONGEST_WHY,
        **state.known(reviewer, "ads"),
    }
    return state.pages.page(request, "ad.html", values)


@router.post("/ads/ad")
def moved(request: Request, ads: Ads, reviewer: Person, form: Posted) -> Response:
    """Move an ad, and go on to the next one."""
    creative_id, action = _id_of(request), form.one("action", most=20)
    why = " ".join(form.one("why", most=_LONGEST_WHY).split())
    ads.act(creative_id, action, why, reviewer)
    following = ads.following(creative_id)
    done = {"did": action, "done": creative_id}
    return see_other(address_of(following, done) if following else f"/ads?{urlencode(done)}")


def address_of(creative_id: str, more: dict[str, str] | None = None) -> str:
    """Of the page of an ad."""
    return f"/ads/ad?{urlencode({'id': creative_id, **(more or {})})}"


def _id_of(request: Request) -> str:
    found = request.query_params.get("id", "")
    if not found.isprintable() or len(found) > _LONGEST_ID:
        raise ApiError(404, "there is no such ad", hint="go back to the ads")
    return found


def _did(request: Request) -> tuple[str, str, str] | None:
    """What was just done, in words, to which ad, and its address."""
    query = request.query_params
    found = _ACTIONS.get(query.get("did", ""))
    name = query.get("done", "")
    if found is None or not name.isprintable() or len(name) > _LONGEST_ID:
        return None
    return found[1], name, address_of(name)
