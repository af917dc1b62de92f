"""What comes in and goes out over HTTP: every field, its limits and an example.

The limits are part of the contract, so they stand here and in the OpenAPI, not in a setting.
Unknown fields are refused. What an id is stands in `data.ids`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

from adwright.data.campaigns import PricedKind
from adwright.data.ids import LONGEST_ID, PRINTABLE, why_no_id
from adwright.data.schema import EventKind
from adwright.data.stops import Stops
from adwright.delivery.decision import Decision

ID_LENGTH = LONGEST_ID
MAX_PLACES = 100
MAX_IDS = 5_000
MAX_EVENTS = 1_000
MAX_CAMPAIGNS = 1_000
MAX_STOPS = 1_000
#: Seconds that the answer to a stop may wait for other processes.
MAX_WAIT = 30
_MAX_UNDOES = 100
_REQUEST_ID_LENGTH = ID_LENGTH - 8  # an impression's id adds a dash and the place
_CONTEXT_KEYS = 32
_CONTEXT_TEXT = 256
_NUMBER = 1e15
#: Allowed values of a key that a campaign is targeted by.
_VALUES = 1_000
#: The years of a time, for the OpenAPI.
_YEARS: dict[str, Any] = {"pattern": r"^(19[789]\d|20\d\d|21\d\d)-"}
#: Keys with an underscore in front are the service's own.
_CONTEXT_KEY = r"^[^_\x00-\x1f\x7f][^\x00-\x1f\x7f]*$"
_PRINTABLE_OR_EMPTY = r"^[^\x00-\x1f\x7f]*$"


def _text_only(value: object) -> object:
    # Pydantic would read a bare number as seconds since 1970.
    if not isinstance(value, str | datetime):
        raise ValueError("must be text as in RFC 3339, with a timezone")
    return value


def _from_json(value: object) -> object:
    return json.loads(value) if isinstance(value, str) else value


def _in_utc(value: datetime) -> datetime:
    # The years first: near the ends of the calendar a change of zone overflows.
    if not 1970 <= value.year <= 2199:
        raise ValueError("the year must be between 1970 and 2199")
    return value.astimezone(UTC)


def _an_id(value: str) -> str:
    if why := why_no_id(value):
        raise ValueError(f"must be an id: {why}")
    return value


Id = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=ID_LENGTH, pattern=PRINTABLE),
    AfterValidator(_an_id),
]
_RequestId = Annotated[
    str,
    StringConstraints(strict=True, min_length=1, max_length=_REQUEST_ID_LENGTH, pattern=PRINTABLE),
    AfterValidator(_an_id),
]
_Text = Annotated[
    str, StringConstraints(strict=True, max_length=_CONTEXT_TEXT, pattern=_PRINTABLE_OR_EMPTY)
]
_Amount = Annotated[float, Field(strict=True, ge=1e-6, le=_NUMBER, allow_inf_nan=False)]
_Number = Annotated[float, Field(strict=True, ge=-_NUMBER, le=_NUMBER, allow_inf_nan=False)]
_Time = Annotated[
    AwareDatetime,
    BeforeValidator(_text_only),
    AfterValidator(_in_utc),
    Field(description="With a timezone, in the years 1970 to 2199.", json_schema_extra=_YEARS),
]
_ContextKey = Annotated[
    str, StringConstraints(strict=True, min_length=1, max_length=64, pattern=_CONTEXT_KEY)
]
Context = Annotated[dict[_ContextKey, _Text | _Number], Field(max_length=_CONTEXT_KEYS)]
# Of thousands of wrong ids, the first is enough.
_Ids = Annotated[list[Id], Field(max_length=MAX_IDS, fail_fast=True)]


class StrictBody(BaseModel):
    """What comes in or goes out; a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def example_of(body: dict[str, Any]) -> ConfigDict:
    """The configuration of a body that the OpenAPI shows this example of."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class DecideIn(StrictBody):
    """Somebody is here, and `k` places are free."""

    model_config = example_of(
        {
            "request_id": "visit-2024-06-01-0001",
            "user_id": "household-17",
            "time": "2024-06-01T18:30:00Z",
            "k": 10,
            "context": {"store": "367", "page": "start"},
            "exclude": ["1029743"],
        }
    )
    request_id: Annotated[
        _RequestId,
        Field(
            description=(
                "Yours, unique within the tenant. Sent again, it gets the recorded decision; sent "
                "again for another user_id, it is refused with 409."
            )
        ),
    ]
    user_id: Id
    time: Annotated[
        _Time | None, Field(description="The moment of it; now where it is absent, or lies ahead.")
    ] = None
    k: Annotated[int, Field(strict=True, ge=1, le=MAX_PLACES, description="Places to fill.")] = 10
    context: Annotated[Context, Field(description="What is known of the moment; logged.")] = {}
    exclude: Annotated[_Ids, Field(description="Items that must not be shown.")] = []
    candidates: Annotated[
        _Ids | None,
        Field(
            description="The only items that may be shown, none twice; null: all of them.",
            json_schema_extra={"uniqueItems": True},
        ),
    ] = None
    deadline_ms: Annotated[
        _Number | None,
        Field(
            ge=1,
            description=(
                "Time for the answer. Where it is short, the slate comes from the coarse order, "
                "then from popularity; `stage` says which. Cut to the service's maximum."
            ),
        ),
    ] = None

    @model_validator(mode="after")
    def _candidates_once(self) -> DecideIn:
        if self.candidates is not None and len(set(self.candidates)) < len(self.candidates):
            raise ValueError("an item stands twice in candidates")
        return self


class AdToShow(StrictBody):
    """The creative in which an item is shown."""

    slots: dict[str, str] = Field(description="The texts: headline, description, body ...")
    image_hash: str | None = Field(description="SHA-256 of the image file.")
    landing: str | None = Field(description="The address to which a click leads.")
    label: str | None = Field(description="What has to be said, where a model made it.")
    click: str = Field(
        description="Path of this service that notes the click, once, and leads to `landing`."
    )


class Place(StrictBody):
    """One place of the slate."""

    item_id: str
    position: int = Field(description="Counts from 1, the best place.")
    propensity: float = Field(description="Probability of this item here, given those above.")
    score: float
    reason: str
    creative_id: str | None = Field(None, description="Absent where the item has no live ad.")
    campaign_id: str | None = Field(None, description="Who pays for it.")
    creative_propensity: float | None = Field(
        None, description="Probability of this creative, given the item."
    )
    creative: AdToShow | None = Field(None, description="What to show.")


class DecideOut(StrictBody):
    """The slate, as it was recorded. Its impressions are in the log already."""

    model_config = example_of(
        {
            "request_id": "visit-2024-06-01-0001",
            "policy_id": "greedy",
            "model": "v12",
            "stage": "fine",
            "items": [
                {
                    "item_id": "1082185",
                    "position": 1,
                    "propensity": 1.0,
                    "score": 0.31,
                    "reason": "highest score",
                }
            ],
        }
    )
    request_id: str
    policy_id: str
    model: str = Field(description="Name of the model that decided.")
    stage: str = Field(description='Which order this is: "fine", "coarse" or "popularity".')
    items: list[Place]


class EventIn(StrictBody):
    """One thing that happened, in the columns of the event log."""

    event_id: Annotated[Id, Field(description="Yours, unique within the tenant.")]
    time: _Time
    request_id: Annotated[Id, Field(description="The visit, page or slate that it belongs to.")]
    user_id: Id
    kind: Annotated[
        EventKind,
        Field(
            description=(
                "A stop takes the item out of decisions from its arrival on, or one creative of "
                "the item where creative_id names it. user_id is who stopped it, and context may "
                "say why. With value 0 it takes earlier stops of the same item and creative back: "
                "those that `undoes` names, or else those of the same user_id. The item is shown "
                "again when no stop of it is left. A return takes back the user's latest earlier "
                "purchase of the item."
            )
        ),
    ]
    item_id: Id
    creative_id: Id | None = None
    campaign_id: Id | None = None
    position: Annotated[int | None, Field(strict=True, ge=0, le=2**31 - 1)] = None
    propensity: Annotated[float | None, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] = None
    policy_id: Id | None = None
    value: _Number | None = None
    context: Context | None = None
    undoes: Annotated[
        list[Id] | None,
        Field(
            min_length=1,
            max_length=_MAX_UNDOES,
            description="Of a stop with value 0: the event_id of each stop that it takes back.",
        ),
    ] = None

    @model_validator(mode="after")
    def _undoes_as_a_stop(self) -> EventIn:
        if self.undoes is not None and not (self.kind == "stop" and self.value == 0):
            raise ValueError("undoes is for events of kind stop with value 0")
        return self


class EventsIn(StrictBody):
    """A batch of events. It is safe to send it again: an event_id counts once."""

    model_config = example_of(
        {
            "events": [
                {
                    "event_id": "click-0001",
                    "time": "2024-06-01T18:30:07Z",
                    "request_id": "visit-2024-06-01-0001",
                    "user_id": "household-17",
                    "kind": "click",
                    "item_id": "1082185",
                    "position": 1,
                }
            ]
        }
    )
    events: Annotated[list[EventIn], Field(min_length=1, max_length=MAX_EVENTS)]


class StopsInForce(StrictBody):
    """How far the stops of a batch, and what it took back, have come."""

    in_force: bool = Field(description="Every process that lives obeys them.")
    replicas: int = Field(description="Processes that obey them.")
    of: int | None = Field(description="Processes that live; null: the store does not say now.")
    hidden: list[str] = Field(
        description="Those items of the batch that are not shown now, since a stop is left."
    )


class EventsOut(StrictBody):
    """All events of the batch are stored durably; `duplicates` were there before."""

    model_config = example_of({"accepted": 1, "duplicates": 0, "conflicts": 0})
    accepted: int
    duplicates: int
    conflicts: int = Field(
        description="Those of the duplicates that differ from what is stored, which is kept."
    )
    stops: StopsInForce | None = Field(default=None, description="Of a batch with stops alone.")


_STOP: dict[str, Any] = {
    "event_id": "stop-0001",
    "time": "2024-06-01T18:30:07Z",
    "stopped_by": "rule:wear-out",
    "why": {"reason": "wear-out", "days_left": 2},
}


class StopOut(StrictBody):
    """A stop that stands."""

    event_id: str
    time: datetime = Field(description="Its own, or that of its arrival where that was earlier.")
    stopped_by: str = Field(description="The user_id of the event: a person or a rule.")
    why: dict[str, Any] | None = Field(description="The context of the event.")


class StoppedCreative(StopOut):
    """A creative that is stopped itself."""

    creative_id: str


class StoppedItem(StrictBody):
    """An item that is stopped, or some of whose creatives are."""

    item_id: str
    hidden: bool = Field(
        description="It is not shown: it is stopped itself, or all its creatives are."
    )
    stops: list[StopOut] = Field(description="Those of the item itself, the oldest first.")
    creatives: list[StoppedCreative]


class StopsOut(StrictBody):
    """What is stopped of the tenant's, by item."""

    model_config = example_of(
        {
            "at": "2024-06-01T18:30:08Z",
            "items": [{"item_id": "1029743", "hidden": True, "stops": [_STOP], "creatives": []}],
        }
    )
    at: datetime = Field(description="When this process last asked the store for stops.")
    items: list[StoppedItem]


