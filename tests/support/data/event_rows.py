"""Events as rows, with the columns that every log has."""

from __future__ import annotations

from typing import Any


def event_row(
    event_id: Any, time: Any, request_id: Any, user_id: Any, kind: Any, item_id: Any, **more: Any
) -> dict[str, Any]:
    """A row of a log, its columns in the order of the schema. more: further columns."""
    row = {"event_id": event_id, "time": time, "request_id": request_id, "user_id": user_id}
    return {**row, "kind": kind, "item_id": item_id, **more}
