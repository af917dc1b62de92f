"""The assistant: find products, rank them, and answer a shopper with a list and reasons.

    assistant = ShopAssistant(catalogue, LikelihoodTarget(model), retrieval=WordRetrieval())
    answer = assistant.answer("I want an espresso machine.", k=3)
    print(answer.text())

Only products of the catalogue can be named: the list is the ranking's, and the reasons are written
into a form (`reasons`). A defence cleans the listings before anything reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from adwright.audit.assistant.reasons import Reason, facts_of, write_reasons
from adwright.audit.assistant.retrieval import Retrieval, WordRetrieval
from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.audit.catalogue.listing import ShopListing
from adwright.audit.targets.defended import DefendedTarget, ListingCleaner
from adwright.audit.targets.target import Ask, RankingCost, Target
from adwright.core.config import require_count
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import LanguageModel


@dataclass(frozen=True)
class RecommendedProduct:
    """One product of an answer: its row in the catalogue, its name, and why."""

    row: int
    name: str
    reason: Reason


@dataclass(frozen=True)
class AssistantAnswer:
    """products: the best first. found: rows that were retrieved, in that order. cost: of all."""

    request: str
    products: tuple[RecommendedProduct, ...]
    found: tuple[int, ...]
    cost: RankingCost

    def text(self) -> str:
        """A numbered list, as the shopper reads it."""
        if not self.products:
            return "No product of the shop was found for this."
        return "\n".join(
            f"{at}. {one.name}: {one.reason.text}" for at, one in enumerate(self.products, start=1)
        )


class ShopAssistant:
    """An assistant over a catalogue.

    target: ranks what was found. model: writes the reasons; None tells the facts. retrieval: finds
    products; words by default. defence: None reads what sellers wrote as it is. shown: so many
    products are found and ranked.

    Raises ConfigError for fewer than one product shown.
    """

    def __init__(
        self,
        catalogue: ShopCatalogue,
        target: Target,
        *,
        model: LanguageModel | None = None,
        retrieval: Retrieval | None = None,
        defence: ListingCleaner | None = None,
        shown: int = 10,
    ) -> None:
        require_count("shown", shown)
        self.catalogue = catalogue
        self._target = target if defence is None else DefendedTarget(target, defence)
        self._clean = (lambda one: one) if defence is None else defence.clean
        self._model = model
        self._retrieval = WordRetrieval() if retrieval is None else retrieval
        self._shown = shown

    @property
    def name(self) -> str:
        """What finds and what ranks."""
        return f"{self._retrieval.name}, then {self._target.name}"

    def answer(self, request: str = "", *, k: int = 3, seed: int = 0) -> AssistantAnswer:
        """Answer a shopper with at most k products. request: empty for the catalogue's own.

        Raises ConfigError for k below 1 and a request of blanks alone, and as the target and the
        model.
        """
        require_count("k", k)
        asked = request or self.catalogue.request
        if not asked.strip():
            raise ConfigError("there is no request", where="request", hint="say what is wanted")
        read = [self._clean(one) for one in self.catalogue.listings]
        found = self._retrieval.retrieve(read, asked, self._shown)
        listings = [self.catalogue.listings[row] for row in found]
        if len(listings) < 2:
            order: Sequence[int] = range(len(listings))
            cost = RankingCost()
        else:
            (ranking,) = self._target.rank([Ask(listings, asked, range(len(listings)))])
            order, cost = ranking.order, ranking.cost
        rows = [found[at] for at in order[:k]]
        reasons, spent = self._reasons([read[row] for row in rows], asked, seed)
        names = self.catalogue.names
        products = [
            RecommendedProduct(row, names[row], reason)
            for row, reason in zip(rows, reasons, strict=True)
        ]
        return AssistantAnswer(asked, tuple(products), found, cost + spent)

    def _reasons(
        self, listings: Sequence[ShopListing], request: str, seed: int
    ) -> tuple[list[Reason], RankingCost]:
        if self._model is None:
            facts = [", ".join(facts_of(one)[1:]) or "no further facts" for one in listings]
            return [Reason(one, False) for one in facts], RankingCost()
        names = self.catalogue.names
        return write_reasons(self._model, listings, request, others=names, seed=seed)