class ActionOut(StrictBody):
    """Something that was done."""

    number: int
    time: datetime
    key_id: str | None = Field(description="Null: not over HTTP, but beside the store itself.")
    what: str
    subject: str = Field(description="The key, event, campaign, model or run.")
    detail: str | None


class ActionsOut(StrictBody):
    """What was done with a tenant's keys, and by whoever has its store; the newest first."""

    actions: list[ActionOut]


class SimilarItem(StrictBody):
    """A neighbour and its similarity; higher is nearer."""

    item_id: str
    score: float


class SimilarOut(StrictBody):
    """The nearest items, nearest first, without the item itself."""

    model_config = example_of(
        {"item_id": "1082185", "items": [{"item_id": "981760", "score": 0.87}]}
    )
    item_id: str
    items: list[SimilarItem]


class CampaignIn(StrictBody):
    """A campaign. Sent again with the same id, it replaces what was stored."""

    model_config = example_of(
        {
            "campaign_id": "summer-18",
            "start": "2024-06-01T00:00:00Z",
            "end": "2024-07-01T00:00:00Z",
            "type": "TypeA",
            "budget": 500.0,
            "price": 0.002,
            "cap": 3,
            "targeting": {"page": ["start", "search"]},
        }
    )
    campaign_id: Id
    start: _Time
    end: Annotated[
        _Time | None, Field(description="The first instant after it; null while it runs.")
    ] = None
    type: Id | None = None
    budget: Annotated[
        _Amount | None, Field(description="What it may spend in all; it needs a price.")
    ] = None
    price: Annotated[
        _Amount | None, Field(description="Of each impression or click; exact to a millionth.")
    ] = None
    per: Annotated[
        PricedKind | None, Field(description="What costs the price; null: impression.")
    ] = None
    cap: Annotated[
        int | None,
        Field(
            strict=True,
            ge=1,
            le=2**31 - 1,
            description="Most impressions to one person in any `cap_hours`.",
        ),
    ] = None
    cap_hours: Annotated[_Amount | None, Field(description="Null: 24.")] = None
    targeting: Annotated[
        dict[_ContextKey, Annotated[list[_Text | _Number], Field(min_length=1, max_length=_VALUES)]]
        | None,
        Field(
            max_length=_CONTEXT_KEYS,
            description="Key of a request's context -> values with which its ads may be shown.",
        ),
    ] = None

    @model_validator(mode="after")
    def _fits_together(self) -> CampaignIn:
        if self.end is not None and self.end < self.start:
            raise ValueError("end must not be before start")
        if self.budget is not None and self.price is None:
            raise ValueError("nothing draws on a budget without a price")
        return self


