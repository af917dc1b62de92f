"""What the verbs of `adwright audit` share: a shop's catalogue, a target, a defence."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from adwright.cli.shared import (
    LmServer,
    column_pairs,
    name_pairs,
)
from adwright.core.config import Count, Ge, settings
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.audit.catalogue import ShopCatalogue, ShopListing
    from adwright.audit.defences.guard.guard import TextGuard
    from adwright.audit.defences.normalise import FactSchema
    from adwright.audit.defences.stack import DefenceStack, IsolatedTarget
    from adwright.audit.found_texts import ModelWeights
    from adwright.audit.targets.target import Target
    from adwright.lm.open_model import LmSpec


RankingRule = Literal["sum", "mean", "prior"]


def open_shop(
    file: Path,
    request: str = "",
    columns: str | None = None,
    where: str | None = None,
    most: int = 0,
    *,
    own: bool = False,
) -> ShopCatalogue:
    """The catalogue of the options; what was guessed and left out is told."""
    from adwright.audit.catalogue import open_catalogue
    from adwright.data.table_door import table_specs

    pairs = column_pairs(columns, several=("facts", "texts"))
    table_specs("catalogue")["catalogue"].check_fields(pairs, also=("facts", "texts"))
    opened = open_catalogue(
        file,
        request=request,
        name="".join(pairs.get("name", ())),
        attributes=pairs.get("facts"),
        texts=pairs.get("texts"),
        merchant="".join(pairs.get("merchant", ())),
        where=name_pairs("--where", where),
        most=most or None,
        own=own,
    )
    for sentence in opened.said:
        typer.echo(sentence, err=True)
    return opened.catalogue


@settings
class TargetChoice:
    """Which model ranks, and how.

    Options:
        ranker: likelihood: by how likely the model finds each name as the first of its list,
            which needs no answer of it; chat: by the list that it answers, as an endpoint
            always is.
        model: A model by its usual name, a folder, or its name at --server.
        url (--server --url): An OpenAI-compatible server, http://HOST:PORT/v1, which is asked for
            a list; its key is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.
        served_model: Name of the model there; by default that of --model.
        rule (--likelihood): Of likelihoods: their sum over a name's tokens, their mean, or prior,
            the sum less what the name is worth without its record.
        average: Rank by the mean over so many orders of the products.
    """

    ranker: Literal["likelihood", "chat"] | None = None
    model: str = ""
    url: str = ""
    served_model: str = ""
    rule: RankingRule = "sum"
    average: Count = 1

    def open(
        self, weights: ModelWeights | None = None, *, seed: int = 0, offline: bool = False
    ) -> Target:
        """Open the model and what ranks by it. weights: of the model where they are loaded already.
        seed: of orders and of sampling. Raises ConfigError for a likelihood behind an endpoint,
        which does not tell it."""
        from adwright.audit.targets.chat import ChatTarget, ChatTargetConfig
        from adwright.audit.targets.likelihood import LikelihoodConfig, LikelihoodTarget
        from adwright.audit.targets.target import AveragedTarget
        from adwright.lm.open_model import open_lm

        if self.url and self.ranker == "likelihood":
            raise ConfigError(
                "an endpoint is asked for a list",
                where=f"--server {self.url}",
                hint="leave --ranker out, or --server for a model on this machine",
            )
        if weights is None:
            served = LmServer(self.url, self.served_model).spec(self.model, offline=offline)
            model = open_lm(language_model(served.model, served.url, offline=offline))
        else:
            from adwright.lm.torch_engine.model import TorchModel

            model = TorchModel(weights.model, weights.tokens, name=weights.name)
        target: Target
        if self.url or self.ranker == "chat":
            target = ChatTarget(model, ChatTargetConfig(seed=seed))
        else:
            target = LikelihoodTarget(model, LikelihoodConfig(rule=self.rule))
        return target if self.average == 1 else AveragedTarget(target, self.average, seed=seed)


def language_model(model: str, url: str = "", *, offline: bool = False) -> LmSpec:
    """The model of the options; on this machine by torch where no other engine is named, since
    there what prompts share is computed once."""
    from adwright.lm.open_model import LmSpec

    spec = LmSpec(model, url=url, offline=offline)
    return spec if spec.url or spec.engine != "auto" else replace(spec, engine="torch")


@dataclass(frozen=True)
class DefenceChoice:
    """The defences before a ranker. Raises ConfigError for typed facts without the others.

    Options:
        defend: Put the defences before the ranker: normalised texts, a guard where there are
            texts enough to fit one, each listing by itself, and the bound on what texts may do.
        typed_facts: With --defend: of a seller's text only quantities, colours, materials and
            categories reach the ranker, in English.
        eps: The most that a text may move a score, in its unit; a quarter of the spread of the
            products' scores by facts alone without it.
    """

    defend: bool = False
    typed_facts: bool = False
    eps: Annotated[float, Ge(0)] | None = None

    def __post_init__(self) -> None:
        if self.typed_facts and not self.defend:
            raise ConfigError(
                "there are no defences to add them to", where="--typed-facts", hint="add --defend"
            )

    def check(self, shop: ShopCatalogue) -> None:
        """Raise ConfigError where the catalogue has no facts to take types from."""
        if self.typed_facts:
            self._schema(shop)

    def before(self, target: Target, shop: ShopCatalogue, *, seed: int) -> Target:
        """The target behind the defences, the guard fitted to the catalogue."""
        if not self.defend:
            return target
        from adwright.audit.defences.stack import IsolatedTarget

        alone = IsolatedTarget(target)
        return self.stack(shop, eps=self.bound(alone, shop), seed=seed).target(alone)

    def bound(self, facts: IsolatedTarget, shop: ShopCatalogue) -> float:
        """eps, or what follows from the scores of the facts."""
        return facts.usual_eps(shop.listings, shop.request) if self.eps is None else self.eps

    def cleaned(self, shop: ShopCatalogue) -> tuple[list[ShopListing], str]:
        """The listings as the defences leave them, and what to add to the ranker's name."""
        if not self.defend:
            return list(shop.listings), ""
        stack = self.stack(shop)
        return [stack.clean(one) for one in shop.listings], f", behind {stack.name}"

    def stack(
        self, shop: ShopCatalogue, *, eps: float | None = None, seed: int = 0
    ) -> DefenceStack:
        """The defences. eps: None without the bound."""
        import numpy as np

        from adwright.audit.defences.guard.guard import TextGuard, guard_texts

        texts, rng = guard_texts(shop.listings), np.random.default_rng(seed)
        schema = self._schema(shop) if self.typed_facts else None
        typer.echo(
            "The guard is fitted to this catalogue, each product judged by a part that did not see "
            "it: what most of its texts do counts as usual, and about 1% of them alarm.",
            err=True,
        )
        return guarded_by(lambda: TextGuard.fit(texts, rng), eps=eps, schema=schema)

    @staticmethod
    def _schema(shop: ShopCatalogue) -> FactSchema:
        from adwright.audit.defences.normalise import FactSchema
        from adwright.core.errors import DataError

        try:
            return FactSchema.of(shop.listings)
        except DataError as error:
            raise ConfigError(
                error.what, where="--typed-facts", hint="name columns by --facts, or leave it out"
            ) from error


def guarded_by(
    guard: Callable[[], TextGuard],
    *,
    eps: float | None = None,
    schema: FactSchema | None = None,
) -> DefenceStack:
    """The defences with this guard; where there are not texts enough to fit one it is left out,
    which is told. schema: of typed extraction, None without."""
    from adwright.audit.defences.stack import DefenceStack, StackConfig
    from adwright.core.errors import DataError

    made = None
    try:
        made = guard()
        typer.echo(made.in_words(), err=True)
    except DataError as error:
        typer.echo(f"There is no guard among the defences: {error.what}.", err=True)
    config = StackConfig(
        guard=made is not None, extract=schema is not None, isolated=eps is not None, eps=eps
    )
    return DefenceStack(config, guard=made, schema=schema)
