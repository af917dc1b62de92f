"""The page of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import RunPolicy, RunReport, run_on_screen, run_page
from adwright.core.clock import FixedClock
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

SCRIPT = read_script(
    """
answer(get_text($offers__rows[0]))
tap(inside($offers__rows[0], $offers__edit))
set_text($offer_edit__share, 5)
tap($offer_edit__save)
"""
)


def report(app: ShopApp, *, dry: bool = False, heal: bool = False) -> RunReport:
    document = shop_document()
    gate = GateRules(OriginRules((ORIGIN,)), dry=dry)
    return run_on_screen(
        check_script(SCRIPT, document),
        document,
        lambda decide: ShopDriver(app, decide),
        RunPolicy(gate, heal=heal),
        {},
        clock=FixedClock(),
    )


def test_a_page_tells_what_was_done() -> None:
    page = run_page(report(ShopApp()), SCRIPT, title="Lower <it>")
    assert "<title>Lower &lt;it&gt;</title>" in page
    assert "Verdict: <strong>done</strong>" in page
    assert "share: &#39;10&#39; -&gt; &#39;5&#39;" in page
    assert "tap($offer_edit__save)" in page
    assert "Answer: Spring 10% Open" in page


def test_text_of_the_app_is_shown_and_never_interpreted() -> None:
    app = ShopApp(offers={7: Offer("<script>alert(1)</script>")})
    page = run_page(report(app), SCRIPT, title="x")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_dry_run_and_a_problem_are_shown() -> None:
    assert "A dry run would have sent" in run_page(report(ShopApp(), dry=True), SCRIPT, title="x")
    page = run_page(report(ShopApp(lie="status")), SCRIPT, title="x")
    assert "answered with status 409" in page


def test_healing_is_shown_for_review() -> None:
    app = ShopApp(labels={"Offers": "OFFERS"}, test_ids={"home-offers": "x"})
    page = run_page(report(app, heal=True), SCRIPT, title="x")
    assert "$home__offers: role Offers, test_id home-offers -&gt; role OFFERS, test_id x" in page


def test_only_pictures_of_the_folder_are_shown(tmp_path: Path) -> None:
    found = report(ShopApp())
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    (tmp_path / "b.png").write_bytes(b"<svg onload=x>")
    names = ("a.png", "b.png", "../a.png", "none.png", "")
    steps = tuple(replace(one, picture=name) for one, name in zip(found.steps, names, strict=False))
    page = run_page(replace(found, steps=steps), SCRIPT, title="x", folder=tmp_path)
    assert page.count("<img") == 1
    assert run_page(replace(found, steps=steps), SCRIPT, title="x").count("<img") == 0
