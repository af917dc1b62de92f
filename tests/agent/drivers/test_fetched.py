"""What a driver that reads pages gives."""

from __future__ import annotations

import inspect

from adwright.agent.drivers.chromium import ChromiumDriver
from adwright.agent.drivers.protocol import FetchedPage, FetchingDriver


def test_chromium_reads_pages() -> None:
    own, asked = (inspect.signature(one.fetch) for one in (ChromiumDriver, FetchingDriver))
    assert own == asked
    assert FetchedPage("http://h/", 200, {"etag": "x"}, b"").headers["etag"] == "x"
