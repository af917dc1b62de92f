"""adwright audit watch: what changed in a catalogue since the last look, and what moved a rank."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from adwright.cli.audit.options import (
    CatalogueChoice,
    CatalogueFile,
    FactColumns,
    MerchantColumn,
    NameColumn,
    RankerKind,
    RankerModel,
    RankerUrl,
    RuleOption,
    ShopperRequest,
    TargetChoice,
    TextColumns,
    guarded_by,
)
from adwright.cli.shared import Offline, Seed

if TYPE_CHECKING:
    from adwright.audit.targets.target import Target
    from adwright.audit.watch.alerts import WatchReport

__all__ = ["watch"]

_FOUND = 1


def watch(  # noqa: PLR0913, PLR0917 - one argument per option
    file: CatalogueFile,
    state: Annotated[
        Path, typer.Option("--state", help="What the watch remembers; made at the first look.")
    ] = Path("watch.json"),
    honest: Annotated[
        Path | None,
        typer.Option(
            "--honest",
            help="Products whose texts the guard is fitted to; those of the first look without it.",
        ),
    ] = None,
    refit: Annotated[
        bool,
        typer.Option("--refit", help="Fit the guard anew, to the texts of the last look."),
    ] = False,
    ranks: Annotated[
        bool, typer.Option("--ranks/--texts-alone", help="Whether changes are ranked, too.")
    ] = True,
    orders: Annotated[int, typer.Option("--orders", min=1, help="Orders of each ranking.")] = 5,
    least_gain: Annotated[
        float, typer.Option("--least-gain", help="Ranks from which on a gain alone is told.")
    ] = 2.0,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all changes here, as JSON.")
    ] = None,
    fail: Annotated[
        bool, typer.Option("--fail", help="Exit with 1 where a change is suspicious.")
    ] = False,
    request: ShopperRequest = "",
    name: NameColumn = "",
    facts: FactColumns = "",
    texts_of: TextColumns = "",
    merchant: MerchantColumn = "",
    ranker: RankerKind = None,
    model: RankerModel = "",
    url: RankerUrl = "",
    rule: RuleOption = "sum",
    seed: Seed = 0,
    offline: Offline = False,
) -> None:
    """Look at a catalogue again: which texts changed, which of them are suspicious, which moved
    a rank.

    Run it after each delivery of the catalogue. A change is ranked with the text of before in its
    place, all else as it is now. The guard is fitted once and lies beside the state, so that no new
    text has a say in what is usual.

        adwright audit watch coffee.jsonl --state watch/coffee.json
    """
    from adwright.audit.watch.usual import kept_guard
    from adwright.audit.watch.watch import CatalogueWatch, WatchConfig

    config = WatchConfig(orders, least_gain, seed=seed)
    shop = CatalogueChoice(file, request, name, facts, texts_of, merchant).open()
    usual = None
    if honest is not None:
        usual = CatalogueChoice(honest, shop.request, name, facts, texts_of, merchant).open()
    stack = guarded_by(lambda: kept_guard(state, shop, honest=usual, refit=refit, seed=seed))
    with ExitStack() as opened:
        target: Target | None = None
        if ranks:
            target = TargetChoice(ranker, model, url, rule, seed=seed, offline=offline).open()
            opened.callback(target.close)
        report = CatalogueWatch(state, stack, target=target, config=config).look(shop)
    _tell(report, out)
    if fail and report.suspicious:
        raise typer.Exit(_FOUND)


def _tell(report: WatchReport, out: Path | None) -> None:
    from adwright.core.atomic import atomic_write_text

    typer.echo(report.text())
    if out is not None:
        atomic_write_text(out, report.to_json())
        typer.echo(f"Saved {out}")
