"""Decisions in and out of the store: what was shown to whom, and with which probability.

A decision is a mapping with request_id, user_id, time, policy_id, stage, slate and, if there is
any, context. The slate lists the places from the best, each an object with item_id, position
(from 1), propensity, score and, if there is any, reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import inf, isfinite
from typing import Any

import polars as pl
from sqlalchemy import Connection, select, tuple_

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.catalogue import LONGEST_ID, insert_ignoring
from adwright.campaigns.store.tables import DECISIONS
from adwright.campaigns.store.times import to_micros
from adwright.core.errors import SchemaError, ValueInvalidError
from adwright.data.columns import NOT_IDS
from adwright.delivery.decision import Decision

__all__ = ["DECISION_TYPES", "decision_row", "decision_rows", "insert_decisions", "read_decisions"]

_TEXTS = ("request_id", "user_id", "policy_id", "stage")
_NAMES = frozenset({*_TEXTS, "time", "slate", "context"})
_PLACE = frozenset({"item_id", "position", "propensity", "score", "reason"})
_AT_ONCE = 1_000
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


def decision_row(decision: Decision) -> dict[str, Any]:
    """The mapping of a decision that a policy has made."""
    request = decision.request
    places = zip(
        decision.item_ids, decision.propensity, decision.score, decision.reasons, strict=True
    )
    return {
        "request_id": request.request_id,
        "user_id": request.user_id,
        "time": request.time,
        "policy_id": decision.policy_id,
        "stage": decision.stage,
        "slate": [
            {
                "item_id": item_id,
                "position": position,
                "propensity": float(propensity),
                "score": float(score),
                "reason": reason,
            }
            for position, (item_id, propensity, score, reason) in enumerate(places, start=1)
        ],
        "context": dict(request.context),
    }


def decision_rows(decisions: Sequence[Mapping[str, object]]) -> list[dict[str, Any]]:
    """Decisions as the database keeps them, after checking them.

    slate and context may also be given as the text of their JSON.
    Raises SchemaError for a column that is missing, unknown or of another type, and
    ValueInvalidError for an empty or overlong id, a propensity outside (0, 1], a score that is
    not finite. Each names the row and the column.
    """
    return [_decision(decision, row) for row, decision in enumerate(decisions)]


def insert_decisions(
    connection: Connection, tenant: str, rows: Sequence[Mapping[str, Any]]
) -> Recorded:
    """Insert those whose request_id the tenant never sent before."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        first.setdefault(row["request_id"], {"tenant": tenant, **row})
    accepted = insert_ignoring(connection, DECISIONS, [first[key] for key in sorted(first)])
    if accepted == len(rows):
        return Recorded(accepted, 0)
    kept = {**first, **_kept(connection, tenant, list(first))}
    differing = sum(kept[row["request_id"]] != {"tenant": tenant, **row} for row in rows)
    return Recorded(accepted, len(rows) - accepted, differing)


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
    query = select(*columns).where(DECISIONS.c.tenant == tenant)
    if since is not None:
        query = query.where(DECISIONS.c.time >= to_micros(since))
    if until is not None:
        query = query.where(DECISIONS.c.time < to_micros(until))
    rows = connection.execute(query.order_by(DECISIONS.c.time, DECISIONS.c.request_id)).all()
    types = {**DECISION_TYPES, "time": pl.Int64(), "slate": pl.String()}
    frame = pl.DataFrame([tuple(row) for row in rows], schema=types, orient="row")
    return frame.with_columns(
        pl.from_epoch("time", "us").dt.replace_time_zone("UTC"),
        pl.col("slate").str.json_decode(_SLATE),
    )


