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
        id_column (--id): Column of ids. Columns that are not named are guessed.
        title: Column of headlines.
        words: Column of other text; repeat it for several.
        brand: Column of brands.
        seconds: Column of a video's length in seconds.
        image: Column of paths of images, '' for none.
        video: Column of paths of videos, '' for none.
        text: Column of ads in sentences, as `describe` writes them.
        look_for: What to look for in images and videos, by commas: colours, words, faces, tags;
            nothing leaves the files closed.
    """
    from adwright.creative.response.outcomes import OutcomeColumns, read_outcomes
    from adwright.training.run_settings import require_free, require_writable

    chosen = ChosenColumns(id_column, title, words, brand, seconds, image, video, text)
    columns = OutcomeColumns(chosen.columns(), impressions, clicks_column, test, "", image_id)
    outcomes = read_outcomes(ads, columns)
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
