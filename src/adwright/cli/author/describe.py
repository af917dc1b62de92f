"""adwright author evaluate: are the written descriptions better, by search, clicks and people?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from adwright.cli.shared import allowed_to_replace
from adwright.core.config import Count, Ge, Le, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.authoring.describe.report import DescribeConfig, RankerName


Judgements = Annotated[
    Path,
    typer.Argument(help="Table of query_id, item_id and grade (0 is not relevant), or a .qrels."),
]
B = Annotated[
    float, typer.Option("--b", min=0.0, max=1.0, help="BM25: how much long texts are held back.")
]


def describe(
    catalogue: Path,
    queries: Path,
    judgements: Path,
    *,
    drafts: list[Path],
    out: Path = Path("described"),
    slot: str = "description",
    variant: Natural = 0,
    rankers: str = "bm25,vectors",
    k: Count = 10,
    gain: Literal["exponential", "linear"] = "exponential",
    k1: Annotated[float, Ge(0)] = 1.2,
    b: Annotated[float, Ge(0), Le(1)] = 0.75,
    seen: Path | None = None,
    echo: Annotated[float, Ge(0.01), Le(1)] = 0.5,
    keep_echoes: bool = False,
    log: Path | None = None,
    arms: Path | None = None,
    simulate: bool = False,
    reviews: Path | None = None,
    draws: Count = 1000,
    seed: Natural = 0,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Judge written descriptions by whether search finds their products, by clicks, and by people.

    One catalogue is indexed by titles alone, with the original descriptions, with the written ones
    and with both; the same rankers answer the same queries. Queries that the writer had seen stand
    apart, and so do cold products; a description that echoes a query is left out.

    Options:
        catalogue: Table of products with the descriptions that they have now.
        queries: Table of query_id and query; with `seen` where the writer had some.
        judgements: Table of query_id, item_id and grade (0 is not relevant), or a .qrels.
        drafts: Folder of `adwright author write`; several: one a seed.
        out: New folder for report.json and leads.svg.
        slot: Which of the job's texts are judged.
        variant: Which variant of them.
        rankers: What answers the queries: bm25, vectors (MiniLM), or both.
        k: k of NDCG@k.
        gain: Worth of a grade: 2^grade - 1, or the grade.
        k1: BM25: worth of a word's second time.
        b: BM25: how much long texts are held back.
        seen (--training-queries): Table with a column `query`: what the writer was given.
        echo: From this share of a query's pairs of words on, with a word that no fact of the
            product has, a description echoes it.
        keep_echoes: Let descriptions that echo a query count.
        log: Events with propensities: products without an action in it are cold, and with
            --arms it tells of clicks.
        arms: Table of creative_id and arm: which creative shows original or written.
        simulate (--simulate-clicks): Also clicks by a simulator, which are called that.
        reviews: Judgements of the blind review of `adwright author review`.
        draws: Draws of each interval.
    """
    from adwright.authoring.describe.report import DescribeSources, judge_descriptions
    from adwright.core.atomic import atomic_folder

    sources = DescribeSources(
        catalogue, queries, judgements, tuple(drafts), seen, log=log, arms=arms, reviews=reviews
    )
    config = _config(
        slot=slot,
        variant=variant,
        rankers=_names(rankers),
        k=k,
        gain=gain,
        bm25=(k1, b),
        echo=echo,
        keep_echoes=keep_echoes,
        simulate=simulate,
        draws=draws,
        seed=seed,
        offline=offline,
    )
    replacing = not dry_run and allowed_to_replace(out, force=force)
    report = judge_descriptions(sources, config)
    typer.echo(report.text())
    if dry_run:
        typer.echo(f"\nWould write {out}")
        return
    with atomic_folder(out, overwrite=replacing) as folder:
        (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
        (folder / "leads.svg").write_text(report.svg(), encoding="utf-8")
    typer.echo(f"\nThe figures: {out / 'report.json'}\nThe picture: {out / 'leads.svg'}")


def _names(text: str) -> tuple[RankerName, ...]:
    from adwright.authoring.describe.report import RankerName

    allowed: tuple[RankerName, ...] = get_args(RankerName)
    asked = [one.strip() for one in text.split(",") if one.strip()]
    for one in asked:
        if one not in allowed:
            raise ConfigError(
                f"there is no ranker {one!r}",
                where="--rankers",
                hint=f"name {' or '.join(allowed)}, or both with a comma",
            )
    return tuple(one for one in allowed if one in asked)


def _config(
    *,
    slot: str,
    variant: int,
    rankers: tuple[RankerName, ...],
    k: int,
    gain: Literal["exponential", "linear"],
    bm25: tuple[float, float],
    echo: float,
    keep_echoes: bool,
    simulate: bool,
    draws: int,
    seed: int,
    offline: bool,
) -> DescribeConfig:
    from adwright.authoring.describe.clicks import ClickConfig, SimulatedClickConfig
    from adwright.authoring.describe.echo import EchoConfig
    from adwright.authoring.describe.report import DescribeConfig
    from adwright.authoring.describe.search import SearchConfig

    return DescribeConfig(
        slot=slot,
        variant=variant,
        rankers=rankers,
        k1=bm25[0],
        b=bm25[1],
        search=SearchConfig(
            k=k,
            gain=gain,
            echo=EchoConfig(share=echo),
            echoes="keep" if keep_echoes else "drop",
            draws=draws,
            seed=seed,
        ),
        clicks=ClickConfig(draws=draws, seed=seed),
        simulate_clicks=simulate,
        simulation=SimulatedClickConfig(draws=draws, seed=seed),
        offline=offline,
    )
