"""Templates of URLs: what addresses of one kind of page have in common.

    url_template("http://h/dashboard/orders/100012/?page=2")      # "/dashboard/orders/{}/?page"

A template is a hint for people and a bound for the explorer, never what a state is known by.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, quote, urlsplit

__all__ = ["LONGEST_WORD", "in_scope", "origin_of", "url_template"]

#: A longer part of a path is data, such as the title of a product.
LONGEST_WORD = 40
_DATA = re.compile(r"[\d%;,=@:+]|^[0-9a-f-]{16,}$", re.IGNORECASE)
_VERSION = re.compile(r"v\d{1,2}", re.IGNORECASE)


def url_template(url: str) -> str:
    """The path with what looks like data as {}, and the names of the query's parts, sorted.

    Data are parts with a digit (but versions such as v2), escapes, signs such as ";", and long
    ones. The origin and the fragment are left out.
    """
    parts = urlsplit(url)
    path = "/"
    for part in parts.path.split("/")[1:]:
        is_data = _DATA.search(part) and not _VERSION.fullmatch(part)
        hidden = part and (is_data or len(part) > LONGEST_WORD)
        path += "{}/" if hidden else f"{part}/"
    path = path[:-1] or "/"
    names = sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if name})
    return f"{path}?{'&'.join(quote(name, safe='[]') for name in names)}" if names else path


def origin_of(url: str) -> str:
    """Scheme, host and port, the usual ports left out; empty of what is no page of a server."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.scheme not in ("http", "https") or not parts.hostname:
        return ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if port in (None, usual) else f":{port}")


def in_scope(url: str, origins: tuple[str, ...], paths: tuple[str, ...]) -> bool:
    """Whether a URL is of one of the origins, below one of the paths; a path with ".." is not."""
    path = urlsplit(url).path or "/"
    return (
        origin_of(url) in origins
        and ".." not in path
        and any(path.startswith(one) for one in paths)
    )
