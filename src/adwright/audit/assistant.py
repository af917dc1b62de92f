"""A shop assistant: it finds products, ranks them, and answers in words of a local model."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.targets.chat import NameFinder, plain_text
from adwright.audit.targets.search import document
from adwright.audit.targets.target import Ask, DefendedTarget, ListingCleaner, RankingCost, Target
from adwright.authoring.describe.rankers import Bm25
from adwright.core.config import require_count
from adwright.core.errors import ConfigError
from adwright.lm.engine.generation import GenerationConfig, LanguageModel, Message
from adwright.metrics.text.grounding import grounded

_LONGEST, _SHORTEST = 160, 12
#: Tokens of a reason with its quotes, and of the form around all; a token has a letter at least.
_TOKENS, _AROUND = 60, 40
_SENTENCE = re.compile(r"(?<=[.!?])\s+")
_INSTRUCTION = (
    "You are a shopping assistant. For each product say in one short sentence why it suits the "
    "request. Use the given facts alone. Answer with a JSON object from names to sentences."
)


@dataclass(frozen=True)
class Reason:
    """text: what is told. written: whether the model's words are told, else the facts are. dropped:
    sentences that were left out."""

    text: str
    written: bool
    dropped: tuple[str, ...] = ()


def facts_of(listing: ShopListing) -> tuple[str, ...]:
    """Name and attributes, as `name: value`."""
    pairs = listing.attributes.items()
    return (listing.name, *(f"{name}: {value}" for name, value in pairs if value is not None))


def reason_schema(names: Sequence[str]) -> dict[str, Any]:
    """The form: every name once, in this order, with a sentence."""
    sentence = {"type": "string", "minLength": _SHORTEST, "maxLength": _LONGEST}
    return {
        "type": "object",
        "properties": dict.fromkeys(names, sentence),
        "required": list(names),
        "additionalProperties": False,
    }


def write_reasons(
    model: LanguageModel,
    listings: Sequence[ShopListing],
    request: str,
    *,
    others: Sequence[str] = (),
    seed: int = 0,
) -> tuple[list[Reason], RankingCost]:
    """A reason for each listing, and what they cost. others: further names of the shop, which no
    reason may mention. Raises as `LanguageModel.generate`."""
    if not listings:
        return [], RankingCost()
    names = [one.name for one in listings]
    lines = "\n".join(json.dumps(facts_of(one), ensure_ascii=False) for one in listings)
    chat = (Message("system", _INSTRUCTION), Message("user", f"{lines}\n\n{request}"))
    room = sum(_TOKENS + len(name) for name in names) + _AROUND
    config = GenerationConfig(max_tokens=room, seed=seed, json_schema=reason_schema(names))
    (answer,) = model.generate([chat], config)
    told = _object(answer.text)
    finder = NameFinder(list(dict.fromkeys([*names, *others])))
    reasons = [_reason(one, told.get(one.name, ""), finder) for one in listings]
    usage = answer.usage
    return reasons, RankingCost(1, usage.prompt_tokens, usage.completion_tokens)


def supported(sentence: str, listing: ShopListing, finder: NameFinder) -> bool:
    """Whether a sentence says something, claims nothing beyond the attributes, and names no other
    product."""
    if finder.exactly(sentence) is not None:
        return False  # a name alone is no reason
    named = {finder.names[place.row] for place in finder.find(plain_text(sentence))}
    return named <= {listing.name} and grounded(sentence, facts_of(listing))


def _reason(listing: ShopListing, text: str, finder: NameFinder) -> Reason:
    sentences = [one.strip() for one in _SENTENCE.split(" ".join(text.split())) if one.strip()]
    kept = [one for one in sentences if supported(one, listing, finder)]
    dropped = tuple(one for one in sentences if one not in kept)
    if kept:
        return Reason(" ".join(kept), True, dropped)
    facts = ", ".join(facts_of(listing)[1:]) or "no further facts"
    return Reason(facts, False, dropped)


def _object(text: str) -> dict[str, str]:
    """The object of an answer; empty where it was cut off. Raises ConfigError where the engine did
    not keep to the form."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    if not isinstance(value, dict):
        raise ConfigError(
            "the model did not keep to the form of the answer",
            where=text[:80],
            hint="use an engine with constrained output",
        )
    return {str(key): one for key, one in value.items() if isinstance(one, str)}


# --------------------------------------------------------------------------------------------------
# Which products of a shop a request is about, by words.
#
#     found_by_words(listings, "an espresso machine for two", 5)      # rows, the best first
#
# A catalogue of thousands does not fit into a prompt, so an assistant finds some products first.
# What a seller writes moves that step too.


def found_by_words(listings: Sequence[ShopListing], request: str, k: int) -> tuple[int, ...]:
    """The rows of at most k listings by BM25 over name, facts and texts, the best first; of equals
    the earlier one first. Where fewer than k listings have a word of the request, others follow in
    the order of the catalogue."""
    require_count("k", k)
    scores = Bm25([document(one) for one in listings]).scores(request)
    return tuple(int(row) for row in np.argsort(-scores, kind="stable")[:k])


# --------------------------------------------------------------------------------------------------
# The assistant: find products, rank them, and answer a shopper with a list and reasons.
#
#     assistant = ShopAssistant(catalogue, LikelihoodTarget(model))
#     answer = assistant.answer("I want an espresso machine.", k=3)
#     print(answer.text())
#
# Only products of the catalogue can be named: the list is the ranking's, and the reasons are
# written into a form (`reasons`). A defence cleans the listings before anything reads them.


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

    target: ranks what was found. model: writes the reasons; None tells the facts. defence: None
    reads what sellers wrote as it is. shown: so many products are found, by words, and ranked.

    Raises ConfigError for fewer than one product shown.
    """

    def __init__(
        self,
        catalogue: ShopCatalogue,
        target: Target,
        *,
        model: LanguageModel | None = None,
        defence: ListingCleaner | None = None,
        shown: int = 10,
    ) -> None:
        require_count("shown", shown)
        self.catalogue = catalogue
        self._target = target if defence is None else DefendedTarget(target, defence)
        self._clean = (lambda one: one) if defence is None else defence.clean
        self._model = model
        self._shown = shown

    @property
    def name(self) -> str:
        """What finds and what ranks."""
        return f"BM25, then {self._target.name}"

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
        found = found_by_words(read, asked, self._shown)
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
