"""Where requests may go."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.agent.drivers.protocol import PendingRequest
from adwright.agent.policy.origins import (
    SAFE_METHODS,
    FlowRule,
    OriginRules,
    address_of,
    check_addresses,
    check_origin,
    is_plain_host,
    is_private_host,
    matching_shape,
    method_of,
    origin_of,
    refused_sources,
)
from adwright.core.errors import ConfigError
from tests.support.agent.origin_cases import CASES, RULES, OriginCase

SHOP = "https://shop.example"


@pytest.mark.parametrize("case", CASES, ids=lambda one: f"{one.kind}-{one.url}"[:60])
def test_cases(case: OriginCase) -> None:
    decision = check_origin(case.request(), RULES)
    assert (decision.code, decision.allowed) == (case.code, case.code == "allowed")
    assert decision.allowed or decision.reason


@pytest.mark.parametrize(
    ("change", "case"),
    [
        ({"sockets": True}, OriginCase("wss://shop.example/live", kind="socket")),
        ({"popups": True}, OriginCase(f"{SHOP}/", kind="popup")),
        ({"downloads": True}, OriginCase(f"{SHOP}/a.zip", kind="download")),
        ({"embedding": ("/go",)}, OriginCase(f"{SHOP}/go?to=https://evil.test/")),
        ({"origins": ("https://evil.test",)}, OriginCase("https://evil.test/")),
        ({"origins": ("http://[::1]:8000",)}, OriginCase("http://[::1]:8000/")),
        ({"resources": ("https://evil.test",)}, OriginCase("https://evil.test/a", kind="resource")),
    ],
)
def test_each_rule_opens_what_it_names(change: dict[str, object], case: OriginCase) -> None:
    assert not check_origin(case.request(), RULES).allowed
    assert check_origin(case.request(), replace(RULES, **change)).allowed


def test_what_rules_open_is_still_of_listed_origins() -> None:
    rules = replace(RULES, sockets=True, popups=True, downloads=True)
    for url, kind in (("wss://evil.test/", "socket"), ("https://evil.test/", "popup")):
        assert check_origin(PendingRequest("GET", url, kind), rules).code == "origin"  # type: ignore[arg-type]


@given(st.text(max_size=40))
def test_nothing_but_listed_origins_passes(text: str) -> None:
    for url in (text, f"https://{text}", f"https://shop.example{text}", f"{SHOP}/{text}"):
        decision = check_origin(PendingRequest("GET", url), RULES)
        if decision.allowed:
            assert origin_of(url) in ("https://shop.example:443", "http://127.0.0.1:8000")


@pytest.mark.parametrize(
    "path", ["thumb?u=" + "A." * 3900, "/a" * 4000, "?" + "http:" * 1600, "%25" * 2700, "a-" * 4000]
)
def test_a_long_address_takes_little_time(path: str) -> None:
    for url, code in ((f"{SHOP}/{path}", ""), (f"{SHOP}/{path * 9}", "too_long")):
        start = time.thread_time()
        assert check_origin(PendingRequest("GET", url), RULES).code in (
            (code,) if code else ("allowed", "embedded_url")
        )
        assert time.thread_time() - start < 0.1


@pytest.mark.parametrize("origin", ["shop.example", "https://shop.example/a", "data:x", "https://"])
def test_an_origin_is_written_in_full(origin: str) -> None:
    with pytest.raises(ConfigError, match="no origin"):
        OriginRules((origin,))


def test_a_public_name_must_not_lead_inside() -> None:
    rules = replace(RULES, private=("intern.example",))
    assert check_addresses("shop.example", ["93.184.216.34"], RULES).allowed
    for inside in ("10.0.0.1", "::1", "169.254.169.254"):
        decision = check_addresses("shop.example", ["93.184.216.34", inside], RULES)
        assert (decision.allowed, decision.code) == (False, "private")
    assert not check_addresses("shop.example", [], RULES).allowed
    assert check_addresses("intern.example", ["10.0.0.1"], rules).allowed
    assert check_addresses("127.0.0.1", ["127.0.0.1"], RULES).allowed


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


SHAPES = ("POST /offers/{}/", "post /offers/{}/delete/", "GET /go?x=1")


@pytest.mark.parametrize(
    ("method", "url", "shape"),
    [
        ("POST", "http://a/offers/7/", SHAPES[0]),
        ("post", "http://a/offers/7/?q=1", SHAPES[0]),
        ("POST", "http://a/offers/7/delete/", SHAPES[1]),
        ("GET", "http://a/go?x=2", SHAPES[2]),
        ("GET", "http://a/offers/7/", None),
        ("POST", "http://a/offers//", None),
        ("POST", "http://a/offers/../", None),
        ("POST", "http://a/offers/7", None),
        ("POST", "http://a/offers/7/8/", None),
        ("DELETE", "http://a/offers/7/", None),
    ],
)
def test_shapes(method: str, url: str, shape: str | None) -> None:
    assert matching_shape(method, url, SHAPES) == shape


def test_methods() -> None:
    assert method_of("post /a") == "POST"
    assert "POST" not in SAFE_METHODS


def test_only_named_flows_pass() -> None:
    rules = (FlowRule("a", "x"), FlowRule("b", "y"))
    assert refused_sources({"a"}, "x", rules) == ()
    assert refused_sources({"b", "a"}, "x", rules) == ("b",)
    assert refused_sources((), "x", ()) == ()


@pytest.mark.parametrize("name", ["*", "", "a b", "é"])
def test_a_rule_names_elements(name: str) -> None:
    with pytest.raises(ConfigError):
        FlowRule("a", name)
    with pytest.raises(ConfigError):
        FlowRule(name, "a")
