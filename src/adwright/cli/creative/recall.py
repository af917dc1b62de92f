"""adwright creative train memorability: from ads whose recall was counted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    ChosenColumns,
    look_at,
    opened_ads,
)
from adwright.cli.shared import allowed_to_replace
from adwright.core.assets import cache_folder
from adwright.core.config import Count, Natural


def recall(
    ads: Path,
    *,
    out: Path = Path("runs/recall"),
    score: str = "",
    of: str = "",
    scale: Literal["share", "percent", "digits", "d_prime"] | None = None,
    form: Literal["encoder", "language"] = "encoder",
    epochs: Count = 2,
    columns: str | None = None,
    id_column: str | None = None,
    title: str | None = None,
    words: list[str] | None = None,
    brand: str | None = None,
    seconds: str | None = None,
    image: str | None = None,
    video: str | None = None,
    text: str | None = None,
    look_for: str = LOOK_FOR,
    seed: Natural = 0,
    offline: bool = False,
    resume: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Learn how well ads are remembered, from a share, a count, d', or hits and false alarms.

    Five folds with brands held out say what to expect of a new brand, and how much is the brand
    and how much the content.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        out: Folder for the run.
        score: Column of how well it was remembered; usual names are guessed.
        of (--trials): Column of tries, where --score counts how many succeeded.
        scale: Of the score: 0 to 1, percent, 00 to 99, d'; guessed by values.
        form: encoder: frozen encoders and ridges, seconds. language: a language model is tuned
            to answer in two digits, minutes to hours.
        epochs: Passes of the language form over the ads.
        columns: Which column is which, OURS=THEIRS,...: id, title, words (again for each), brand,
            seconds, image, video, text (in sentences, as `describe` writes them); image= for none.
            Others are guessed by their names.
        id_column (--id): Old: --columns id=.
        title: Old: --columns title=.
        words: Old: --columns words=.
        brand: Old: --columns brand=.
        seconds: Old: --columns seconds=.
        image: Old: --columns image=.
        video: Old: --columns video=.
        text: Old: --columns text=.
        look_for: What to look for in images and videos, by commas: colours, words, faces, tags;
            nothing leaves the files closed.
    """
    from adwright.creative.memory.fitted import train_recall
    from adwright.creative.memory.language import LanguageConfig, tune_memory
    from adwright.creative.memory.outcomes import ScoreColumns, read_recall
    from adwright.creative.records.encoders import VectorStore
    from adwright.training.run_settings import require_free, require_writable

    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, image, video, text)
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
