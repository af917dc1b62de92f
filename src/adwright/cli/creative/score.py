"""adwright creative score and explain: what trained judges answer on new ads, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
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
from adwright.cli.shared import DryRun, Force, Offline, allowed_to_replace, show_table
from adwright.core.assets import cache_folder
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.judging.judgement import AdJudge, Judgements
    from adwright.creative.records.verbal.ads_table import AdTable

__all__ = ["explain", "score"]

_SHOWN = 20
_TITLE = 50

Models = Annotated[
    list[Path],
    typer.Option("--model", help="Run of `creative train`; repeat it for several judges."),
]


def score(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    model: Models,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Table of all answers, .csv or .parquet; else some are shown."),
    ] = None,
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    image: ImageColumn = None,
    video: VideoColumn = None,
    text: TextColumn = None,
    look_for: LookFor = LOOK_FOR,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Answer for new ads: of each judge a value, an interval, and whether the ad is unlike
    anything that it was trained on.

    The table has a row an ad in the order of yours, with its id.
    """
    from adwright.creative.pages.explained import answers_table, judged_by
    from adwright.data.sources.tables import write_table

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ConfigError(
            "answers are written as CSV or Parquet", where=str(out), hint="name it scores.csv"
        )
    chosen = ChosenColumns(id_column, title, words, brand, seconds, image, video, text)
    with _opened(model) as judges:
        table = look_at(opened_ads(ads, chosen), look_for, offline=offline, dry_run=dry_run).table
        if dry_run:
            _say_dry(table, judges, out)
            return
        if out is not None:
            allowed_to_replace(out, force=force)
        asked = _with_images(judges, table, offline=offline)
        found = judged_by(asked, table)
    _say_unlike(found)
    if out is None:
        _show(table, found)
        return
    write_table(out, answers_table(table, found))
    typer.echo(f"{len(table):,} ads: saved in {out}")


def explain(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    model: Models,
    out: Annotated[Path, typer.Option("--out", help="The page, .html.")] = Path("ads.html"),
    most: Annotated[
        int, typer.Option("--most", min=1, help="So many ads are explained, the first.")
    ] = 20,
    id_column: IdColumn = None,
    title: TitleColumn = None,
    words: WordsColumns = None,
    brand: BrandColumn = None,
    seconds: SecondsColumn = None,
    image: ImageColumn = None,
    video: VideoColumn = None,
    text: TextColumn = None,
    look_for: LookFor = LOOK_FOR,
    offline: Offline = False,
    force: Force = False,
    dry_run: DryRun = False,
) -> None:
    """Show ads on a page beside their records, answers and intervals, and what moved each answer.

    A part moves an answer by as much as the answer changes where the part is left out. Nearest
    past ads and what became of them stand beside it.
    """
    from adwright.creative.pages.ads_page import write_ads_page
    from adwright.creative.pages.explained import judged_by, shown_ads

    chosen = ChosenColumns(id_column, title, words, brand, seconds, image, video, text)
    with _opened(model) as judges:
        table = look_at(opened_ads(ads, chosen), look_for, offline=offline, dry_run=dry_run).table
        if dry_run:
            _say_dry(table, judges, out)
            return
        allowed_to_replace(out, force=force)
        asked = _with_images(judges, table, offline=offline)
        found = judged_by(asked, table)
        shown = shown_ads(table, asked, found, explain=most)
    _say_unlike(found)
    facts = {name: str(place) for name, place in zip(judges, model, strict=True)}
    write_ads_page(out, shown, title=f"{len(table):,} ads, judged", facts=facts)
    typer.echo(f"{len(table):,} ads, {min(most, len(table)):,} explained: saved in {out}")


@contextmanager
def _opened(folders: Sequence[Path]) -> Iterator[dict[str, AdJudge]]:
    """The judges by name; a second one of a name is told by its folder."""
    from adwright.creative.judges import open_judge

    judges: dict[str, AdJudge] = {}
    with ExitStack() as stack:
        for folder in folders:
            judge = open_judge(folder)
            if callable(close := getattr(judge, "close", None)):
                stack.callback(close)
            name = judge.name if judge.name not in judges else f"{judge.name}_{folder.name}"
            if name in judges:
                raise ConfigError("two judges have one name", where=name, hint="name it once")
            judges[name] = judge
        yield judges


def _with_images(
    judges: Mapping[str, AdJudge], table: AdTable, *, offline: bool
) -> dict[str, AdJudge]:
    """Judges that were trained with vectors of images are given those of the ads."""
    from adwright.creative.judging.ad_vectors import IMAGE, WithVectors, image_vectors
    from adwright.creative.lifetime.picture_life import PictureLife
    from adwright.creative.records.encoders.store import VectorStore
    from adwright.creative.response.fitted import FittedClickRate

    made = dict(judges)
    for name, judge in judges.items():
        if isinstance(judge, FittedClickRate | PictureLife) and judge.reads(IMAGE):
            store = VectorStore(cache_folder() / "vectors")
            if vectors := image_vectors(table.media, store, offline=offline):
                made[name] = WithVectors(judge, vectors)
    return made


def _say_dry(table: AdTable, judges: dict[str, AdJudge], out: Path | None) -> None:
    files = sum(media is not None for media in table.media)
    typer.echo(f"{len(table):,} ads, {files:,} with a file, would be judged: {', '.join(judges)}")
    if out is not None:
        typer.echo(f"Would write {out}")


def _say_unlike(found: dict[str, Judgements]) -> None:
    for name, answers in found.items():
        if count := int(answers.unlike.sum()):
            typer.echo(
                f"{name}: {count:,} of {len(answers):,} ads are unlike anything seen in training; "
                "read their numbers as guesses",
                err=True,
            )


def _show(table: AdTable, found: dict[str, Judgements]) -> None:
    header = ["ad", "title", *found]
    rows = []
    for row, (name, record) in enumerate(zip(table.ids, table.records, strict=True)):
        if row == _SHOWN:
            break
        answers = [
            f"{one.value[row]:.4f} ({one.low[row]:.4f} to {one.high[row]:.4f})"
            + (" unlike" if one.unlike[row] else "")
            for one in found.values()
        ]
        rows.append([name, (record.title or record.text)[:_TITLE], *answers])
    show_table(header, rows)
    if len(table) > _SHOWN:
        typer.echo(f"{len(table) - _SHOWN:,} more; write all with --out scores.csv")
