from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from adwright.console.shell.assets import asset_url, load_assets
from adwright.core.errors import MissingExtraError


def test_htmx_comes_out_of_its_package_and_is_not_copied(root: Path) -> None:
    assets = load_assets()
    assert set(assets) == {"console.css", "keys.js", "icon.svg", "htmx.min.js"}
    assert b"htmx" in assets["htmx.min.js"].content
    assert not list((root / "src").rglob("htmx*"))


def test_an_address_changes_with_the_file() -> None:
    assets = load_assets()
    address = asset_url(assets, "keys.js")
    assert address == f"/static/keys.js?v={assets['keys.js'].digest}"
    assert len({one.digest for one in assets.values()}) == 4


def test_our_script_is_short_and_the_files_name_no_other_place() -> None:
    assets = load_assets()
    assert len(assets["keys.js"].content.splitlines()) < 100
    for name in ("console.css", "keys.js"):
        assert b"http" not in assets[name].content
        assert b"url(" not in assets[name].content


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adwright.console.shell.assets.find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match="service"):
        load_assets()
    assert importlib.util.find_spec("js_lib_htmx") is not None