def _kept(
    connection: Connection, tenant: str, request_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    kept = {}
    for start in range(0, len(request_ids), _AT_ONCE):
        keys = [(tenant, one) for one in request_ids[start : start + _AT_ONCE]]
        key = tuple_(DECISIONS.c.tenant, DECISIONS.c.request_id)
        for row in connection.execute(select(DECISIONS).where(key.in_(keys))).mappings():
            kept[row["request_id"]] = dict(row)
    return kept


def _decision(decision: Mapping[str, object], row: int) -> dict[str, Any]:
    missing = sorted(_NAMES - decision.keys() - {"context"})
    unknown = sorted(decision.keys() - _NAMES)
    if missing or unknown:
        what = f"{missing[0]} is missing" if missing else f"{unknown[0]} is not known"
        raise SchemaError(
            f"a decision's column {what}",
            row=row,
            column=(missing or unknown)[0],
            hint=f"the columns are {', '.join(sorted(_NAMES))}",
        )
    time = decision["time"]
    if not isinstance(time, datetime):
        raise SchemaError("the time must be a datetime", row=row, column="time", value=time)
    context = decision.get("context")
    return {
        **{name: _text(decision[name], row, name) for name in _TEXTS},
        "time": to_micros(time),
        "slate": _slate(decision["slate"], row),
        "context": None if context is None else _json(_loaded(context, dict, row, "context"), row),
    }


def _slate(slate: object, row: int) -> str:
    places = _loaded(slate, list, row, "slate")
    return _json([_place(place, row) for place in places], row)


def _place(place: object, row: int) -> dict[str, Any]:
    if not isinstance(place, dict) or not _PLACE - {"reason"} <= place.keys() <= _PLACE:
        raise SchemaError(
            "a place of the slate is not as it should be",
            row=row,
            column="slate",
            value=place,
            hint="write an object with item_id, position, propensity, score and reason",
        )
    position, reason = place["position"], place.get("reason")
    if type(position) is not int or not 0 <= position < 2**31:
        what = "a position must be an integer from 0"
        raise ValueInvalidError(what, row=row, column="slate.position", value=position)
    propensity = _number(place["propensity"], row, "slate.propensity")
    if not 0 < propensity <= 1:
        what = "a propensity must be above 0 and at most 1"
        raise ValueInvalidError(what, row=row, column="slate.propensity", value=propensity)
    if not isinstance(reason, str | None):
        raise SchemaError("a reason must be text", row=row, column="slate.reason", value=reason)
    return {
        "item_id": _text(place["item_id"], row, "slate.item_id"),
        "position": position,
        "propensity": propensity,
        "score": _number(place["score"], row, "slate.score"),
        "reason": reason,
    }


def _number(value: object, row: int, column: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SchemaError(f"{column} must be a number", row=row, column=column, value=value)
    try:
        number = float(value)
    except OverflowError:
        number = inf
    if not isfinite(number):
        what = f"{column} must be a finite number"
        raise ValueInvalidError(what, row=row, column=column, value=value)
    return number


def _text(value: object, row: int, column: str) -> str:
    if not isinstance(value, str):
        raise SchemaError(f"{column} must be text", row=row, column=column, value=value)
    if not value.strip() or value in NOT_IDS or len(value) > LONGEST_ID:
        what = f"{column} must have 1 to {LONGEST_ID} characters"
        raise ValueInvalidError(what, row=row, column=column, value=value)
    if not value.isprintable() and ("\0" in value or _is_broken(value)):
        what = f"{column} holds a character that no database keeps"
        raise ValueInvalidError(what, row=row, column=column, value=value, hint="remove it")
    return value


def _loaded(value: object, kind: type, row: int, column: str) -> Any:
    """The value, or what its JSON holds, if that is of the kind."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise ValueInvalidError(
                f"{column} is no JSON", row=row, column=column, value=value
            ) from error
    if not isinstance(value, kind):
        name = "list" if kind is list else "object"
        raise SchemaError(f"{column} must be a JSON {name}", row=row, column=column, value=value)
    return value


def _json(value: object, row: int) -> str:
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False, sort_keys=True)
        text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueInvalidError(
            f"the decision holds what JSON cannot: {error}",
            row=row,
            hint="use texts, finite numbers, lists and objects",
        ) from error
    return text


def _is_broken(text: str) -> bool:
    """Whether the text holds half of a surrogate pair."""
    return any("\ud800" <= character <= "\udfff" for character in text)
