"""Group commit: the decisions and events of many callers in one transaction.

A commit costs a wait for the disk, whatever is in it. A service that answers many at once puts
what they want written together, and still tells each what became of their own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.database import Database
from adwright.campaigns.store.decisions import decision_rows, insert_decisions
from adwright.campaigns.store.events import insert_batches
from adwright.campaigns.store.incoming import EventRow, event_rows
from adwright.campaigns.store.tables import DECISIONS
from adwright.campaigns.store.times import from_micros

__all__ = ["Entry", "Kept", "new_events", "record_group"]

_AT_ONCE = 500


@dataclass(frozen=True)
class Entry:
    """What one caller wants written: a decision with its impressions, or events.

    decision: in the columns that `campaigns.decisions` names, slate and context not as text;
    None for events. events: in the columns of EVENT_SCHEMA; those of a decision are written
    only if the decision is.
    """

    decision: Mapping[str, Any] | None = None
    events: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Kept:
    """The decision that stands in the store.

    repeated: it stood there before, and differs. impressions: what became of those given along.
    """

    decision: Mapping[str, Any]
    repeated: bool
    impressions: Recorded = field(default=Recorded(0, 0), compare=False, repr=False)


def record_group(
    database: Database, tenant: str, entries: Sequence[Entry]
) -> list[Kept | Recorded]:
    """Write all entries of a tenant that exists, or none; what became of each, in order.

    Of two decisions with one request_id, and of two events with one event_id, the first counts.
    Raises SchemaError and ValueInvalidError where a row can never be written, ResourceError
    where nothing can be written now.
    """
    decisions = [entry.decision for entry in entries if entry.decision is not None]
    rows = decision_rows(decisions)
    events = [event_rows(entry.events) for entry in entries]
    with database.write() as connection:
        kept = _decisions(connection, tenant, decisions, rows)
        parts: list[list[EventRow]] = []
        answers = iter(kept)
        for entry, part in zip(entries, events, strict=True):
            # The impressions of a decision that was there are there too.
            repeated = entry.decision is not None and next(answers).repeated
            parts.append([] if repeated else part)
        recorded = insert_batches(connection, tenant, parts)
    answers = iter(kept)
    return [
        replace(next(answers), impressions=one) if entry.decision is not None else one
        for entry, one in zip(entries, recorded, strict=True)
    ]


def new_events(entry: Entry, result: Kept | Recorded) -> list[Mapping[str, Any]]:
    """Those of the entry's events that were new, given what became of it."""
    if isinstance(result, Kept):
        if result.repeated:
            return []
        result = result.impressions
    return [event for place, event in enumerate(entry.events) if place not in result.repeated]


def _decisions(
    connection: Connection,
    tenant: str,
    decisions: Sequence[Mapping[str, Any]],
    rows: Sequence[Mapping[str, Any]],
) -> list[Kept]:
    if insert_decisions(connection, tenant, rows).conflicting == 0:
        # What was there is the same: its impressions are there too, and are counted once.
        return [Kept(decision, False) for decision in decisions]
    stored = _stored(connection, tenant, [row["request_id"] for row in rows])
    return [
        Kept(decision, False)
        if row == stored[row["request_id"]]
        else Kept(_as_decision(stored[row["request_id"]]), True)
        for decision, row in zip(decisions, rows, strict=True)
    ]


def _stored(
    connection: Connection, tenant: str, request_ids: Sequence[str]
) -> dict[str, dict[str, Any]]:
    columns = [column for column in DECISIONS.c if column.name != "tenant"]
    query = select(*columns).where(DECISIONS.c.tenant == tenant)
    found: dict[str, dict[str, Any]] = {}
    for start in range(0, len(request_ids), _AT_ONCE):
        some = request_ids[start : start + _AT_ONCE]
        rows = connection.execute(query.where(DECISIONS.c.request_id.in_(some))).mappings()
        found.update({row["request_id"]: dict(row) for row in rows})
    return found


def _as_decision(row: Mapping[str, Any]) -> dict[str, Any]:
    context = row["context"]
    return {
        **row,
        "time": from_micros(row["time"]),
        "slate": json.loads(row["slate"]),
        "context": None if context is None else json.loads(context),
    }
