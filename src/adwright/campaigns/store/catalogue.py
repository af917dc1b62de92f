"""A tenant's campaigns and creatives, in the columns of data.schema."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from sqlalchemy import Connection, Table, select
from sqlalchemy import Row as SqlRow

from adwright.campaigns.store.events import check_storable, frame_of
from adwright.campaigns.store.tables import (
    CAMPAIGNS,
    CREATIVES,
    DECISIONS,
    frame_of_rows,
    from_micros,
    insert_of,
    of_tenant,
    portions,
    to_micros,
)
from adwright.core.errors import ValueInvalidError
from adwright.data.ids import LONGEST_ID
from adwright.data.schema import (
    CAMPAIGN_SCHEMA,
    CREATIVE_SCHEMA,
    TIME,
    Check,
    empty_table,
    in_file,
    run_checks,
    validate_campaigns,
    validate_creatives,
)
from adwright.delivery.decision import Decision, Request, ShownCreative

_IDS = {"campaign_id": LONGEST_ID}


def campaign_rows(campaigns: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Campaigns in CAMPAIGN_SCHEMA, checked; targeting may be a mapping. Raises as
    `data.schema.validate_campaigns`, and for a budget that nothing draws on, or that is below the
    price."""
    frame = validate_campaigns(frame_of([_as_text(one) for one in campaigns], CAMPAIGN_SCHEMA))
    check_storable(frame, longest=_IDS)
    unspent = pl.col("budget").is_not_null() & pl.col("price").is_null()
    what, hint = "nothing draws on a budget without a price", "say the price, and per what"
    checks = [Check("budget", unspent, what, hint)]
    below = "a budget below the bid: it pays for nothing"
    raised = "raise the budget, or lower the price"
    checks.append(Check("budget", pl.col("budget") < pl.col("price"), below, raised))
    run_checks(frame.lazy(), checks, in_file(""))
    return frame


def _as_text(campaign: Mapping[str, object]) -> Mapping[str, object]:
    if not isinstance(campaign, Mapping) or not isinstance(campaign.get("targeting"), Mapping):
        return campaign
    try:
        said = json.dumps(campaign["targeting"], ensure_ascii=False)
    except (TypeError, ValueError) as error:
        what, hint = f"targeting is no JSON: {error}", "give lists of texts and numbers"
        raise ValueInvalidError(what, column="targeting", hint=hint) from error
    return {**campaign, "targeting": said}


def creative_rows(creatives: Sequence[Mapping[str, object]]) -> pl.DataFrame:
    """Creatives in CREATIVE_SCHEMA, checked; raises as `data.schema.validate_creatives`."""
    frame = validate_creatives(frame_of(creatives, CREATIVE_SCHEMA))
    check_storable(frame, longest={"creative_id": LONGEST_ID, **_IDS})
    return frame


def upsert_campaigns(connection: Connection, tenant: str, campaigns: pl.DataFrame) -> None:
    """Insert the campaigns; one that is there takes the new values."""
    micros = pl.col("start", "end").dt.epoch("us")
    rows = campaigns.sort("campaign_id").with_columns(micros).to_dicts()
    if not rows:
        return
    statement = insert_of(connection, CAMPAIGNS)
    changed = {name: statement.excluded[name] for name in CAMPAIGN_SCHEMA.names[1:]}
    connection.execute(
        statement.on_conflict_do_update(index_elements=["tenant", "campaign_id"], set_=changed),
        [{"tenant": tenant, **row} for row in rows],
    )


def upsert_creatives(connection: Connection, tenant: str, creatives: pl.DataFrame) -> None:
    """Insert the creatives; one that is there already must be the same, for creatives never
    change: an edit is another creative.

    Raises ValueInvalidError where it is not, and for a campaign that the tenant does not have.
    """
    check_campaigns_known(connection, tenant, creatives)
    rows = [{"tenant": tenant, **row} for row in creatives.sort("creative_id").to_dicts()]
    insert_ignoring(connection, CREATIVES, rows)
    ids = creatives["creative_id"].to_list()
    kept = select_table(connection, CREATIVES, CREATIVE_SCHEMA, tenant, ids=ids).rows_by_key(
        "creative_id", named=True, unique=True, include_key=True
    )
    for number, row in enumerate(creatives.iter_rows(named=True)):
        if kept[row["creative_id"]] != row:
            raise ValueInvalidError(
                "there is another creative of this id",
                row=number,
                column="creative_id",
                value=row["creative_id"],
                hint="a creative never changes: give the edited one an id of its own",
            )


