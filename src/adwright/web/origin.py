"""Under which names a service may be called, and from which web pages.

A browser lets any page send requests to any address, this machine's own too. A page can even give
its own name an address of this machine (DNS rebinding); the header Host then has that name.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import Scope

__all__ = ["LOCAL_HOSTS", "header", "stranger"]

#: The names that a machine has for itself.
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")


def header(scope: Scope, name: bytes) -> str:
    """The first header of that name in lower case; empty where there is none."""
    for key, value in scope["headers"]:
        if key == name:
            text: str = value.decode("latin-1")
            return text
    return ""


def stranger(scope: Scope, allowed: tuple[str, ...]) -> str:
    """Why a request is refused; empty where it may come in. allowed: empty for any name."""
    if not allowed:
        return ""
    if _name("//" + header(scope, b"host")) not in allowed:
        return "the service is not called by this name"
    origin = header(scope, b"origin")
    if origin and _name(origin) not in allowed:
        return "pages of other sites may not call the service"
    if header(scope, b"sec-fetch-site") == "cross-site":
        return "pages of other sites may not call the service"
    return ""


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
