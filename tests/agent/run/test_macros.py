"""Macros: kept when verified, run again without a model."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from adwright.agent.language.problems import ScriptError
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.policy.taint import FlowRule
from adwright.agent.run.macros import Macro, MacroBook, Postconditions
from adwright.agent.run.runner import RunPolicy, RunReport, macro_of, run_on_screen
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
