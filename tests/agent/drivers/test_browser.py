"""How Chromium is started."""

from __future__ import annotations

import pytest

from adwright.agent.drivers.chromium import BrowserSettings, launch_options, open_browser
from adwright.core.errors import ConfigError, ResourceError


def test_names_are_looked_up_by_the_way_out_alone() -> None:
    (rule,) = (one for one in launch_options("pin") if "resolver" in one)
    assert rule == "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with pytest.raises(ConfigError, match="is no address"):
        BrowserSettings(addresses={"shop.example": "other.example"})
    with pytest.raises(ConfigError, match="no name of a host"):
        BrowserSettings(addresses={"shop.example, EXCLUDE *": "127.0.0.1"})


def test_as_root_there_is_no_sandbox_and_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for user, without in ((0, True), (1000, False)):
        monkeypatch.setattr("os.geteuid", lambda user=user: user)
        assert ("--no-sandbox" in launch_options("pin")) == without


@pytest.mark.parametrize("host", ["", "http://h", "h:80", "a b", "h, EXCLUDE *"])
def test_hosts_are_names(host: str) -> None:
    with pytest.raises(ConfigError, match="no name of a host"):
        BrowserSettings(hosts=(host,))


def test_without_chromium_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(ResourceError, match="there is no Chromium"), open_browser():
        pass
    with (
        pytest.raises(ResourceError, match="does not start"),
        open_browser(BrowserSettings(program="/bin/false")),
    ):
        pass
