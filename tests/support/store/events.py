"""Invented events and decisions."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from adwright.delivery.decision import Decision, Request

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


def request(number: int, **changes: Any) -> Request:
    """The request of a decision."""
    time = START + timedelta(minutes=number)
    return replace(Request(f"r{number}", "u1", time, k=2, context={"store": "s1"}), **changes)


def decision(number: int, **changes: Any) -> Decision:
    """One decision of two places; changes are of the decision or of its request."""
    mine = {name: changes.pop(name) for name in ("user_id", "context") if name in changes}
    made = Decision(
        request(number, **mine),
        "greedy",
        ("tea", "jam"),
        np.array([0.9, 1.0]),
        np.array([0.5, -2.0]),
        ("best", "next"),
        "fine",
        "v1",
    )
    return replace(made, **changes)
