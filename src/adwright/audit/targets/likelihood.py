"""Rank by how likely a model finds each name as the first item of its list.

    target = LikelihoodTarget(open_model(TorchConfig()))
    (ranking,) = target.rank([Ask(catalogue.listings, catalogue.request, order)])

The prompt asks for a numbered list and ends with its "1."; the score of a product is the
log-likelihood of its name there,

    sum    s_i = log p(name_i | prompt)
    mean   s_i / T_i                     T_i: tokens of the name
    prior  s_i - log p(name_i | the same prompt in the same order, of names alone)

One prompt is read once, and all names of a catalogue are scored after it in one call. Nothing is
sampled and no answer is parsed, so a model too small to write a clean list can be audited, and the
same question has the same ranking. `rank` orders by the rule of the config; the other rules that
come from the same work stand in `Ranking.also`.

sum is what a shopper gets: the chance that the list begins with the product. It favours short
names and mean favours long ones. prior takes off what the names and their places are worth without
their records, as pointwise mutual information within a domain does for answers of a choice
(Holtzman et al. 2021, 2104.08315); what is left is what the records add, and nothing where there
are none. The prompt of names alone is ours; no text of a seller stands in it, and it is read once
for each request and order.

A name that another continues ("Snap" and "Snap Pro") would get the likelihood of both. So

    p(name) - sum of p(longer names)

is taken, over the shortest of the names whose tokens begin with all of its tokens: the likelihood
that the list names it and goes on otherwise. Names whose tokens do not begin so are different paths
and stay apart. Our choice; with names that begin differently it changes nothing.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.audit.catalogue import ShopListing
from adwright.audit.targets.chat import ANSWER_START, list_messages, plain_prompt
from adwright.audit.targets.target import Ask, Ranking, RankingCost, best_first
from adwright.core.config import settings
from adwright.lm.engine.generation import LanguageModel, Tokenizer, TokenPrompt

LikelihoodRule = Literal["sum", "mean", "prior"]

#: Request, and the names as they are shown with what the source calls them.
_PriorKey = tuple[str, tuple[tuple[str, str], ...]]
_Total = tuple[npt.NDArray[np.float64], npt.NDArray[np.int64], int]

_LEAST = 1e-12
_REMEMBERED = 10_000


@settings
class LikelihoodConfig:
    """rule: "sum" or "mean" of the log-probabilities of a name's tokens, or "prior": the sum less
    that of the same names without their records. form: "chat" asks through the chat template of the
    model, "plain" as one text, for models without one. with_prior: scores by prior stand beside
    those of another rule, at the price of a short prompt more for each request and order."""

    rule: LikelihoodRule = "sum"
    form: Literal["chat", "plain"] = "chat"
    with_prior: bool = False


@dataclass(frozen=True, eq=False)
class NameScores:
    """Of one question, by row of its listings. total, mean: float64 [n], in nats. cost: of it.
    prior: the total in the question of names alone; None where no rule asked for it."""

    total: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    cost: RankingCost
    prior: npt.NDArray[np.float64] | None = None

    def rules(self) -> dict[str, tuple[float, ...]]:
        """The scores by each rule."""
        found = {"sum": self.total, "mean": self.mean}
        if self.prior is not None:
            found["prior"] = self.total - self.prior
        return {rule: tuple(scores.tolist()) for rule, scores in found.items()}


class LikelihoodTarget:
    """A language model that scores names. It closes the model with itself. The CPU-seconds of an
    engine that computes in a process of its own are not in the costs."""

    def __init__(
        self,
        model: LanguageModel,
        config: LikelihoodConfig | None = None,
    ) -> None:
        self.model = model
        self.config = LikelihoodConfig() if config is None else config
        #: Totals of names alone, in the order in which they are shown.
        self._priors: OrderedDict[_PriorKey, npt.NDArray[np.float64]] = OrderedDict()

    @property
    def name(self) -> str:
        """The model and the rule."""
        return f"{self.model.info.name}, likelihood of the name ({self.config.rule})"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises ValueInvalidError where a prompt has no room in the
        context of the model."""
        rankings = []
        for ask, found in zip(asks, self.scored(asks), strict=True):
            rules = found.rules()
            scores = rules.pop(self.config.rule)
            order = best_first(scores, ask.order)
            rankings.append(Ranking(order, scores, found.cost, also=rules))
        return rankings

    def scored(self, asks: Sequence[Ask]) -> list[NameScores]:
        """The scores of every listing, for each question; all of it in one call of the model."""
        began = time.process_time()
        bare = self._unknown(asks)
        found = self._totals([*asks, *bare.values()])
        seconds = (time.process_time() - began) / max(len(asks), 1)
        read = {}
        for (key, ask), (total, _, tokens) in zip(bare.items(), found[len(asks) :], strict=True):
            self._priors[key] = total[list(ask.order)]
            read[key] = tokens
        scores = []
        for ask, (total, lengths, tokens) in zip(asks, found[: len(asks)], strict=True):
            key, cost = _key(ask), RankingCost(1, tokens, 0, seconds)
            if key in read:
                cost += RankingCost(1, read.pop(key))
            prior = self._priors.get(key)
            if prior is not None:
                prior = prior[np.argsort(ask.order)]
            scores.append(NameScores(total, total / lengths, cost, prior))
        while len(self._priors) > _REMEMBERED:
            self._priors.popitem(last=False)
        return scores

    def _unknown(self, asks: Sequence[Ask]) -> dict[_PriorKey, Ask]:
        """The questions of names alone that are still to be asked; none where no rule needs it."""
        if not (self.config.with_prior or self.config.rule == "prior"):
            return {}
        return {_key(one): names_alone(one) for one in asks if _key(one) not in self._priors}

    def _totals(self, asks: Sequence[Ask]) -> list[_Total]:
        """Of each question the sums [n] and lengths [n] of its names, and the tokens read."""
        tokens = self.model.tokens
        prompts = [prompt_tokens(tokens, ask, self.config.form) for ask in asks]
        names = [[answer_ids(tokens, one.name) for one in ask.listings] for ask in asks]
        before = [TokenPrompt(p) for p, many in zip(prompts, names, strict=True) for _ in many]
        after = [TokenPrompt(one) for many in names for one in many]
        sums = self.model.score(before, after).log_likelihood if before else np.empty(0)
        found, at = [], 0
        for prompt, many in zip(prompts, names, strict=True):
            lengths = np.array([len(one) for one in many])
            total = _alone(sums[at : at + len(many)], many)
            found.append((total, lengths, len(prompt) + int(lengths.sum())))
            at += len(many)
        return found

    def close(self) -> None:
        """Close the model."""
        self.model.close()


