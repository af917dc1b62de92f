"""What is left of a program that runs, and what it will read again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import takewhile

from adwright.programs.deduction import Deduction
from adwright.programs.dispatch.chain_job import ChainJob
from adwright.programs.dispatch.ready import ChainReader, ProgramSeat
from adwright.programs.graph import Chain, Graph
from adwright.programs.limits import ProgramLimits, prompt_tokens
from adwright.programs.prefixes import Prefixes
from adwright.programs.runner import Session
from adwright.programs.scheduling.ready_chain import UpcomingPrefix
from adwright.programs.template import ConstantText
from adwright.programs.variable import Variable

__all__ = ["PrefixTexts", "ProgramOutlook"]

_LIMITS = ProgramLimits()


class ProgramOutlook:
    """Of one program's session. What it has said of a prefix it takes back once that is over."""

    def __init__(self, session: Session, seat: ProgramSeat, reader: ChainReader) -> None:
        self._session, self._seat, self._reader = session, seat, reader
        self._said: set[int] = set()
        self._graph: Graph | None = None
        self._reads: dict[str, int] = {}
        self._deduction: Deduction | None = None
        #: Chains that are not over: what they write, and tokens that they read and write.
        self._open: list[tuple[Variable, int, int]] = []
        #: Of chains that wait: how much of the prompt was known, and its prefixes.
        self._known: dict[str, tuple[int, Prefixes]] = {}

    def left(self) -> tuple[int, int]:
        """Tokens that are to be read and written until it is over, about."""
        session, graph = self._session, self._session.graph
        if self._graph is not graph:
            self._graph, self._reads = graph, prompt_tokens(graph, _LIMITS)
        if self._deduction is not session.deduction:
            self._deduction = session.deduction
            nodes = (graph.nodes[node_id] for node_id in self._deduction.chains)
            self._open = [
                (
                    session.variable(one.output),
                    self._reads[one.node_id],
                    self._reader.expected(one, self._seat),
                )
                for one in nodes
                if isinstance(one, Chain)
            ]
        self._open = [one for one in self._open if not one[0].is_settled]
        return sum(one[1] for one in self._open), sum(one[2] for one in self._open)

    def upcoming(self, at_work: Iterable[ChainJob], texts: PrefixTexts) -> list[UpcomingPrefix]:
        """The prefixes that will be read, with in how many steps. at_work: chains that are ready or
        run. texts: is told what the prefixes are."""
        steps: dict[int, int] = {}
        for job in at_work:
            steps.update(dict.fromkeys(job.chain.prefix, 0))
            texts.learn(self._seat, job.asked.chain, job.chain.prefix, job.asked.segments)
        known, self._known = self._known, {}
        for one in self._session.upcoming:
            node_id, size = one.chain.node_id, len(one.segments)
            found = known.get(node_id)
            if found is None or found[0] != size:
                found = size, self._prefixes(one.chain, one.segments)
                texts.learn(self._seat, one.chain, found[1].hashes, one.segments)
            self._known[node_id] = found
            for border in found[1].hashes:
                if steps.get(border, one.steps) >= one.steps:
                    steps[border] = one.steps
        return self._told(steps)

    def _prefixes(self, chain: Chain, segments: Sequence[str]) -> Prefixes:
        """Those before the first text that would take long to count: that is done, beside the event
        loop, once the chain is ready."""
        counts, domain = self._reader.counts, self._seat.domain
        quick = takewhile(lambda text: not counts.is_slow(text, domain), segments)
        return self._reader.prefixes(chain, quick, self._seat)

    def over(self) -> list[UpcomingPrefix]:
        """None of them will be read again."""
        return self._told({})

    def _told(self, steps: dict[int, int]) -> list[UpcomingPrefix]:
        program = self._seat.program_id
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
