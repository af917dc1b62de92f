"""Nothing passes but reading."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.protocol import PendingRequest, RequestKind
from adwright.agent.explore.explorer import ReadingGate

LOGIN = "http://h/login"


@pytest.mark.parametrize(
    ("method", "url", "kind", "code"),
    [
        ("GET", "http://h/a", "page", "allowed"),
        ("HEAD", "http://h/a", "fetch", "allowed"),
        ("GET", "http://h/a.css", "resource", "allowed"),
        ("GET", "http://h/b", "redirect", "allowed"),
        ("POST", "http://h/a", "page", "method"),
        ("PUT", "http://h/a", "fetch", "method"),
        ("PATCH", "http://h/a", "fetch", "method"),
        ("DELETE", "http://h/a", "fetch", "method"),
        ("get", "http://h/a", "fetch", "method"),
        ("OPTIONS", "http://h/a", "fetch", "method"),
        ("POST", "http://h/a", "beacon", "beacon"),
        ("GET", "http://h/a", "socket", "socket"),
        ("GET", "http://h/a", "popup", "popup"),
        ("GET", "http://h/a", "download", "download"),
        ("GET", "http://h/a", "worker", "worker"),
        ("GET", "https://h/a", "page", "origin"),
        ("GET", "http://h:8080/a", "page", "origin"),
        ("GET", "http://h.evil/a", "redirect", "origin"),
        ("GET", "http://h@evil/a", "page", "origin"),
        ("GET", "data:text/html,x", "frame", "origin"),
        ("GET", "file:///etc/passwd", "page", "origin"),
        ("POST", LOGIN, "page", "allowed"),
        ("POST", LOGIN + "/x", "page", "method"),
        ("POST", LOGIN + "?x=1", "page", "method"),
    ],
)
def test_table(method: str, url: str, kind: RequestKind, code: str) -> None:
    gate = ReadingGate(("http://h",), sign_in=(LOGIN,))
    decision = gate(PendingRequest(method, url, kind))
    assert (decision.code, decision.allowed) == (code, code == "allowed")
    assert (gate.sent, gate.refused.total()) == ((1, 0) if decision.allowed else (0, 1))


def test_sealed_nobody_signs_in() -> None:
    gate = ReadingGate(("http://h",), sign_in=(LOGIN,))
    gate.seal()
    assert not gate(PendingRequest("POST", LOGIN)).allowed
    assert gate.refused == {"method": 1}