def prompt_tokens(
    tokens: Tokenizer, ask: Ask, form: Literal["chat", "plain"] = "chat"
) -> tuple[int, ...]:
    """The tokens of a question, with the start of the answer behind."""
    asked = tokens.chat(list_messages(ask)) if form == "chat" else tokens.encode(plain_prompt(ask))
    return (*asked, *tokens.encode(ANSWER_START, special=False))


def names_alone(ask: Ask) -> Ask:
    """The same question, in the same order, of records that hold a name and nothing else."""
    bare = [ShopListing(one.name, name_field=one.name_field) for one in ask.listings]
    return Ask(bare, ask.request, ask.order)


def answer_ids(tokens: Tokenizer, name: str) -> tuple[int, ...]:
    """The tokens of a name as it continues the start of an answer."""
    return tuple(tokens.encode(f" {name}", special=False))


def _key(ask: Ask) -> _PriorKey:
    return ask.request, tuple((one.name_field, one.name) for one in ask.shown)


def _alone(
    sums: npt.NDArray[np.float64], names: Sequence[tuple[int, ...]]
) -> npt.NDArray[np.float64]:
    """Log-likelihoods [n] of the names without those of the names that continue them."""
    found = sums.copy()
    for row, short in enumerate(names):
        longer = [other for other, one in enumerate(names) if _continues(one, short)]
        nearest = [
            other for other in longer if not any(_continues(names[other], names[o]) for o in longer)
        ]
        # Names of equal tokens cannot be told apart, and share what there is.
        share = sum(math.exp(min(sums[other] - sums[row], 0.0)) for other in nearest)
        if nearest:
            found[row] += math.log(max(1.0 - share, _LEAST))
    return found


def _continues(longer: tuple[int, ...], short: tuple[int, ...]) -> bool:
    return len(longer) > len(short) and longer[: len(short)] == short
