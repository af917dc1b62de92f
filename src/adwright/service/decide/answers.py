"""Turn a decision into the body of an answer, and an event of a request into a row of the log."""

from __future__ import annotations

import json
from typing import Any

from adwright.delivery.decision import Decision
from adwright.service.decide.schemas import EventIn

__all__ = ["decision_answer", "event_row"]


def decision_answer(decision: Decision) -> bytes:
    """The body of the answer, in the shape of DecideOut: the same bytes for the same decision,
    whether it was just made or comes out of the store."""
    answer = {
        "request_id": decision.request.request_id,
        "policy_id": decision.policy_id,
        "model": decision.model,
        "stage": decision.stage,
        "items": decision.places(),
    }
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.encode("utf-8")


def event_row(event: EventIn) -> dict[str, Any]:
    """The event in the columns of EVENT_SCHEMA."""
    row = dict(event.__dict__)  # a model without extra fields keeps there just its fields
    if event.context is not None:
        row["context"] = json.dumps(event.context, allow_nan=False)
    return row
