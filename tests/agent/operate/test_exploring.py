"""An app explored and refreshed, with what a person wrote in between."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.agent.document.elements import AppDocument
from adwright.agent.document.text_format import read_document, write_document
from adwright.agent.drivers.protocol import RequestGate
from adwright.agent.explore.explorer import ExploreBounds
from adwright.agent.operate.screens import ExploredApp, explore_app, keep_explored
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, DataError
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_document import ORIGIN
from tests.support.agent.shop_reader import ReadingShopDriver


def explored(app: ShopApp, folder: Path, document: AppDocument | None = None) -> ExploredApp:
    drivers: list[ReadingShopDriver] = []

    def opened(gate: RequestGate) -> ReadingShopDriver:
        drivers.append(ReadingShopDriver(app, gate))
        return drivers[-1]

    found = explore_app(
        opened,
        "shop",
        ExploreBounds(f"{ORIGIN}/"),
        folder=folder / "records",
        document=document,
        clock=FixedClock(),
    )
    assert drivers[0].closed
    keep_explored(found, folder / "shop.txt", folder / "records")
    return found


def test_a_second_run_reads_what_has_changed_and_keeps_what_was_written(tmp_path: Path) -> None:
    app = ShopApp()
    first = explored(app, tmp_path)
    assert (first.unsafe, first.changes, first.document.version) == (0, (), "1")
    assert (app.writes, first.asked) == ([], 0)
    assert {"/", "/offers/", "/mail/"} <= {one.url_template for one in first.document.states}
    read = read_document(tmp_path / "shop.txt")
    assert read == first.document
    again = explored(app, tmp_path, read)
    assert (again.changes, again.changed, again.document.version) == ((), (), "1")
    assert again.asked > 3
    (launch,) = (one for one in read.elements if one.label == "Launch")
    own = replace(launch, description="asks the bank")
    edited = replace(
        read, elements=tuple(own if one is launch else one for one in read.elements), version="1"
    )
    write_document(tmp_path / "shop.txt", edited)
    app.labels["Send"] = "Dispatch"
    third = explored(app, tmp_path, edited)
    assert third.document.version == "2"
    assert third.document.by_name[launch.name].description == "asks the bank"
    assert "Dispatch" in {one.label for one in third.document.elements}
    assert third.changed == (f"{ORIGIN}/mail/",)
    assert any("Dispatch" in str(one) or "dispatch" in str(one) for one in third.changes)
    assert third.kept == (f"element {launch.name}: description is yours",)
    fourth = explored(app, tmp_path, read_document(tmp_path / "shop.txt"))
    assert (fourth.changes, fourth.document.version) == ((), "2")


def test_without_its_records_a_document_is_not_replaced(tmp_path: Path) -> None:
    found = explored(ShopApp(), tmp_path)
    with pytest.raises(ConfigError, match="no records of version 9"):
        explored(ShopApp(), tmp_path, replace(found.document, version="9"))


def test_an_app_that_does_not_answer_is_told(tmp_path: Path) -> None:
    class Gone(ShopApp):
        def page(self, path: str) -> list:
            return []

    with pytest.raises(DataError, match="the start cannot be read: status 404"):
        explored(Gone(), tmp_path)
