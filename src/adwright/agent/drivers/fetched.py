"""Pages that are read without being shown, which is how one asks whether they have changed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from adwright.agent.drivers.protocol import ScreenDriver

__all__ = ["FetchedPage", "FetchingDriver"]


@dataclass(frozen=True)
class FetchedPage:
    """An answer. url: that of the last step, after redirects. headers: names in small letters."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class FetchingDriver(ScreenDriver, Protocol):
    """A driver that can also read a page without showing it."""

    def fetch(self, url: str, headers: Mapping[str, str] | None = None) -> FetchedPage:
        """The answer to a GET with the session's cookies, through the gate.

        Raises DriverError where the gate refuses a step of it, or nobody answers.
        """
        ...
