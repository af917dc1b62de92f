"""Hosts in plain and in odd notation."""

from __future__ import annotations

import pytest

from adwright.agent.policy.origins import address_of, is_plain_host, is_private_host


@pytest.mark.parametrize(
    ("host", "plain", "private"),
    [
        ("shop.example", True, False),
        ("93.184.216.34", True, False),
        ("127.0.0.1", True, True),
        ("10.1.2.3", True, True),
        ("169.254.169.254", True, True),
        ("100.64.0.1", True, True),
        ("0.0.0.0", True, True),
        ("224.0.0.1", True, True),
        ("::1", True, True),
        ("fe80::1", True, True),
        ("fe80::1%eth0", False, True),
        ("::ffff:127.0.0.1", True, True),
        ("2002:7f00:1::", True, True),
        ("2606:2800:220:1::1", True, False),
        ("localhost", True, True),
        ("a.localhost", True, True),
        ("printer.local", True, True),
        ("metadata.google.internal", True, True),
        ("locals", True, False),
        ("2130706433", False, False),
        ("0x7f000001", False, False),
        ("0177.0.0.1", False, False),
        ("127.1", False, False),
        ("a.0x7f", False, False),
        ("shop.example.", False, False),
        ("shop..example", False, False),
        ("-a.example", False, False),
        ("sh op", False, False),
        ("a" * 64 + ".example", False, False),
        ("", False, False),
    ],
)
def test_hosts(host: str, plain: bool, private: bool) -> None:
    assert is_plain_host(host) == plain
    if plain or "%" in host:
        assert is_private_host(host) == private


def test_an_address_within_an_address_is_found() -> None:
    assert str(address_of("::ffff:10.0.0.1")) == "10.0.0.1"
    assert address_of("shop.example") is None
