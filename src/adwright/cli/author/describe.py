"""adwright author describe: are the written descriptions better, by search, clicks and people?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, get_args

import typer

from adwright.cli.shared import DryRun, Force, Offline, Seed, allowed_to_replace
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.authoring.describe.run import DescribeConfig, RankerName

__all__ = ["describe"]

Catalogue = Annotated[
    Path, typer.Argument(help="Table of products with the descriptions that they have now.")
]
Queries = Annotated[
    Path, typer.Argument(help="Table of query_id and query; with `seen` where the writer had some.")
]
Judgements = Annotated[
    Path,
    typer.Argument(help="Table of query_id, item_id and grade (0 is not relevant), or a .qrels."),
]
DraftFolders = Annotated[
    list[Path],
    typer.Option("--drafts", help="Folder of `adwright author write`; several: one a seed."),
]
Out = Annotated[Path, typer.Option("--out", help="New folder for report.json and leads.svg.")]
Slot = Annotated[str, typer.Option("--slot", help="Which of the job's texts are judged.")]
Variant = Annotated[int, typer.Option("--variant", min=0, help="Which variant of them.")]
Rankers = Annotated[
    str,
    typer.Option("--rankers", help="What answers the queries: bm25, vectors (MiniLM), or both."),
]
Cut = Annotated[int, typer.Option("--k", min=1, help="k of NDCG@k.")]
GainName = Annotated[
    Literal["exponential", "linear"],
    typer.Option("--gain", help="Worth of a grade: 2^grade - 1, or the grade."),
]
K1 = Annotated[float, typer.Option("--k1", min=0.0, help="BM25: worth of a word's second time.")]
B = Annotated[
    float, typer.Option("--b", min=0.0, max=1.0, help="BM25: how much long texts are held back.")
]
SeenFile = Annotated[
    Path | None,
    typer.Option("--seen", help="Table with a column `query`: what the writer was given."),
]
EchoShare = Annotated[
    float,
    typer.Option(
        "--echo",
        min=0.01,
        max=1.0,
        help="From this share of a query's pairs of words on, with a word that no fact of the "
        "product has, a description echoes it.",
    ),
]
KeepEchoes = Annotated[
    bool, typer.Option("--keep-echoes", help="Let descriptions that echo a query count.")
]
LogFile = Annotated[
    Path | None,
    typer.Option(
        "--log",
        help="Events with propensities: products without an action in it are cold, and with "
        "--arms it tells of clicks.",
    ),
]
ArmsFile = Annotated[
    Path | None,
    typer.Option(
        "--arms", help="Table of creative_id and arm: which creative shows original or written."
    ),
]
Simulate = Annotated[
    bool,
    typer.Option("--simulate-clicks", help="Also clicks by a simulator, which are called that."),
]
Reviews = Annotated[
    Path | None,
    typer.Option("--reviews", help="Judgements of the blind review of `adwright author review`."),
]
Draws = Annotated[int, typer.Option("--draws", min=1, help="Draws of each interval.")]


def describe(  # noqa: PLR0913, PLR0917 - one argument per option
    catalogue: Catalogue,
    queries: Queries,
    judgements: Judgements,
    drafts: DraftFolders,
    out: Out = Path("described"),
    slot: Slot = "description",
    variant: Variant = 0,
    rankers: Rankers = "bm25,vectors",
    k: Cut = 10,
    gain: GainName = "exponential",
    k1: K1 = 1.2,
    b: B = 0.75,
    seen: SeenFile = None,
    echo: EchoShare = 0.5,
    keep_echoes: KeepEchoes = False,
    log: LogFile = None,
    arms: ArmsFile = None,
    simulate: Simulate = False,
    reviews: Reviews = None,
    draws: Draws = 1000,
    seed: Seed = 0,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Judge written descriptions by whether search finds their products, by clicks, and by people.

    One catalogue is indexed by titles alone, with the original descriptions, with the written ones
    and with both; the same rankers answer the same queries. Queries that the writer had seen stand
    apart, and so do cold products; a description that echoes a query is left out.
    """
    from adwright.authoring.describe.run import DescribeSources, judge_descriptions
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
    from adwright.authoring.describe.run import RankerName

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
    from adwright.authoring.describe.clicks import ClickConfig
    from adwright.authoring.describe.echo import EchoConfig
    from adwright.authoring.describe.run import DescribeConfig
    from adwright.authoring.describe.search import SearchConfig
    from adwright.authoring.describe.simulated_clicks import SimulatedClickConfig

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
