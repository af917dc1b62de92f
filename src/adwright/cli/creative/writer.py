"""adwright creative train seed, and improve: ads that are remembered better (SEED)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.cli.creative.ads import (
    ChosenColumns,
    opened_ads,
)
from adwright.cli.shared import allowed_to_replace, show_table
from adwright.core.config import Count, Ge, Natural

_SHOWN = 20


def writer(
    ads: Path,
    *,
    kind: Literal["slogan", "headline", "description", "video"] = "slogan",
    out: Path = Path("runs/writer"),
    pool: Path | None = None,
    score: str = "",
    of: str = "",
    scale: Literal["share", "percent", "digits", "d_prime"] | None = None,
    rounds: Count = 3,
    samples: Count = 6,
    briefs: Natural = 0,
    minutes: Annotated[float, Ge(0)] = 0.0,
    base: str = "smollm2-135m-instruct",
    columns: str | None = None,
    id_column: str | None = None,
    title: str | None = None,
    words: list[str] | None = None,
    brand: str | None = None,
    seconds: str | None = None,
    text: str | None = None,
    seed: Natural = 0,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Teach a model to write ads that are remembered: write, judge, keep the best, learn, again.

    A second judge, which no round learns from, says whether the gain is real, on brands that were
    held out. A run that was stopped or killed goes on by the same command.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        kind: What is written: the title; the title of a story; words; scenes.
        out: Folder of the run.
        pool: Further ads of that kind whose recall nobody counted.
        score: Column of how well it was remembered; usual names are guessed.
        of (--trials): Column of tries, where --score counts how many succeeded.
        scale: Of the score: 0 to 1, percent, 00 to 99, d'; guessed by values.
        rounds: At most so many.
        samples: Ads that a round writes for a brief.
        briefs: Briefs of a round; 0 for all.
        minutes: Stop after so many; the same command goes on.
        base: Base of the writer, as `adwright tune run` takes a model.
        columns: Which column is which, OURS=THEIRS,...: id, title, words (again for each), brand,
            seconds, image, video, text (in sentences, as `describe` writes them); image= for none.
            Others are guessed by their names.
        id_column (--id): Old: --columns id=.
        title: Old: --columns title=.
        words: Old: --columns words=.
        brand: Old: --columns brand=.
        seconds: Old: --columns seconds=.
        text: Old: --columns text=.
    """
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.seed.improve import train_writer
    from adwright.creative.seed.pool import SeedBudget, SeedConfig, SeedData, known_ads, plan_seed

    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, "", "", text)
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


def improve(
    ads: Path,
    *,
    model: Path,
    out: Path | None = None,
    creatives: Path | None = None,
    samples: Count = 8,
    columns: str | None = None,
    id_column: str | None = None,
    title: str | None = None,
    words: list[str] | None = None,
    brand: str | None = None,
    seconds: str | None = None,
    text: str | None = None,
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Write ads anew where both judges find the new one better; the others stay as they are.

    Scores are estimates of judges: nobody was asked what he remembers. Try what is written beside
    the original before it replaces it.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        model: Run of `creative train seed`.
        out: Table, .csv or .parquet; else some are shown.
        creatives: Table of the new ads alone, .parquet or .csv, each with its original as its
            parent: `adwright creative score` judges them.
        samples: Written for each ad.
        columns: Which column is which, OURS=THEIRS,...: id, title, words (again for each), brand,
            seconds, image, video, text (in sentences, as `describe` writes them); image= for none.
            Others are guessed by their names.
        id_column (--id): Old: --columns id=.
        title: Old: --columns title=.
        words: Old: --columns words=.
        brand: Old: --columns brand=.
        seconds: Old: --columns seconds=.
        text: Old: --columns text=.
    """
    import polars as pl

    from adwright.core.errors import ConfigError
    from adwright.creative.seed.improve import rewrite
    from adwright.data.sources.tables import write_creatives, write_table

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ConfigError("ads are written as CSV or Parquet", where=str(out), hint="ads.csv")
    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, "", "", text)
    table = opened_ads(ads, chosen)
    if dry_run:
        typer.echo(f"{len(table):,} ads, {samples} would be written for each")
        return
    for place in filter(None, (out, creatives)):
        allowed_to_replace(place, force=force)
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
    if creatives is not None:
        write_creatives(creatives, done.creatives)
        typer.echo(f"{len(done.creatives):,} ads in {creatives}")
    if out is None:
        names = ("creative_id", "original", "text")
        cells = [[str(row[name]) for name in names] for row in rows[:_SHOWN]]
        show_table(["ad", "original", "may be"], cells)
        return
    write_table(out, pl.DataFrame(rows))
    typer.echo(f"Saved in {out}")
