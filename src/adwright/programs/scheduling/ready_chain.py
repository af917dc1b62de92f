"""The unit of scheduling: a prompt up to one generation, all of whose inputs are known."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from adwright.core.errors import ValueInvalidError
from adwright.programs.objective import Objective

__all__ = ["ReadyChain", "UpcomingPrefix"]


@dataclass(frozen=True)
class ReadyChain:
    """A chain whose inputs are all known.

    prefix: chained hashes of the prompt at its variable borders, outermost first; the chain starts
    from tenant (or cache domain), model and adapter, so that equal hashes may share their cache.
    prefix_tokens: tokens up to each of these borders, ascending; the last is the whole prompt.
    new_tokens: expected tokens to generate. objective: of the chain, deduced. group: of the chains
    that feed one consumer. depth, critical_tokens: the longest way to an output that is wanted, in
    calls and in tokens to generate, this chain included. arrived: of the program, seconds on the
    scheduler's clock.
    Raises ValueInvalidError where borders and tokens do not belong together.
    """

    chain_id: str
    program_id: str
    tenant: str
    model: str
    adapter: str | None
    prefix: tuple[int, ...]
    prefix_tokens: tuple[int, ...]
    new_tokens: int
    objective: Objective
    group: str | None
    depth: int
    critical_tokens: int
    arrived: float

    def __post_init__(self) -> None:
        tokens = self.prefix_tokens
        if not tokens or len(tokens) != len(self.prefix):
            raise ValueInvalidError(
                f"chain {self.chain_id} has {len(self.prefix)} borders and {len(tokens)} counts",
                hint="give the tokens up to each border, the last one the whole prompt's",
            )
        if tokens[0] < 1 or any(b <= a for a, b in pairwise(tokens)):
            raise ValueInvalidError(
                f"the tokens up to the borders of chain {self.chain_id} do not ascend",
                value=str(tokens),
                hint="leave out a border that adds no token",
            )

    @property
    def prompt_tokens(self) -> int:
        """Tokens of the whole prompt."""
        return self.prefix_tokens[-1]


@dataclass(frozen=True)
class UpcomingPrefix:
    """A prefix that a chain which is not ready yet will begin with.

    steps: how many chains must end one after the other before it is ready; None: nothing of this
    program will read it any more.
    """

    program_id: str
    prefix: int
    steps: int | None
