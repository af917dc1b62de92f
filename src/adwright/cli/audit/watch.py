"""adwright audit watch: which texts changed since the last time, and which are worth a look."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated

import typer

from adwright.cli.audit.options import (
    CatalogueChoice,
    CatalogueFile,
    FactColumns,
    MerchantColumn,
    Most,
    NameColumn,
    RankerKind,
    RankerModel,
    RankerUrl,
    RuleOption,
    ShopperRequest,
    TargetChoice,
    TextColumns,
    Where,
)
from adwright.cli.shared import Offline, Seed
from adwright.core.errors import DataError

__all__ = ["watch"]


def watch(  # noqa: PLR0913, PLR0917 - one argument per option
    file: CatalogueFile,
    state: Annotated[
        Path, typer.Option("--state", help="What was there the last time; written after a look.")
    ] = Path("watch.json"),
    ranks: Annotated[
        bool,
        typer.Option(
            "--ranks/--texts-alone", help="Whether to rank with the texts of before, too."
        ),
    ] = True,
    orders: Annotated[
        int, typer.Option("--orders", min=1, help="Orders of the products in each ranking.")
    ] = 5,
    least_gain: Annotated[
        float, typer.Option("--least-gain", help="Ranks that are worth a look by themselves.")
    ] = 2.0,
    fail: Annotated[
        bool, typer.Option("--fail", help="Exit with 1 where a text is worth a look.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="All changed texts as JSON.")] = False,
    request: ShopperRequest = "",
    name: NameColumn = "",
    facts: FactColumns = "",
    texts_of: TextColumns = "",
    merchant: MerchantColumn = "",
    where: Where = None,
    most: Most = 0,
    ranker: RankerKind = None,
    model: RankerModel = "",
    url: RankerUrl = "",
    rule: RuleOption = "sum",
    seed: Seed = 0,
    offline: Offline = False,
) -> None:
    """List the texts that were changed since the last time and are worth a look.

    A text is, where something in it is hidden from people, where it looks written for a ranker, or
    where it moved its product up. The first time there is nothing to compare with, and the texts
    are taken as they are.

        adwright audit watch coffee.jsonl --state coffee.watch.json --fail
    """
    from adwright.audit.defences.stack import DefenceStack, StackConfig
    from adwright.audit.watch.state import read_state
    from adwright.audit.watch.watch import CatalogueWatch, WatchConfig, known_guard

    config = WatchConfig(orders=orders, least_gain=least_gain, seed=seed)
    shop = CatalogueChoice(file, request, name, facts, texts_of, merchant, where, most).open()
    known, guard = read_state(state), None
    try:
        guard = known_guard(known, shop, seed=seed)
    except DataError as error:
        typer.echo(f"No guard looks at the texts: {error.what}.", err=True)
    stack = DefenceStack(StackConfig(guard=guard is not None), guard=guard)
    with ExitStack() as opened:
        target = None
        if ranks:
            choice = TargetChoice(ranker, model, url, rule, seed=seed, offline=offline)
            target = opened.enter_context(closing(choice.open()))
        found = CatalogueWatch(state, stack, target=target, config=config).look(shop)
    typer.echo(found.to_json() if as_json else found.text(), nl=not as_json)
    if fail and found.suspicious:
        raise typer.Exit(1)
