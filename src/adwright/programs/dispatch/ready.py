"""From what a session asks to what the scheduler knows: a chain in terms of hashes and tokens."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

from adwright.programs.chain_engine import AskedChain
from adwright.programs.dispatch.counting import AnswerLengths, TokenCounts
from adwright.programs.graph import Chain
from adwright.programs.prefixes import Prefixes, PrefixSeed, text_prefixes
from adwright.programs.scheduling.ready_chain import ReadyChain

__all__ = ["ChainReader", "ProgramSeat"]


@dataclass(frozen=True)
class ProgramSeat:
    """A program of a tenant that has come.

    domain: whoever has the same shares prefixes; public: several tenants may, see `PrefixSeed`.
    arrived: seconds on the scheduler's clock.
    """

    program_id: str
    tenant: str
    domain: str
    public: bool
    arrived: float

    @cached_property
    def salt(self) -> str:
        """What an engine is told of its domain: another one for each, which names nobody."""
        told = json.dumps([self.domain, self.public])
        return blake2b(told.encode(), digest_size=16).hexdigest()


class ChainReader:
    """Reads chains. model: the one that is meant where a call names none. version: of what makes
    tokens of texts; prefixes of two versions are never taken for one."""

    def __init__(self, counts: TokenCounts, *, model: str, version: str = "") -> None:
        self.counts, self.lengths = counts, AnswerLengths()
        self._model, self._version = model, version

    def model_of(self, chain: Chain) -> str:
        """The model that it asks for."""
        return chain.call.model or self._model

    def ready(self, asked: AskedChain, seat: ProgramSeat, chain_id: str) -> ReadyChain:
        """The chain as the scheduler sees it. Ids of programs are unique, so that with them names
        of groups are."""
        chain, deduced = asked.chain, asked.deduced
        found = self.prefixes(chain, asked.segments, seat)
        if not found.hashes:
            # A prompt without a token: engines begin with one of their own.
            found = text_prefixes([chain_id], lambda _: 1, self._seed(chain, seat))
        group = None if deduced.group is None else f"{seat.program_id}/{deduced.group}"
        return ReadyChain(
            chain_id,
            seat.program_id,
            seat.tenant,
            self.model_of(chain),
            chain.call.adapter,
            found.hashes,
            found.tokens,
            self.expected(chain, seat),
            deduced.objective,
            group,
            deduced.depth,
            deduced.critical_tokens,
            seat.arrived,
        )

    def prefixes(self, chain: Chain, segments: Iterable[str], seat: ProgramSeat) -> Prefixes:
        """The prefixes of its prompt, or of what is known of that."""
        count, domain = self.counts.of, seat.domain
        seed = self._seed(chain, seat)
        return text_prefixes(segments, lambda text: count(text, domain), seed)

    def beginning(self, segments: Sequence[str], borders: int, seat: ProgramSeat) -> str:
        """The text of a prompt up to so many borders."""
        for end, segment in enumerate(segments, start=1):
            if segment and self.counts.of(segment, seat.domain):
                borders -= 1
            if not borders:
                return "".join(segments[:end])
        return "".join(segments)

    def expected(self, chain: Chain, seat: ProgramSeat) -> int:
        """Tokens that its answer will have, about."""
        return self.lengths.expected(_length_of(chain, seat), chain.settings.max_tokens)

    def written(self, chain: Chain, seat: ProgramSeat, tokens: int) -> None:
        """It has got an answer of so many tokens."""
        self.lengths.note(_length_of(chain, seat), tokens)

    def _seed(self, chain: Chain, seat: ProgramSeat) -> PrefixSeed:
        model = self.model_of(chain)
        return PrefixSeed(seat.domain, model, chain.call.adapter, self._version, seat.public)


def _length_of(chain: Chain, seat: ProgramSeat) -> tuple[object, ...]:
    """What answers of about one length have in common."""
    call = chain.call
    return seat.tenant, hash(call.template), chain.placeholder, call.model, call.adapter
