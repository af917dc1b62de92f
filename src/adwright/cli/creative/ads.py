"""Options that tell which ads, and what of them: shared by the verbs of `adwright creative`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from adwright.cli.shared import (
    InStore,
    IntoStore,
    Writing,
    allowed_to_replace,
    column_pairs,
    opened_store,
    show_table,
)
from adwright.core.assets import cache_folder
from adwright.core.config import Count, Ge, Help, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from adwright.creative.editor.job import FaceFiles
    from adwright.creative.editor.job_files import EditKind
    from adwright.creative.editor.provenance import FileFormat
    from adwright.creative.judging import AdJudge, Judgements
    from adwright.creative.records.ads_table import AdColumns, AdTable
    from adwright.creative.records.describe import DescribedTable


#: All that can be looked for.
LOOK_FOR = "colours,words,faces,tags"
#: Files that could not be read, at most so many are named.
_NAMED = 10


#: What options named a column before.
WAS = {
    f"--{one}": f"--columns {one}="
    for one in ("id", "title", "words", "brand", "seconds", "image", "video", "text")
}


@dataclass(frozen=True)
class AdColumnsGiven:
    """How a table of ads is read."""

    columns: Annotated[
        str | None,
        Help(
            "Which column is which, OURS=THEIRS,...: id, title, words (again for each), brand, "
            "seconds, image, video, text (in sentences, as `describe` writes them); image= for "
            "none. Others are guessed by their names."
        ),
    ] = None


@dataclass(frozen=True)
class AdsGiven(AdColumnsGiven):
    """How a table of ads and the files that it names are read."""

    look_for: Annotated[
        str,
        Help(
            "What to look for in images and videos, by commas: colours, words, faces, tags; "
            "nothing leaves the files closed."
        ),
    ] = LOOK_FOR


def ad_columns(named: str | None) -> AdColumns:
    """What --columns says, as the reader of ads takes it."""
    from adwright.creative.records.ads_table import AdColumns
    from adwright.data.table_door import table_specs

    pairs = column_pairs(named, several=("words",))
    table_specs("ads")["ad"].check_fields(pairs, also=("words",))
    words = pairs.pop("words", None)
    return AdColumns(
        words=None if words is None else tuple(words),
        **{ours: "".join(theirs) for ours, theirs in pairs.items()},
    )


def opened_ads(
    source: Path, columns: AdColumns, *, quiet: bool = False, bare: bool = False
) -> AdTable:
    """The ads; what was guessed or put right is said, unless it was before (quiet). bare: they may
    say and show nothing, and have fields alone."""
    from adwright.creative.records.ads_table import read_ads

    table = read_ads(source, columns, bare=bare)
    for sentence in () if quiet else table.said:
        typer.echo(sentence, err=True)
    return table


def look_at(table: AdTable, wanted: str, *, offline: bool, dry_run: bool = False) -> DescribedTable:
    """What their files show; files that cannot be read are named, and harm no other. dry_run: the
    files stay closed."""
    from adwright.creative.records.describe import DescribedTable, Describer, describe_table
    from adwright.creative.records.media import PARTS, SeeingSettings

    if wanted.strip() == "nothing":
        return DescribedTable(table, 0, {})
    names = [name.strip() for name in wanted.split(",")]
    parts = tuple(part for part in PARTS if part in names)
    if unknown := [name for name in names if name not in parts]:
        raise ConfigError(
            f"nobody can look for {unknown[0]!r}",
            where="--look-for",
            hint=f"choose among {', '.join(PARTS)}, or nothing",
        )
    if dry_run:
        return DescribedTable(table, 0, {})
    settings = SeeingSettings(parts=parts, offline=offline)
    found = describe_table(table, Describer(cache=cache_folder() / "seen", settings=settings))
    for row, error in list(found.unread.items())[:_NAMED]:
        typer.echo(f"{table.ids[row]}: {error}", err=True)
    if found.unread:
        typer.echo(
            f"{len(found.unread):,} of {len(found.unread) + found.looked:,} files could not be "
            "read; of these ads only the table speaks",
            err=True,
        )
    return found


# --------------------------------------------------------------------------------------------------
# adwright creative annotate: what ads say and show, in fields and in sentences.

_SHOWN = 5


def describe(
    ads: Path,
    *,
    out: Path | None = None,
    reading: AdsGiven = AdsGiven(),
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
) -> None:
    """Write down what each ad says and shows: colours, words on the screen, faces, things, scenes.

    What was seen of a file is kept by its content, so a second look costs nothing. What could not
    be looked at is said, and never guessed. The table holds the record in fields and, as `text`,
    in sentences, which every other verb reads back with --columns text=text.

    Options:
        out: Table of all records, .parquet; without it some are shown.
    """
    from adwright.creative.records.ad_record import save_described, verbalised

    if out is not None and out.suffix.lower() != ".parquet":
        raise ConfigError(
            "records are written as Parquet", where=str(out), hint="name it something.parquet"
        )
    table = opened_ads(ads, ad_columns(reading.columns))
    files = sum(media is not None for media in table.media)
    if dry_run:
        typer.echo(f"{len(table):,} ads, {files:,} of them with a file to look at")
        if out is not None:
            typer.echo(f"Would write {out}")
        return
    if out is not None:
        allowed_to_replace(out, force=force)
    found = look_at(table, reading.look_for, offline=offline)
    if out is None:
        for name, record in list(zip(table.ids, found.records, strict=True))[:_SHOWN]:
            typer.echo(f"{name}: {verbalised(record)}")
        if len(table) > _SHOWN:
            typer.echo(f"{len(table) - _SHOWN:,} more; write all with --out ads.parquet")
        return
    save_described(out, table.ids, found.records)
    typer.echo(f"{len(table):,} ads, {found.looked:,} files looked at: saved in {out}")
    typer.echo(f"Next: adwright creative score {out} --columns text=text --model RUN")


# --------------------------------------------------------------------------------------------------
# adwright creative score and explain: what trained judges answer on new ads, and why.

_ANSWERS = 20
_TITLE = 50


def score(
    ads: Path,
    *,
    model: list[Path],
    out: Path | None = None,
    reading: AdsGiven = AdsGiven(),
    offline: bool = False,
    force: bool = False,
    dry_run: bool = False,
    into: InStore = InStore(),
) -> None:
    """Answer for new ads: of each judge a value, an interval, and whether the ad is unlike
    anything that it was trained on.

    The table has a row an ad in the order of yours, with its id. With --store, of ads that
    `creatives list --out` wrote, the answers are kept beside them, for decisions to begin with.

    Options:
        model: Run of `creative train`; repeat it for several judges.
        out: Table of all answers, .csv or .parquet; else some are shown.
    """
    from adwright.creative.pages import answers_table, judged_by
    from adwright.data.sources.tables import write_table

    if out is not None and out.suffix.lower() not in (".csv", ".parquet", ".pq"):
        raise ConfigError(
            "answers are written as CSV or Parquet", where=str(out), hint="name it scores.csv"
        )
    into.check()
    with _judges(model) as judges:
        table = _seen(ads, reading, judges, out, offline=offline, dry_run=dry_run)
        if dry_run:
            return
        if out is not None:
            allowed_to_replace(out, force=force)
        found = judged_by(_with_images(judges, table, offline=offline), table)
    _say_unlike(found)
    if into.store:
        _keep_answers(into, table, found)
    if out is None:
        _show(table, found)
        return
    write_table(out, answers_table(table, found))
    typer.echo(f"{len(table):,} ads: saved in {out}")


def explain(
    ads: Path,
    *,
    model: list[Path],
    most: Count = 20,
    reading: AdsGiven = AdsGiven(),
    offline: bool = False,
    go: Writing = Writing(Path("ads.html")),
) -> None:
    """Show ads on a page beside their records, answers and intervals, and what moved each answer.

    A part moves an answer by as much as the answer changes where the part is left out. Nearest
    past ads and what became of them stand beside it.

    Options:
        model: Run of `creative train`; repeat it for several judges.
        out: The page, .html.
        most: So many ads are explained, the first.
    """
    from adwright.creative.pages import judged_by, shown_ads, write_ads_page

    with _judges(model) as judges:
        table = _seen(ads, reading, judges, go.out, offline=offline, dry_run=go.dry_run)
        if go.dry_run:
            return
        go.may_replace()
        asked = _with_images(judges, table, offline=offline)
        found = judged_by(asked, table)
        shown = shown_ads(table, asked, found, explain=most)
    _say_unlike(found)
    facts = {name: str(place) for name, place in zip(judges, model, strict=True)}
    write_ads_page(go.out, shown, title=f"{len(table):,} ads, judged", facts=facts)
    typer.echo(f"{len(table):,} ads, {min(most, len(table)):,} explained: saved in {go.out}")


@contextmanager
def _judges(folders: Sequence[Path]) -> Iterator[dict[str, AdJudge]]:
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
    """Judges that were trained with images or fields are given those of the ads."""
    from adwright.creative.judging import IMAGE, WithVectors, image_vectors
    from adwright.creative.lifetime.survival_curves import PictureLife
    from adwright.creative.records.encoders import VectorStore
    from adwright.creative.response.fit import FittedClickRate
    from adwright.creative.response.outcomes import known_fields

    made = dict(judges)
    for name, judge in judges.items():
        if not isinstance(judge, FittedClickRate | PictureLife):
            continue
        vectors: dict[str, NDArray[Any]] = {}
        if judge.reads(IMAGE):
            store = VectorStore(cache_folder() / "vectors")
            vectors |= image_vectors(table.media, store, offline=offline)
        if isinstance(judge, FittedClickRate) and judge.fields:
            vectors |= known_fields(table, judge.fields)
        if vectors:
            made[name] = WithVectors(judge, vectors)
    return made


def _seen(
    ads: Path,
    reading: AdsGiven,
    judges: Mapping[str, AdJudge],
    out: Path | None,
    *,
    offline: bool,
    dry_run: bool,
) -> AdTable:
    """The ads, and what their files show; a dry run says what would be judged."""
    bare = any(getattr(judge, "fields", ()) for judge in judges.values())
    opened = opened_ads(ads, ad_columns(reading.columns), bare=bare)
    table = look_at(opened, reading.look_for, offline=offline, dry_run=dry_run).table
    if dry_run:
        files = sum(media is not None for media in table.media)
        names = ", ".join(judges)
        typer.echo(f"{len(table):,} ads, {files:,} with a file, would be judged: {names}")
        if out is not None:
            typer.echo(f"Would write {out}")
    return table


def _say_unlike(found: dict[str, Judgements]) -> None:
    for name, answers in found.items():
        if count := int(answers.unlike.sum()):
            typer.echo(
                f"{name}: {count:,} of {len(answers):,} ads are unlike anything seen in training; "
                "read their numbers as guesses",
                err=True,
            )


def _keep_answers(into: InStore, table: AdTable, found: Mapping[str, Judgements]) -> None:
    """Keep what judges say beside the ads in a store."""
    with opened_store(into.store, into.tenant) as opened:
        for judge, answers in found.items():
            rows = zip(table.ids, answers.value, answers.low, answers.high, strict=True)
            scores = {
                creative_id: (float(value), float(low), float(high))
                for creative_id, value, low, high in rows
                if isfinite(low) and isfinite(high)
            }
            opened.set_priors(into.tenant, judge, scores)
            typer.echo(f"{len(scores):,} answers of {judge} are kept in {opened.url}")


def _show(table: AdTable, found: dict[str, Judgements]) -> None:
    header = ["ad", "title", *found]
    rows = []
    for row, (name, record) in enumerate(zip(table.ids, table.records, strict=True)):
        if row == _ANSWERS:
            break
        answers = [
            f"{one.value[row]:.4f} ({one.low[row]:.4f} to {one.high[row]:.4f})"
            + (" unlike" if one.unlike[row] else "")
            for one in found.values()
        ]
        rows.append([name, (record.title or record.text)[:_TITLE], *answers])
    show_table(header, rows)
    if len(table) > _ANSWERS:
        typer.echo(f"{len(table) - _ANSWERS:,} more; write all with --out scores.csv")


# --------------------------------------------------------------------------------------------------
# adwright creative edit: ads' pictures edited towards a higher predicted click rate.


def edit(
    ads: Path,
    *,
    judge: list[Path],
    approver: str,
    out: Path = Path("edits"),
    second: Path | None = None,
    edits: str = "exposure,contrast,saturation,temperature",
    line: str = "",
    protect: str = "auto",
    method: Literal["genetic", "random", "ascent", "pareto"] = "genetic",
    calls: Annotated[int, Ge(12)] = 130,
    least: Annotated[float, Ge(0)] = 0.01,
    form: Literal["png", "jpeg", "webp"] = "png",
    faces: Path | None = None,
    directions: Path | None = None,
    consent: Path | None = None,
    accept_noncommercial: bool = False,
    certificate: Path | None = None,
    private_key: Path | None = None,
    reading: AdsGiven = AdsGiven(),
    seed: Natural = 0,
    offline: bool = False,
    dry_run: bool = False,
    into: IntoStore = IntoStore(),
) -> None:
    """Edit ads' pictures where judges of clicks find that better; every other ad stays as it is.

    Each edited picture is looked at and judged anew. What is predicted is an estimate of models, so
    an edit is written only where the lower bound is above no edit, and a second judge agrees. Ads
    about politics and health claims are refused, faces are moved only with consent, and texts,
    price, logo, legal lines and faces stay as they are. Edited pictures are signed (C2PA) and
    tagged (IPTC); a log of edits grows beside them. Originals are never touched: to go back, use
    them. The same command goes on where it was stopped.

    Options:
        judge: Run of `creative train clicks` on ads with pictures; repeat it for an ensemble,
            whose lower bound is then raised. With pareto also runs of `creative train
            memorability`, and lifetime models that read pictures.
        approver: Who lets the edits pass; stands in the log.
        out: Folder of the job.
        second (--holdout-judge): A judge that the search never asks: trained with another seed.
        edits: What may be edited, by commas: exposure, contrast, saturation, temperature,
            background_blur, crop, text, faces.
        line (--overlay-text): Words that `text` lays over it.
        protect: What stays: auto finds texts, plates such as price and logo, and faces; a table
            (ad,left,top,right,bottom,what) or a folder of masks, white where it stays, adds to
            that; none protects nothing.
        method: Of the search; pareto for judges of several things.
        calls (--budget): Edited pictures judged of an ad, at most.
        least (--min-gain): Share that the click rate has to rise by with a single judge.
        form (--format): Of the edited files.
        faces: Folder with a model of faces and its encoder, or a file of weights that e4e's
            authors published (StyleGAN2); left out, the model of drawn portraits.
        directions: TOML: which directions may be used, which are locked; left out, the model's
            own.
        consent: TOML: whose face may be moved, on what ground.
        accept_noncommercial: You read the terms of published weights of faces, and meet them.
        certificate: X.509 chain in PEM that signs.
        private_key: Its key in PEM, for your eyes only.
    """
    from adwright.creative.editor.job import prepared_job
    from adwright.creative.editor.job_files import EditJob, require_apart
    from adwright.creative.editor.provenance import read_signing_key

    forms: dict[str, FileFormat] = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
    job = EditJob(
        edits=_kinds(edits),
        method=method,
        calls=calls,
        seed=seed,
        line=line,
        form=forms[form],
        least=least,
    )
    files = _faces(faces, directions, consent, terms=accept_noncommercial)
    if (certificate is None) != (private_key is None):
        raise ConfigError(
            "a certificate and its key go together",
            where="--certificate, --private-key",
            hint="name both, or neither",
        )
    into.check()
    key = read_signing_key(certificate, private_key) if certificate and private_key else None
    table = opened_ads(ads, ad_columns(reading.columns))
    require_apart(out, ads, ())  # before the files are looked at, which takes long
    seen = look_at(table, reading.look_for, offline=offline, dry_run=dry_run).table
    told: dict[str, Any] = {"approver": approver, "second": second, "job": job, "key": key}
    told |= {"protected": None if protect == "none" else protect, "faces": files}
    told |= {"offline": offline}
    with prepared_job(seen, judge, out, **told) as ready:
        if dry_run:
            for sentence in ready.sentences():
                typer.echo(sentence)
            return
        run = ready.run()
    for one in run.outcomes:
        if one.status in ("refused", "failed"):
            typer.echo(f"{one.ad}: {one.reason}", err=True)
        for note in one.notes:
            typer.echo(f"{one.ad}: {note}", err=True)
    typer.echo(run.text())
    into.enter(run.creatives, author=approver)
    typer.echo("To go back, use the originals: they are as they were.")


def _kinds(text: str) -> tuple[EditKind, ...]:
    from adwright.creative.editor.job_files import EDITS, EditKind

    names = [name.strip() for name in text.split(",") if name.strip()]
    kinds: tuple[EditKind, ...] = get_args(EditKind)
    if unknown := [name for name in names if name not in kinds]:
        raise ConfigError(
            f"there is no edit {unknown[0]!r}",
            where="--edits",
            hint=f"choose among {', '.join(EDITS)}",
        )
    return tuple(kind for kind in EDITS if kind in names)


def _faces(
    folder: Path | None, directions: Path | None, consent: Path | None, *, terms: bool
) -> FaceFiles | None:
    from adwright.creative.editor.job import FaceFiles
    from adwright.creative.faces.stylegan import DRAWN

    if not any((folder, directions, consent)):
        return None
    if consent is None:
        raise ConfigError(
            "no face is moved without a consent manifest",
            where="--consent",
            hint="name it beside --faces and --directions",
        )
    home = folder or DRAWN
    if folder is None and not (DRAWN / "encoder").is_dir():
        raise ConfigError(
            "no model of faces is named, and this installation has none",
            where="--faces",
            hint="python -m benchmarks.creative.faces trains one of drawn portraits",
        )
    beside = home.parent if home.is_file() else home
    return FaceFiles(home, directions or beside / "directions.toml", consent, terms)
