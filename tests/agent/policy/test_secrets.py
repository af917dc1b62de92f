"""Secrets go where they belong, and nowhere else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from adwright.agent.drivers.protocol import ScreenNode
from adwright.agent.policy.confirmation import SecretKeeper, SecretRule
from adwright.agent.policy.shapes import PolicyRefusalError
from adwright.core.errors import ConfigError

URL = "https://shop.example/sign-in/"
NODE = ScreenNode("1", "textbox", "Password", secret=True)
RULE = SecretRule("admin", ("https://shop.example",), ("sign_in__password",))


def keeper(*rules: SecretRule, value: str = "hunter/2") -> SecretKeeper:
    return SecretKeeper(rules or (RULE,), value_of={"admin": value}.__getitem__)


def test_the_right_field_gets_it() -> None:
    assert keeper().fill("admin", URL, "sign_in__password", NODE) == "hunter/2"


@pytest.mark.parametrize(
    ("name", "url", "element", "node"),
    [
        ("root", URL, "sign_in__password", NODE),
        ("admin", "https://evil.test/sign-in/", "sign_in__password", NODE),
        ("admin", "http://shop.example/", "sign_in__password", NODE),
        ("admin", "data:text/html,x", "sign_in__password", NODE),
        ("admin", URL, "search__text", NODE),
        ("admin", URL, "sign_in__password", replace(NODE, secret=False)),
        ("admin", URL, "sign_in__password", replace(NODE, frame="https://evil.test/")),
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
    assert keeper(rule).fill("admin", URL, "sign_in__password", node) == "hunter/2"


@pytest.mark.parametrize("value", ["", "abc"])
def test_a_secret_that_cannot_be_masked_is_refused(value: str) -> None:
    with pytest.raises(PolicyRefusalError, match="has no value"):
        keeper(value=value).fill("admin", URL, "sign_in__password", NODE)


def test_a_missing_value_is_refused() -> None:
    for one in (SecretKeeper((RULE,)), SecretKeeper((RULE,), value_of={}.__getitem__)):
        with pytest.raises(PolicyRefusalError):
            one.fill("admin", URL, "sign_in__password", NODE)


def test_what_was_filled_is_masked() -> None:
    one = keeper()
    assert one.mask("hunter/2") == "hunter/2"
    one.fill("admin", URL, "sign_in__password", NODE)
    assert one.mask("a hunter/2 b hunter%2F2") == "a <secret:admin> b <secret:admin>"
    assert "hunter" not in repr(one)


def test_rules_are_checked() -> None:
    for wrong in ({"origins": ("shop",)}, {"origins": ()}, {"elements": ()}):
        with pytest.raises(ConfigError):
            replace(RULE, **wrong)  # type: ignore[arg-type]
