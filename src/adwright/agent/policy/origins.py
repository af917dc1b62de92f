"""Where requests may go: a list of origins, and all else is refused. Pure functions.

    rules = OriginRules(origins=("https://shop.example",))
    check_origin(PendingRequest("GET", "https://shop.example.evil.test/"), rules).code
    # "origin"

The list holds for navigations, frames, redirects and everything that pages load. Refused whatever
the list says: data:, blob:, javascript:, file: and other schemes; user names in URLs; hosts in odd
notations; addresses of more than 8 kB; service workers and beacons; a URL of another origin inside
the path or query of one that is allowed, which a proxy, a translator or an open redirect would
follow.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable
from urllib.parse import SplitResult, unquote, urlsplit

from adwright.agent.drivers.protocol import GateDecision, PendingRequest
from adwright.core.config import settings
from adwright.core.errors import AdwrightError, ConfigError

# --------------------------------------------------------------------------------------------------
# Hosts: whether one is written plainly, and whether it is an address inside a network.
#
# Browsers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1; here only the plain form is an
# address, and the others are refused.

_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMERIC = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)")
#: Names that a network gives itself, and those of metadata services.
_PRIVATE_ENDS = ("localhost", "local", "internal", "intranet", "lan", "home", "corp", "home.arpa")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def address_of(host: str) -> _Address | None:
    """The IP address that `host` is in plain notation, IPv6 without its brackets; None for a name.

    An IPv4 address inside of an IPv6 one is taken out of it.
    """
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour
        return inner or found
    return found


def is_plain_host(host: str) -> bool:
    """Whether `host`, in small letters, is an address or a name of the network as they should be
    written: ASCII, no dot at the end, no number that a browser would take for an address."""
    if address_of(host) is not None:
        return "%" not in host
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(one) for one in labels):
        return False
    return not _NUMERIC.fullmatch(labels[-1])


def is_private_host(host: str) -> bool:
    """Whether `host` is an address that is not on the public internet, or a name for one."""
    address = address_of(host)
    if address is not None:
        return not address.is_global or address.is_multicast
    return any(host == end or host.endswith(f".{end}") for end in _PRIVATE_ENDS)


_PORTS = {"http": 80, "https": 443}
_SOCKETS = {"ws": "http", "wss": "https"}
_REFUSED_KINDS = {
    "worker": "service workers answer for the network",
    "beacon": "beacons are sent when nobody looks",
}
#: As long as most servers take. What is looked for in an address is looked for in all of it.
_LONGEST = 8192
#: So often an address may be written in percent signs within itself.
_MOST_UNQUOTED = 4
_CONTROLS = re.compile(r"[\x00-\x20\x7f\\]")
_EMBEDDED = re.compile(
    r"\b(?:https?|wss?|ftp):|(?:\b[a-z][a-z0-9+.-]{0,20}:)?/{2,}"
    r"|\b(?:javascript|vbscript):|\bdata:[\w/+.-]*[;,]|\b(?:file|blob|filesystem):\w*/?",
    re.I,
)
_HOST_END = re.compile(r"[/?#&;\s\"'<>|,)]")


@settings
class OriginRules:
    """What may be asked of whom.

    origins: "scheme://host" or "scheme://host:port", in full; "http://127.0.0.1:8000" lists a
    private address. resources: further origins of which pages may load images, styles and scripts,
    but that are never opened, posted to or fetched from. sockets, popups, downloads: whether there
    may be any, to the listed origins. embedding: paths that may carry URLs of other origins.
    private: hosts of the list whose names may stand for private addresses.
    """

    origins: tuple[str, ...]
    resources: tuple[str, ...] = ()
    sockets: bool = False
    popups: bool = False
    downloads: bool = False
    embedding: tuple[str, ...] = ()
    private: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for one in (*self.origins, *self.resources):
            if origin_of(one) is None or urlsplit(one).path not in ("", "/"):
                raise ConfigError(
                    f"{one!r} is no origin",
                    where="OriginRules.origins",
                    hint="write scheme://host or scheme://host:port, as in https://shop.example",
                )


def origin_of(url: str) -> str | None:
    """The origin of an http or https URL, with its port; None of what is none, or written oddly."""
    parts = _split(url)
    return None if isinstance(parts, str) else _origin(parts)


def check_origin(request: PendingRequest, rules: OriginRules) -> GateDecision:
    """Whether `request` may go where it goes. Methods are not looked at here."""
    if request.kind in _REFUSED_KINDS:
        return _no(request.kind, _REFUSED_KINDS[request.kind])
    if request.kind == "popup" and not rules.popups:
        return _no("popup", "popups are not allowed")
    if request.kind == "download" and not rules.downloads:
        return _no("download", "downloads are not allowed")
    parts = _split(request.url, sockets=request.kind == "socket")
    if isinstance(parts, str):
        return _no(parts, _REASONS[parts])
    if request.kind == "socket" and not rules.sockets:
        return _no("socket", "WebSockets are not allowed")
    listed = {origin_of(one) for one in rules.origins}
    if request.kind == "resource" and request.method == "GET":
        listed |= {origin_of(one) for one in rules.resources}
    origin = _origin(parts)
    host = parts.hostname or ""
    if origin not in listed:
        private = is_private_host(host)
        code = "private" if private else "origin"
        return _no(code, f"{origin} is not listed")
    if parts.path not in rules.embedding and _embeds_another(parts, listed):
        return _no("embedded_url", "the address holds the address of another place")
    return GateDecision(allowed=True)


def check_addresses(host: str, addresses: Iterable[str], rules: OriginRules) -> GateDecision:
    """Whether a listed host may be connected to at these IP addresses, to which its name leads: a
    public name must not lead into a network unless the rules say so."""
    found = list(addresses)
    if not found:
        return _no("private", f"{host} leads to no address")
    if host in rules.private or is_private_host(host):
        return GateDecision(allowed=True)
    inside = [one for one in found if is_private_host(one)]
    if inside:
        return _no("private", f"{host} leads to the private address {inside[0]}")
    return GateDecision(allowed=True)


_REASONS = {
    "too_long": f"the address has more than {_LONGEST} characters",
    "malformed": "the address is not written plainly",
    "scheme": "only http and https are opened",
    "userinfo": "the address holds a user name",
    "host": "the host is not written plainly",
}


def _split(url: str, *, sockets: bool = False) -> SplitResult | str:
    """The parts of a URL, or a code that says why it is refused."""
    if len(url) > _LONGEST:
        return "too_long"
    if _CONTROLS.search(url) or not url.isascii():
        return "malformed"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "malformed"
    schemes = _SOCKETS if sockets else _PORTS
    if parts.scheme not in schemes:
        return "scheme"
    if not url[len(parts.scheme) :].startswith("://") or port == 0:
        return "malformed"
    if "@" in parts.netloc:
        return "userinfo"
    if parts.netloc.endswith(":") or not parts.hostname or not is_plain_host(parts.hostname):
        return "host"
    return parts


def _origin(parts: SplitResult) -> str:
    scheme = _SOCKETS.get(parts.scheme, parts.scheme)
    host = parts.hostname or ""
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}:{parts.port or _PORTS[scheme]}"


def _embeds_another(parts: SplitResult, listed: set[str | None]) -> bool:
    """Whether path, query or fragment hold the address of an origin that is not listed."""
    text = f"{parts.path}?{parts.query}#{parts.fragment}"
    for _ in range(_MOST_UNQUOTED):
        for found in _EMBEDDED.finditer(text.replace("\\", "/")):
            if not _is_listed(text.replace("\\", "/")[found.start() :], parts, listed):
                return True
        plain = unquote(text)
        if plain == text:
            return False
        text = plain
    return True  # nobody honest writes so


def _is_listed(text: str, parts: SplitResult, listed: set[str | None]) -> bool:
    """Whether what begins with an address begins with a listed one. Two slashes within a path, as
    in /a//b, are none where no host could stand after them."""
    scheme, _, rest = text.partition(":") if not text.startswith("/") else (parts.scheme, "", text)
    if scheme.lower() not in _PORTS:
        return False
    host = _HOST_END.split(rest.lstrip("/"), maxsplit=1)[0]
    if not host:
        return True
    if text.startswith("/") and "." not in host and ":" not in host and host != "localhost":
        return True
    return origin_of(f"{scheme.lower()}://{host}") in listed


