"""adwright creative train clicks: from creatives whose impressions and clicks were counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from adwright.cli.shared import (
    DryRun,
    Force,
    Offline,
    Resume,
    Seed,
    StopNow,
    allowed_to_replace,
)
from adwright.core.assets import cache_folder

if TYPE_CHECKING:
    from adwright.creative.records.verbal.ads_table import AdTable
    from adwright.creative.response.click_run import ClickRun
    from adwright.creative.response.protocol.outcomes import CreativeOutcomes

__all__ = ["clicks"]

Impressions = Annotated[
    str, typer.Option("--impressions", help="Column of how often it was shown.")
]
Clicks = Annotated[str, typer.Option("--clicks", help="Column of how often it was clicked.")]
Test = Annotated[
    str,
    typer.Option(
        "--test",
        help="Column that names the group of alternatives among which was drawn who sees which; "
        "within it, rates compare ads and nothing else.",
    ),
]
ImageId = Annotated[
    str, typer.Option("--image-id", help="Column that tells which ads share a picture.")
]


def clicks(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    out: Annotated[Path, typer.Option("--out", help="Folder for the run.")] = Path("runs/clicks"),
    impressions: Impressions = "impressions",
    clicks_column: Clicks = "clicks",
    test: Test = "",
    image_id: ImageId = "",
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
    stop_now: StopNow = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Learn click rates from creatives that were shown.

    Creatives that share a test, a headline, a text or a picture are one story, and whole stories
    are held out for choices. Columns that say how an ad did are refused as inputs. Beside the
    model stands a ridge on n-grams; where it does as well, that is said.
    """
    from adwright.creative.response.protocol.outcomes import OutcomeColumns, read_outcomes
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
    from adwright.creative.judging.ad_vectors import image_vectors
    from adwright.creative.records.encoders.store import VectorStore
    from adwright.creative.response.click_run import train_clicks
    from adwright.creative.response.fit import ClickRateConfig
    from adwright.creative.response.inputs.texts import encoded_texts

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