class CampaignOut(StrictBody):
    """A stored campaign."""

    campaign_id: str
    start: datetime
    end: datetime | None
    type: str | None
    budget: float | None
    price: float | None
    per: str | None
    cap: int | None
    cap_hours: float | None
    targeting: Annotated[dict[str, list[str | float]] | None, BeforeValidator(_from_json)]
    spent: float = Field(description="What it has spent, by all processes.")


class CampaignsOut(StrictBody):
    """The tenant's campaigns, by id."""

    campaigns: list[CampaignOut]


class ModelOut(StrictBody):
    """The tenant's model, and what became of the newest one that was put in its place."""

    name: str | None = Field(description="The model that decides; null: none.")
    id: str | None = Field(description="Hash of its artifact.")
    kind: str | None
    since: datetime | None
    refused: str | None = Field(description="Name of a newer one that could not be loaded.")
    reason: str | None = Field(description="Why it was refused.")
    hung: bool = Field(
        description="A call to it does not end: it is set aside, and popularity decides."
    )


class ModelsOut(StrictBody):
    """One entry per model of the tenant."""

    models: list[ModelOut]


class HealthOut(StrictBody):
    """The process is alive."""

    status: Literal["ok"]


class ReadyOut(StrictBody):
    """Whether this process should be sent requests, and why not."""

    status: Literal["ready", "not_ready"]
    store: bool = Field(description="The store answers.")
    models: int = Field(description="Models that are loaded.")
    refused: int = Field(description="Newer models that could not be loaded; the old ones go on.")
    hung: int = Field(description="Models that hang; popularity decides in their place.")
    draining: bool


