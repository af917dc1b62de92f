"""Invented events and decisions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

START = datetime(2024, 5, 1, tzinfo=UTC)


def event(number: int, **changes: Any) -> dict[str, Any]:
    """One event; ten make a slate, and an hour lies between two slates."""
    slate = number // 10
    return {
        "event_id": f"e{number}",
        "time": START + timedelta(hours=slate, seconds=number % 10),
        "request_id": f"r{slate}",
        "user_id": f"u{slate % 7}",
        "kind": "impression",
        "item_id": f"i{number % 13}",
        "position": number % 10 + 1,
        "propensity": 0.25,
        "policy_id": "greedy",
        "value": None,
        "context": json.dumps({"stage": "fine", "store": f"s{slate % 3}"}),
        **changes,
    }


def events(n: int, start: int = 0) -> list[dict[str, Any]]:
    """n events in a row; 240 are one day."""
    return [event(number) for number in range(start, start + n)]


def decision(number: int, **changes: Any) -> dict[str, Any]:
    """One decision of two places."""
    return {
        "request_id": f"r{number}",
        "user_id": "u1",
        "time": START + timedelta(minutes=number),
        "policy_id": "greedy",
        "stage": "fine",
        "slate": [
            {"item_id": "tea", "position": 1, "propensity": 0.9, "score": 0.5, "reason": "best"},
            {"item_id": "jam", "position": 2, "propensity": 1, "score": -2, "reason": None},
        ],
        "context": {"store": "s1"},
        **changes,
    }
