"""Between what the log keeps and what goes over the wire."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adwright.campaigns.store.decisions import decision_row
from adwright.delivery.decision import Decision
from adwright.service.decide.schemas import EventIn

__all__ = ["decision_answer", "decision_record", "event_row"]

#: Where the name of the model stands in a decision's context; callers' keys cannot begin so.
_MODEL = "_model"
_PLACE = ("item_id", "position", "propensity", "score", "reason")


def decision_record(decision: Decision, model: str) -> dict[str, Any]:
    """The decision as the store takes it; `model` is the name of the model that decided."""
    row = decision_row(decision)
    row["context"][_MODEL] = model
    return row


def decision_answer(record: Mapping[str, Any]) -> bytes:
    """The body of the answer, in the shape of DecideOut: the same bytes for the same record,
    whether it was just made or comes out of the store."""
    answer = {
        "request_id": record["request_id"],
        "policy_id": record["policy_id"],
        "model": record["context"][_MODEL],
        "stage": record["stage"],
        "items": [{name: place[name] for name in _PLACE} for place in record["slate"]],
    }
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def event_row(event: EventIn) -> dict[str, Any]:
    """The event in the columns of EVENT_SCHEMA."""
    row = {name: getattr(event, name) for name in EventIn.model_fields}
    if event.context is not None:
        row["context"] = json.dumps(event.context, allow_nan=False)
    return row