# --------------------------------------------------------------------------------------------------
# Turn decisions and stops into bodies of answers, and events of requests into rows of the log.


def decision_answer(decision: Decision, shown: Sequence[Mapping[str, Any] | None] = ()) -> bytes:
    """The body of the answer, in the shape of DecideOut: the same bytes for the same decision,
    whether it was just made or comes out of the store. shown: what to show at each place."""
    places = decision.places()
    for place, said in zip(places, shown, strict=False):
        if said is not None:
            place["creative"] = said
    answer = {
        "request_id": decision.request.request_id,
        "policy_id": decision.policy_id,
        "model": decision.model,
        "stage": decision.stage,
        "items": places,
    }
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def event_row(event: EventIn) -> dict[str, Any]:
    """The event in the columns of EVENT_SCHEMA."""
    row = dict(event.__dict__)  # a model without extra fields keeps there just its fields
    context = event.context
    if (undoes := row.pop("undoes")) is not None:
        context = {**(context or {}), "undoes": undoes}
    if context is not None:
        row["context"] = json.dumps(context, allow_nan=False)
    return row


def stops_out(stops: Stops | None, at: datetime, *, after: str | None, limit: int) -> StopsOut:
    """At most `limit` of the items after the id `after`, by id, as they were known at a moment."""
    if stops is None:
        return StopsOut(at=at, items=[])
    table = stops.table if after is None else stops.table.filter(pl.col("item_id") > after)
    ids = table["item_id"].unique(maintain_order=True).head(limit)
    items: dict[str, StoppedItem] = {
        item_id: StoppedItem(item_id=item_id, hidden=item_id in stops.items, stops=[], creatives=[])
        for item_id in ids
    }
    for row in table.filter(pl.col("item_id").is_in(ids.implode())).iter_rows(named=True):
        item = items[row["item_id"]]
        fields = {"event_id": row["event_id"], "time": row["time"], "stopped_by": row["user_id"]}
        fields["why"] = None if row["context"] is None else json.loads(row["context"])
        if row["creative_id"] is None:
            item.stops.append(StopOut(**fields))
        else:
            item.creatives.append(StoppedCreative(creative_id=row["creative_id"], **fields))
    return StopsOut(at=at, items=list(items.values()))
