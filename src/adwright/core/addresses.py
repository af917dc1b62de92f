"""Addresses as they may be shown: without what lets somebody in."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote, urlsplit, urlunsplit

#: The login of an address: all up to the last @ of the authority; where its password holds a raw
#: slash and so is no port, up to the last @ of the address. Of the web a name without a password is
#: a key. All is bounded, so that no text takes longer than its length.
_KEY = re.compile(r"\b(https?://)[^\s/?#:\"'<>]{1,200}:?(?=@)", re.IGNORECASE)
_LOGIN = re.compile(
    r"(?<=://)([^\s/?#:\"'<>]{0,200}):"
    r"(?:[^\s/?#\"'<>]{0,2000}|(?!\d{1,5}[/?#])[^\s\"'<>]{0,200})@"
)
_FIELD = re.compile(
    r"([?&][\w.-]{0,60}(?:password|passfile|key|token|secret|signature|sig)=)[^\s&#\"'<>]+",
    re.IGNORECASE,
)


def shown_address(text: str) -> str:
    """A text with the passwords of all addresses in it masked.

    >>> shown_address("see postgresql://shop:secret@db/ads?sslpassword=x [http://a:b@c/v1]")
    'see postgresql://shop:***@db/ads?sslpassword=*** [http://a:***@c/v1]'
    """
    if "://" not in text:
        return text
    return _FIELD.sub(r"\1***", _LOGIN.sub(r"\1:***@", _KEY.sub(r"\1***", text)))


def login_of(address: str) -> tuple[str, str]:
    """The address without its login, which clients write to their logs; and the login as the value
    of the header Authorization, "" for none.

    >>> login_of("http://shop:a%40b@host:8000/v1")
    ('http://host:8000/v1', 'Basic c2hvcDphQGI=')
    """
    parts = urlsplit(address)
    login, found, host = parts.netloc.rpartition("@")
    if not found:
        return address, ""
    user, _, password = login.partition(":")
    told = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), f"Basic {told}"
