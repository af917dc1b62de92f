"""Macros: kept when verified, run again without a model."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.drivers.protocol import GateDecision, PendingRequest, SeenRequest
from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import FlowRule, OriginRules
from adwright.agent.run.runner import (
    Macro,
    MacroBook,
    Postconditions,
    RunPolicy,
    RunReport,
    check_postconditions,
    macro_of,
    missing_requests,
    own_arguments,
    renamed_arguments,
    run_on_screen,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, FileUnreadableError
from tests.support.agent.macros import run_macro
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
POLICY = RunPolicy(GateRules(OriginRules((ORIGIN,))))
SCRIPT = read_script(
    """
param code: text
param share: number
tap(inside(match($offers__rows, code)[0], $offers__edit))
set_text($offer_edit__share, share)
tap($offer_edit__save)
"""
)
CHECK = read_script(
    """
param code: text
param share: number
tap(inside(match($offers__rows, code)[0], $offers__edit))
expect(number(get_attributes($offer_edit__share, "value")) == share)
"""
)
WANTED = Postconditions(("POST /offers/{}/",), CHECK)
FLOWS = (FlowRule("mail__text", "mail__to"),)
MACRO = Macro("set_share", "Set a discount", "shop", "1", SCRIPT, WANTED, FLOWS)


def report(app: ShopApp) -> RunReport:
    return run_on_screen(
        check_script(SCRIPT, DOCUMENT),
        DOCUMENT,
        lambda gate: ShopDriver(app, gate),
        POLICY,
        {"code": "Spring", "share": 25},
        clock=FixedClock(),
        postconditions=WANTED,
    )


def test_a_macro_comes_of_a_verified_run() -> None:
    macro = macro_of("set_share", "Set a discount", SCRIPT, WANTED, report(ShopApp()))
    assert (macro.app, macro.version) == ("shop", "1")
    with pytest.raises(ConfigError, match="contradicted, not verified"):
        macro_of("set_share", "", SCRIPT, WANTED, report(ShopApp(lie="silent")))


def test_a_kept_macro_is_read_as_itself(tmp_path: Path) -> None:
    book = MacroBook(tmp_path / "macros")
    assert book.names() == ()
    book.keep(MACRO, DOCUMENT)
    book.keep(replace(MACRO, name="b", postconditions=Postconditions(("POST /mail/",))), DOCUMENT)
    assert book.names() == ("b", "set_share")
    assert book.macro("set_share") == MACRO
    assert book.macro("b").postconditions.check is None


def test_a_macro_runs_again_with_other_arguments(tmp_path: Path) -> None:
    book, app = MacroBook(tmp_path), ShopApp()
    book.keep(MACRO, DOCUMENT)
    found = run_macro(
        book.macro("set_share"),
        DOCUMENT,
        lambda gate: ShopDriver(app, gate),
        POLICY,
        {"code": "Autumn", "share": Decimal("7.5")},
        clock=FixedClock(),
    )
    assert (found.verdict, app.offers[8].share) == ("verified", "7.5")


def test_a_macro_that_no_longer_fits_says_so() -> None:
    kept = tuple(one for one in DOCUMENT.elements if one.name != "offers__rows")
    later = replace(DOCUMENT, elements=kept, version="2")

    def run(document: object) -> None:
        run_macro(
            MACRO,
            document,  # type: ignore[arg-type]
            lambda gate: ShopDriver(ShopApp(), gate),
            POLICY,
            {"code": "a", "share": 1},
            clock=FixedClock(),
        )

    with pytest.raises(ScriptError, match=r"\$offers__rows"):
        run(later)


def test_a_macro_of_another_document_is_not_kept(tmp_path: Path) -> None:
    bad = replace(MACRO, script=read_script("tap($nothing)"))
    with pytest.raises(ScriptError):
        MacroBook(tmp_path).keep(bad, DOCUMENT)
    assert MacroBook(tmp_path).names() == ()


@pytest.mark.parametrize("name", ["", "../a", "A", "a b", "x" * 61])
def test_a_name_is_a_file_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        replace(MACRO, name=name)
    with pytest.raises(ConfigError):
        MacroBook(tmp_path).macro(name)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"script": 1}', "\x00"])
def test_a_broken_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(FileUnreadableError, match=r"a\.json"):
        MacroBook(tmp_path).macro("a")


POSTCONDITIONS_WANTED = Postconditions(("POST /offers/{}/",))


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
    assert len(missing_requests(POSTCONDITIONS_WANTED, [request_seen])) == missing
    assert len(missing_requests(POSTCONDITIONS_WANTED, [request_seen, seen(303)])) == 0


def test_a_check_may_read_and_search() -> None:
    source = 'set_text($offers__search, "a")\nexpect(len($offers__rows) == 2)'
    wanted = Postconditions(check=read_script(source))
    assert check_postconditions(wanted, shop_document()) is not None
    assert check_postconditions(POSTCONDITIONS_WANTED, shop_document()) is None


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
