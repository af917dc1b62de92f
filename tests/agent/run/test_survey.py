"""Looking whether elements are still there."""

from __future__ import annotations

from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.policy.gate import GateRules
from adwright.agent.policy.origins import OriginRules
from adwright.agent.run.runner import survey_script
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN, shop_document
from tests.support.agent.shop_driver import ShopDriver

DOCUMENT = shop_document()
CHECKED = check_script(
    read_script(
        """
tap(inside($offers__rows[0], $offers__edit))
set_text($offer_edit__name, "a")
tap($offer_edit__save)
set_text($mail__to, "a")
tap($mail__send)
"""
    ),
    DOCUMENT,
)


def statuses(app: ShopApp) -> dict[str, str]:
    drivers: list[ShopDriver] = []

    def opened(gate: object) -> ShopDriver:
        drivers.append(ShopDriver(app, gate))  # type: ignore[arg-type]
        return drivers[-1]

    found = survey_script(CHECKED, DOCUMENT, opened, GateRules(OriginRules((ORIGIN,))))
    assert app.writes == []
    assert all(one.closed for one in drivers)
    return {one.name: one.status for one in found}


def test_all_is_there() -> None:
    assert set(statuses(ShopApp()).values()) == {"there"}


def test_what_moved_is_gone_or_changed_is_told() -> None:
    app = ShopApp(
        labels={"Save": "SAVE", "To": "Recipient"},
        test_ids={"offer_edit-save": "x", "mail-to": "y"},
        actions={"Send": "/budget/"},
    )
    found = statuses(app)
    assert found["offer_edit__save"] == "moved"
    assert found["mail__to"] == "gone"
    assert found["mail__send"] == "changed"


def test_an_empty_list_is_told_and_a_lost_page_is_unseen() -> None:
    assert statuses(ShopApp(offers={}))["offers__rows"] == "gone"
    app = ShopApp(labels={"Mail": "Post"}, test_ids={"home-mail": "x"})
    assert statuses(app)["mail__send"] == "unseen"
