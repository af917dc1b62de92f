"""The group of `adwright creative train`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.cli.creative.ads import WAS, AdColumnsGiven, AdsGiven, ad_columns, look_at, opened_ads
from adwright.cli.shared import IntoStore, LmServer, Training, allowed_to_replace, show_table
from adwright.cli.verbs import verb
from adwright.core.assets import cache_folder
from adwright.core.config import Count, Ge, Natural
from adwright.core.errors import ConfigError

# --------------------------------------------------------------------------------------------------
# adwright creative train clicks: from creatives whose impressions and clicks were counted.


def clicks(
    ads: Path,
    *,
    impressions: str = "impressions",
    clicks_column: str = "clicks",
    score: str = "",
    test: str = "",
    field: list[str] | None = None,
    date: str | None = None,
    image_id: str = "",
    reading: AdsGiven = AdsGiven(),
    go: Training = Training(Path("runs/clicks")),
) -> None:
    """Learn click rates from creatives that were shown, or a score that they had.

    Texts, page, format, placement, targeting, date and what else the table knows before are read.
    What predicts best on creatives of later days (of new brands or pages, of new stories) is kept:
    a simple rule, boosting, or a mixture; or it is said that nothing here predicts this. Columns
    that say how an ad did are refused as inputs.

    Options:
        impressions: Column of how often it was shown.
        clicks_column (--clicks): Column of how often it was clicked.
        score: Column of points, views or the like, in the place of both.
        test: Column that names the group of alternatives among which was drawn who sees which;
            within it, rates compare ads and nothing else. With --score, a group to compare within.
        field: Column of what else is known before, a category or a number; again for each. Without
            it, columns of usual names are taken.
        date: Column of when it ran, guessed by its name; empty for none.
        image_id: Column that tells which ads share a picture.
    """
    from adwright.creative.judging import image_vectors
    from adwright.creative.records.encoders import VectorStore
    from adwright.creative.response.fit import ClickRateConfig, train_clicks
    from adwright.creative.response.inputs import encoded_texts
    from adwright.creative.response.outcomes import OutcomeColumns, read_outcomes

    named = ad_columns(reading.columns)
    fields = None if field is None else tuple(field)
    asked = OutcomeColumns(named, impressions, clicks_column, test, image_id, score, fields, date)
    outcomes = read_outcomes(ads, asked)
    for note in outcomes.notes:
        typer.echo(note, err=True)
    if go.dry_run:
        go.check("model", "a model")
        counted = f"a {score} of each"
        if not score:
            counted = (
                f"{outcomes.impressions.sum():,} impressions, {outcomes.clicks.sum():,} clicks"
            )
        typer.echo(f"{len(outcomes):,} creatives, {counted}\nWould write {go.out}")
        return
    replacing = go.may_replace("model")
    opened = opened_ads(ads, named, quiet=True, bare=True)
    seen = look_at(opened, reading.look_for, offline=go.offline).table
    # Train on what the ads say, and on what their files show.
    place = {one: row for row, one in enumerate(seen.ids)}
    rows = [place[one] for one in outcomes.ids]
    kept = cache_folder() / "vectors"
    run = train_clicks(
        replace(outcomes, records=tuple(seen.records[row] for row in rows)),
        go.out,
        ClickRateConfig(seed=go.seed),
        texts=encoded_texts(folder=kept, offline=go.offline),
        vectors=image_vectors(
            [seen.media[row] for row in rows], VectorStore(kept), offline=go.offline
        ),
        overwrite=replacing,
    )
    for sentence in run.sentences():
        typer.echo(sentence)
    typer.echo(f"Saved in {run.folder}\nNext: adwright creative score NEW_ADS --model {go.out}")


# --------------------------------------------------------------------------------------------------
# adwright creative train memorability: from ads whose recall was counted.


def recall(
    ads: Path,
    *,
    score: str = "",
    of: str = "",
    scale: Literal["share", "percent", "digits", "d_prime"] | None = None,
    form: Literal["encoder", "language"] = "encoder",
    epochs: Count = 2,
    reading: AdsGiven = AdsGiven(),
    go: Training = Training(Path("runs/recall")),
) -> None:
    """Learn how well ads are remembered, from a share, a count, d', or hits and false alarms.

    What predicts best by five folds with brands held out is kept: a simple rule, the network, or
    their mixture; or it is said that nothing here predicts it, and all get the mean.

    Options:
        score: Column of how well it was remembered; usual names are guessed.
        of (--trials): Column of tries, where --score counts how many succeeded.
        scale: Of the score: 0 to 1, percent, 00 to 99, d'; guessed by values.
        form: encoder: frozen encoders, and what is chosen on them, a minute. language: a language
            model is tuned to answer in two digits, minutes to hours.
        epochs: Passes of the language form over the ads.
    """
    from adwright.creative.memory.fitted import train_recall
    from adwright.creative.memory.language import LanguageConfig, tune_memory
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.records.encoders import VectorStore

    opened = opened_ads(ads, ad_columns(reading.columns))
    seen = look_at(opened, reading.look_for, offline=go.offline, dry_run=go.dry_run).table
    table = read_recall(seen, scores=ScoreColumns(score, scale or "", of))
    for sentence in table.said:
        typer.echo(sentence, err=True)
    part = "" if form == "language" else "model"
    if go.dry_run:
        go.check(part, "a model")
        groups = len(set(table.groups.tolist()))
        typer.echo(
            f"{len(table):,} ads of {groups:,} brands, measured as {table.measure}\n"
            f"Would write {go.out}"
        )
        return
    replacing, folder = go.may_replace(part), go.out
    if form == "language":
        config = LanguageConfig(epochs=epochs, seed=go.seed, out=go.out)
        tune_memory(table, config, resume=go.resume, overwrite=replacing).close()
    else:
        store = VectorStore(cache_folder() / "vectors")
        run = train_recall(table, go.out, store=store, seed=go.seed, overwrite=replacing)
        folder = run.folder
        for sentence in run.sentences():
            typer.echo(sentence)
    typer.echo(f"Saved in {folder}\nNext: adwright creative score NEW_ADS --model {go.out}")


# --------------------------------------------------------------------------------------------------
# adwright creative train seed, and improve: ads that are remembered better (SEED).

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
    briefs: Natural = 200,
    minutes: Annotated[float, Ge(0)] = 0.0,
    base: str = "smollm2-135m-instruct",
    named: AdColumnsGiven = AdColumnsGiven(),
    seed: Natural = 0,
    offline: bool = False,
    dry_run: bool = False,
) -> None:
    """Teach a model to write ads that are remembered: write, judge, keep the best, learn, again.

    A second judge, which no round learns from, says whether the gain is real, on brands that were
    held out. A run that was stopped or killed goes on by the same command.

    Options:
        kind: What is written: the title; the title of a story; words; scenes.
        out: Folder of the run.
        pool: Further ads of that kind whose recall nobody counted.
        score: Column of how well it was remembered; usual names are guessed.
        of (--trials): Column of tries, where --score counts how many succeeded.
        scale: Of the score: 0 to 1, percent, 00 to 99, d'; guessed by values.
        rounds: At most so many.
        samples: Ads that a round writes for a brief.
        briefs: Briefs of a round, drawn anew for each; 0 for all.
        minutes: Stop after so many; the same command goes on.
        base: Base of the writer, as `adwright tune run` takes a model.
    """
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.seed.improve import train_writer
    from adwright.creative.seed.texts import (
        TOKENS,
        SeedBudget,
        SeedConfig,
        SeedData,
        known_ads,
        plan_seed,
    )

    wanted = replace(ad_columns(named.columns), image="", video="")
    table = read_recall(opened_ads(ads, wanted), scores=ScoreColumns(score, scale or "", of))
    for sentence in table.said:
        typer.echo(sentence, err=True)
    scores = table.targets.tolist()
    known = known_ads(table.records, table.ids, kind, source="ads", scores=scores)
    if pool is not None:
        more = opened_ads(pool, wanted)
        known = (*known, *known_ads(more.records, more.ids, kind, source="pool"))
    data = SeedData(known)
    config = SeedConfig(
        rounds=rounds,
        samples=samples,
        briefs=briefs,
        tokens=TOKENS[kind],
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
    served: LmServer = LmServer(),
    named: AdColumnsGiven = AdColumnsGiven(),
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
    into: IntoStore = IntoStore(),
) -> None:
    """Write ads anew where both judges find the new one better; the others stay as they are.

    The run's own writer writes, or a server's model; the judges are the run's.

    Scores are estimates of judges: nobody was asked what he remembers. Try what is written beside
    the original before it replaces it.

    Options:
        model: Run of `creative train seed`.
        out: Table, .csv or .parquet; else some are shown.
        creatives: Table of the new ads alone, .parquet or .csv, each with its original as its
            parent: `adwright creative score` judges them.
        samples: Written for each ad.
    """
    import polars as pl

    from adwright.creative.seed.improve import rewrite
    from adwright.data.sources.tables import write_creatives, write_table

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ConfigError("ads are written as CSV or Parquet", where=str(out), hint="ads.csv")
    into.check()
    table = opened_ads(ads, replace(ad_columns(named.columns), image="", video=""))
    if dry_run:
        typer.echo(f"{len(table):,} ads, {samples} would be written for each")
        return
    for place in filter(None, (out, creatives)):
        allowed_to_replace(place, force=force)
    spec = served.spec("") if served.server or served.served_model else None
    done = rewrite(table, model, samples=samples, served=spec, offline=offline)
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
    into.enter(done.creatives, author="adwright creative improve")
    if out is None:
        names = ("creative_id", "original", "text")
        cells = [[str(row[name]) for name in names] for row in rows[:_SHOWN]]
        show_table(["ad", "original", "may be"], cells)
        return
    write_table(out, pl.DataFrame(rows))
    typer.echo(f"Saved in {out}")


app = typer.Typer(
    help=(
        "Learn from ads whose clicks or whose recall was counted.\n\n"
        "Each leaves a run's folder that `score` and `explain` take as --model."
    ),
    no_args_is_help=True,
)
verb(app, "clicks", was=WAS)(clicks)
verb(app, "memorability", once="recall", was={"--of": "--trials"} | WAS)(recall)
verb(app, "seed", once="writer", was={"--of": "--trials"} | WAS)(writer)
