"""Screens at checked addresses, signed in before a run's gate takes over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable

import pytest

from adwright.agent.drivers.chromium import DriverSettings
from adwright.agent.drivers.protocol import DriverError, GateDecision, PendingRequest, RequestGate
from adwright.agent.operate.policy_file import AgentPolicy, PatientClock, SignInEntry
from adwright.agent.operate.screens import (
    SignInGate,
    checked_hosts,
    look_up,
    open_screens,
    signed_in,
)
from adwright.agent.policy.origins import OriginRules
from adwright.agent.policy.shapes import PolicyRefusalError
from adwright.core.clock import SystemClock
from adwright.core.errors import ConfigError, ResourceError
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_document import ORIGIN
from tests.support.agent.shop_reader import ReadingShopDriver
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import node_of

ENTRY = SignInEntry(f"{ORIGIN}/sign-in/", {"user": "SHOP_USER", "Password": "SHOP_PASSWORD"})
POLICY = AgentPolicy(OriginRules((ORIGIN,)), sign_in=ENTRY)
ENVIRONMENT = {"SHOP_USER": "ann", "SHOP_PASSWORD": "hunter22"}


def leads(*addresses: str) -> Callable[[str], tuple[str, ...]]:
    return lambda host: addresses


def test_hosts_are_looked_up_once_and_pinned() -> None:
    asked: list[str] = []

    def find(host: str) -> tuple[str, ...]:
        asked.append(host)
        return ("93.184.216.34", "93.184.216.35")

    rules = OriginRules(
        ("https://shop.example", "https://shop.example:8443", "http://127.0.0.1:8000"),
        resources=("https://cdn.example",),
    )
    assert checked_hosts(rules, find) == {
        "shop.example": "93.184.216.34",
        "127.0.0.1": "127.0.0.1",
        "cdn.example": "93.184.216.34",
    }
    assert asked == ["shop.example", "cdn.example"]


@pytest.mark.parametrize("address", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "fd00::1"])
def test_a_public_name_must_not_lead_into_a_network(address: str) -> None:
    rules = OriginRules(("https://shop.example",))
    with pytest.raises(PolicyRefusalError, match="private address") as caught:
        checked_hosts(rules, leads("93.184.216.34", address))
    assert "reach.private" in caught.value.hint
    with pytest.raises(PolicyRefusalError, match="no address"):
        checked_hosts(rules, leads())
    listed = OriginRules(("https://shop.example",), private=("shop.example",))
    assert checked_hosts(listed, leads(address)) == {"shop.example": address}
    resource = OriginRules(("http://127.0.0.1",), resources=("https://cdn.example",))
    with pytest.raises(PolicyRefusalError):
        checked_hosts(resource, leads(address))


def test_listed_loopback_is_allowed_and_a_name_that_is_none_is_told() -> None:
    assert checked_hosts(OriginRules(("http://127.0.0.1:1",)), leads()) == {
        "127.0.0.1": "127.0.0.1"
    }
    assert checked_hosts(OriginRules(("http://localhost:1",)))["localhost"] in ("127.0.0.1", "::1")
    assert look_up("127.0.0.1") == ("127.0.0.1",)

    def nobody(host: str) -> tuple[str, ...]:
        raise OSError("not known")

    with pytest.raises(ResourceError, match=r"shop\.example is not found"):
        checked_hosts(OriginRules(("http://shop.example",)), nobody)


def test_a_run_opens_no_browser_where_an_address_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    public = AgentPolicy(OriginRules(("http://shop.example",)))
    with (
        pytest.raises(PolicyRefusalError),
        open_screens(public, environment={}, find=leads("10.0.0.1")),
    ):
        pass
    with (
        pytest.raises(ResourceError, match="no Chromium"),
        open_screens(public, environment={}, find=leads("93.184.216.34")),
    ):
        pass
    with (
        pytest.raises(ConfigError, match="SHOP_USER is not set"),
        open_screens(POLICY, environment={}, find=leads("93.184.216.34")),
    ):
        pass


def test_a_browser_goes_where_was_looked_and_waits_for_a_person() -> None:
    # The name leads to this machine, by the address that was checked and by nothing else.
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        pytest.skip("there is no Chromium: `make browser` installs it")
    app, clock = ShopApp(), PatientClock(SystemClock())
    settings = DriverSettings(patience_seconds=3, rest_seconds=3)

    def slow(change: object) -> bool:
        time.sleep(3.5)
        return True

    confirm = clock.patient(slow)

    def gate(request: PendingRequest) -> GateDecision:
        return GateDecision(request.method == "GET" or confirm(request))  # type: ignore[arg-type]

    with shop_server(app) as url:
        port = url.rpartition(":")[2]
        origin = f"http://shop.example:{port}"
        entry = SignInEntry(f"{origin}/sign-in/", ENTRY.fields)
        reach = OriginRules((origin,), private=("shop.example",))
        policy = AgentPolicy(reach, sign_in=entry)
        with open_screens(
            policy,
            environment=ENVIRONMENT,
            find=leads("127.0.0.1"),
            settings=settings,
            clock=clock,
        ) as opened:
            driver = opened(gate)
            assert app.writes == [("/sign-in/", {"user": "ann", "password": "hunter22"})]
            driver.open(f"{origin}/offers/7/")
            driver.set_text(node_of(driver.observe(), "spinbutton", "Discount"), "25")
            driver.tap(node_of(driver.observe(), "button", "Save"))
            assert driver.observe().url == f"{origin}/offers/"
            assert app.offers[7].share == "25"
            assert clock.waited > 3
            with pytest.raises(DriverError, match="does not open"):
                driver.open(f"{url}/")


def opener(app: ShopApp, made: list[ReadingShopDriver]) -> Callable[..., ReadingShopDriver]:
    def opened(gate: RequestGate) -> ReadingShopDriver:
        made.append(ReadingShopDriver(app, gate))
        return made[-1]

    return opened


def never(request: PendingRequest) -> GateDecision:
    return GateDecision(allowed=False, code="never")


def test_signing_in_is_done_before_the_gate_of_the_run() -> None:
    app, made = ShopApp(), list[ReadingShopDriver]()
    driver = signed_in(opener(app, made), never, POLICY, ENVIRONMENT)
    assert app.writes == [("/sign-in/", {"user": "ann", "password": "hunter22"})]
    assert driver.requests() == ()
    with pytest.raises(DriverError, match="the gate refuses"):
        driver.open(f"{ORIGIN}/offers/")
    plain = AgentPolicy(OriginRules((ORIGIN,)))
    assert signed_in(opener(app, made), never, plain, {}).requests() == ()
    assert len(app.writes) == 1


def test_who_is_not_let_in_is_told_so_without_the_secret() -> None:
    class Closed(ShopApp):
        def post(self, path: str, fields: object) -> Answer:
            return Answer(200, "/sign-in/")

    made: list[ReadingShopDriver] = []
    with pytest.raises(DriverError, match="did not let us in") as caught:
        signed_in(opener(Closed(), made), never, POLICY, ENVIRONMENT)
    assert "SHOP_PASSWORD" in caught.value.hint
    assert "hunter22" not in str(caught.value)
    assert made[-1].closed
    wrong = AgentPolicy(POLICY.reach, sign_in=SignInEntry(ENTRY.url, {"nick": "SHOP_USER"}))
    with pytest.raises(DriverError, match="0 fields called 'nick'"):
        signed_in(opener(ShopApp(), made), never, wrong, ENVIRONMENT)
    with pytest.raises(ConfigError, match="is not set"):
        signed_in(opener(ShopApp(), made), never, POLICY, {})
    assert all(one.closed for one in made)


def test_until_then_only_the_form_of_the_sign_in_is_sent() -> None:
    gate = SignInGate(ENTRY, POLICY.reach, lambda request: GateDecision(allowed=True, code="run"))

    def codes() -> list[str]:
        tried = (
            PendingRequest("GET", f"{ORIGIN}/"),
            PendingRequest("POST", ENTRY.url),
            PendingRequest("POST", f"{ORIGIN}/offers/7/"),
            PendingRequest("GET", "http://evil.test/"),
        )
        return [gate(one).code for one in tried]

    assert codes() == ["allowed", "allowed", "method", "origin"]
    gate.seal()
    assert codes() == ["run"] * 4
    other = SignInEntry(ENTRY.url, ENTRY.fields, post=f"{ORIGIN}/session/")
    gate = SignInGate(other, POLICY.reach, never)
    assert gate(PendingRequest("POST", f"{ORIGIN}/session/")).allowed
    assert not gate(PendingRequest("POST", ENTRY.url)).allowed
