"""What a person is asked, and shown."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.drivers.protocol import PendingRequest, ScreenNode
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
from adwright.agent.policy.origins import PolicyRefusalError
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError


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


def test_rules_are_checked() -> None:
    with pytest.raises(ConfigError):
        ConfirmRules(bulk=0)
    with pytest.raises(ConfigError):
        ConfirmRules(ask=("harm",))  # type: ignore[arg-type]


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
