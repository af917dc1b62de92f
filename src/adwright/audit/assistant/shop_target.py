"""The whole way of an assistant as a target: find some of the listings, then rank those.

    target = ShopTarget(LikelihoodTarget(model), WordRetrieval(), shown=10)

A listing that is not found is not ranked, so a text can win or lose at both steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from adwright.audit.assistant.retrieval import Retrieval
from adwright.audit.targets.target import Ask, Ranking, Target
from adwright.core.config import require_count

__all__ = ["ShopTarget"]


class ShopTarget:
    """A target behind a retrieval. It closes the target with itself. shown: so many listings are
    found and ranked; they are shown in the order of the question. Defend it as a whole by
    `DefendedTarget(ShopTarget(..), defence)`: the retrieval then reads cleaned texts too."""

    def __init__(self, target: Target, retrieval: Retrieval, *, shown: int = 10) -> None:
        require_count("shown", shown)
        self._target = target
        self._retrieval = retrieval
        self._shown = shown

    @property
    def name(self) -> str:
        """What finds, and what ranks."""
        return f"{self._retrieval.name} (best {self._shown}), then {self._target.name}"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question, of the listings that were found; without scores, since the
        others have none."""
        kept = [self._found(ask) for ask in asks]
        smaller = []
        for ask, rows in zip(asks, kept, strict=True):
            places = {row: at for at, row in enumerate(rows)}
            order = [places[row] for row in ask.order if row in places]
            smaller.append(Ask([ask.listings[row] for row in rows], ask.request, order))
        return [
            replace(one, order=tuple(rows[at] for at in one.order), scores=None, also={})
            for one, rows in zip(self._target.rank(smaller), kept, strict=True)
        ]

    def close(self) -> None:
        """Close the target."""
        self._target.close()

    def _found(self, ask: Ask) -> tuple[int, ...]:
        """Rows that were found. Of equal scores the one that is shown earlier counts as better."""
        rows = self._retrieval.retrieve(ask.shown, ask.request, self._shown)
        return tuple(sorted(ask.order[at] for at in rows))
