from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from adwright.core.errors import ConfigError
from adwright.service.config import ServiceConfig


def test_the_defaults_are_valid_and_every_limit_may_be_one() -> None:
    config = ServiceConfig()
    for field in dataclasses.fields(config):
        if isinstance(field.default, str) or field.name in ("deadline_ms", "tenant_share"):
            continue
        if field.name != "allowed_hosts":
            assert getattr(dataclasses.replace(config, **{field.name: 40}), field.name) == 40


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"max_queue": 0}, "max_queue must be at least 1"),
        ({"max_pending_rows": -1}, "max_pending_rows must be at least 1"),
        ({"max_in_flight": 0}, "max_in_flight must be at least 1"),
        ({"max_body_bytes": 0}, "max_body_bytes must be at least 1"),
        ({"commit_rows": 0}, "commit_rows must be at least 1"),
        ({"deadline_ms": 0}, "deadline_ms must be above 0"),
        ({"deadline_ms": float("nan")}, "deadline_ms must be above 0"),
        ({"deadline_ms": 5000}, "deadline_ms must not exceed max_deadline_ms, 2000"),
        ({"max_deadline_ms": float("inf")}, "max_deadline_ms must be above 0"),
        ({"body_seconds": 0}, "body_seconds must be above 0"),
        ({"poll_seconds": 0}, "poll_seconds must be above 0"),
        ({"stops_poll_seconds": 0}, "stops_poll_seconds must be above 0"),
        ({"store_seconds": 0}, "store_seconds must be above 0"),
        ({"key_stale_seconds": -1}, "key_stale_seconds must not be negative"),
        ({"batch_wait_ms": -1}, "batch_wait_ms must not be negative"),
        ({"key_seconds": float("nan")}, "key_seconds must not be negative"),
        ({"drain_seconds": -0.1}, "drain_seconds must not be negative"),
        ({"commit_ms": 0}, "commit_ms must be above 0"),
        ({"agent_runs": 0}, "agent_runs must be at least 1"),
        ({"agent_confirm_seconds": 0}, "agent_confirm_seconds must be above 0"),
        ({"agent_model_url": "http://h/v1"}, "agent_model must name the model"),
        ({"model_threads": 0}, "model_threads must be at least 1"),
        ({"hung_seconds": 0}, "hung_seconds must be above 0"),
        ({"hung_threads": -1}, "hung_threads must not be negative"),
        ({"retry_seconds": -1}, "retry_seconds must not be negative"),
        ({"grace_ms": float("nan")}, "grace_ms must not be negative"),
        ({"events_seconds": 0}, "events_seconds must be above 0"),
        ({"late_store_seconds": 0}, "late_store_seconds must be above 0"),
        ({"stop_seconds": float("inf")}, "stop_seconds must be above 0"),
        ({"replica": "a\r\nb"}, "replica must be plain text"),
        ({"replica": "ä"}, "replica must be plain text"),
    ],
)
def test_settings_out_of_range_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ServiceConfig(**changes)
