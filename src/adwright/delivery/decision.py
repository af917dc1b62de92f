"""A request, the candidates for it, and the decision: the nouns that the delivery passes on.

    Request --Recommender--> Candidates --Policy--> Decision --> store, impressions, answer

A recommender orders items and knows no chance; a policy makes the choice and is the only place
where chance enters. The decision keeps the probability with which it was made, so that any
other policy can be judged later from the same log.

Letters: C candidates, k places of the slate.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from adwright.core.clock import Clock
from adwright.core.errors import ValueInvalidError


@dataclass(frozen=True)
class Request:
    """A user is here and k places are free.

    request_id: unique in the log. time: the instant of the request, in UTC. k: places, at
    least 1. context: what is known of the moment, texts and finite numbers; it is logged.
    exclude: items that must not be shown. candidates: the only items that may be shown; None
    is the whole catalogue.

    Raises ValueInvalidError that names the field.
    """

    request_id: str
    user_id: str
    time: datetime
    k: int = 10
    context: Mapping[str, str | float] = field(default_factory=dict)
    exclude: frozenset[str] = frozenset()
    candidates: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        for name, value in (("request_id", self.request_id), ("user_id", self.user_id)):
            if not value:
                raise ValueInvalidError(f"{name} is empty", column=name, hint="give it an id")
        if self.time.utcoffset() != timedelta(0):
            raise ValueInvalidError(
                "the time of a request must be in UTC",
                column="time",
                value=self.time.isoformat(),
                hint="use datetime.now(UTC), or time.astimezone(UTC)",
            )
        if self.k < 1:
            raise ValueInvalidError(
                "a request asks for at least one place", column="k", value=self.k
            )
        for key, what in self.context.items():
            if isinstance(what, int | float) and not math.isfinite(what):
                raise ValueInvalidError(
                    "a number of the context is not finite",
                    column=f"context.{key}",
                    value=what,
                    hint="leave the key out where the number is unknown",
                )
        if self.candidates is not None:
            _check_distinct(self.candidates, "candidates")


@dataclass(frozen=True, eq=False)
class Candidates:
    """The candidates that a recommender offers for a request, best first.

    item_ids: C items, each once. score: [C], finite, higher is better, never rising.
    probability: whether the score is a calibrated probability of the response.
    stage: which order this is: "fine", "coarse" or "popularity".

    Raises ValueInvalidError that names the row.
    """

    item_ids: tuple[str, ...]
    score: NDArray[np.float64]
    probability: bool
    stage: str

    def __post_init__(self) -> None:
        _check_distinct(self.item_ids, "item_ids")
        _check_shape("score", self.score, len(self.item_ids))
        _check_rows("score", self.score, ~np.isfinite(self.score), "a score is not finite")
        rises = np.diff(self.score, prepend=self.score[:1]) > 0
        _check_rows("score", self.score, rises, "candidates must come best first")
        if self.probability:
            outside = (self.score < 0) | (self.score > 1)
            _check_rows("score", self.score, outside, "a probability lies outside 0..1")

    def __len__(self) -> int:
        return len(self.item_ids)


@dataclass(frozen=True)
class ShownCreative:
    """The creative in which the item of a place was shown.

    campaign_id: who pays for it; empty for nobody. chance: above 0 and at most 1, the exact
    probability of this creative given the item.

    Raises ValueInvalidError for another chance, and without a creative's id.
    """

    creative_id: str
    campaign_id: str
    chance: float

    def __post_init__(self) -> None:
        if not self.creative_id:
            raise ValueInvalidError(
                "creative_id is empty", column="creative_id", hint="a place without one is None"
            )
        if not 0 < self.chance <= 1:
            raise ValueInvalidError(
                "the chance of a creative must be above 0 and at most 1",
                column="chance",
                value=self.chance,
            )


@dataclass(frozen=True, eq=False)
class Decision:
    """The slate that was shown, the best place first, and how it came about.

    item_ids: at most k distinct items; fewer where the candidates ran out.
    propensity: [k], the exact probability of this item at this place, given the items at the
    places above; their product is the probability of the slate. score: [k], of the candidates.
    reasons: why each item is there, to be read. stage: that of the candidates. model: name of
    the model that ordered them; empty where it is not said. shown: the creative of each place, or
    None; empty where no place has one.

    Raises ValueInvalidError that names the place, counted from 0.
    """

    request: Request
    policy_id: str
    item_ids: tuple[str, ...]
    propensity: NDArray[np.float64]
    score: NDArray[np.float64]
    reasons: tuple[str, ...]
    stage: str
    model: str = ""
    shown: tuple[ShownCreative | None, ...] = ()

    def __post_init__(self) -> None:
        places = len(self.item_ids)
        _check_distinct(self.item_ids, "item_ids")
        if places > self.request.k:
            raise ValueInvalidError(
                f"the slate has {places} items for {self.request.k} places", column="item_ids"
            )
        _check_shape("propensity", self.propensity, places)
        _check_shape("score", self.score, places)
        _check_rows("score", self.score, ~np.isfinite(self.score), "a score is not finite")
        if len(self.reasons) != places:
            raise ValueInvalidError(
                f"expected {places} reasons and found {len(self.reasons)}", column="reasons"
            )
        if self.shown and len(self.shown) != places:
            raise ValueInvalidError(
                f"expected {places} creatives and found {len(self.shown)}",
                column="shown",
                hint="one a place, None for none",
            )
        outside = ~((self.propensity > 0) & (self.propensity <= 1))
        _check_rows(
            "propensity", self.propensity, outside, "a propensity must be above 0 and at most 1"
        )

    def places(self) -> list[dict[str, Any]]:
        """One object per place, the best first: item_id, position (from 1), propensity, score
        and reason; where a creative is shown also creative_id, campaign_id (None for nobody's) and
        creative_propensity."""
        columns = zip(
            self.item_ids,
            self.propensity.tolist(),
            self.score.tolist(),
            self.reasons,
            strict=True,
        )
        places: list[dict[str, Any]] = [
            {
                "item_id": item_id,
                "position": position,
                "propensity": propensity,
                "score": score,
                "reason": reason,
            }
            for position, (item_id, propensity, score, reason) in enumerate(columns, start=1)
        ]
        for place, creative in zip(places, self.shown, strict=False):
            if creative is not None:
                place["creative_id"] = creative.creative_id
                place["campaign_id"] = creative.campaign_id or None
                place["creative_propensity"] = creative.chance
        return places

    def impressions(self) -> list[dict[str, Any]]:
        """One row per item in the columns of data.schema.EVENT_SCHEMA, kind "impression".

        event_id is "<request_id>-<position>", position counts from 1, and the context is a JSON
        object: the stage, then what the request said. Where a creative is shown, propensity is
        that of the item in its creative, the product of both, and the context's last key
        creative_propensity says the creative's.
        """
        request = self.request
        context = json.dumps({"stage": self.stage, **request.context}, allow_nan=False)
        places = self.places()
        chances = [place.get("creative_propensity") for place in places]
        return [
            {
                "event_id": f"{request.request_id}-{place['position']}",
                "time": request.time,
                "request_id": request.request_id,
                "user_id": request.user_id,
                "kind": "impression",
                "item_id": place["item_id"],
                "creative_id": place.get("creative_id"),
                "campaign_id": place.get("campaign_id"),
                "position": place["position"],
                "propensity": place["propensity"] * (1.0 if chance is None else chance),
                "policy_id": self.policy_id,
                "value": None,
                "context": context
                if chance is None
                else f'{context[:-1]}, "creative_propensity": {chance!r}}}',
            }
            for place, chance in zip(places, chances, strict=True)
        ]


class Recommender(Protocol):
    """Orders the items for a request: the cascade, a rule, a language model."""

    def recommend(self, request: Request) -> Candidates:
        """The candidates, best first, none of them excluded by the request."""


class Policy(Protocol):
    """Makes the choice among candidates; the log names its id."""

    @property
    def policy_id(self) -> str:
        """Names the policy and its settings in the log."""

    def decide(
        self, request: Request, candidates: Candidates, rng: np.random.Generator
    ) -> Decision:
        """The slate, with exact propensities; all chance comes from `rng`."""


def _check_distinct(ids: Sequence[str], name: str) -> None:
    if len(set(ids)) == len(ids):
        return
    seen: set[str] = set()
    for row, item_id in enumerate(ids):
        if item_id in seen:
            raise ValueInvalidError(
                "an item stands twice", row=row, column=name, value=item_id, hint="keep the first"
            )
        seen.add(item_id)


def _check_shape(name: str, values: NDArray[np.float64], rows: int) -> None:
    if values.shape != (rows,):
        raise ValueInvalidError(
            f"expected shape ({rows},) and found {values.shape}",
            column=name,
            hint="one number per item",
        )


def _check_rows(
    name: str, values: NDArray[np.float64], wrong: NDArray[np.bool_], what: str
) -> None:
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueInvalidError(what, row=row, column=name, value=float(values[row]))


# --------------------------------------------------------------------------------------------------
# A deadline: the instant by which an answer must be there, on the scale of a given clock.
#
# It is passed down with a batch of requests. A recommender that cannot finish in time answers with
# less: the coarse order instead of the fine one, or the most popular items.


@dataclass(frozen=True)
class Deadline:
    """An instant on the scale of `clock.monotonic()`, in seconds."""

    at: float
    clock: Clock

    @classmethod
    def after(cls, seconds: float, clock: Clock) -> Deadline:
        """The deadline `seconds` from now; zero or less has passed already."""
        return cls(clock.monotonic() + seconds, clock)

    def remaining(self) -> float:
        """Seconds that are left; negative once it has passed."""
        return self.at - self.clock.monotonic()

    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0
