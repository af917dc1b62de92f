"""A program that is open, and what the service asks of whatever runs its chains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from adwright.programs.persistence import ProgramLog
from adwright.programs.runner import ChainEngine, Session

OutputState = Literal["running", "done", "failed"]


class ChainEvent(Protocol):
    """Something that happened to a program."""

    @property
    def time(self) -> float:
        """Seconds on the clock of whoever runs it."""
        ...

    def as_json(self) -> dict[str, object]:
        """What is known of it."""
        ...


class ChainTrace(Protocol):
    """What happened to a program. placed: the engine of each chain, by the id of its node."""

    @property
    def events(self) -> Sequence[ChainEvent]:
        """In order."""
        ...

    @property
    def placed(self) -> Mapping[str, str]:
        """Where each chain was sent last."""
        ...


class ProgramChains(ChainEngine, Protocol):
    """What runs the chains of one program."""

    @property
    def trace(self) -> ChainTrace:
        """What happened to it so far."""
        ...

    def watch(self, session: Session) -> None:
        """See by the session what is left of the program."""
        ...

    def close(self) -> None:
        """The program is over."""
        ...


class ChainRouter(Protocol):
    """What runs the chains of all programs: a dispatcher before several engines."""

    def for_program(self, program_id: str, tenant: str, /) -> ProgramChains:
        """What runs those of one program. tenant: whose it is, and who shares prefixes."""
        ...


@dataclass(eq=False)
class OpenProgram:
    """A program that is open. made: seconds since 1970; opened, touched: seconds on the clock.
    waiting: requests that wait for one of its texts. owed: tokens of its chains that are not over.
    log: where it is kept, if it is.
    """

    program_id: str
    tenant: str
    chains: ProgramChains
    session: Session
    on_disconnect: Literal["detach", "cancel"]
    made: int
    opened: float
    touched: float
    log: ProgramLog | None = None
    waiting: int = 0
    owed: dict[str, int] = field(default_factory=dict)
    #: Of each part that came with a key: the digest of its body.
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The variables that were asked for."""
        return tuple(one.variable for one in self.session.graph.program.outputs)

    @property
    def state(self) -> OutputState:
        """How the outputs are: running while one is not settled; failed where one has no text."""
        states = {self.session.variable(one).state for one in self.outputs}
        if "pending" in states or self.session.running:
            return "running"
        return "failed" if states - {"set"} else "done"

    def set(self, name: str, text: str) -> None:
        """Set an awaited variable. Raises as `Session.set`."""
        self.session.set(name, text)
        self._kept("set", name, text)

    def fail(self, name: str, what: str) -> None:
        """Say that an awaited variable will not be set. Raises as `Session.set`."""
        self.session.fail(name, what)
        self._kept("fail", name, what)

    def cancel(self, name: str) -> None:
        """Cancel a variable. Raises as `Session.cancel`."""
        is_pending = not self.session.variable(name).is_settled
        self.session.cancel(name)
        if is_pending:
            self._kept("cancel", name)

    def _kept(self, kind: Literal["set", "fail", "cancel"], name: str, text: str = "") -> None:
        if self.log is not None:
            self.log.said(kind, name, text)
