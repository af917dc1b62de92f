"""The browser that tests of the agent share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from adwright.agent.drivers.chromium import ChromiumBrowser
from tests.support.agent.site.browsing import chromium_or_skip


@pytest.fixture(scope="module")
def chromium() -> Iterator[ChromiumBrowser]:
    with chromium_or_skip() as browser:
        yield browser
