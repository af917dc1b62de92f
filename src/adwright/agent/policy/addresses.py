"""Hosts: whether one is written plainly, and whether it is an address inside a network.

Browsers read 2130706433, 0x7f.1 and 0177.0.0.1 as 127.0.0.1; here only the plain form is an
address, and the others are refused.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = ["address_of", "is_plain_host", "is_private_host"]

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
