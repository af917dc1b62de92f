"""Where a peer listens, and the token that it wants to hear: HOST:PORT/TOKEN."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from adwright.core.errors import ConfigError

__all__ = ["TOKEN", "Address", "read_address"]

#: Variable of the environment with the token, for both sides: it is in no list of processes.
TOKEN = "ADWRIGHT_OFFSITE_TOKEN"


class Address(NamedTuple):
    """Where a peer listens, and the token that it wants to hear."""

    host: str
    port: int
    token: str

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.token}"


def read_address(address: str) -> Address:
    """Read HOST:PORT/TOKEN, or @FILE, whose first line is that. Without /TOKEN the token is that of
    the environment (`TOKEN`), so that it need not stand in a list of processes.

    Raises ConfigError where it is no address, or there is no token.
    """
    if address.startswith("@"):
        address = _first_line(Path(address[1:]))
    place, _, token = address.partition("/")
    host, _, port = place.rpartition(":")
    if (
        not host
        or not (port.isascii() and port.isdecimal())
        or len(port) > 5
        or not 0 < int(port) < 1 << 16
    ):
        raise ConfigError(
            "an address is HOST:PORT/TOKEN", where=place, hint="127.0.0.1:4711/... as it is printed"
        )
    token = token or os.environ.get(TOKEN, "")
    if not token:
        raise ConfigError(
            "the address lacks the token of who listens there",
            where=place,
            hint=f"copy HOST:PORT/TOKEN as the other side prints it, or set {TOKEN}",
        )
    return Address(host, int(port), token)


def _first_line(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            "the file with the address cannot be read", where=str(path), hint="check the path"
        ) from error
