"""adwright creative edit: ads' pictures edited towards a higher predicted click rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from adwright.cli.creative.ads import (
    LOOK_FOR,
    ChosenColumns,
    look_at,
    opened_ads,
)
from adwright.core.config import Ge, Natural
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.editor.job import FaceFiles
    from adwright.creative.editor.job_files import EditJob, EditKind
    from adwright.creative.editor.provenance import SigningKey


def edit(
    ads: Path,
    *,
    judge: list[Path],
    approver: str,
    out: Path = Path("edits"),
    second: Path | None = None,
    edits: str = "exposure,contrast,saturation,temperature",
    line: str = "",
    protect: Path | None = None,
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
    dry_run: bool = False,
) -> None:
    """Edit ads' pictures where judges of clicks find that better; every other ad stays as it is.

    Each edited picture is looked at and judged anew. What is predicted is an estimate of models, so
    an edit is written only where the lower bound is above no edit, and a second judge agrees. Ads
    about politics and health claims are refused, faces are moved only with consent, and nothing
    that is protected changes. Edited pictures are signed (C2PA) and tagged (IPTC); a log of edits
    grows beside them. Originals are never touched: to go back, use them. The same command goes on
    where it was stopped.

    Options:
        ads: A table of ads (CSV, TSV, Parquet, JSON lines), a folder of images and videos, or
            one such file.
        judge: Run of `creative train clicks` on ads with pictures; repeat it for an ensemble,
            whose lower bound is then raised. With pareto also runs of `creative train
            memorability`, and lifetime models that read pictures.
        approver: Who lets the edits pass; stands in the log.
        out: Folder of the job.
        second (--holdout-judge): A judge that the search never asks: trained with another seed.
        edits: What may be edited, by commas: exposure, contrast, saturation, temperature,
            background_blur, crop, text, faces.
        line (--overlay-text): Words that `text` lays over it.
        protect: What stays, such as logo, price and legal line: a table
            (ad,left,top,right,bottom,what) or a folder of masks, white where it stays.
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
    from adwright.creative.editor.job import prepared_job
    from adwright.creative.editor.job_files import require_apart

    job = _job(edits, line, method, calls, least, form, seed)
    files = _faces(faces, directions, consent, terms=accept_noncommercial)
    key = _key(certificate, private_key)
    chosen = ChosenColumns(columns, id_column, title, words, brand, seconds, image, video, text)
    table = opened_ads(ads, chosen)
    require_apart(out, ads, ())  # before the files are looked at, which takes long
    seen = look_at(table, look_for, offline=offline, dry_run=dry_run).table
    told: dict[str, Any] = {"approver": approver, "second": second, "job": job, "key": key}
    told |= {"protected": protect, "faces": files, "offline": offline}
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
    typer.echo("To go back, use the originals: they are as they were.")


def _job(
    edits: str,
    line: str,
    method: Literal["genetic", "random", "ascent", "pareto"],
    calls: int,
    least: float,
    form: Literal["png", "jpeg", "webp"],
    seed: int,
) -> EditJob:
    from adwright.creative.editor.job_files import EditJob
    from adwright.creative.editor.provenance import FileFormat

    forms: dict[str, FileFormat] = {"png": "PNG", "jpeg": "JPEG", "webp": "WEBP"}
    return EditJob(
        edits=_kinds(edits),
        method=method,
        calls=calls,
        seed=seed,
        line=line,
        form=forms[form],
        least=least,
    )


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
    from adwright.creative.faces.fitted import DRAWN

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


def _key(certificate: Path | None, private: Path | None) -> SigningKey | None:
    from adwright.creative.editor.provenance import read_signing_key

    if (certificate is None) != (private is None):
        raise ConfigError(
            "a certificate and its key go together",
            where="--certificate, --private-key",
            hint="name both, or neither",
        )
    return (
        None if certificate is None or private is None else read_signing_key(certificate, private)
    )
