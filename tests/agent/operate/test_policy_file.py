"""The policy of an app, out of its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.operate.policy_file import (
    AgentPolicy,
    AskedEffects,
    SecretEntry,
    SignInEntry,
    load_policy,
    policy_text,
)
from adwright.agent.policy.origins import OriginRules
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
