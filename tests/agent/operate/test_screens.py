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
from adwright.agent.operate.policy_file import (
    AgentPolicy,
    AllowanceFile,
    AllowedChanges,
    AskedEffects,
    ChangeAllowance,
    PatientClock,
    SecretEntry,
    SignInEntry,
    allowance_text,
    load_allowances,
    load_policy,
    policy_text,
)
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
from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.agent.policy.origins import OriginRules, PolicyRefusalError
from adwright.core.clock import FixedClock, SystemClock
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError, DataError, ResourceError
from tests.support.agent.shop_app import Answer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_reader import ReadingShopDriver
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import node_of

SIGN_IN = SignInEntry(f"{ORIGIN}/sign-in/", {"user": "SHOP_USER", "password": "SHOP_PASSWORD"})


def written(folder: Path, text: str) -> Path:
    path = folder / "shop.policy.toml"
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize("sign_in", [None, SIGN_IN, replace(SIGN_IN, post=f"{ORIGIN}/in/")])
def test_the_careful_policy_says_what_is_meant_by_leaving_out(
    tmp_path: Path, sign_in: SignInEntry | None
) -> None:
    path = written(tmp_path, policy_text(ORIGIN, sign_in=sign_in))
    careful = AgentPolicy(OriginRules((ORIGIN,)), sign_in=sign_in)
    assert load_policy(path) == careful
    assert load_policy(written(tmp_path, f'[reach]\norigins = ["{ORIGIN}"]\n')) == replace(
        careful, sign_in=None
    )
    rules = careful.gate_rules()
    assert "commit" in rules.confirm.ask
    assert (rules.dry, rules.unknown) == (False, False)
    assert careful.check_rules().forbidden == ("unknown",)


def test_a_table_in_part_is_as_careful(tmp_path: Path) -> None:
    text = f'[reach]\norigins = ["{ORIGIN}"]\n[confirm]\nbulk = 2\n'
    found = load_policy(written(tmp_path, text))
    assert found.confirm == AskedEffects(bulk=2)
    assert "commit" in found.gate_rules().confirm.ask
    assert found.gate_rules(dry=True).dry


