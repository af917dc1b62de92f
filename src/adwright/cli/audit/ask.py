"""adwright audit ask: an assistant of the shop answers, as a shopper would see it."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from adwright.cli.audit.options import (
    Average,
    CatalogueChoice,
    CatalogueFile,
    FactColumns,
    MerchantColumn,
    NameColumn,
    RankerModel,
    RuleOption,
    TextColumns,
    language_model,
)
from adwright.cli.shared import Offline, Seed

__all__ = ["ask"]


def ask(  # noqa: PLR0913, PLR0917 - one argument per option
    file: CatalogueFile,
    request: Annotated[str, typer.Argument(help="What the shopper asks.")],
    k: Annotated[int, typer.Option("-k", min=1, help="Products in the answer.")] = 3,
    shown: Annotated[
        int, typer.Option("--shown", min=1, help="Products that are found, by words, and ranked.")
    ] = 10,
    name: NameColumn = "",
    facts: FactColumns = "",
    texts_of: TextColumns = "",
    merchant: MerchantColumn = "",
    model: RankerModel = "",
    rule: RuleOption = "sum",
    average: Average = 1,
    reasons: Annotated[
        bool, typer.Option("--reasons/--facts-alone", help="Whether the model writes reasons.")
    ] = True,
    seed: Seed = 0,
    offline: Offline = False,
) -> None:
    """Let a local model answer a shopper: it finds products, ranks them and says why.

    It can name nothing but products of the catalogue, and a reason that claims what no fact of the
    shop supports is left out.

        adwright audit ask coffee.jsonl "an espresso machine for two"
    """
    from adwright.audit.assistant.assistant import ShopAssistant
    from adwright.audit.targets.averaged import AveragedTarget
    from adwright.audit.targets.likelihood import LikelihoodConfig, LikelihoodTarget
    from adwright.audit.targets.target import Target
    from adwright.lm.open_model import open_lm

    shop = CatalogueChoice(file, request, name, facts, texts_of, merchant).open()
    with closing(open_lm(language_model(model, offline=offline))) as opened:
        target: Target = LikelihoodTarget(opened, LikelihoodConfig(rule=rule))
        if average > 1:
            target = AveragedTarget(target, average, seed=seed)
        assistant = ShopAssistant(shop, target, model=opened if reasons else None, shown=shown)
        typer.echo(assistant.answer(request, k=k, seed=seed).text())
