"""Variables: set once, waited for, streamed, failed; with a loop and without a clock."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ProgramError
from adwright.programs.runner import Failure, Variable

T = TypeVar("T")
BROKEN = Failure("call", "writer.ad", "the engine broke")


def run(work: Callable[[], Awaitable[T]]) -> T:
    async def main() -> T:
        return await work()

    return asyncio.run(main())


async def breathe() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


def test_a_variable_is_set_once() -> None:
    variable = Variable("ad")
    assert (variable.state, variable.is_settled) == ("pending", False)
    with pytest.raises(ProgramError, match=r"no text yet \[variable ad\]"):
        _ = variable.text
    variable.set("Tea")
    assert (variable.state, variable.text, variable.said) == ("set", "Tea", "Tea")
    for again in (lambda: variable.set("x"), lambda: variable.fail(BROKEN)):
        with pytest.raises(ProgramError, match="it is set already"):
            again()
    with pytest.raises(ProgramError, match="it is set already"):
        variable.add("x")


def test_the_empty_text_is_a_text() -> None:
    variable = Variable("ad")
    variable.set("")
    assert (variable.state, variable.text) == ("set", "")


def test_a_failure_names_where_it_began() -> None:
    variable = Variable("short")
    variable.fail(BROKEN)
    assert variable.state == "failed"
    with pytest.raises(ProgramError) as caught:
        _ = variable.text
    assert str(caught.value) == "the engine broke [variable short, from writer.ad]"


def test_who_was_cancelled_is_told_from_who_lost_by_it() -> None:
    told = Failure("cancelled", "ad", "it was cancelled")
    own, other = Variable("ad"), Variable("short")
    own.fail(told)
    other.fail(told)
    assert (own.state, other.state) == ("cancelled", "failed")


def test_all_who_wait_are_woken_and_nobody_is_kept() -> None:
    async def work() -> list[str]:
        variable = Variable("ad")
        waiting = [asyncio.ensure_future(variable.get()) for _ in range(3)]
        await breathe()
        assert variable.waiters == 3
        waiting.pop().cancel()
        await breathe()
        assert variable.waiters == 2
        variable.set("Tea")
        found = [await one for one in waiting]
        assert variable.waiters == 0
        return [*found, await variable.get()]

    assert run(work) == ["Tea"] * 3


def test_who_waits_for_what_fails_gets_the_error() -> None:
    async def work() -> None:
        variable = Variable("ad")
        waiting = asyncio.ensure_future(variable.get())
        await breathe()
        variable.fail(BROKEN)
        with pytest.raises(ProgramError, match="the engine broke"):
            await waiting

    run(work)
    assert True


@given(st.lists(st.text(max_size=3), max_size=6), st.text(max_size=3), st.integers(0, 6))
def test_a_stream_is_the_text_whenever_it_is_begun(
    pieces: list[str], rest: str, start: int
) -> None:
    async def work() -> str:
        variable = Variable("ad")
        reader = None
        for at, piece in enumerate([*pieces, None]):
            if at == min(start, len(pieces)):
                reader = asyncio.ensure_future(read(variable))
            await breathe()
            if piece is not None:
                variable.add(piece)
        variable.set("".join(pieces) + rest)
        assert variable.characters == len(variable.text)
        assert reader is not None
        return await reader

    async def read(variable: Variable) -> str:
        return "".join([piece async for piece in variable.stream()])

    assert run(work) == "".join(pieces) + rest


def test_a_stream_comes_piece_by_piece_and_ends_with_the_error() -> None:
    async def work() -> None:
        variable = Variable("ad")
        stream = variable.stream()
        variable.add("Te")
        assert await anext(stream) == "Te"
        variable.add("a")
        variable.fail(BROKEN)
        with pytest.raises(ProgramError, match="the engine broke"):
            await anext(stream)

    run(work)
    assert True


def test_a_text_that_was_not_streamed_so_is_refused() -> None:
    variable = Variable("ad")
    variable.add("Cof")
    with pytest.raises(ProgramError, match="not the beginning"):
        variable.set("Tea")
    assert variable.state == "pending"


def test_what_was_said_may_be_taken_back_while_nobody_has_read_it() -> None:
    async def work() -> None:
        variable = Variable("ad")
        early, late = variable.stream(), variable.stream()
        variable.add("Cof")
        assert await anext(early) == "Cof"
        waiting = asyncio.ensure_future(anext(early))
        await breathe()
        variable.take_back()
        assert (variable.said, variable.characters) == ("", 0)
        with pytest.raises(ProgramError, match="begun anew"):
            await waiting
        variable.add("Tea")
        assert await anext(late) == "Tea"
        await late.aclose()

    run(work)
    assert True
