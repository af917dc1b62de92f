"""What a person is asked, and shown."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.protocol import PendingRequest
from adwright.agent.policy.confirmation import ConfirmRules, PendingChange, must_ask, pending_change
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
