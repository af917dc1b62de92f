"""Rank by how likely a model finds each name as the first item of its list.

    target = LikelihoodTarget(open_model(TorchConfig()))
    (ranking,) = target.rank([Ask(catalogue.listings, catalogue.request, order)])

The prompt asks for a numbered list and ends with its "1."; the score of a product is the
log-likelihood of its name there,

    sum    s_i = log p(name_i | prompt)
    mean   s_i / T_i                     T_i: tokens of the name

One prompt is read once, and all names of a catalogue are scored after it in one call. Nothing is
sampled and no answer is parsed, so a model too small to write a clean list can be audited, and the
same question has the same ranking. Both rules come from the same work: `rank` orders by the one of
the config, and the other stands in `Ranking.also`.

A name that another continues ("Snap" and "Snap Pro") would get the likelihood of both. So

    p(name) - sum of p(longer names)

is taken, over the shortest of the names whose tokens begin with all of its tokens: the likelihood
that the list names it and goes on otherwise. Names whose tokens do not begin so are different paths
and stay apart. Our choice; with names that begin differently it changes nothing.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from adwright.audit.targets.prompts import ANSWER_START, list_messages, plain_prompt
from adwright.audit.targets.target import Ask, Ranking, RankingCost, best_first
from adwright.core.config import check_literals
from adwright.lm.engine.generation import TokenPrompt
from adwright.lm.engine.language_model import LanguageModel, Tokenizer

__all__ = ["LikelihoodConfig", "LikelihoodTarget", "NameScores", "answer_ids", "prompt_tokens"]

_LEAST = 1e-12


@dataclass(frozen=True)
class LikelihoodConfig:
    """rule: "sum" or "mean" of the log-probabilities of a name's tokens. Small models favour short
    names by the one and long names by the other: look at both. form: "chat" asks through the chat
    template of the model, "plain" as one text, for models without one."""

    rule: Literal["sum", "mean"] = "sum"
    form: Literal["chat", "plain"] = "chat"

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True, eq=False)
class NameScores:
    """Of one question, by row of its listings. total, mean: float64 [n], in nats. cost: of it."""

    total: npt.NDArray[np.float64]
    mean: npt.NDArray[np.float64]
    cost: RankingCost


class LikelihoodTarget:
    """A language model that scores names. It closes the model with itself.

    cpu: seconds of this process so far, for the costs; an engine that computes in a process of its
    own is not in them.
    """

    def __init__(
        self,
        model: LanguageModel,
        config: LikelihoodConfig | None = None,
        *,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self.model = model
        self.config = LikelihoodConfig() if config is None else config
        self._cpu = cpu

    @property
    def name(self) -> str:
        """The model and the rule."""
        return f"{self.model.info.name}, likelihood of the name ({self.config.rule})"

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        """One ranking per question. Raises ValueInvalidError where a prompt has no room in the
        context of the model."""
        rankings = []
        for ask, found in zip(asks, self.scored(asks), strict=True):
            rules = {"sum": tuple(found.total.tolist()), "mean": tuple(found.mean.tolist())}
            scores = rules.pop(self.config.rule)
            order = best_first(scores, ask.order)
            rankings.append(Ranking(order, scores, found.cost, also=rules))
        return rankings

    def scored(self, asks: Sequence[Ask]) -> list[NameScores]:
        """Both scores of every listing, for each question; all of it in one call of the model."""
        began, tokens = self._cpu(), self.model.tokens
        prompts = [prompt_tokens(tokens, ask, self.config.form) for ask in asks]
        names = [[answer_ids(tokens, one.name) for one in ask.listings] for ask in asks]
        before = [TokenPrompt(p) for p, many in zip(prompts, names, strict=True) for _ in many]
        after = [TokenPrompt(one) for many in names for one in many]
        sums = self.model.score(before, after).log_likelihood if before else np.empty(0)
        seconds = (self._cpu() - began) / max(len(asks), 1)
        found, at = [], 0
        for prompt, many in zip(prompts, names, strict=True):
            total = _alone(sums[at : at + len(many)], many)
            lengths = np.array([len(one) for one in many])
            read = len(prompt) + int(lengths.sum())
            found.append(NameScores(total, total / lengths, RankingCost(1, read, 0, seconds)))
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


def answer_ids(tokens: Tokenizer, name: str) -> tuple[int, ...]:
    """The tokens of a name as it continues the start of an answer."""
    return tuple(tokens.encode(f" {name}", special=False))


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
