"""One act, its requests and its verdict."""

from __future__ import annotations

from functools import partial

import pytest

from adwright.agent.drivers.protocol import DriverError
from adwright.agent.language.problems import ScriptError
from adwright.agent.policy.gate import GateRules, PolicyGate
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.screen_world import TracedActs
from adwright.agent.run.trace import RunTrace, TraceStep
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
STEP = TraceStep(3, "tap", "offer_edit__save", "script")


def made(app: ShopApp) -> tuple[ShopDriver, TracedActs, RunTrace]:
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), DOCUMENT)
    driver, trace = ShopDriver(app, gate.decide), RunTrace()
    kept = lambda number, data: f"{number}.png"  # noqa: E731
    acts = TracedActs(DOCUMENT, driver, gate, trace, keep_picture=kept)
    driver.open(f"{ORIGIN}/offers/7/")
    driver.requests()
    return driver, acts, trace


def test_an_act_is_traced_with_what_it_sent() -> None:
    driver, acts, trace = made(ShopApp())
    node = next(one for one in driver.observe().nodes if one.name == "Save")
    act = acts.perform(
        partial(driver.tap, node), STEP, (DOCUMENT.by_name["offer_edit__save"],), {"share": "10"}
    )
    assert len(act.written) == 1
    (step,) = trace.steps
    assert (step.after, step.verdict, step.locator) == ("offers", "ok", "role Save")
    assert [(one.method, one.status) for one in step.requests] == [("POST", 303), ("GET", 200)]
    assert step.picture == "0.png"
    assert len(acts.seen) == 2


def test_a_driver_that_fails_is_traced_too() -> None:
    _, acts, trace = made(ShopApp())

    def broken() -> None:
        raise DriverError("it is gone")

    with pytest.raises(ScriptError, match="it is gone"):
        acts.perform(broken, STEP, (), {})
    assert (trace.steps[0].verdict, trace.steps[0].note) == ("driver", "it is gone")


@pytest.mark.parametrize("lie", ["status", ""])
def test_an_error_behind_a_banner_is_seen(lie: str) -> None:
    driver, acts, trace = made(ShopApp(lie=lie))  # type: ignore[arg-type]
    node = next(one for one in driver.observe().nodes if one.name == "Save")
    save = (DOCUMENT.by_name["offer_edit__save"],)
    if lie:
        with pytest.raises(ScriptError, match="status 409"):
            acts.perform(partial(driver.tap, node), STEP, save, {})
    else:
        acts.perform(partial(driver.tap, node), STEP, save, {})
    assert trace.steps[0].verdict == ("effect" if lie else "ok")
    assert driver.app.banner == "Saved"


def test_what_is_hidden_is_painted_over() -> None:
    shown: list[bytes] = []
    driver, acts, _ = made(ShopApp())
    gate = PolicyGate(GateRules(OriginRules((ORIGIN,))), DOCUMENT)

    def keep(number: int, data: bytes) -> str:
        shown.append(data)
        return "x"

    acts = TracedActs(DOCUMENT, driver, gate, RunTrace(), keep_picture=keep)
    acts.perform(lambda: None, STEP, (), {})
    acts.hide(DOCUMENT.by_name["offer_edit__name"])
    acts.perform(lambda: None, STEP, (), {})
    assert shown == [b"/offers/7/ without ", b"/offers/7/ without name"]
