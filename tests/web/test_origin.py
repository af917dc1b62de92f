"""Tests of names and origins."""

from __future__ import annotations

import pytest
from starlette.types import Scope

from adwright.web.gate import LOCAL_HOSTS, header, stranger


def scope(**headers: str) -> Scope:
    pairs = [(name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()]
    return {"type": "http", "headers": pairs}


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "localhost:8001"},
        {"host": "LOCALHOST"},
        {"host": "127.0.0.1:1"},
        {"host": "[::1]:8001"},
        {"host": "localhost", "origin": "http://localhost:3000"},
        {"host": "localhost", "sec_fetch_site": "same-origin"},
        {"host": "localhost", "sec_fetch_site": "none"},
    ],
)
def test_programs_and_pages_of_this_machine_may_come_in(headers: dict[str, str]) -> None:
    assert stranger(scope(**headers), LOCAL_HOSTS) == ""


@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({}, "name"),
        ({"host": ""}, "name"),
        ({"host": "evil.example:8001"}, "name"),
        ({"host": "localhost.evil.example"}, "name"),
        ({"host": "localhost@evil.example"}, "name"),
        ({"host": "[::1"}, "name"),
        ({"host": "localhost", "origin": "https://evil.example"}, "pages"),
        ({"host": "localhost", "origin": "null"}, "pages"),
        ({"host": "localhost", "origin": "http://localhost.evil.example"}, "pages"),
        ({"host": "localhost", "sec_fetch_site": "cross-site"}, "pages"),
    ],
)
def test_other_names_and_other_sites_may_not(headers: dict[str, str], why: str) -> None:
    assert why in stranger(scope(**headers), LOCAL_HOSTS)
    assert stranger(scope(**headers), ()) == ""


def test_a_header_is_the_first_of_its_name() -> None:
    found = scope(x="1", y="\xe9")
    found["headers"].append((b"x", b"2"))
    assert header(found, b"x") == "1"
    assert header(found, b"z") == ""
