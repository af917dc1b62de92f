"""Tests of the book of connections."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from adwright.web.gate import ServiceMetrics
from adwright.web.limits import GateLimits
from adwright.web.server import Connection, Connections, raise_file_limit


class Recorded(Connection):
    """Remembers why it was closed."""

    def __init__(self) -> None:
        self.why = ""

    def give_up(self, reason: str) -> None:
        self.why = reason


Scenario = Callable[[], Coroutine[Any, Any, None]]


def book_of(**settings: Any) -> tuple[Connections, ServiceMetrics]:
    metrics = ServiceMetrics()
    return Connections(GateLimits(**settings), metrics), metrics


def closed(metrics: ServiceMetrics, reason: str) -> float:
    name = "adwright_connections_closed_total"
    return metrics.registry.get_sample_value(name, {"reason": reason}) or 0


def test_for_one_more_the_one_goes_that_has_waited_longest() -> None:
    async def main() -> None:
        book, metrics = book_of(max_connections=3)
        busy, first, second, newcomer = (Recorded() for _ in range(4))
        for one in (busy, first, second):
            assert book.opened(one, "a")
        book.works(busy)
        assert book.opened(newcomer, "a")
        assert [one.why for one in (busy, first, second, newcomer)] == ["", "most", "", ""]
        assert closed(metrics, "most") == 1
        assert metrics.registry.get_sample_value("adwright_connections") == 3
        # Who waits anew has waited for the least time.
        book.waits(second, 10)
        assert book.opened(Recorded(), "a")
        assert (second.why, newcomer.why) == ("", "most")

    asyncio.run(main())


def test_where_none_waits_there_is_no_room() -> None:
    async def main() -> None:
        book, metrics = book_of(max_connections=1)
        busy, late = Recorded(), Recorded()
        assert book.opened(busy, "a")
        book.works(busy)
        assert not book.opened(late, "b")
        assert (busy.why, closed(metrics, "refused")) == ("", 1)
        book.closed(busy)
        book.closed(busy)
        book.closed(late)
        assert book.opened(late, "b")

    asyncio.run(main())


def test_an_address_may_have_a_bound_of_its_own() -> None:
    async def main() -> None:
        book, metrics = book_of(connections_per_address=1)
        other, first, second = Recorded(), Recorded(), Recorded()
        assert book.opened(other, "b")
        assert book.opened(first, "a")
        assert book.opened(second, "a")
        assert (other.why, first.why, second.why) == ("", "address", "")
        assert closed(metrics, "address") == 1
        book.works(second)
        assert not book.opened(Recorded(), "a")

    asyncio.run(main())


def test_who_does_not_come_to_the_point_is_closed() -> None:
    async def main() -> None:
        book, metrics = book_of(head_seconds=0.01)
        silent, busy, patient = Recorded(), Recorded(), Recorded()
        for one in (silent, busy, patient):
            assert book.opened(one, "a")
        book.works(busy)
        book.waits(patient, 60)
        async with asyncio.timeout(20):
            while not silent.why:
                await asyncio.sleep(0.01)
        assert (silent.why, busy.why, patient.why) == ("time", "", "")
        # What is closed is forgotten, whatever comes of it later.
        book.waits(silent, 0)
        assert metrics.registry.get_sample_value("adwright_connections") == 2

    asyncio.run(main())


def test_crowds_are_told_to_the_log_but_not_each(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        book, _ = book_of(max_connections=1)
        for _ in range(5):
            assert book.opened(Recorded(), "a")

    asyncio.run(main())
    (record,) = caplog.records
    assert "too many connections" in record.getMessage()


def test_there_are_no_more_connections_than_files(monkeypatch: pytest.MonkeyPatch) -> None:
    for files, most in ((1024, 768), (300, 150), (resource.RLIM_INFINITY, 2048), (9999, 2048)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, soft=files: (soft, soft))
        assert book_of()[0].most == most


@pytest.mark.parametrize(
    ("soft", "hard", "then"),
    [
        (1024, 4096, [(4096, 4096)]),
        (1024, 1 << 20, [(65_536, 1 << 20)]),
        (1024, resource.RLIM_INFINITY, [(65_536, resource.RLIM_INFINITY)]),
        (4096, 4096, []),
        (1 << 20, 1 << 20, []),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, []),
    ],
)
def test_the_limit_on_files_is_raised_where_it_may_be(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, then: list[tuple[int, int]]
) -> None:
    made = list[tuple[int, int]]()
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, limits: made.append(limits))
    raise_file_limit()
    assert made == then
