"""A gate through which nothing can be written: GET and HEAD within one app pass, all else does not.

    gate = ReadingGate(("http://127.0.0.1:8000",), sign_in=("http://127.0.0.1:8000/login/",))
    gate.seal()             # signed in: from now on nothing is sent but GET and HEAD

What it refused is counted, so that "it never wrote" is a number and no promise.
"""

from __future__ import annotations

from collections import Counter

from adwright.agent.document.urls import origin_of
from adwright.agent.drivers.protocol import GateDecision, PendingRequest

__all__ = ["ReadingGate"]

_READING = ("GET", "HEAD")
_YES = GateDecision(True)


class ReadingGate:
    """origins: of the app. sign_in: exact URLs to which a form may be sent until `seal` is called.
    refused: how often, by code."""

    def __init__(self, origins: tuple[str, ...], *, sign_in: tuple[str, ...] = ()) -> None:
        self._origins = frozenset(origins)
        self._sign_in = frozenset(sign_in)
        self.refused: Counter[str] = Counter()
        self.sent = 0

    def seal(self) -> None:
        """Nobody signs in any more."""
        self._sign_in = frozenset()

    def __call__(self, request: PendingRequest) -> GateDecision:
        decision = self._decide(request)
        if decision.allowed:
            self.sent += 1
        else:
            self.refused[decision.code] += 1
        return decision

    def _decide(self, request: PendingRequest) -> GateDecision:
        if origin_of(request.url) not in self._origins:
            return GateDecision(False, "origin", "it leaves the app")
        if request.kind in ("socket", "beacon", "popup", "download", "worker", "touch"):
            return GateDecision(False, request.kind, "only pages are read")
        if request.method in _READING:
            return _YES
        if request.method == "POST" and request.url in self._sign_in:
            return _YES
        return GateDecision(False, "method", f"{request.method} may write")
