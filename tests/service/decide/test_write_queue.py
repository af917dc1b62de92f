from __future__ import annotations

import asyncio
from typing import Any

import numpy as np

from adwright.campaigns.store.tables import Recorded
from adwright.delivery.decision import Decision
from adwright.service.decide.writer import TransactionSize, Write, WriteQueue, pieces_of
from tests.support.service.small_shop import request


def decision(places: int = 2) -> Decision:
    items = tuple(f"item-{n}" for n in range(places))
    return Decision(
        request(k=99), "p", items, np.ones(places), np.ones(places), ("r",) * places, "f"
    )


def write(tenant: str, entry: Any, loop: asyncio.AbstractEventLoop) -> Write:
    return Write(tenant, loop.create_future(), entry)


def test_decisions_are_written_whole_and_events_in_pieces() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        (whole,) = pieces_of(write("a", decision(99), loop))
        assert (whole.rows, whole.last) == (100, True)
        events = [{"event_id": str(n)} for n in range(120)]
        pieces = pieces_of(write("a", events, loop))
        assert [(piece.rows, piece.last) for piece in pieces] == [
            (50, False),
            (50, False),
            (20, True),
        ]
        assert [row for piece in pieces for row in piece.entry] == events  # type: ignore[union-attr]
        (single,) = pieces_of(write("a", events[:50], loop))
        assert (single.rows, single.last) == (50, True)

    asyncio.run(main())


def test_what_became_of_the_pieces_is_summed_up_at_the_last() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        pieces = pieces_of(write("a", [{}] * 120, loop))
        error = ValueError("no")
        assert pieces[0].result(error) is error
        assert pieces[0].result(Recorded(49, 1, 1, frozenset({7}))) is None
        assert pieces[1].result(Recorded(50, 0)) is None
        total = pieces[2].result(Recorded(18, 2, 1, frozenset({0, 19})))
        assert total == Recorded(117, 3, 2)
        assert total.repeated == {7, 100, 119}

    asyncio.run(main())


def test_in_each_round_all_decisions_come_before_the_events_of_one_tenant() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lines = WriteQueue(lambda: 50)
        order = []

        def put(tenant: str, entry: Any) -> None:
            for piece in pieces_of(write(tenant, entry, loop)):
                lines.put(tenant, piece)

        def take() -> None:
            tenant = lines.next()
            assert tenant is not None
            taken = lines.take(tenant)
            order.append((tenant, len(taken), isinstance(taken[0].entry, Decision)))

        put("flood", [{}] * 200)
        put("other", [{}] * 60)
        for _ in range(40):
            put("flood", decision(9))
        put("b", decision())
        assert (lines.deciding("b"), lines.deciding("new"), lines.waits("flood")) == (1, 2, 44)
        for _ in range(3):
            take()
        put("b", decision())  # while events are written
        for _ in range(4):
            take()
        assert order == [
            ("flood", 5, True),
            ("b", 1, True),
            ("flood", 1, False),
            ("flood", 5, True),
            ("b", 1, True),
            ("other", 1, False),
            ("flood", 5, True),
        ]
        assert len(lines.drain("flood")) == 28
        take()
        assert lines.next() is None

    asyncio.run(main())


def test_events_that_nobody_waits_for_are_left_out() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lines = WriteQueue(lambda: 50)
        given_up, kept = write("a", [{}], loop), write("a", [{}], loop)
        made = write("a", decision(), loop)
        for one in (given_up, kept, made):
            for piece in pieces_of(one):
                lines.put("a", piece)
        given_up.answer.cancel()
        made.answer.cancel()
        assert [piece.write for piece in lines.take("a")] == [made], "it was decided"
        assert [piece.write for piece in lines.take("a")] == [kept]

    asyncio.run(main())


def test_a_transaction_takes_what_it_can_write_in_time() -> None:
    size = TransactionSize(most=400, seconds=0.01)
    assert size.rows == 50
    for _ in range(60):
        size.add(size.rows, 0.005)
    assert size.rows == 400
    size.add(10, 0.5)
    assert size.rows == 400, "so few rows say nothing"
    size.add(400, 0.02)
    assert size.rows == 200
    size.add(100, 0.001)
    assert size.rows == 200, "it was not full"
    size.add(200, 10.0)
    assert size.rows == 50
    assert TransactionSize(most=4, seconds=1).rows == 4
