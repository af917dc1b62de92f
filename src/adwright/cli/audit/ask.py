"""adwright audit ask: an assistant of the shop answers, as a shopper would see it."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import typer

from adwright.cli.audit.options import (
    CatalogueChoice,
    RankingRule,
    language_model,
)
from adwright.core.config import Count, Natural


def ask(
    file: Path,
    request: str,
    *,
    k: Count = 3,
    shown: Count = 10,
    columns: str | None = None,
    name: str = "",
    facts: str = "",
    texts_of: str = "",
    merchant: str = "",
    model: str = "",
    rule: RankingRule = "sum",
    average: Count = 1,
    reasons: bool = True,
    seed: Natural = 0,
    offline: bool = False,
) -> None:
    """Let a local model answer a shopper: it finds products, ranks them and says why.

    It can name nothing but products of the catalogue, and a reason that claims what no fact of the
    shop supports is left out.

        adwright audit ask coffee.jsonl "an espresso machine for two"

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        request: What the shopper asks.
        k (-k): Products in the answer.
        shown: Products that are found, by words, and ranked.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
        name: Old: --columns name=.
        facts: Old: --columns facts=, several by commas.
        texts_of: Old: --columns texts=, several by commas.
        merchant: Old: --columns merchant=.
        model: A model by its usual name, a folder, or its name at --url.
        rule (--likelihood): Of likelihoods: their sum over a name's tokens, their mean, or prior,
            the sum less what the name is worth without its record.
        average: Rank by the mean over so many orders of the products.
        reasons (--reasons/--facts-alone): Whether the model writes reasons.
    """
    from adwright.audit.assistant import ShopAssistant
    from adwright.audit.targets.likelihood import LikelihoodConfig, LikelihoodTarget
    from adwright.audit.targets.target import AveragedTarget, Target
    from adwright.lm.open_model import open_lm

    shop = CatalogueChoice(file, request, columns, name, facts, texts_of, merchant).open()
    with closing(open_lm(language_model(model, offline=offline))) as opened:
        target: Target = LikelihoodTarget(opened, LikelihoodConfig(rule=rule))
        if average > 1:
            target = AveragedTarget(target, average, seed=seed)
        assistant = ShopAssistant(shop, target, model=opened if reasons else None, shown=shown)
        typer.echo(assistant.answer(request, k=k, seed=seed).text())
