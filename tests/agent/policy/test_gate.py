"""The gate of a run."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.document.elements import AppDocument
from adwright.agent.drivers.protocol import PendingRequest, Screen, ScreenNode
from adwright.agent.policy.confirmation import (
    AmountRule,
    CapLedger,
    CapRules,
    ConfirmRules,
    PendingChange,
    SecretKeeper,
    SecretRule,
    must_ask,
    pending_change,
    read_amount,
)
from adwright.agent.policy.gate import (
    GateRules,
    PolicyGate,
    SentForm,
    first_unsent_field,
    sent_form,
)
from adwright.agent.policy.origins import OriginRules, PolicyRefusalError
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import ORIGIN, shop_document


def change(effect: str = "commit", number: int = 1, documented: bool = True) -> PendingChange:
    return PendingChange("a__b", effect, "POST", "http://a/b", (), number, documented)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("effect", "asked"),
    [
        ("commit", False),
        ("message", True),
        ("spend", True),
        ("destructive", True),
        ("unknown", True),
        ("navigate", True),
        ("read", True),
    ],
)
def test_effects_are_asked_about(effect: str, asked: bool) -> None:
    assert must_ask(change(effect), ConfirmRules()) == asked


def test_many_writes_and_unknown_requests_are_asked_about() -> None:
    rules = ConfirmRules(bulk=3)
    assert [must_ask(change(number=n), rules) for n in (1, 2, 3, 4)] == [False, False, True, True]
    assert must_ask(change(documented=False), rules)
    assert must_ask(change(), ConfirmRules(ask=("commit",)))


def test_the_request_itself_is_shown() -> None:
    fields = {"name": "Spring", "share": "20", "csrf_token": "x", "note": "a\u202eb"}
    request = PendingRequest("POST", "http://a/offers/7/?x=1", fields=fields)
    found = pending_change(
        request,
        element="offer__save",
        effect="commit",
        before={"name": "Spring", "share": "10"},
        number=2,
        documented=False,
    )
    assert found.sentence() == (
        "commit: POST /offers/7/?x=1; 2 of this run; share: '10' -> '20'; note = 'a\\u202eb'; "
        "this request is not in the document"
    )


def test_a_box_that_is_unticked_is_a_change() -> None:
    found = pending_change(
        PendingRequest("POST", "http://a/offers/7/", fields={"name": "Spring"}),
        element="offer__save",
        effect="commit",
        before={"name": "Spring", "active": "on", "search": "tea", "csrf_on": "on"},
        number=1,
        documented=True,
    )
    assert found.lines() == ("commit: POST /offers/7/; 1 of this run", "active: 'on' -> ''")
    assert found.sentence() == "; ".join(found.lines())


def test_a_body_without_fields_is_shown_shortened_and_masked() -> None:
    request = PendingRequest("POST", "http://a/", body=b"hunter2" + b"x" * 2000)
    found = pending_change(
        request,
        element="a__b",
        effect="commit",
        before={},
        number=1,
        documented=True,
        mask=lambda text: text.replace("hunter2", "<secret>"),
    )
    assert found.fields[0].new.startswith("<secret>x")
    assert len(found.sentence()) < 300


URL = "http://a/campaigns/7/"
AMOUNTS = (AmountRule("POST /campaigns/{}/", "budget"),)


def write(ledger: CapLedger, new: str = "", old: str | None = None) -> str | None:
    before = {} if old is None else {"budget": old}
    return ledger.reserve("POST", URL, {"budget": new}, before)


def test_writes_of_a_run_and_a_day_are_capped(tmp_path: Path) -> None:
    clock, rules = FixedClock(), CapRules(writes_a_run=2, writes_a_day=3)
    first = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert [write(first), write(first)] == [None, None]
    assert write(first) == "the run has made its 2 writes"
    second = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert write(second) is None
    assert write(second) == "the day has had its 3 writes"
    clock.advance(86_400)
    assert write(second) is None


def test_changes_of_amounts_are_capped(tmp_path: Path) -> None:
    rules = CapRules(change_a_run=Decimal(100), change_a_day=Decimal(150), amounts=AMOUNTS)
    clock = FixedClock()
    first = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert write(first, "160", "100") is None
    assert write(first, "50", "100") == "the run would change amounts by 110"
    assert write(first, "60", "100") is None
    second = CapLedger(tmp_path / "caps.json", rules, clock=clock)
    assert write(second, "51") == "the day would change amounts by 151"
    assert write(second, "50") is None
    assert second.reserve("POST", "http://a/other/", {"budget": "9999"}, {}) is None


@pytest.mark.parametrize(("new", "old"), [("", "5"), ("1e9", "5"), ("many", "5"), ("5", "many")])
def test_an_amount_that_cannot_be_read_is_refused(tmp_path: Path, new: str, old: str) -> None:
    rules = CapRules(change_a_run=Decimal(100), amounts=AMOUNTS)
    ledger = CapLedger(tmp_path / "caps.json", rules, clock=FixedClock())
    assert write(ledger, new, old) == "the amount in the request cannot be read"


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("1,200.50", "1200.50"),
        (" $5 ", "5"),
        ("-3", "-3"),
        ("1.2.3", None),
        ("--1", None),
        ("\u0661", None),
        ("9" * 31, None),
        ("nan", None),
        ("", None),
    ],
)
def test_amounts_are_read(text: str, amount: str | None) -> None:
    assert read_amount(text) == (None if amount is None else Decimal(amount))


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"day": "x", "writes": "many", "change": "0"}', "\x00"]
)
def test_a_broken_count_refuses_all(tmp_path: Path, content: str) -> None:
    path = tmp_path / "caps.json"
    day = FixedClock().now().date().isoformat()
    path.write_text(content.replace('"x"', f'"{day}"'))
    ledger = CapLedger(path, CapRules(), clock=FixedClock())
    assert "cannot be kept" in (write(ledger) or "")


def test_a_clock_that_went_back_refuses_all(tmp_path: Path) -> None:
    clock = FixedClock()
    clock.advance(86_400)
    assert write(CapLedger(tmp_path / "caps.json", CapRules(), clock=clock)) is None
    late = write(CapLedger(tmp_path / "caps.json", CapRules(), clock=FixedClock()))
    assert "later day" in (late or "")


def test_runs_side_by_side_share_the_day(tmp_path: Path) -> None:
    rules = CapRules(writes_a_run=50, writes_a_day=20)

    def one(_: int) -> int:
        ledger = CapLedger(tmp_path / "caps.json", rules, clock=FixedClock())
        return sum(write(ledger) is None for _ in range(10))

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(one, range(4))) == 20


def test_caps_rules_are_checked() -> None:
    for wrong in ({"writes_a_run": -1}, {"change_a_day": Decimal(-1)}):
        with pytest.raises(ConfigError):
            CapRules(**wrong)  # type: ignore[arg-type]


SECRETS_URL = "https://shop.example/sign-in/"
NODE = ScreenNode("1", "textbox", "Password", secret=True)
RULE = SecretRule("admin", ("https://shop.example",), ("sign_in__password",))


def keeper(*rules: SecretRule, value: str = "hunter/2") -> SecretKeeper:
    return SecretKeeper(rules or (RULE,), value_of={"admin": value}.__getitem__)


def test_the_right_field_gets_it() -> None:
    assert keeper().fill("admin", SECRETS_URL, "sign_in__password", NODE) == "hunter/2"


@pytest.mark.parametrize(
    ("name", "url", "element", "node"),
    [
        ("root", SECRETS_URL, "sign_in__password", NODE),
        ("admin", "https://evil.test/sign-in/", "sign_in__password", NODE),
        ("admin", "http://shop.example/", "sign_in__password", NODE),
        ("admin", "data:text/html,x", "sign_in__password", NODE),
        ("admin", SECRETS_URL, "search__text", NODE),
        ("admin", SECRETS_URL, "sign_in__password", replace(NODE, secret=False)),
        ("admin", SECRETS_URL, "sign_in__password", replace(NODE, frame="https://evil.test/")),
    ],
)
def test_no_other_does(name: str, url: str, element: str, node: ScreenNode) -> None:
    with pytest.raises(PolicyRefusalError) as caught:
        keeper().fill(name, url, element, node)
    assert caught.value.code == "secret"
    assert "hunter" not in str(caught.value)


def test_a_name_of_a_user_may_be_shown() -> None:
    rule = replace(RULE, masked=False)
    node = replace(NODE, secret=False)
    assert keeper(rule).fill("admin", SECRETS_URL, "sign_in__password", node) == "hunter/2"


@pytest.mark.parametrize("value", ["", "abc"])
def test_a_secret_that_cannot_be_masked_is_refused(value: str) -> None:
    with pytest.raises(PolicyRefusalError, match="has no value"):
        keeper(value=value).fill("admin", SECRETS_URL, "sign_in__password", NODE)


def test_a_missing_value_is_refused() -> None:
    for one in (SecretKeeper((RULE,)), SecretKeeper((RULE,), value_of={}.__getitem__)):
        with pytest.raises(PolicyRefusalError):
            one.fill("admin", SECRETS_URL, "sign_in__password", NODE)


def test_what_was_filled_is_masked() -> None:
    one = keeper()
    assert one.mask("hunter/2") == "hunter/2"
    one.fill("admin", SECRETS_URL, "sign_in__password", NODE)
    assert one.mask("a hunter/2 b hunter%2F2") == "a <secret:admin> b <secret:admin>"
    assert "hunter" not in repr(one)


def test_secrets_rules_are_checked() -> None:
    for wrong in ({"origins": ("shop",)}, {"origins": ()}, {"elements": ()}):
        with pytest.raises(ConfigError):
            replace(RULE, **wrong)  # type: ignore[arg-type]


DOCUMENT = shop_document()
RULES = GateRules(OriginRules((ORIGIN,)))
SAVE = DOCUMENT.by_name["offer_edit__save"]
DELETE = DOCUMENT.by_name["offer_delete__confirm"]
LINK = DOCUMENT.by_name["home__offers"]


def post(path: str, **fields: str) -> PendingRequest:
    return PendingRequest("POST", ORIGIN + path, fields=fields, body=repr(fields).encode())


def get(path: str) -> PendingRequest:
    return PendingRequest("GET", ORIGIN + path)


class Asked:
    """Says always the same, and remembers what it was asked."""

    def __init__(self, answer: bool) -> None:
        self.answer = answer
        self.changes: list[PendingChange] = []

    def __call__(self, change: PendingChange) -> bool:
        self.changes.append(change)
        return self.answer


def test_reading_passes_and_writing_without_an_act_does_not() -> None:
    gate = PolicyGate(RULES, DOCUMENT)
    assert gate.decide(get("/offers/")).allowed
    assert gate.decide(PendingRequest("GET", "https://evil.test/")).code == "origin"
    assert gate.stray is None
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "post"):
        request = PendingRequest(method, f"{ORIGIN}/offers/7/", "fetch")
        assert gate.decide(request).code == "unexpected_write"
    assert gate.stray is not None
    assert gate.written == []


def test_a_documented_commit_passes_and_is_kept() -> None:
    gate = PolicyGate(RULES, DOCUMENT)
    with gate.acting((SAVE,), {"name": "Old"}) as act:
        assert gate.decide(post("/offers/7/", name="New")).allowed
        assert gate.decide(get("/offers/")).allowed
    assert act.alarm is None
    (change,) = gate.written
    assert (change.fields[0].old, change.fields[0].new) == ("Old", "New")
    assert act.written == [change]
    assert gate.decide(post("/offers/7/", name="New")).code == "unexpected_write"


def test_what_an_app_asks_is_told_yes_and_shown_with_the_change() -> None:
    question = PendingRequest("ASK", ORIGIN, "dialog", fields={"message": "Save it?"})
    asked = Asked(True)
    gate = PolicyGate(RULES, DOCUMENT, confirm=asked)
    assert gate.decide(question).code == "dialog"
    for element, answer in ((LINK, False), (SAVE, True)):
        with gate.acting((element,), {"name": "Old"}):
            assert gate.decide(question).allowed == answer
            # Once: a page that asks for ever is told no.
            assert not gate.decide(question).allowed
            assert gate.decide(post("/offers/7/", name="New")).allowed == answer
    with gate.reading(), gate.acting((SAVE,), {}):
        assert not gate.decide(question).allowed
    (change,) = asked.changes
    assert change.lines()[-1] == "the page asks 'Save it?'"
    assert gate.stray is None


def test_what_cannot_be_written_down_is_not_sent() -> None:
    noted: list[PendingChange] = []

    def full(change: PendingChange) -> None:
        raise OSError("the disk is full")

    for note, allowed in ((noted.append, True), (full, False)):
        gate = PolicyGate(RULES, DOCUMENT, note=note)
        with gate.acting((SAVE,), {"name": "Old"}) as act:
            assert gate.decide(post("/offers/7/", name="New")).allowed == allowed
        assert (len(gate.written), act.alarm is None) == (int(allowed), allowed)
    assert [one.method for one in noted] == ["POST"]


@pytest.mark.parametrize(
    "element",
    [
        SAVE,
        LINK,
        replace(SAVE, effect="navigate"),
        replace(SAVE, effect="unknown"),
        replace(DOCUMENT.by_name["offer_edit__name"], requests=("POST /other/",)),
    ],
    ids=lambda one: f"{one.name}-{one.effect}",
)
def test_an_effect_that_is_not_documented_stops_the_run(element: object) -> None:
    gate = PolicyGate(RULES, DOCUMENT, confirm=Asked(True))
    path = "/offers/7/delete/" if element is SAVE else "/offers/7/"
    with gate.acting((element,), {}) as act:  # type: ignore[arg-type]
        assert gate.decide(post(path)).code == "effect"
    assert act.alarm is not None
    assert act.alarm.code == "effect"
    assert gate.written == []


@pytest.mark.parametrize("answer", [True, False])
def test_a_destructive_act_is_asked_about(answer: bool) -> None:
    asked = Asked(answer)
    gate = PolicyGate(RULES, DOCUMENT, confirm=asked)
    with gate.acting((DELETE,), {}) as act:
        assert gate.decide(post("/offers/7/delete/")).allowed == answer
    assert [one.effect for one in asked.changes] == ["destructive"]
    assert (act.alarm is None) == answer
    assert len(gate.written) == answer


def test_without_anybody_to_ask_the_answer_is_no() -> None:
    gate = PolicyGate(RULES, DOCUMENT)
    with gate.acting((DELETE,), {}) as act:
        assert gate.decide(post("/offers/7/delete/")).code == "refused"
    assert act.alarm is not None


def test_many_writes_are_asked_about_one_by_one() -> None:
    asked = Asked(True)
    rules = replace(RULES, confirm=ConfirmRules(bulk=3))
    gate = PolicyGate(rules, DOCUMENT, confirm=asked)
    for n in range(4):
        with gate.acting((SAVE,), {}):
            assert gate.decide(post(f"/offers/{n}/")).allowed
    assert [one.number for one in asked.changes] == [3, 4]


def test_a_request_that_nobody_observed_is_asked_about() -> None:
    asked = Asked(True)
    gate = PolicyGate(RULES, DOCUMENT, confirm=asked)
    with gate.acting((replace(SAVE, requests=()),), {}):
        assert gate.decide(post("/offers/7/")).allowed
    assert not asked.changes[0].documented


def test_an_unknown_effect_needs_a_rule_and_a_yes() -> None:
    asked = Asked(True)
    element = replace(SAVE, effect="unknown")
    gate = PolicyGate(replace(RULES, unknown=True), DOCUMENT, confirm=asked)
    with gate.acting((element,), {}):
        assert gate.decide(post("/offers/7/")).allowed
    assert len(asked.changes) == 1


def test_a_second_submit_is_refused() -> None:
    gate = PolicyGate(RULES, DOCUMENT)
    with gate.acting((SAVE,), {}) as act:
        assert gate.decide(post("/offers/7/", name="a")).allowed
        assert gate.decide(post("/offers/7/", name="a")).code == "double_submit"
    assert act.alarm is None
    assert len(gate.written) == 1


def test_what_is_confirmed_must_be_what_was_sent() -> None:
    made = PolicyGate(RULES, DOCUMENT, confirm=Asked(True))
    with made.acting((SAVE,), {}, repeats={"name": "New"}) as act:
        assert made.decide(post("/offers/7/", name="Else")).code == "effect"
        assert act.alarm is not None
    with made.acting((SAVE,), {}, repeats={"name": "New"}) as act:
        assert made.decide(post("/offers/7/", name="New", sure="1")).allowed
        assert act.alarm is None


@pytest.mark.parametrize(
    "first",
    [post("/offers/8/", share="25"), post("/offers/7/", share="90")],
    ids=["another record", "another value"],
)
def test_a_form_that_a_page_changes_stops_the_act(first: PendingRequest) -> None:
    asked = Asked(True)
    gate = PolicyGate(replace(RULES, confirm=ConfirmRules(bulk=1)), DOCUMENT, confirm=asked)
    form = SentForm("POST", f"{ORIGIN}/offers/7/", {"share": "25"})
    with gate.acting((SAVE,), {}, form) as act:
        assert gate.decide(first).code == "effect"
        # What the script meant is no longer sent either: a person has to look.
        assert gate.decide(post("/offers/7/", share="25")).code == "stopped"
    assert act.alarm is not None
    assert (gate.written, asked.changes) == ([], [])


def test_a_form_is_sent_once_whatever_stands_in_it() -> None:
    gate = PolicyGate(RULES, DOCUMENT)
    form = SentForm("POST", f"{ORIGIN}/offers/7/", {"share": "25"})
    with gate.acting((SAVE,), {}, form):
        assert gate.decide(post("/offers/7/", share="25")).allowed
        assert gate.decide(post("/offers/7/", share="25", name="b")).code == "double_submit"
    assert len(gate.written) == 1


def test_a_dry_run_sends_nothing_and_writes_down_all() -> None:
    gate = PolicyGate(replace(RULES, dry=True), DOCUMENT, confirm=Asked(True))
    for element, path in ((SAVE, "/offers/7/"), (DELETE, "/offers/7/delete/")):
        with gate.acting((element,), {}) as act:
            assert gate.decide(post(path, name="a")).code == "dry_run"
            assert gate.decide(get("/offers/")).allowed
        assert act.alarm is None
    assert [one.url.removeprefix(ORIGIN) for one in gate.would_send] == [
        "/offers/7/",
        "/offers/7/delete/",
    ]
    assert gate.written == []


def test_an_app_that_writes_by_get_is_seen() -> None:
    link = replace(DELETE, requests=("GET /offers/{}/delete-now/",))
    gate = PolicyGate(RULES, DOCUMENT, confirm=Asked(False))
    with gate.acting((link,), {}) as act:
        assert gate.decide(get("/offers/7/delete-now/")).code == "refused"
    assert act.alarm is not None
    dry = PolicyGate(replace(RULES, dry=True), DOCUMENT)
    with dry.acting((replace(DELETE, requests=()),), {}):
        assert dry.decide(get("/offers/7/anything/")).code == "dry_run"
        assert dry.decide(replace(get("/style.css"), kind="resource")).allowed


def test_enter_may_send_what_the_page_documents() -> None:
    gate = PolicyGate(RULES, DOCUMENT)
    elements = DOCUMENT.elements_of("offer_edit")
    with gate.acting(elements, {}):
        assert gate.decide(post("/offers/7/")).allowed
    with gate.acting(elements, {}) as act:
        assert gate.decide(post("/elsewhere/")).code == "effect"
    assert "the key Enter" in (act.alarm.reason if act.alarm else "")


def test_caps_refuse(tmp_path: Path) -> None:
    caps = CapLedger(tmp_path / "caps.json", CapRules(writes_a_run=1), clock=FixedClock())
    gate = PolicyGate(RULES, DOCUMENT, caps=caps)
    codes = []
    for n in range(2):
        with gate.acting((SAVE,), {}) as act:
            codes.append(gate.decide(post(f"/offers/{n}/")).code)
    assert codes == ["allowed", "cap"]
    assert act.alarm is not None
    assert act.alarm.code == "cap"


def test_a_gate_that_fails_says_no() -> None:
    def broken(change: PendingChange) -> bool:
        raise RuntimeError("no terminal")

    gate = PolicyGate(RULES, DOCUMENT, confirm=broken)
    with gate.acting((DELETE,), {}) as act:
        assert gate.decide(post("/offers/7/delete/")).code == "gate_error"
    assert act.alarm is not None
    assert isinstance(DOCUMENT, AppDocument)


HERE = "https://shop.example/offers/7/"
SHAPES = ("POST /offers/{}/",)
FORM = {"form": "/html/form"}
FACTS = FORM | {"tag": "button", "action": HERE, "method": "POST"}
LIST = {"name": "status", "tag": "select"}
SENT_FORM_SAVE = ScreenNode("9", "button", "Save", facts=FACTS)
FIELDS = (
    ScreenNode("1", "textbox", "Name", "Spring  sale", facts=FORM | {"name": "name"}),
    ScreenNode("2", "spinbutton", "Share", "25", facts=FORM | {"name": "share"}),
    ScreenNode("3", "combobox", "Status", "Open", facts=FORM | LIST | {"chosen": "2"}),
    ScreenNode("4", "textbox", "Tag", "a", facts=FORM | {"name": "tag"}),
    ScreenNode("5", "textbox", "Tag", "b", facts=FORM | {"name": "tag"}),
    ScreenNode("6", "textbox", "Key", "", secret=True, facts=FORM | {"name": "key"}),
    ScreenNode("7", "listbox", "Shelf", "A, B", facts=FORM | {"name": "shelf", "multiple": ""}),
    ScreenNode("8", "textbox", "Search", "tea", facts={"name": "q", "form": "/html/form[2]"}),
)
SCREEN = Screen(HERE, "Spring", (*FIELDS, SENT_FORM_SAVE))


def request(url: str = HERE, **fields: str) -> PendingRequest:
    return PendingRequest("POST", url, fields=fields)


def test_what_stands_there_is_sent() -> None:
    form = sent_form(SCREEN, SENT_FORM_SAVE, ("q",))
    assert form == SentForm(
        "POST", HERE, {"name": "Spring  sale", "share": "25", "status": "2", "q": "tea"}
    )
    assert "q" not in sent_form(SCREEN, SENT_FORM_SAVE, ()).fields
    sent = request(
        name="Spring\r\nsale", share="25.00", status="2", tag="a, b", shelf="1, 2", token="x"
    )
    assert form.why_not(sent, SHAPES) == ""
    assert form.why_not(request(), SHAPES) == ""


@pytest.mark.parametrize(
    ("name", "value"), [("share", "90"), ("share", "25, 0.01"), ("name", "Sold"), ("status", "3")]
)
def test_a_value_that_nobody_typed_is_told(name: str, value: str) -> None:
    why = sent_form(SCREEN, SENT_FORM_SAVE, ()).why_not(request(**{name: value}), SHAPES)
    assert name in why
    assert value in why


def test_a_form_is_of_one_record() -> None:
    form = sent_form(SCREEN, SENT_FORM_SAVE, ())
    for other in (f"{HERE}?next=1", HERE.replace("7", "8")):
        assert "its form goes to" in form.why_not(request(other), SHAPES)
    # A script that sends something else of what the document knows.
    shapes = (*SHAPES, "POST /offers/{}/status/")
    assert form.why_not(request(f"{HERE}status/"), shapes) == ""


@pytest.mark.parametrize(
    "node",
    [
        replace(SENT_FORM_SAVE, facts=FACTS | {"type": "button"}),
        replace(SENT_FORM_SAVE, facts=FACTS | {"tag": "a"}),
        replace(SENT_FORM_SAVE, facts=FACTS | {"method": "GET"}),
        replace(SENT_FORM_SAVE, facts={"tag": "button"}),
    ],
    ids=["script", "link", "search", "no form"],
)
def test_what_sends_no_form_has_no_address(node: ScreenNode) -> None:
    form = sent_form(SCREEN, node, ("share",))
    assert (form.method, form.address) == ("", "")
    assert form.why_not(request(HERE.replace("7", "8"), share="25"), SHAPES) == ""
    assert form.why_not(request(share="90"), SHAPES) != ""


def test_a_button_leaves_the_fields_of_other_forms_behind() -> None:
    filled = {"offer__name": "/html/form", "offer__note": "/html/form[2]"}
    assert first_unsent_field(filled, SENT_FORM_SAVE) == "offer__note"
    assert first_unsent_field({"offer__name": "/html/form", "offer__q": ""}, SENT_FORM_SAVE) == ""
    for other in ({"type": "button"}, {"method": "GET"}, {"form": ""}):
        assert first_unsent_field(filled, replace(SENT_FORM_SAVE, facts=FACTS | other)) == ""


def test_a_refusal_can_be_sent() -> None:
    error = PolicyRefusalError("secret", "not here", hint="there")
    again = copy.deepcopy(error)
    assert (again.code, str(again)) == ("secret", "not here -> there")
