"""adwright creative train recall: from ads whose recall was counted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    Ads,
    BrandColumn,
    ChosenColumns,
    IdColumn,
    ImageColumn,
    LookFor,
    SecondsColumn,
    TextColumn,
    TitleColumn,
    VideoColumn,
    WordsColumns,
    look_at,
    opened_ads,
)
from adwright.cli.shared import DryRun, Force, Offline, Resume, Seed, allowed_to_replace
from adwright.core.assets import cache_folder

__all__ = ["recall"]

Score = Annotated[
    str,
    typer.Option("--score", help="Column of how well it was remembered; usual names are guessed."),
]
Of = Annotated[
    str, typer.Option("--of", help="Column of tries, where --score counts how many succeeded.")
]
Scale = Annotated[
    Literal["share", "percent", "digits", "d_prime"] | None,
    typer.Option("--scale", help="Of the score: 0 to 1, percent, 00 to 99, d'; guessed by values."),
]
Form = Annotated[
    Literal["encoder", "language"],
    typer.Option(
        "--form",
        help="encoder: frozen encoders and ridges, seconds. language: a language model is tuned to "
        "answer in two digits, minutes to hours.",
    ),
]


def recall(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/recall"),
    score: Score = "",
    of: Of = "",
    scale: Scale = None,
    form: Form = "encoder",
    epochs: Annotated[
        int, typer.Option("--epochs", min=1, help="Passes of the language form over the ads.")
    ] = 2,
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    image: ImageColumn = None,
    video: VideoColumn = None,
    text: TextColumn = None,
    look_for: LookFor = LOOK_FOR,
    seed: Seed = 0,
    offline: Offline = False,
    resume: Resume = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Learn how well ads are remembered, from a share, a count, d', or hits and false alarms.

    Five folds with brands held out say what to expect of a new brand, and how much is the brand
    and how much the content.
    """
    from adwright.creative.memory.language import LanguageConfig, tune_memory
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.memory.recall_run import train_recall
    from adwright.creative.records.encoders.store import VectorStore
    from adwright.training.run_settings import require_free, require_writable

    chosen = ChosenColumns(id_column, title, words, brand, seconds, image, video, text)
    ads_table = look_at(opened_ads(ads, chosen), look_for, offline=offline, dry_run=dry_run).table
    table = read_recall(ads_table, scores=ScoreColumns(score, scale or "", of))
    for sentence in table.said:
        typer.echo(sentence, err=True)
    target = out if form == "language" else out / "model"
    if dry_run:
        if not (resume or force):
            require_free(target, "a model")
        require_writable(out)
        groups = len(set(table.groups.tolist()))
        typer.echo(f"{len(table):,} ads of {groups:,} brands, measured as {table.measure}")
        typer.echo(f"Would write {out}")
        return
    replacing = not resume and allowed_to_replace(target, force=force)
    if form == "language":
        config = LanguageConfig(epochs=epochs, seed=seed, out=out)
        tune_memory(table, config, resume=resume, overwrite=replacing).close()
        typer.echo(f"Saved in {out}")
    else:
        store = VectorStore(cache_folder() / "vectors")
        run = train_recall(table, out, store=store, seed=seed, overwrite=replacing)
        for sentence in run.sentences():
            typer.echo(sentence)
        typer.echo(f"Saved in {run.folder}")
    typer.echo(f"Next: adwright creative score NEW_ADS --model {out}")
