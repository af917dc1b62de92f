"""Chromium for tests: one process for those of a file, skipped where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from adwright.agent.drivers.chromium import ChromiumBrowser, open_browser
from adwright.agent.drivers.protocol import GateDecision, PendingRequest, Screen, ScreenNode


@contextmanager
def chromium_or_skip() -> Iterator[ChromiumBrowser]:
    """The distribution's Chromium; skips without it, but not in continuous integration."""
    if not (shutil.which("chromium") or shutil.which("chromium-browser")):
        if os.environ.get("CI") and not os.environ.get("ADWRIGHT_NO_BROWSER"):
            pytest.fail("there is no Chromium: .ci/run installs it")
        pytest.skip("there is no Chromium: `make browser` installs it")
    pytest.importorskip("playwright.sync_api", reason="the extra dev is not installed")
    with open_browser() as browser:
        yield browser


def allow_all(request: PendingRequest) -> GateDecision:
    """A gate that is always open."""
    return GateDecision(request.url.startswith("http"))


def node_of(screen: Screen, role: str, name: str) -> ScreenNode:
    """The one node of a role and name."""
    (found,) = (one for one in screen.nodes if (one.role, one.name) == (role, name))
    return found
