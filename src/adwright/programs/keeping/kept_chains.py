"""Chains whose texts are kept before anybody is told of them."""

from __future__ import annotations

from collections.abc import Mapping

from adwright.core.errors import AdwrightError, ProgramError
from adwright.programs.chain_engine import AskedChain, ChainEngine, Saying
from adwright.programs.keeping.program_log import ProgramLog

__all__ = ["KeptChains"]

_SHOWN = 500
_NONE: Mapping[str, str] = {}


class KeptChains:
    """Runs the chains of one program, and keeps what becomes of them. texts, errors: of chains that
    have run before, which are not run again."""

    def __init__(
        self,
        chains: ChainEngine,
        log: ProgramLog,
        texts: Mapping[str, str] = _NONE,
        errors: Mapping[str, str] = _NONE,
    ) -> None:
        self._chains, self._log = chains, log
        self._texts, self._errors = texts, errors

    async def generate(self, asked: AskedChain, say: Saying) -> str:
        """The text of a chain: kept before it is told. Raises ProgramError for one that failed
        before; ResourceError where nothing can be kept."""
        node_id = asked.chain.node_id
        if node_id in self._texts:
            return self._texts[node_id]
        if node_id in self._errors:
            raise ProgramError(self._errors[node_id])
        try:
            text = await self._chains.generate(asked, say)
        except Exception as error:
            told = str(error) if isinstance(error, AdwrightError) else repr(error)
            self._log.failure(node_id, told[:_SHOWN])
            raise
        self._log.text(node_id, text)
        return text