def _no(code: str, reason: str) -> GateDecision:
    return GateDecision(allowed=False, code=code, reason=reason)


# --------------------------------------------------------------------------------------------------
# What is refused, and requests without their particulars: "POST /offers/{}/".

# --------------------------------------------------------------------------------------------------
# The error of what a policy refuses.


class PolicyRefusalError(AdwrightError):
    """The policy of a run refuses something; code: a short name of the reason."""

    def __init__(self, code: str, what: str, *, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.args = (code, what)
        self.code = code


# --------------------------------------------------------------------------------------------------
# Requests without their particulars: "POST /offers/{}/" for all of that kind.

#: Methods that change nothing where a server keeps to the standard. OPTIONS is not needed.
SAFE_METHODS = frozenset(("GET", "HEAD"))


def matching_shape(method: str, url: str, shapes: Iterable[str]) -> str | None:
    """The first of `shapes` that a request is of, or None. In a shape {} stands for one part of a
    path, which is not empty; queries do not count."""
    given = urlsplit(url).path.split("/")
    for shape in shapes:
        wanted_method, _, path = shape.partition(" ")
        wanted = path.split("?", maxsplit=1)[0].split("/")
        if wanted_method.upper() != method.upper() or len(wanted) != len(given):
            continue
        if all(_fits(one, part) for one, part in zip(wanted, given, strict=True)):
            return shape
    return None


def method_of(shape: str) -> str:
    """The method of a shape, in capitals."""
    return shape.partition(" ")[0].upper()


def _fits(wanted: str, part: str) -> bool:
    return part == wanted or (wanted == "{}" and part not in ("", ".", ".."))


# --------------------------------------------------------------------------------------------------
# Where data from a page may go: nowhere that writes, unless a rule names the flow.
#
# A value carries the names of the elements whose text went into it. It may be compared, matched,
# stored and shown; into a field, and so into a write, a message or a URL, only by a rule:
#
#     FlowRule(source="order__email", sink="mail__to")
#
# Values of the script itself, of its parameters and what is only chosen by a comparison have no
# sources: who wrote the comparison decided that.


@settings
class FlowRule:
    """Text of the element `source` may be put into the element `sink`; both are names, no
    patterns. A sink of "*" is refused: a rule says where data goes."""

    source: str
    sink: str

    def __post_init__(self) -> None:
        for name in (self.source, self.sink):
            if not (name.isascii() and name.isidentifier()):
                raise ConfigError(
                    f"{name!r} is no name of an element",
                    where="FlowRule",
                    hint="name one element each, as in the document",
                )


def refused_sources(
    sources: Collection[str], sink: str, rules: Collection[FlowRule]
) -> tuple[str, ...]:
    """Those of `sources` that no rule lets into `sink`, sorted; none where all may."""
    allowed = {one.source for one in rules if one.sink == sink}
    return tuple(sorted(set(sources) - allowed))
