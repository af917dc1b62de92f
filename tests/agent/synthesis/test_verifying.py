"""Solutions are kept only where the shop is as the task says afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import pytest

from adwright.agent.synthesis.intents import (
    DrawnIntent,
    FieldSetting,
    IntentConfig,
    make_intents,
)
from adwright.agent.synthesis.verifying import SolutionProof, prove, quiet_noise
from adwright.core.clock import SystemClock
from tests.agent.synthesis.test_intents import KNOWN
from tests.support.agent.disposable_shop import DisposableShop
from tests.support.agent.shop_app import Offer, ShopApp
from tests.support.agent.shop_document import shop_document

DOCUMENT = shop_document()
INTENTS = make_intents(DOCUMENT, KNOWN, IntentConfig(a_form=2))


def first(kind: str) -> DrawnIntent:
    return next(one for one in INTENTS if one.kind == kind and one.state != "sign_in")


def proved(
    one: DrawnIntent, change: Callable[[ShopApp], None] = lambda app: None, **more: object
) -> SolutionProof:
    return prove(one, DOCUMENT, DisposableShop(change), clock=SystemClock(), **more)  # type: ignore[arg-type]


def test_solutions_of_all_kinds_are_kept() -> None:
    for kind in dict.fromkeys(one.kind for one in INTENTS):
        assert proved(first(kind)) == SolutionProof(True), kind


def lie(how: str) -> Callable[[ShopApp], None]:
    def change(app: ShopApp) -> None:
        app.lie = how  # type: ignore[assignment]

    return change


def test_an_app_that_lies_is_caught() -> None:
    assert proved(first("set"), lie("silent")).cause == "stored: nothing"
    assert proved(first("delete"), lie("status")).cause.startswith("run: ")


def test_an_answer_must_be_what_the_page_said() -> None:
    one = replace(first("count"), expected="7")
    assert proved(one).cause == "answer: it is not what the page said"


def test_what_fails_the_check_is_not_run() -> None:
    shop = DisposableShop()
    one = replace(first("delete"), button="offer_delete__none")
    found = prove(one, DOCUMENT, shop, clock=SystemClock())
    assert found == SolutionProof(False, "check: unknown_element")


def side_effect(what: str) -> Callable[[ShopApp], None]:
    """An app that does something else as well when a form is sent."""

    def change(app: ShopApp) -> None:
        save = app.post

        def post(path: str, fields: dict[str, str]) -> object:
            answer = save(path, fields)
            if what == "adds":
                app.mails.append(("ann", "saved"))
            elif what == "removes":
                app.offers.pop(8, None)
            elif what == "changes":
                app.budget += 1
            return answer

        app.post = post  # type: ignore[method-assign, assignment]

    return change


@pytest.mark.parametrize(
    ("what", "cause"),
    [
        ("adds", "stored: a row of mails was added"),
        ("removes", "stored: a row of offers was removed"),
        ("changes", "stored: total was changed too"),
    ],
)
def test_whatever_else_happened_refuses_it(what: str, cause: str) -> None:
    share = FieldSetting("offer_edit__share", "discount", Decimal(33))
    rows, link, save = "offers__rows", "offers__edit", "offer_edit__save"
    one = DrawnIntent("set", "offer_edit", "offer", rows, link, "Spring", (share,), save)
    assert proved(one).kept
    assert proved(one, side_effect(what)).cause == cause
    assert proved(one, side_effect(what), noise={"mails", "budget.total", "offers"}).kept


def test_noise_is_what_changes_by_itself() -> None:
    class Noisy(DisposableShop):
        def open(self, gate: object) -> object:  # type: ignore[override]
            self._app.offers[99] = Offer("session")
            return super().open(gate)  # type: ignore[arg-type]

    assert quiet_noise(DOCUMENT, Noisy()) == {"offers"}
    assert quiet_noise(DOCUMENT, DisposableShop()) == frozenset()
