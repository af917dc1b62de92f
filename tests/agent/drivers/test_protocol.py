"""The values that drivers give and take."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.protocol import DriverError, GateDecision, PendingRequest, SeenRequest
from adwright.core.errors import AdwrightError, ConfigError


def test_a_request_has_a_kind() -> None:
    assert PendingRequest("GET", "http://localhost/").kind == "page"
    with pytest.raises(ConfigError, match="kind"):
        PendingRequest("GET", "http://localhost/", "pge")  # type: ignore[arg-type]


def test_a_request_that_was_not_sent_has_no_status() -> None:
    request = PendingRequest("POST", "http://localhost/", fields={"a": "1"})
    assert SeenRequest(request, GateDecision(False, "dry_run", "nothing is sent")).status == 0


def test_a_driver_fails_in_the_tree_of_errors() -> None:
    assert issubclass(DriverError, AdwrightError)
