"""The processes of one run of the tests compile the files of tests between them.

Each process collects all tests, and rewrites each file's assertions so that they tell what they
compared, which is most of that work in a fresh checkout. Here every other process begins at the
end: from where they meet, each finds what another one has written.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest


def _worker() -> str:
    """gw0, gw1, ...; empty where one process runs all tests."""
    return os.environ.get("PYTEST_XDIST_WORKER", "")


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    odd = _worker().endswith(tuple("13579"))
    if odd and isinstance(collector, pytest.Directory) and report.result is not None:
        report.result.reverse()
    return report


def sort(items: list[pytest.Item]) -> None:
    """Bring the tests into the order in which all processes must have them: by file, and within a
    file as they stand there."""
    if _worker():
        items.sort(key=lambda item: item.nodeid.split("::", 1)[0])
