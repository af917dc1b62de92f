"""A program in terms of tokens: what its prompts consist of, and what waits for what.

Texts are not needed to schedule. A prompt is a row of segments, each with a key, so that prompts
that begin with the same keys begin with the same text; a segment whose key is the name of a call is
what that call wrote.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from typing import NamedTuple

from adwright.core.errors import ValueInvalidError
from adwright.programs.objective import LATENCY, Objective
from adwright.programs.scheduling.ready_chain import ReadyChain, UpcomingPrefix

__all__ = ["Segment", "SimCall", "SimProgram"]


class Segment(NamedTuple):
    """A part of a prompt. public: the same text in every program of the tenant; else it is of this
    program, and where `key` is a call's name what that call wrote."""

    key: str
    tokens: int
    public: bool = False


@dataclass(frozen=True)
class SimCall:
    """One call. new_tokens: of its answer. delay: seconds of a tool that has to run on the answer
    before anybody can read it."""

    name: str
    segments: tuple[Segment, ...]
    new_tokens: int
    objective: Objective = LATENCY
    delay: float = 0.0


@dataclass(frozen=True)
class SimProgram:
    """Calls in an order in which they can run. kind: of a workload that mixes several.

    Raises ValueInvalidError where a call reads a later one.
    """

    program_id: str
    tenant: str
    arrived: float
    calls: tuple[SimCall, ...]
    kind: str = ""
    model: str = "model"

    def __post_init__(self) -> None:
        names: set[str] = set()
        every = {call.name for call in self.calls}
        for call in self.calls:
            late = sorted({each.key for each in call.segments} & every - names)
            if late:
                raise ValueInvalidError(f"call {call.name} reads {late[0]}, which comes later")
            names.add(call.name)

    @cached_property
    def producers(self) -> dict[str, tuple[str, ...]]:
        """The calls that each call reads."""
        every = {call.name for call in self.calls}
        return {
            call.name: tuple(dict.fromkeys(s.key for s in call.segments if s.key in every))
            for call in self.calls
        }

    @cached_property
    def consumers(self) -> dict[str, tuple[str, ...]]:
        """The calls that read each call."""
        found: dict[str, list[str]] = {call.name: [] for call in self.calls}
        for name, read in self.producers.items():
            for each in read:
                found[each].append(name)
        return {name: tuple(read) for name, read in found.items()}

    @cached_property
    def chains(self) -> dict[str, ReadyChain]:
        """Each call as the scheduler sees it once it is ready."""
        depth: dict[str, int] = {}
        critical: dict[str, int] = {}
        found: dict[str, ReadyChain] = {}
        for call in reversed(self.calls):
            after = self.consumers[call.name]
            depth[call.name] = 1 + max((depth[each] for each in after), default=0)
            longest = max((critical[each] for each in after), default=0)
            critical[call.name] = call.new_tokens + longest
            # The first consumer that waits for others, too.
            joint = next((each for each in after if len(self.producers[each]) > 1), None)
            prefix, totals = self._borders(call.segments)
            found[call.name] = ReadyChain(
                chain_id=f"{self.program_id}/{call.name}",
                program_id=self.program_id,
                tenant=self.tenant,
                model=self.model,
                adapter=None,
                prefix=prefix,
                prefix_tokens=totals,
                new_tokens=call.new_tokens,
                objective=call.objective,
                group=None if joint is None else f"{self.program_id}/{joint}",
                depth=depth[call.name],
                critical_tokens=critical[call.name],
                arrived=self.arrived,
            )
        return found

    def upcoming(self, over: Iterable[str]) -> list[UpcomingPrefix]:
        """What is known of the prefixes that its calls will begin with, given those that are over:
        of each call the part before the first text that is not known."""
        done = set(over)
        steps: dict[str, int] = {}
        soonest: dict[int, int | None] = {}
        for call in self.calls:
            waiting = [each for each in self.producers[call.name] if each not in done]
            steps[call.name] = 1 + max((steps[each] for each in waiting), default=-1)
            chain = self.chains[call.name]
            for segment, border in zip(call.segments, chain.prefix, strict=True):
                if segment.key in waiting:
                    break
                if call.name in done:
                    soonest.setdefault(border, None)
                else:
                    known = soonest.get(border)
                    new = steps[call.name]
                    soonest[border] = new if known is None else min(known, new)
        return [UpcomingPrefix(self.program_id, *each) for each in soonest.items()]

    def _borders(self, segments: Sequence[Segment]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        name = f"{self.tenant}/{self.model}"
        prefix, totals, total = [], [], 0
        for segment in segments:
            own = segment.key if segment.public else f"{self.program_id}/{segment.key}"
            name = blake2b(f"{name}\n{own}".encode(), digest_size=8).hexdigest()
            total += segment.tokens
            prefix.append(int(name, 16))
            totals.append(total)
        return tuple(prefix), tuple(totals)
