"""adwright creative train writer, and improve: ads that are remembered better (SEED)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.cli.creative.ads import (
    Ads,
    BrandColumn,
    ChosenColumns,
    IdColumn,
    SecondsColumn,
    TextColumn,
    TitleColumn,
    WordsColumns,
    opened_ads,
)
from adwright.cli.creative.recall import Of, Scale, Score
from adwright.cli.shared import DryRun, Force, Offline, Seed, allowed_to_replace, show_table

__all__ = ["improve", "writer"]

_SHOWN = 20

Kind = Annotated[
    Literal["slogan", "headline", "description", "video"],
    typer.Option("--kind", help="What is written: the title; the title of a story; words; scenes."),
]
Pool = Annotated[
    Path | None,
    typer.Option("--pool", help="Further ads of that kind whose recall nobody counted."),
]
Minutes = Annotated[
    float,
    typer.Option("--minutes", min=0.0, help="Stop after so many; the same command goes on."),
]
Base = Annotated[
    str, typer.Option("--base", help="Base of the writer, as `adwright tune run` takes a model.")
]


def writer(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    kind: Kind = "slogan",
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")] = Path("runs/writer"),
    pool: Pool = None,
    score: Score = "",
    of: Of = "",
    scale: Scale = None,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="At most so many.")] = 3,
    samples: Annotated[
        int, typer.Option("--samples", min=1, help="Ads that a round writes for a brief.")
    ] = 6,
    briefs: Annotated[
        int, typer.Option("--briefs", min=0, help="Briefs of a round; 0 for all.")
    ] = 0,
    minutes: Minutes = 0.0,
    base: Base = "smollm2-135m-instruct",
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    text: TextColumn = None,
    seed: Seed = 0,
    offline: Offline = False,
    dry_run: DryRun = False,
) -> None:
    """Teach a model to write ads that are remembered: write, judge, keep the best, learn, again.

    A second judge, which no round learns from, says whether the gain is real, on brands that were
    held out. A run that was stopped or killed goes on by the same command.
    """
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.memory.seed.config import SeedBudget, SeedConfig
    from adwright.creative.memory.seed.plan import plan_seed
    from adwright.creative.memory.seed.pool import SeedData, known_ads
    from adwright.creative.memory.writer_run import train_writer

    chosen = ChosenColumns(id_column, title, words, brand, seconds, "", "", text)
    table = read_recall(opened_ads(ads, chosen), scores=ScoreColumns(score, scale or "", of))
    for sentence in table.said:
        typer.echo(sentence, err=True)
    scores = table.targets.tolist()
    known = known_ads(table.records, table.ids, kind, source="ads", scores=scores)
    if pool is not None:
        more = opened_ads(pool, chosen)
        known = (*known, *known_ads(more.records, more.ids, kind, source="pool"))
    data = SeedData(known)
    config = SeedConfig(
        rounds=rounds,
        samples=samples,
        briefs=briefs,
        seed=seed,
        budget=SeedBudget(minutes=minutes),
    )
    typer.echo(plan_seed(config, data).text())
    if dry_run:
        typer.echo(f"Would write {out}")
        return
    report = train_writer(data, kind, out, config, model=base, offline=offline)
    typer.echo(report.text())
    typer.echo(f"Saved in {out}; its page is {out / 'report.html'}")
    typer.echo(f"Next: adwright creative improve NEW_ADS --model {out}")


def improve(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    model: Annotated[Path, typer.Option("--model", help="Run of `creative train writer`.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Table, .csv or .parquet; else some are shown.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=1, help="Written for each ad.")] = 8,
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    text: TextColumn = None,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Write ads anew where both judges find the new one better; the others stay as they are.

    Scores are estimates of judges: nobody was asked what he remembers. Try what is written beside
    the original before it replaces it.
    """
    import polars as pl

    from adwright.core.errors import ConfigError
    from adwright.creative.memory.writer_run import rewrite
    from adwright.data.sources.tables import write_table

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ConfigError("ads are written as CSV or Parquet", where=str(out), hint="ads.csv")
    chosen = ChosenColumns(id_column, title, words, brand, seconds, "", "", text)
    table = opened_ads(ads, chosen)
    if dry_run:
        typer.echo(f"{len(table):,} ads, {samples} would be written for each")
        return
    if out is not None:
        allowed_to_replace(out, force=force)
    done = rewrite(table, model, samples=samples, offline=offline)
    changed = sum(one.changed for one in done.found)
    rows = [
        {
            "creative_id": id,
            "original": one.original,
            "text": one.text,
            "changed": one.changed,
            "own": one.own.value,
            "own_original": one.original_own.value,
            "second": one.second.value,
            "second_original": one.original_second.value,
            "usable": one.usable,
        }
        for id, one in zip(done.ids, done.found, strict=True)
    ]
    typer.echo(
        f"{changed:,} of {len(done.found):,} ads are better by both judges"
        + (f"; {done.left:,} lack what such an ad needs, or stand here twice" if done.left else "")
    )
    if out is None:
        names = ("creative_id", "original", "text")
        cells = [[str(row[name]) for name in names] for row in rows[:_SHOWN]]
        show_table(["ad", "original", "may be"], cells)
        return
    write_table(out, pl.DataFrame(rows))
    typer.echo(f"Saved in {out}")
