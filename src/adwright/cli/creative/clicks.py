"""adwright creative train clicks: from creatives whose impressions and clicks were counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    ChosenColumns,
    look_at,
    opened_ads,
)
from adwright.cli.shared import (
    allowed_to_replace,
)
from adwright.core.assets import cache_folder
from adwright.core.config import Natural

if TYPE_CHECKING:
    from adwright.creative.records.ads_table import AdTable
    from adwright.creative.response.fit import ClickRun
    from adwright.creative.response.outcomes import CreativeOutcomes


def clicks(
    ads: Path,
    *,
    out: Path = Path("runs/clicks"),
    impressions: str = "impressions",
    clicks_column: str = "clicks",
    test: str = "",
    image_id: str = "",
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
    stop_now: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Learn click rates from creatives that were shown.

    Creatives that share a test, a headline, a text or a picture are one story, and whole stories
    are held out for choices. Columns that say how an ad did are refused as inputs. Beside the
    model stands a ridge on n-grams; where it does as well, that is said.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        out: Folder for the run.
        impressions: Column of how often it was shown.
        clicks_column (--clicks): Column of how often it was clicked.
        test: Column that names the group of alternatives among which was drawn who sees which;
            within it, rates compare ads and nothing else.
        image_id: Column that tells which ads share a picture.
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
    from adwright.creative.response.outcomes import OutcomeColumns, read_outcomes
    from adwright.training.run_settings import require_free, require_writable

    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, image, video, text)
    outcomes = read_outcomes(
        ads, OutcomeColumns(chosen.columns(), impressions, clicks_column, test, "", image_id)
    )
    for note in outcomes.notes:
        typer.echo(note, err=True)
    if dry_run:
        if not (resume or force):
            require_free(out / "model", "a model")
        require_writable(out)
        typer.echo(_counts(outcomes))
        typer.echo(f"Would write {out}")
        return
    replacing = not resume and allowed_to_replace(out / "model", force=force)
    seen = look_at(opened_ads(ads, chosen, quiet=True), look_for, offline=offline).table
    run = _trained(
        outcomes,
        seen,
        out,
        seed=seed,
        offline=offline,
        resume=resume,
        stop_now=stop_now,
        overwrite=replacing,
    )
    for sentence in run.sentences():
        typer.echo(sentence)
    typer.echo(f"Saved in {run.folder}")
    typer.echo(f"Next: adwright creative score NEW_ADS --model {out}")


def _trained(
    outcomes: CreativeOutcomes,
    seen: AdTable,
    out: Path,
    *,
    seed: int,
    offline: bool,
    resume: bool,
    stop_now: bool,
    overwrite: bool,
) -> ClickRun:
    """Train on what the ads say, and on what their files show."""
    from adwright.creative.judging import image_vectors
    from adwright.creative.records.encoders import VectorStore
    from adwright.creative.response.fit import ClickRateConfig, train_clicks
    from adwright.creative.response.inputs import encoded_texts

    place = {one: row for row, one in enumerate(seen.ids)}
    rows = [place[one] for one in outcomes.ids]
    looked = replace(outcomes, records=tuple(seen.records[row] for row in rows))
    kept = cache_folder() / "vectors"
    media = [seen.media[row] for row in rows]
    return train_clicks(
        looked,
        out,
        ClickRateConfig(seed=seed),
        texts=encoded_texts(folder=kept, offline=offline),
        vectors=image_vectors(media, VectorStore(kept), offline=offline),
        resume=resume,
        stop_now=stop_now,
        overwrite=overwrite,
    )


def _counts(outcomes: CreativeOutcomes) -> str:
    return (
        f"{len(outcomes):,} creatives, {outcomes.impressions.sum():,} impressions, "
        f"{outcomes.clicks.sum():,} clicks"
    )
