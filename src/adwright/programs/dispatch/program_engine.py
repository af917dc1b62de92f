"""What a session of one program is given for an engine: the dispatcher, in the program's name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from adwright.programs.chain_engine import AskedChain, Saying
from adwright.programs.dispatch.admission import Admission
from adwright.programs.dispatch.chain_job import ChainJob
from adwright.programs.dispatch.outlook import ProgramOutlook
from adwright.programs.dispatch.ready import ChainReader, ProgramSeat
from adwright.programs.dispatch.trace import ProgramTrace
from adwright.programs.runner import Session

__all__ = ["ProgramEngine"]


class ProgramEngine:
    """Runs the chains of one program; made by `ChainDispatcher.for_program`.

        with dispatcher.for_program("p1", "shop") as engine:
            async with Session(engine) as session:
                engine.watch(session)
                ...

    trace: of what happens. reserved: tokens that were let in for chains to come.
    """

    def __init__(
        self,
        seat: ProgramSeat,
        trace: ProgramTrace,
        admission: Admission,
        reader: ChainReader,
        *,
        run: Callable[[ProgramEngine, AskedChain, Saying], Awaitable[str]],
        over: Callable[[ProgramEngine], None],
    ) -> None:
        self.seat, self.trace = seat, trace
        self.reserved = 0
        self.outlook: ProgramOutlook | None = None
        #: Chains that somebody waits for, by the id that the scheduler knows.
        self.jobs: dict[str, ChainJob] = {}
        self._admission, self._reader = admission, reader
        self._run, self._over = run, over
        self._is_closed = False

    @property
    def is_closed(self) -> bool:
        """Whether the program is over."""
        return self._is_closed

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """Write the output of a chain.

        Raises OverloadedError where there is too much to do, and nothing was reserved; ConfigError
        where no engine takes it; ProgramError once the program or the dispatcher is closed.
        """
        return await self._run(self, asked, say)

    def watch(self, session: Session) -> None:
        """See by the session what is left of the program, and what it will read again."""
        self.outlook = ProgramOutlook(session, self.seat, self._reader)

    def reserve(self, tokens: int) -> None:
        """Let in what the program, or a part that is added to it, may read and write. Raises
        OverloadedError where that is too much for now."""
        self._admission.let_in(self.seat.tenant, tokens)
        self.reserved += tokens

    def use(self, tokens: int) -> bool:
        """A chain takes its tokens from what was reserved; whether there were as many."""
        if self.reserved < tokens:
            return False
        self.reserved -= tokens
        return True

    def close(self) -> None:
        """The program is over: what is left of it is cancelled. Any number of times."""
        if not self._is_closed:
            self._is_closed = True
            if self.reserved:
                self._admission.let_go(self.seat.tenant, self.reserved)
                self.reserved = 0
            self._over(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