def select_table(
    connection: Connection,
    table: Table,
    schema: pa.Schema,
    tenant: str,
    *,
    ids: Sequence[str] | None = None,
    after: str | None = None,
    limit: int | None = None,
) -> pl.DataFrame:
    """The tenant's rows of a small table in the columns of `schema`, by id.

    ids: only these; None is all. after, limit: at most so many after an id, in the order of the
    database, which is that of its index: a page costs what is in it, however long the table.
    """
    columns = [table.c[name] for name in schema.names]
    query = select(*columns).where(*of_tenant(table, tenant))
    if after is not None or limit is not None:
        page = query.order_by(columns[0]).limit(limit)
        page = page if after is None else page.where(columns[0] > after)
        return _frame(connection.execute(page).all(), schema)
    chosen = [query]
    if ids is not None:
        chosen = [query.where(columns[0].in_(some)) for some in portions(ids)]
    rows = [row for one in chosen for row in connection.execute(one)]
    return _frame(rows, schema).sort(schema.names[0])


def _frame(rows: Sequence[SqlRow[Any]], schema: pa.Schema) -> pl.DataFrame:
    times = [field.name for field in schema if field.type == TIME]
    return frame_of_rows(rows, empty_table(schema).schema, times=times)


def insert_ignoring(
    connection: Connection, table: Table, rows: Sequence[Mapping[str, object]]
) -> int:
    """Insert the rows whose primary key is new; how many these are.

    rows: sorted by that key, so that two transactions never wait for each other.
    """
    if not rows:
        return 0
    statement = insert_of(connection, table).on_conflict_do_nothing()
    keys = connection.execute(statement.returning(*table.primary_key), list(rows))
    return len(keys.all())


def check_campaigns_known(connection: Connection, tenant: str, creatives: pl.DataFrame) -> None:
    """Raise ValueInvalidError for the first creative of a campaign that the tenant lacks."""
    wanted = creatives["campaign_id"].drop_nulls().unique().to_list()
    known = set(
        select_table(connection, CAMPAIGNS, CAMPAIGN_SCHEMA, tenant, ids=wanted)["campaign_id"]
    )
    for number, campaign_id in enumerate(creatives["campaign_id"]):
        if campaign_id is not None and campaign_id not in known:
            raise ValueInvalidError(
                "there is no such campaign",
                row=number,
                column="campaign_id",
                value=campaign_id,
                hint="put the campaign first, or leave campaign_id empty",
            )


# --------------------------------------------------------------------------------------------------
# Decisions in and out of the store: what was shown to whom, and with which probability.
#
# A row has the columns of the table `decisions`. Its slate is a JSON list of the places from the
# best, each an object with item_id, position (from 1), propensity, score and reason, and where a
# creative is shown with creative_id, campaign_id and creative_propensity; its context is a JSON
# object, that of the request and the name of the model.

Row = dict[str, Any]

#: Where the model's name stands in the context; keys of requests over HTTP cannot begin so.
_MODEL = "_model"
#: NUL, which PostgreSQL refuses, and halves of surrogate pairs, which are no characters.
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")
_SLATE = pl.List(
    pl.Struct(
        {
            "item_id": pl.String,
            "position": pl.Int32,
            "propensity": pl.Float64,
            "score": pl.Float64,
            "reason": pl.String,
            "creative_id": pl.String,
            "campaign_id": pl.String,
            "creative_propensity": pl.Float64,
        }
    )
)
#: The columns of a table of decisions.
DECISION_TYPES = {
    "request_id": pl.String(),
    "time": pl.Datetime("us", "UTC"),
    "user_id": pl.String(),
    "policy_id": pl.String(),
    "stage": pl.String(),
    "slate": _SLATE,
    "context": pl.String(),
}


