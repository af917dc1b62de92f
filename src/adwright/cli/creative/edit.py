"""adwright creative edit: ads' pictures edited towards a higher predicted click rate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

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
from adwright.cli.shared import DryRun, Offline, Seed
from adwright.core.errors import ConfigError

if TYPE_CHECKING:
    from adwright.creative.editor.job.run import FaceFiles
    from adwright.creative.editor.job.settings import EditJob, EditKind
    from adwright.creative.editor.provenance.signing_keys import SigningKey

__all__ = ["edit"]

Judges = Annotated[
    list[Path],
    typer.Option(
        "--judge",
        help="Run of `creative train clicks` on ads with pictures; repeat it for an ensemble, "
        "whose lower bound is then raised. With pareto also runs of `creative train recall`, and "
        "lifetime models that read pictures.",
    ),
]
Second = Annotated[
    Path | None,
    typer.Option("--second", help="A judge that the search never asks: trained with another seed."),
]
Approver = Annotated[
    str, typer.Option("--approver", help="Who lets the edits pass; stands in the log.")
]
Edits = Annotated[
    str,
    typer.Option(
        "--edits",
        help="What may be edited, by commas: exposure, contrast, saturation, temperature, "
        "background_blur, crop, text, faces.",
    ),
]
Protect = Annotated[
    Path | None,
    typer.Option(
        "--protect",
        help="What stays, such as logo, price and legal line: a table "
        "(ad,left,top,right,bottom,what) or a folder of masks, white where it stays.",
    ),
]
Faces = Annotated[
    Path | None,
    typer.Option(
        "--faces",
        help="Folder with a model of faces and its encoder, or a file of weights that e4e's "
        "authors published (StyleGAN2); left out, the model of drawn portraits.",
    ),
]
AcceptNoncommercial = Annotated[
    bool,
    typer.Option(
        "--accept-noncommercial",
        help="You read the terms of published weights of faces, and meet them.",
    ),
]
Directions = Annotated[
    Path | None,
    typer.Option(
        "--directions",
        help="TOML: which directions may be used, which are locked; left out, the model's own.",
    ),
]
Consent = Annotated[
    Path | None, typer.Option("--consent", help="TOML: whose face may be moved, on what ground.")
]


Line = Annotated[str, typer.Option("--line", help="Words that `text` lays over it.")]
Out = Annotated[Path, typer.Option("--out", help="Folder of the job.")]
Method = Annotated[
    Literal["genetic", "random", "ascent", "pareto"],
    typer.Option("--method", help="Of the search; pareto for judges of several things."),
]
Calls = Annotated[
    int, typer.Option("--calls", min=12, help="Edited pictures judged of an ad, at most.")
]
Least = Annotated[
    float,
    typer.Option(
        "--least", min=0, help="Share that the click rate has to rise by with a single judge."
    ),
]
Form = Annotated[
    Literal["png", "jpeg", "webp"], typer.Option("--form", help="Of the edited files.")
]
Certificate = Annotated[
    Path | None, typer.Option("--certificate", help="X.509 chain in PEM that signs.")
]
PrivateKey = Annotated[
    Path | None, typer.Option("--private-key", help="Its key in PEM, for your eyes only.")
]


def edit(  # noqa: PLR0913, PLR0917 - one argument per option
    ads: Ads,
    judge: Judges,
    approver: Approver,
    out: Out = Path("edits"),
    second: Second = None,
    edits: Edits = "exposure,contrast,saturation,temperature",
    line: Line = "",
    protect: Protect = None,
    method: Method = "genetic",
    calls: Calls = 130,
    least: Least = 0.01,
    form: Form = "png",
    faces: Faces = None,
    directions: Directions = None,
    consent: Consent = None,
    accept_noncommercial: AcceptNoncommercial = False,
    certificate: Certificate = None,
    private_key: PrivateKey = None,
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
    dry_run: DryRun = False,
) -> None:
    """Edit ads' pictures where judges of clicks find that better; every other ad stays as it is.

    Each edited picture is looked at and judged anew. What is predicted is an estimate of models, so
    an edit is written only where the lower bound is above no edit, and a second judge agrees. Ads
    about politics and health claims are refused, faces are moved only with consent, and nothing
    that is protected changes. Edited pictures are signed (C2PA) and tagged (IPTC); a log of edits
    grows beside them. Originals are never touched: to go back, use them. The same command goes on
    where it was stopped.
    """
    from adwright.creative.editor.job.folder import require_apart
    from adwright.creative.editor.job.run import prepared_job

    job = _job(edits, line, method, calls, least, form, seed)
    files = _faces(faces, directions, consent, terms=accept_noncommercial)
    key = _key(certificate, private_key)
    chosen = ChosenColumns(id_column, title, words, brand, seconds, image, video, text)
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
    from adwright.creative.editor.job.settings import EditJob
    from adwright.creative.editor.provenance.source_type import FileFormat

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
    from adwright.creative.editor.job.settings import EDITS, EditKind

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
    from adwright.creative.editor.job.run import FaceFiles
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
    from adwright.creative.editor.provenance.signing_keys import read_signing_key

    if (certificate is None) != (private is None):
        raise ConfigError(
            "a certificate and its key go together",
            where="--certificate, --private-key",
            hint="name both, or neither",
        )
    return (
        None if certificate is None or private is None else read_signing_key(certificate, private)
    )
