"""Chains that are asked for, without a session."""

from __future__ import annotations

import asyncio

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import Deduced
from adwright.programs.dispatch.ready import ChainJob, ProgramSeat, ProgramTrace
from adwright.programs.graph import Chain
from adwright.programs.program import LATENCY, SemanticCall
from adwright.programs.runner import AskedChain
from adwright.programs.steps import ConstantText
from tests.support.chains import chain_of

SEAT = ProgramSeat("p", "shop", "shop", False, 0.0)


class Said:
    """Notes what it is told; at most `most` pieces."""

    def __init__(self, most: int = 1_000) -> None:
        self.pieces: list[str] = []
        self.taken_back = 0
        self._most = most

    def __call__(self, piece: str, /) -> None:
        if len(self.pieces) == self._most:
            raise OSError("too much is said")
        self.pieces.append(piece)

    def take_back(self) -> None:
        self.pieces.clear()
        self.taken_back += 1


def asked_for(prompt: str, settings: GenerationConfig | None = None) -> AskedChain:
    """A chain of one constant text."""
    call = SemanticCall("c", prompt + "{{o:output}}", settings={"o": settings} if settings else {})
    chain = Chain(call, "o", "o", (ConstantText(prompt),), 0, 1)
    return AskedChain(chain, (prompt,), Deduced(LATENCY, None, 1, 1))


def job_of(
    prompt: str = "tea", settings: GenerationConfig | None = None, say: Said | None = None
) -> ChainJob:
    """A job on the loop that runs; its chain has the prompt for a name."""
    answer = asyncio.get_running_loop().create_future()
    trace = ProgramTrace("p", "shop", 0.0, 100)
    told = (chain_of(prompt), asked_for(prompt, settings), SEAT, say or Said(), trace)
    return ChainJob(*told, answer, 10)