def decision_row(decision: Decision) -> Row:
    """The row of a decision, without its tenant.

    Raises ValueInvalidError that names the column for a text that a database cannot keep.
    """
    request = decision.request
    ids = {
        "request_id": request.request_id,
        "user_id": request.user_id,
        "policy_id": decision.policy_id,
        "stage": decision.stage,
    }
    context = {**request.context, **({_MODEL: decision.model} if decision.model else {})}
    return {
        **{name: storable(text, name, longest=LONGEST_ID) for name, text in ids.items()},
        "time": to_micros(request.time),
        "slate": storable(_json(decision.places()), "slate"),
        "context": storable(_json(context), "context"),
    }


def decision_of(row: Row) -> Decision:
    """The decision of a row. Of its request the row does not tell which items were allowed, nor
    how many places there were beyond those that were filled."""
    slate = json.loads(row["slate"])
    context = json.loads(row["context"] or "{}")
    model = context.pop(_MODEL, "")
    shown = tuple(
        ShownCreative(
            place["creative_id"], place["campaign_id"] or "", place["creative_propensity"]
        )
        if "creative_id" in place
        else None
        for place in slate
    )
    return Decision(
        Request(
            row["request_id"],
            row["user_id"],
            from_micros(row["time"]),
            k=max(1, len(slate)),
            context=context,
        ),
        row["policy_id"],
        tuple(place["item_id"] for place in slate),
        np.array([place["propensity"] for place in slate], np.float64),
        np.array([place["score"] for place in slate], np.float64),
        tuple(place["reason"] for place in slate),
        row["stage"],
        model,
        shown if any(shown) else (),
    )


def insert_decisions(connection: Connection, tenant: str, rows: Sequence[Row]) -> list[Row]:
    """Insert the rows whose request_id the tenant never sent before; for each of `rows` the one
    that now stands under its id."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["request_id"], {"tenant": tenant, **row})
    accepted = insert_ignoring(connection, DECISIONS, [first[key] for key in sorted(first)])
    if accepted == len(rows):
        return list(rows)
    stands = _stored(connection, tenant, list(first))
    return [stands[row["request_id"]] for row in rows]


def read_decisions(
    connection: Connection,
    tenant: str,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
) -> pl.DataFrame:
    """The tenant's decisions in the columns of DECISION_TYPES, oldest first.

    since: the first instant. until: the first instant after the last.
    """
    columns = [DECISIONS.c[name] for name in DECISION_TYPES]
    query = select(*columns).where(*of_tenant(DECISIONS, tenant, since, until))
    rows = connection.execute(query.order_by(DECISIONS.c.time, DECISIONS.c.request_id)).all()
    frame = frame_of_rows(rows, {**DECISION_TYPES, "slate": pl.String()})
    return frame.with_columns(pl.col("slate").str.json_decode(_SLATE))


def read_decision(connection: Connection, tenant: str, request_id: str) -> Row | None:
    """The row of one decision; None where there is none."""
    return _stored(connection, tenant, [request_id]).get(request_id)


def _stored(connection: Connection, tenant: str, request_ids: Sequence[str]) -> dict[str, Row]:
    """The rows of these ids, without their tenant."""
    columns = [column for column in DECISIONS.c if column.name != "tenant"]
    query = select(*columns).where(*of_tenant(DECISIONS, tenant))
    found: dict[str, Row] = {}
    for some in portions(request_ids):
        chosen = query.where(DECISIONS.c.request_id.in_(some))
        for row in connection.execute(chosen).mappings():
            found[row["request_id"]] = dict(row)
    return found


def _json(value: object) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True)


def storable(text: str, column: str, *, longest: int | None = None) -> str:
    """The text. Raises ValueInvalidError for one that a database cannot keep, or is too long."""
    if longest is not None and len(text) > longest:
        what = f"{column} must have at most {longest} characters"
        raise ValueInvalidError(what, column=column, value=text, hint="use a shorter one")
    if _UNSTORABLE.search(text):
        what = f"{column} holds a character that no database keeps"
        raise ValueInvalidError(what, column=column, value=text, hint="remove it")
    return text
