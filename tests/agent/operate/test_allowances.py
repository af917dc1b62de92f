"""Changes that were allowed beforehand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.operate.policy_file import (
    AllowanceFile,
    AllowedChanges,
    ChangeAllowance,
    allowance_text,
    load_allowances,
)
from adwright.agent.policy.confirmation import FieldChange, PendingChange
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError

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
