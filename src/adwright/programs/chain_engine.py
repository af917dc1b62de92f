"""What a session asks of whatever runs chains: one text for one prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from adwright.programs.deduction import Deduced
from adwright.programs.graph import Chain

__all__ = ["AskedChain", "ChainEngine", "Saying"]


@dataclass(frozen=True)
class AskedChain:
    """A chain that is to be run. segments: its prompt, cut at the borders of variables. deduced:
    what the outputs that are wanted ask of it."""

    chain: Chain
    segments: tuple[str, ...]
    deduced: Deduced

    @property
    def prompt(self) -> str:
        """All of the prompt."""
        return "".join(self.segments)


class Saying(Protocol):
    """Is told each piece of an answer as it is written."""

    def __call__(self, piece: str, /) -> None:
        """The answer goes on so."""
        ...

    def take_back(self) -> None:
        """Nothing was said: the answer is begun anew, perhaps another one."""
        ...


class ChainEngine(Protocol):
    """What runs chains: an engine, or a scheduler before several."""

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """Write the output of a chain. say: told each piece as it is written, if there are pieces.

        Cancelled where nobody needs the text any more. Any exception fails this chain alone.
        """
        ...
