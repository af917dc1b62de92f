"""adwright creative score and explain: what trained judges answer on new ads, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    ChosenColumns,
    look_at,
    opened_ads,
)
from adwright.cli.shared import allowed_to_replace, show_table
from adwright.core.assets import cache_folder
from adwright.core.config import Count
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.judging import AdJudge, Judgements
    from adwright.creative.records.ads_table import AdTable


_SHOWN = 20
_TITLE = 50


def score(
    ads: Path,
    *,
    model: list[Path],
    out: Path | None = None,
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
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Answer for new ads: of each judge a value, an interval, and whether the ad is unlike
    anything that it was trained on.

    The table has a row an ad in the order of yours, with its id.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        model: Run of `creative train`; repeat it for several judges.
        out: Table of all answers, .csv or .parquet; else some are shown.
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
    from adwright.creative.pages import answers_table, judged_by
    from adwright.data.sources.tables import write_table

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ConfigError(
            "answers are written as CSV or Parquet", where=str(out), hint="name it scores.csv"
        )
    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, image, video, text)
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


def explain(
    ads: Path,
    *,
    model: list[Path],
    out: Path = Path("ads.html"),
    most: Count = 20,
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
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Show ads on a page beside their records, answers and intervals, and what moved each answer.

    A part moves an answer by as much as the answer changes where the part is left out. Nearest
    past ads and what became of them stand beside it.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        model: Run of `creative train`; repeat it for several judges.
        out: The page, .html.
        most: So many ads are explained, the first.
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
    from adwright.creative.pages import judged_by, shown_ads, write_ads_page

    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, image, video, text)
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
    from adwright.creative.judging import IMAGE, WithVectors, image_vectors
    from adwright.creative.lifetime.survival_curves import PictureLife
    from adwright.creative.records.encoders import VectorStore
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
