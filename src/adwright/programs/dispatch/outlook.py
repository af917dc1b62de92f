"""What is left of a program that runs, and what it will read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from adwright.programs.dispatch.chain_job import ChainJob
from adwright.programs.dispatch.ready import ChainReader, ProgramSeat
from adwright.programs.graph import Chain, Graph
from adwright.programs.limits import ProgramLimits, prompt_tokens
from adwright.programs.runner import Session
from adwright.programs.scheduling.ready_chain import UpcomingPrefix
from adwright.programs.template import ConstantText

__all__ = ["PrefixTexts", "ProgramOutlook"]

_LIMITS = ProgramLimits()


@dataclass
class ProgramOutlook:
    """Of one program's session. What it has said of a prefix it takes back once that is over."""

    session: Session
    seat: ProgramSeat
    reader: ChainReader
    _said: set[int] = field(default_factory=set)
    _graph: Graph | None = None
    _reads: dict[str, int] = field(default_factory=dict)

    def left(self) -> tuple[int, int]:
        """Tokens that are to be read and written until it is over, about."""
        graph = self.session.graph
        if self._graph is not graph:
            self._graph, self._reads = graph, prompt_tokens(graph, _LIMITS)
        reads = writes = 0
        for node_id in self.session.deduction.chains:
            chain = graph.nodes[node_id]
            if isinstance(chain, Chain) and not self.session.variable(chain.output).is_settled:
                reads += self._reads[node_id]
                writes += self.reader.expected(chain, self.seat)
        return reads, writes

    def upcoming(self, at_work: Iterable[ChainJob], texts: PrefixTexts) -> list[UpcomingPrefix]:
        """The prefixes that will be read, with in how many steps. at_work: chains that are ready or
        run. texts: is told what the prefixes are."""
        steps: dict[int, int] = {}
        for job in at_work:
            steps.update(dict.fromkeys(job.chain.prefix, 0))
            texts.learn(self.seat, job.asked.chain, job.chain.prefix, job.asked.segments)
        for one in self.session.upcoming:
            found = self.reader.prefixes(one.chain, one.segments, self.seat)
            for border in found.hashes:
                steps[border] = min(steps.get(border, one.steps), one.steps)
            texts.learn(self.seat, one.chain, found.hashes, one.segments)
        return self._told(steps)

    def over(self) -> list[UpcomingPrefix]:
        """None of them will be read again."""
        return self._told({})

    def _told(self, steps: dict[int, int]) -> list[UpcomingPrefix]:
        program = self.seat.program_id
        ended = self._said - steps.keys()
        self._said = set(steps)
        told = [UpcomingPrefix(program, border, each) for border, each in steps.items()]
        return told + [UpcomingPrefix(program, border, None) for border in ended]


class PrefixTexts:
    """What the hashes of prefixes stand for, as engines are told texts.

    Those that templates begin with, before any variable, are left out: no graph says that nobody
    will read them again, as the next program may have the same template.
    """

    def __init__(self, reader: ChainReader) -> None:
        self._reader = reader
        self._texts: dict[int, tuple[tuple[str, ...], int, ProgramSeat]] = {}
        self._of_program: dict[str, set[int]] = {}
        self._users: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._texts)

    def learn(
        self, seat: ProgramSeat, chain: Chain, hashes: Sequence[int], segments: tuple[str, ...]
    ) -> None:
        """The hashes at the borders of a prompt of the chain, or its beginning."""
        known = self._of_program.setdefault(seat.program_id, set())
        # No two constant texts stand side by side.
        first = 2 if isinstance(chain.prompt[0], ConstantText) else 1
        for borders, border in enumerate(hashes, start=1):
            if borders >= first and border not in known:
                known.add(border)
                self._users[border] = self._users.get(border, 0) + 1
                self._texts.setdefault(border, (segments, borders, seat))

    def find(self, border: int) -> tuple[str, str] | None:
        """The text up to a border, and the salt of who reads it; None where nobody knows it."""
        found = self._texts.get(border)
        if found is None:
            return None
        segments, borders, seat = found
        return self._reader.beginning(segments, borders, seat), seat.salt

    def forget(self, program_id: str) -> None:
        """The program is over."""
        for border in self._of_program.pop(program_id, ()):
            self._users[border] -= 1
            if not self._users[border]:
                del self._users[border], self._texts[border]
