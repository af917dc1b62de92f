"""Group commit: the decisions and events of many callers in one transaction.

A commit costs a wait for the disk, whatever is in it. A service that answers many at once puts
what they want written together, and still tells each what became of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from adwright.campaigns.store.bulk import Recorded
from adwright.campaigns.store.database import Database
from adwright.campaigns.store.decisions import decision_of, decision_row, insert_decisions
from adwright.campaigns.store.events import insert_batches
from adwright.campaigns.store.incoming import event_rows
from adwright.delivery.decision import Decision

__all__ = ["Events", "StoredDecision", "new_events", "record_group"]

#: In the columns of EVENT_SCHEMA.
Events = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class StoredDecision:
    """The decision that stands in the store.

    repeated: another one stood there before. impressions: those of the decision that are new.
    """

    decision: Decision
    repeated: bool
    impressions: Events = field(default=(), repr=False)


def record_group(
    database: Database, tenant: str, entries: Sequence[Decision | Events], now: datetime
) -> list[StoredDecision | Recorded]:
    """Write all entries of a tenant that exists, or none; what became of each, in order.

    entries: what each caller wants written: a decision with its impressions, or events, which
    may be a table. Of two
    decisions with one request_id, and of two events with one event_id, the first counts; the
    impressions of a decision are written only if it is.
    Raises SchemaError and ValueInvalidError where a row can never be written, ResourceError
    where nothing can be written now.
    """
    rows = [decision_row(entry) for entry in entries if isinstance(entry, Decision)]
    events = [_events(entry) for entry in entries]
    checked = [event_rows(batch) for batch in events]
    with database.write() as connection:
        _, stands = insert_decisions(connection, tenant, rows)
        pairs = iter(zip(rows, stands, strict=True))
        decisions = [
            _stored(entry, *next(pairs)) if isinstance(entry, Decision) else None
            for entry in entries
        ]
        for place, decision in enumerate(decisions):
            if decision is not None and decision.repeated:
                # The impressions of the decision that was there are there too.
                events[place], checked[place] = [], []
        recorded = insert_batches(connection, tenant, checked, now)
    return [
        one if decision is None else replace(decision, impressions=_new(batch, one))
        for decision, batch, one in zip(decisions, events, recorded, strict=True)
    ]


def new_events(entry: Decision | Events, result: StoredDecision | Recorded) -> Events:
    """Those of the entry's events that were new, given what became of it."""
    if isinstance(result, StoredDecision):
        return result.impressions
    return _new(_events(entry), result)


def _events(entry: Decision | Events) -> Events:
    return entry.impressions() if isinstance(entry, Decision) else entry


def _new(events: Events, recorded: Recorded) -> Events:
    return [event for place, event in enumerate(events) if place not in recorded.repeated]


def _stored(
    decision: Decision, row: Mapping[str, Any], stands: Mapping[str, Any]
) -> StoredDecision:
    if row == stands:
        return StoredDecision(decision, False)
    return StoredDecision(decision_of(dict(stands)), True)
