"""Decisions in and out of the store: what was shown to whom, and with which probability.

A row has the columns of the table `decisions`. Its slate is a JSON list of the places from the
best, each an object with item_id, position (from 1), propensity, score and reason; its context is
a JSON object, that of the request and the name of the model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from sqlalchemy import Connection, select

from adwright.campaigns.store.catalogue import insert_ignoring
from adwright.campaigns.store.queries import frame_of_rows, of_tenant, portions
from adwright.campaigns.store.tables import DECISIONS
from adwright.campaigns.store.times import from_micros, to_micros
from adwright.core.errors import ValueInvalidError
from adwright.data.ids import LONGEST_ID
from adwright.delivery.decision import Decision, Request

__all__ = ["DECISION_TYPES", "decision_of", "decision_row", "insert_decisions", "read_decisions"]

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
        **{name: _storable(text, name, longest=LONGEST_ID) for name, text in ids.items()},
        "time": to_micros(request.time),
        "slate": _storable(_json(decision.places()), "slate"),
        "context": _storable(_json(context), "context"),
    }


def decision_of(row: Row) -> Decision:
    """The decision of a row. Of its request the row does not tell which items were allowed, nor
    how many places there were beyond those that were filled."""
    slate = json.loads(row["slate"])
    context = json.loads(row["context"] or "{}")
    model = context.pop(_MODEL, "")
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
    )


def insert_decisions(
    connection: Connection, tenant: str, rows: Sequence[Row]
) -> tuple[int, list[Row]]:
    """Insert the rows whose request_id the tenant never sent before.

    Returns how many these are, and for each of `rows` the one that now stands under its id.
    """
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row["request_id"], {"tenant": tenant, **row})
    accepted = insert_ignoring(connection, DECISIONS, [first[key] for key in sorted(first)])
    if accepted == len(rows):
        return accepted, list(rows)
    stands = _stored(connection, tenant, list(first))
    return accepted, [stands[row["request_id"]] for row in rows]


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


def _storable(text: str, column: str, *, longest: int | None = None) -> str:
    if longest is not None and len(text) > longest:
        what = f"{column} must have at most {longest} characters"
        raise ValueInvalidError(what, column=column, value=text, hint="use a shorter one")
    if _UNSTORABLE.search(text):
        what = f"{column} holds a character that no database keeps"
        raise ValueInvalidError(what, column=column, value=text, hint="remove it")
    return text
