"""What must be true after a run."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.protocol import GateDecision, PendingRequest, SeenRequest
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import read_script
from adwright.agent.run.macros import (
    Postconditions,
    check_postconditions,
    missing_requests,
    own_arguments,
    renamed_arguments,
)
from adwright.core.errors import ConfigError
from tests.support.agent.shop_document import shop_document

WANTED = Postconditions(("POST /offers/{}/",))


def seen(status: int, *, allowed: bool = True, path: str = "/offers/7/") -> SeenRequest:
    request = PendingRequest("POST", f"http://a{path}")
    return SeenRequest(request, GateDecision(allowed), status)


@pytest.mark.parametrize(
    ("request_seen", "missing"),
    [
        (seen(200), 0),
        (seen(303), 0),
        (seen(409), 1),
        (seen(500), 1),
        (seen(0), 1),
        (seen(200, allowed=False), 1),
        (seen(200, path="/mail/"), 1),
    ],
)
def test_a_request_must_be_answered_well(request_seen: SeenRequest, missing: int) -> None:
    assert len(missing_requests(WANTED, [request_seen])) == missing
    assert len(missing_requests(WANTED, [request_seen, seen(303)])) == 0


def test_a_check_may_read_and_search() -> None:
    source = 'set_text($offers__search, "a")\nexpect(len($offers__rows) == 2)'
    wanted = Postconditions(check=read_script(source))
    assert check_postconditions(wanted, shop_document()) is not None
    assert check_postconditions(WANTED, shop_document()) is None


@pytest.mark.parametrize("name", ["offer_edit__save", "mail__send", "offer_delete__confirm"])
def test_a_check_may_not_write(name: str) -> None:
    with pytest.raises(ScriptError, match="not allowed"):
        check_postconditions(Postconditions(check=read_script(f"tap(${name})")), shop_document())


def test_a_check_takes_what_the_run_took() -> None:
    script = read_script("param a: text\nanswer(a)")
    assert own_arguments(script, {"a": "x", "b": 1}) == {"a": "x"}
    with pytest.raises(ScriptError, match="takes a"):
        own_arguments(script, {"b": 1})


@pytest.mark.parametrize("requests", [(), ("POST",), ("post /a",), ("POST a",)])
def test_there_must_be_something_to_check(requests: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError):
        Postconditions(requests)


def test_an_item_may_have_been_given_a_text_that_was_set() -> None:
    check = read_script(
        """
param item: text
param name: text
param share: number
tap(inside(find($offers__rows, item), $offers__edit))
expect(get_attributes($offer_edit__name, "value") == name)
expect(number(get_attributes($offer_edit__share, "value")) == share)
"""
    )
    given = {"item": "Spring", "name": "May", "share": 25}
    assert list(renamed_arguments(check, given)) == [{"item": "May", "name": "May", "share": 25}]
    assert list(renamed_arguments(check, {"item": "Spring", "share": 25})) == []
