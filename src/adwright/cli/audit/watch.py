"""adwright audit watch: what changed in a catalogue since the last look, and what moved a rank."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from adwright.cli.audit.options import (
    CatalogueChoice,
    RankingRule,
    TargetChoice,
    guarded_by,
)
from adwright.core.config import Count, Natural

if TYPE_CHECKING:
    from adwright.audit.targets.target import Target
    from adwright.audit.watch import WatchReport

_FOUND = 1


def watch(
    file: Path,
    *,
    state: Path = Path("watch.json"),
    honest: Path | None = None,
    refit: bool = False,
    ranks: bool = True,
    orders: Count = 5,
    least_gain: float = 2.0,
    out: Path | None = None,
    fail: bool = False,
    request: str = "",
    columns: str | None = None,
    name: str = "",
    facts: str = "",
    texts_of: str = "",
    merchant: str = "",
    ranker: Literal["likelihood", "chat"] | None = None,
    model: str = "",
    url: str = "",
    rule: RankingRule = "sum",
    seed: Natural = 0,
    offline: bool = False,
) -> None:
    """Look at a catalogue again: which texts changed, which of them are suspicious, which moved
    a rank.

    Run it after each delivery of the catalogue. A change is ranked with the text of before in its
    place, all else as it is now. The guard is fitted once and lies beside the state, so that no new
    text has a say in what is usual.

        adwright audit watch coffee.jsonl --state watch/coffee.json

    Options:
        file: The products: JSON lines, CSV or Parquet, a row each.
        state: What the watch remembers; made at the first look.
        honest: Products whose texts the guard is fitted to; those of the first look without it.
        refit: Fit the guard anew, to the texts of the last look.
        ranks (--ranks/--texts-alone): Whether changes are ranked, too.
        orders: Orders of each ranking.
        least_gain: Ranks from which on a gain alone is told.
        out: Write all changes here, as JSON.
        fail: Exit with 1 where a change is suspicious.
        request: What the shopper asks; made of the file's name without it.
        columns: Which column is which, OURS=THEIRS,...: name, facts (which the shop vouches for)
            and texts (which sellers write; each again for several), merchant. Others are guessed,
            and told.
        name: Old: --columns name=.
        facts: Old: --columns facts=, several by commas.
        texts_of: Old: --columns texts=, several by commas.
        merchant: Old: --columns merchant=.
        ranker: likelihood: by how likely the model finds each name as the first of its list,
            which needs no answer of it; chat: by the list that it answers, as an endpoint
            always is.
        model: A model by its usual name, a folder, or its name at --url.
        url: An OpenAI-compatible endpoint, http://HOST:PORT/v1, which is asked for a list; its
            key is read from ADWRIGHT_LM_KEY or OPENAI_API_KEY.
        rule (--likelihood): Of likelihoods: their sum over a name's tokens, their mean, or prior,
            the sum less what the name is worth without its record.
    """
    from adwright.audit.watch import CatalogueWatch, WatchConfig, kept_guard

    config = WatchConfig(orders, least_gain, seed=seed)
    shop = CatalogueChoice(file, request, columns, name, facts, texts_of, merchant).open()
    usual = None
    if honest is not None:
        usual = CatalogueChoice(
            honest, shop.request, columns, name, facts, texts_of, merchant
        ).open()
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