def test_all_that_can_be_said(tmp_path: Path) -> None:
    text = policy_text(ORIGIN) + (
        "[[caps.amounts]]\nrequest = 'POST /budget/'\nfield = 'amount'\n"
        "[[flows]]\nsource = 'order__email'\nsink = 'mail__to'\n"
        "[[secrets]]\nname = 'admin'\nvariable = 'SHOP_PASSWORD'\n"
        "elements = ['sign_in__password']\n"
    )
    text = text.replace("unknown = false", "unknown = true").replace("[caps]", "[caps]\n", 1)
    found = load_policy(written(tmp_path, text.replace("writes_a_run = 20", "change_a_run = 50")))
    assert (found.caps.change_a_run, found.caps.amounts[0].field) == (50, "amount")
    assert found.check_rules().forbidden == ()
    assert found.check_rules().flows[0].sink == "mail__to"
    assert found.gate_rules().unknown
    assert repr(found.keeper({"SHOP_PASSWORD": "hunter22"})) == "SecretKeeper(admin)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[reach]\norigins = []\n", "no origin is listed"),
        ("[reach]\norigins = ['shop']\n", "no origin"),
        ("[reach]\norigin = ['http://h']\n", "key reach.origin"),
        ("[reach]\norigins = ['http://h']\n[confirm]\nask = ['all']\n", "ask"),
        ("[reach]\norigins = ['http://h']\n[confirm]\nbulk = 0\n", "bulk"),
        ("[reach]\norigins = ['http://h']\n[caps]\nwrites_a_run = -1\n", "negative"),
        ("[reach]\norigins = ['http://h']\n[sign_in]\nurl = 'http://h'\nfields = {}\n", "field"),
        (
            "[reach]\norigins = ['http://h']\n[sign_in]\nurl = 'http://g'\nfields = {a = 'A'}\n",
            "not listed",
        ),
        ("[reach\n", "TOML"),
    ],
)
def test_mistakes_are_told_with_the_file(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_policy(written(tmp_path, text))
    assert "shop.policy.toml" in caught.value.where


def test_a_value_in_the_place_of_a_variable_is_refused_and_not_repeated(tmp_path: Path) -> None:
    text = f"[reach]\norigins = ['{ORIGIN}']\n[sign_in]\nurl = '{ORIGIN}/in/'\n"
    with pytest.raises(ConfigError, match="no name of an environment variable") as caught:
        load_policy(written(tmp_path, text + "fields = {password = 'hunter22'}\n"))
    assert "hunter22" not in str(caught.value)
    with pytest.raises(ConfigError) as caught:
        SecretEntry("admin", "hunter22", ("sign_in__password",))
    assert "hunter22" not in str(caught.value)


def test_without_a_file_it_says_where_one_comes_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no policy") as caught:
        load_policy(tmp_path / "none.toml")
    assert "agent policy --example" in caught.value.hint


def test_the_app_must_be_listed() -> None:
    AgentPolicy(OriginRules((ORIGIN,))).require(shop_document())
    with pytest.raises(ConfigError, match=f"does not list {ORIGIN}"):
        AgentPolicy(OriginRules(("http://other.test",))).require(shop_document())


def test_values_of_a_sign_in_come_from_the_environment() -> None:
    environment = {"SHOP_USER": "ann", "SHOP_PASSWORD": "hunter22"}
    assert SIGN_IN.values(environment) == {"user": "ann", "password": "hunter22"}
    with pytest.raises(ConfigError, match="SHOP_PASSWORD is not set"):
        SIGN_IN.values({"SHOP_USER": "ann"})
    with pytest.raises(ConfigError, match="no page of a server"):
        SignInEntry("file:///etc/passwd", {"a": "A"})


CHANGE = PendingChange(
    "offer_edit__save",
    "commit",
    "POST",
    "http://shop.test:8000/offers/7/",
    (FieldChange("name", "Spring", "Spring"), FieldChange("share", "10", "25")),
    1,
    documented=True,
)
ALLOWED = ChangeAllowance("POST /offers/{}/", ("share",))


@pytest.mark.parametrize(
    ("allowance", "covers"),
    [
        (ALLOWED, True),
        (replace(ALLOWED, values={"share": "25"}), True),
        (replace(ALLOWED, values={"share": "26"}), False),
        (replace(ALLOWED, values={"status": "Open"}), False),
        (replace(ALLOWED, changes=()), False),
        (replace(ALLOWED, changes=("share", "name")), True),
        (replace(ALLOWED, request="POST /offers/{}/delete/"), False),
        (replace(ALLOWED, request="PUT /offers/{}/"), False),
        (replace(ALLOWED, effects=("message",)), False),
    ],
)
def test_all_of_an_allowance_counts(allowance: ChangeAllowance, covers: bool) -> None:
    assert allowance.covers(CHANGE) is covers


def test_what_nobody_knows_is_not_covered() -> None:
    assert not ALLOWED.covers(replace(CHANGE, documented=False))
    unseen = replace(CHANGE, fields=(*CHANGE.fields, FieldChange("hidden", None, "1")))
    assert not ALLOWED.covers(unseen)
    assert replace(ALLOWED, changes=("share", "hidden")).covers(unseen)


def test_each_is_used_as_often_as_it_may_be() -> None:
    allowed = AllowedChanges((replace(ALLOWED, most=2),))
    assert [allowed(CHANGE) for _ in range(3)] == [True, True, False]


def test_the_text_of_a_change_allows_it_once(tmp_path: Path) -> None:
    path = tmp_path / "allow.toml"
    odd = replace(CHANGE, fields=(FieldChange('na"me', None, "a\\b\nc"),))
    for change in (CHANGE, odd):
        path.write_text(allowance_text(change, ("POST /offers/{}/",)), "utf-8")
        allowed = load_allowances(path)
        assert [allowed(change), allowed(change)] == [True, False]
    assert load_toml(path, AllowanceFile).allow[0].changes == ('na"me',)
    assert allowance_text(CHANGE, ()) == ""
    assert allowance_text(replace(CHANGE, effect="unknown"), ("POST /offers/{}/",)) == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[allow]]\nrequest = '/offers/'\n", "is no request"),
        ("[[allow]]\nrequest = 'POST /offers/'\neffects = ['unknown']\n", "unknown effect"),
        ("[[allow]]\nrequest = 'POST /offers/'\nmost = 0\n", "most"),
        ("[[allow]]\nrequest = 'POST /offers/'\nchange = ['a']\n", "unknown key"),
    ],
)
def test_mistakes_are_told(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "allow.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(ConfigError, match=said):
        load_allowances(path)


WAITING_CHANGE = PendingChange("a", "commit", "POST", "http://h/", (), 1, documented=True)


def test_waiting_does_not_count() -> None:
    inner = FixedClock()
    clock = PatientClock(inner)
    inner.advance(2)

    def slow(change: PendingChange) -> bool:
        inner.advance(600)
        return change is WAITING_CHANGE

    assert clock.patient(slow)(WAITING_CHANGE)
    assert (clock.monotonic(), clock.waited) == (2.0, 600.0)
    assert clock.now() == inner.now()


def test_nor_where_asking_fails() -> None:
    inner = FixedClock()
    clock = PatientClock(inner)

    def broken(change: PendingChange) -> bool:
        inner.advance(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        clock.patient(broken)(WAITING_CHANGE)
    assert clock.monotonic() == 0.0


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
            policy, environment=ENVIRONMENT, find=leads("127.0.0.1"), settings=settings, clock=clock
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
