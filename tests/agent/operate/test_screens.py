"""Screens at checked addresses, signed in before a run's gate takes over."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.document.elements import AppDocument, AppEdge, AppState, Element
from adwright.agent.document.text_format import document_changes, read_document, write_document
from adwright.agent.drivers.chromium import DriverSettings
from adwright.agent.drivers.protocol import DriverError, GateDecision, PendingRequest, RequestGate
from adwright.agent.explore.explorer import ExploreBounds
from adwright.agent.operate.policy_file import AgentPolicy, PatientClock, SignInEntry
from adwright.agent.operate.screens import (
    ExploredApp,
    SignInGate,
    checked_hosts,
    explore_app,
    keep_explored,
    look_up,
    merge_documents,
    open_screens,
    signed_in,
)
from adwright.agent.policy.origins import OriginRules, PolicyRefusalError
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.errors import ConfigError, DataError, ResourceError
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
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


def explored(app: ShopApp, folder: Path, document: AppDocument | None = None) -> ExploredApp:
    drivers: list[ReadingShopDriver] = []

    def opened(gate: RequestGate) -> ReadingShopDriver:
        drivers.append(ReadingShopDriver(app, gate))
        return drivers[-1]

    found = explore_app(
        opened,
        "shop",
        ExploreBounds(f"{ORIGIN}/"),
        folder=folder / "records",
        document=document,
        clock=FixedClock(),
    )
    assert drivers[0].closed
    keep_explored(found, folder / "shop.txt", folder / "records")
    return found


def test_a_second_run_reads_what_has_changed_and_keeps_what_was_written(tmp_path: Path) -> None:
    app = ShopApp()
    first = explored(app, tmp_path)
    assert (first.unsafe, first.changes, first.document.version) == (0, (), "1")
    assert (app.writes, first.asked) == ([], 0)
    assert {"/", "/offers/", "/mail/"} <= {one.url_template for one in first.document.states}
    read = read_document(tmp_path / "shop.txt")
    assert read == first.document
    again = explored(app, tmp_path, read)
    assert (again.changes, again.changed, again.document.version) == ((), (), "1")
    assert again.asked > 3
    (launch,) = (one for one in read.elements if one.label == "Launch")
    own = replace(launch, description="asks the bank")
    edited = replace(
        read, elements=tuple(own if one is launch else one for one in read.elements), version="1"
    )
    write_document(tmp_path / "shop.txt", edited)
    app.labels["Send"] = "Dispatch"
    third = explored(app, tmp_path, edited)
    assert third.document.version == "2"
    assert third.document.by_name[launch.name].description == "asks the bank"
    assert "Dispatch" in {one.label for one in third.document.elements}
    assert third.changed == (f"{ORIGIN}/mail/",)
    assert any("Dispatch" in str(one) or "dispatch" in str(one) for one in third.changes)
    assert third.kept == (f"element {launch.name}: description is yours",)
    fourth = explored(app, tmp_path, read_document(tmp_path / "shop.txt"))
    assert (fourth.changes, fourth.document.version) == ((), "2")


def test_without_its_records_a_document_is_not_replaced(tmp_path: Path) -> None:
    found = explored(ShopApp(), tmp_path)
    with pytest.raises(ConfigError, match="no records of version 9"):
        explored(ShopApp(), tmp_path, replace(found.document, version="9"))


def test_an_app_that_does_not_answer_is_told(tmp_path: Path) -> None:
    class Gone(ShopApp):
        def page(self, path: str) -> list:
            return []

    with pytest.raises(DataError, match="the start cannot be read: status 404"):
        explored(Gone(), tmp_path)


BASE = shop_document()


def with_element(document: AppDocument, name: str, **changes: object) -> AppDocument:
    elements = tuple(
        replace(one, **changes) if one.name == name else one  # type: ignore[arg-type]
        for one in document.elements
    )
    return replace(document, elements=elements)


def without(document: AppDocument, name: str) -> AppDocument:
    kept = tuple(one for one in document.elements if one.name != name)
    edges = tuple(one for one in document.edges if name not in (one.element, *one.needs))
    return replace(document, elements=kept, edges=edges)


def test_without_edits_it_is_what_was_built() -> None:
    built = with_element(BASE, "mail__send", label="Send it")
    merged = merge_documents(BASE, BASE, built)
    assert (merged.document, merged.kept, merged.lost) == (built, (), ())


def test_edits_stay_and_the_rest_is_refreshed() -> None:
    edited = with_element(BASE, "budget__launch", effect="commit", description="harmless")
    built = with_element(BASE, "budget__launch", label="Go", effect="unknown")
    found = merge_documents(BASE, edited, built)
    launch = found.document.by_name["budget__launch"]
    assert (launch.label, launch.effect, launch.description) == ("Go", "commit", "harmless")
    assert found.kept == (
        "element budget__launch: effect is yours",
        "element budget__launch: description is yours",
    )


def test_what_a_person_left_out_or_added_stays_so() -> None:
    own = Element("mail__copy", "mail", "checkbox", "Copy", effect="draft")
    edge = AppEdge("mail", "mail__home", "home")
    edited = without(BASE, "offers__search")
    edited = replace(edited, elements=(*edited.elements, own), edges=(*edited.edges, edge))
    new = Element("mail__cc", "mail", "textbox", "Cc", effect="draft")
    built = replace(BASE, elements=(*BASE.elements, new))
    found = merge_documents(BASE, edited, built)
    names = found.document.by_name
    assert "offers__search" not in names
    assert {"mail__copy", "mail__cc"} <= set(names)
    assert edge in found.document.edges
    assert "element offers__search stays left out" in found.kept


def test_edits_of_what_is_gone_are_told() -> None:
    edited = with_element(BASE, "mail__send", label="Dispatch")
    own = Element("attic__door", "attic", "button", "Open", effect="read")
    edited = replace(
        edited, states=(*edited.states, AppState("attic", "s")), elements=(*edited.elements, own)
    )
    found = merge_documents(BASE, edited, without(BASE, "mail__send"))
    assert found.lost == ("element mail__send: the app no longer has it",)
    assert "attic__door" in found.document.by_name
    # An element of one's own in a state that the app has lost.
    mine = replace(BASE, elements=(*BASE.elements, replace(own, state="mail", name="mail__x")))
    left = tuple(one for one in BASE.states if one.name != "mail")
    elements = tuple(
        replace(one, target=None if one.target == "mail" else one.target)
        for one in BASE.elements
        if one.state != "mail"
    )
    found = merge_documents(BASE, mine, replace(BASE, states=left, elements=elements))
    assert found.lost == ("element mail__x: its state mail is gone",)


def test_heads_are_edited_too() -> None:
    edited = replace(BASE, app="Mill Lane", start="offers", origins=("http://other.test",))
    found = merge_documents(BASE, edited, replace(BASE, version="2")).document
    assert (found.app, found.start, found.origins) == ("Mill Lane", "offers", edited.origins)
    assert found.version == "2"
    gone = tuple(one for one in BASE.states if one.name != "offers")
    elements = tuple(
        replace(one, target=None if one.target == "offers" else one.target)
        for one in BASE.elements
        if one.state != "offers"
    )
    built = AppDocument("shop", "2", BASE.origins, "home", gone, elements)
    assert merge_documents(BASE, edited, built).document.start == "home"


NAMES = st.sets(st.sampled_from([one.name for one in BASE.elements]), max_size=6)
LABELS = st.dictionaries(st.sampled_from(["mail__send", "home__mail"]), st.text(max_size=5))


@settings(max_examples=60, deadline=None)
@given(NAMES, LABELS, NAMES, LABELS)
def test_any_edits_and_any_app_make_a_document(
    dropped: set[str], labels: dict[str, str], gone: set[str], now: dict[str, str]
) -> None:
    edited, built = BASE, BASE
    for name in dropped:
        edited = without(edited, name)
    for name in gone:
        built = without(built, name)
    for name, label in labels.items():
        edited = with_element(edited, name, label=label)
    for name, label in now.items():
        built = with_element(built, name, label=label)
    found = merge_documents(BASE, edited, built).document
    names = {one.name for one in BASE.elements} - dropped - gone
    assert set(found.by_name) == names
    for name in names & labels.keys():
        mine = labels[name] != BASE.by_name[name].label
        assert found.by_name[name].label == (labels[name] if mine else built.by_name[name].label)
    # What is merged once is not merged twice.
    assert document_changes(found, merge_documents(built, found, built).document) == ()
