"""The group of `adwright agent`, and the whole way in Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from adwright.agent.document.text_format import read_document
from adwright.agent.drivers.chromium import ChromiumBrowser
from tests.support.agent.shop_app import ShopApp
from tests.support.agent.shop_server import shop_server
from tests.support.agent.site.browsing import chromium_or_skip
from tests.support.commands import call

TASK = 'Set the discount of "Spring" to 25'


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser


def test_the_group_teaches() -> None:
    said = call("agent", "--help")
    for verb in ("explore", "do", "replay", "verify", "report", "policy"):
        assert verb in said


def test_the_whole_way(
    chromium: ChromiumBrowser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def open_browser(*_: object, **__: object) -> Iterator[ChromiumBrowser]:
        yield chromium

    monkeypatch.setattr("adwright.agent.operate.screens.open_browser", open_browser)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHOP_USER", "ann")
    monkeypatch.setenv("SHOP_PASSWORD", "hunter22")
    app = ShopApp()
    with shop_server(app) as url:
        fields = ("user=SHOP_USER", "password=SHOP_PASSWORD")
        sign_in = ("--sign-in", f"{url}/sign-in/")
        sign_in += tuple(part for one in fields for part in ("--sign-in-field", one))
        said = call("agent", "explore", f"{url}/", "--document", "shop.txt", *sign_in)
        assert "0 unsafe" in said
        assert [path for path, _ in app.writes] == ["/sign-in/"]
        assert len(read_document("shop.txt").states) > 4
        app.writes.clear()
        do = ("agent", "do", TASK, "--document", "shop.txt", "--no-model", "--folder")
        assert "would send: commit: POST" in call(*do, "dry", "--dry-run")
        assert [path for path, _ in app.writes] == ["/sign-in/"]
        refused = call(*do, "unattended", code=1)
        assert "nobody can be asked here" in refused
        text = refused[refused.index("[[allow]]") :].partition("most = 1")[0] + "most = 1\n"
        Path("allow.toml").write_text(text, "utf-8")
        said = call(*do, "run", "--confirm-file", "allow.toml", "--keep", "discount")
        assert "verified" in said
        assert "share: '10' -> '25'" in said
        assert app.offers[7].share == "25"
        mark = said.partition("mark:")[2].split()[0]
        assert "unchanged since the run" in call("agent", "report", "run", "--mark", mark)
        page = Path("run/report.html").read_text("utf-8")
        assert page.count("<img") >= 4
        Path("allow.toml").write_text(text.replace('"25"', '"15"'), "utf-8")
        replay = ("agent", "replay", "discount", "item=Autumn", "discount=15", "--document")
        assert "0 tokens" in call(*replay, "shop.txt", "--confirm-file", "allow.toml")
        assert app.offers[8].share == "15"
        verify = ("agent", "verify", "discount", "--document", "shop.txt")
        assert "gone" not in call(*verify)
        app.labels["Save"], app.test_ids["offer_edit-save"] = "Discard", "other"
        assert "gone" in call(*verify, code=1)  # a word of another effect
        app.labels["Save"] = "Store"
        assert "moved" in call(*verify)
        said = call("agent", "explore", f"{url}/", "--document", "shop.txt")
        assert "version 2" in said
        kept = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
        assert not any(b"hunter22" in one for one in kept)
