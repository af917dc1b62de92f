"""Options that say which catalogue, and who ranks it: shared by the verbs of `adwright audit`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from adwright.cli.shared import column_pairs, name_pairs
from adwright.core.config import settings
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.audit.catalogue import ShopCatalogue, ShopListing
    from adwright.audit.defences.guard.guard import TextGuard
    from adwright.audit.defences.normalise import FactSchema
    from adwright.audit.defences.stack import DefenceStack
    from adwright.audit.found_texts import ModelWeights
    from adwright.audit.targets.target import Target
    from adwright.lm.open_model import LmSpec


#: Orders of which the facts are the mean.
_TURNS = 10

RankingRule = Literal["sum", "mean", "prior"]


@dataclass(frozen=True)
class CatalogueChoice:
    """The options of a catalogue. columns: OURS=THEIRS,...; those after it are its old forms."""

    file: Path
    request: str = ""
    columns: str | None = None
    name: str = ""
    facts: str = ""
    texts: str = ""
    merchant: str = ""
    where: str | None = None
    most: int = 0
    own: bool = False

    def open(self) -> ShopCatalogue:
        """Read it, and tell what was guessed and left out."""
        from adwright.audit.catalogue import open_catalogue
        from adwright.data.table_door import table_specs

        pairs = column_pairs(self.columns, several=("facts", "texts"))
        table_specs("catalogue")["catalogue"].check_fields(pairs, also=("facts", "texts"))
        opened = open_catalogue(
            self.file,
            request=self.request,
            name="".join(pairs.get("name", self.name)),
            attributes=pairs.get("facts", _columns(self.facts)),
            texts=pairs.get("texts", _columns(self.texts)),
            merchant="".join(pairs.get("merchant", self.merchant)),
            where=name_pairs("--where", self.where),
            most=self.most or None,
            own=self.own,
        )
        for sentence in opened.said:
            typer.echo(sentence, err=True)
        return opened.catalogue


@settings
class TargetChoice:
    """The options of a ranker. seed: of the orders that are averaged over, and of sampling."""

    kind: Literal["likelihood", "chat"] | None = None
    model: str = ""
    url: str = ""
    rule: RankingRule = "sum"
    average: int = 1
    seed: int = 0
    offline: bool = False

    def open(self, weights: ModelWeights | None = None) -> Target:
        """Open the model and what ranks by it. weights: of the model where they are loaded already.
        Raises ConfigError for a likelihood behind an endpoint, which does not tell it."""
        from adwright.audit.targets.chat import ChatTarget, ChatTargetConfig
        from adwright.audit.targets.likelihood import LikelihoodConfig, LikelihoodTarget
        from adwright.audit.targets.target import AveragedTarget
        from adwright.lm.open_model import open_lm

        if self.url and self.kind == "likelihood":
            raise ConfigError(
                "an endpoint is asked for a list",
                where=f"--url {self.url}",
                hint="leave --ranker out, or --url for a model on this machine",
            )
        if weights is None:
            model = open_lm(language_model(self.model, self.url, offline=self.offline))
        else:
            from adwright.lm.torch_engine.model import TorchModel

            model = TorchModel(weights.model, weights.tokens, name=weights.name)
        target: Target
        if self.url or self.kind == "chat":
            target = ChatTarget(model, ChatTargetConfig(seed=self.seed))
        else:
            target = LikelihoodTarget(model, LikelihoodConfig(rule=self.rule))
        return target if self.average == 1 else AveragedTarget(target, self.average, seed=self.seed)


def language_model(model: str, url: str = "", *, offline: bool = False) -> LmSpec:
    """The model of the options; on this machine by torch where no other engine is named, since
    there what prompts share is computed once."""
    from adwright.lm.open_model import LmSpec

    spec = LmSpec(model, url=url, offline=offline)
    return spec if spec.url or spec.engine != "auto" else replace(spec, engine="torch")


def opened_weights(model: str, *, offline: bool = False) -> ModelWeights:
    """The weights of a model on this machine, for attacks by gradient."""
    from adwright.audit.found_texts import ModelWeights
    from adwright.lm.torch_engine.model import load_causal

    config = language_model(model, offline=offline).on_torch()
    causal, tokens, _ = load_causal(config)
    return ModelWeights(causal, tokens, config.model)


@dataclass(frozen=True)
class DefenceChoice:
    """The options of the defences. typed_facts: whether facts alone are left of texts. Raises
    ConfigError for these without the others."""

    defend: bool
    eps: float
    typed_facts: bool
    seed: int

    def __post_init__(self) -> None:
        if self.typed_facts and not self.defend:
            raise ConfigError(
                "there are no defences to add them to", where="--typed-facts", hint="add --defend"
            )

    def checked(self, shop: ShopCatalogue) -> DefenceChoice:
        """Itself. Raises ConfigError where the catalogue has no facts to take types from."""
        if self.typed_facts:
            self._schema(shop)
        return self

    def before(self, target: Target, shop: ShopCatalogue) -> Target:
        """The target behind the defences, the guard fitted to the catalogue."""
        if not self.defend:
            return target
        return self.stack(shop, eps=self.eps).target(target, facts=facts_ranker(target, shop))

    def cleaned(self, shop: ShopCatalogue) -> tuple[list[ShopListing], str]:
        """The listings as the defences leave them, and what to add to the ranker's name."""
        if not self.defend:
            return list(shop.listings), ""
        stack = self.stack(shop)
        return [stack.clean(one) for one in shop.listings], f", behind {stack.name}"

    def stack(self, shop: ShopCatalogue, *, eps: float | None = None) -> DefenceStack:
        """The defences. eps: None without the bound."""
        import numpy as np

        from adwright.audit.defences.guard.guard import TextGuard, guard_texts

        texts, rng = guard_texts(shop.listings), np.random.default_rng(self.seed)
        schema = self._schema(shop) if self.typed_facts else None
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


def facts_ranker(target: Target, shop: ShopCatalogue) -> Target:
    """What scores the facts under a bound: the mean of turns of the catalogue, since a place in a
    prompt moves a product by more than texts may. It closes the target with itself."""
    from adwright.audit.targets.target import AveragedTarget

    return AveragedTarget(target, min(len(shop), _TURNS), balanced=True)


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
        if not made.can_alarm:
            alpha = made.config.alpha
            need = f"it needs some {3 / alpha:.0f} honest texts for {alpha:.0%} of false alarms"
            typer.echo(f"The guard among the defences cannot alarm: {need}.", err=True)
    except DataError as error:
        typer.echo(f"There is no guard among the defences: {error.what}.", err=True)
    config = StackConfig(
        guard=made is not None, extract=schema is not None, isolated=eps is not None, eps=eps
    )
    return DefenceStack(config, guard=made, schema=schema)


def _columns(text: str) -> tuple[str, ...] | None:
    return tuple(one.strip() for one in text.split(",") if one.strip()) if text else None
