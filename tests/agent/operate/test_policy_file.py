"""The policy of an app, out of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

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
from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.agent.policy.origins import OriginRules
from adwright.core.clock import FixedClock
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import ORIGIN, shop_document

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
