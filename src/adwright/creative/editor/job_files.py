"""What is asked of a job of edits: which edits, how they are searched, when one is kept.

    EditJob(edits=("exposure", "contrast"), method="genetic", calls=130, seed=0)

Edits of light and colours are the default: they keep the picture's size and words. `crop` changes
the shape, which a placement may not take; `text` lays a line over the picture that has to be named;
`faces` needs a consent manifest and a model of faces, see `face_model`.

The rule that stands beside every search: an edit is kept only where it is better than no edit by
the lower bound. Of several judges of one kind that is the lower end of the interval of the change,
which has to be above 0; of a single judge, which has no such interval, the change has to be `least`
of what was said before, or more, and more than the judge's own error. A second judge has to see a
gain, too; without one, or without a look at the design, an edit is not said to be worth a test.

Whether an edit that was found is kept: only where it beats no edit by the lower bound.

    kept, reason = decide(found, job)

See `settings` for the rule. Judges that all say the same change, to a millionth of what was said
before, are one judge however many they are: trained on the same ads, they know nothing of how
unsure they are. Whatever is kept is still an estimate of models: a reason says
so.

What became of one ad of a job: a file of JSON, written last, so an ad that has one is done.

outcome = AdOutcome("spring", "ads/spring.jpg", digest, "edited", advice, ...)
AdOutcome.of_json(outcome.to_json(), source="...") == outcome

The folder of a job: what it holds, and what of it is done already.

    job.json        what was asked for; another job is not mixed in
    edits.jsonl     the log of edits, which only grows
    ads/            an outcome an ad, written last: an ad that has one is done
    pictures/       the edited pictures
    edits.json, sheet.png, report.html      written at the end

    folder = JobFolder.opened("edits", asked)
    folder.outcome(ad)              # of an ad that is done, as its file was then; else None
    folder.keep(outcome, data)

The same command on the same folder goes on where it was stopped or killed. An ad that was cut off
between log and outcome is done again: the log then names its edit twice, which is true.

What a job leaves to be looked at: a table in JSON, a contact sheet, a page.

    write_summary(folder, outcomes, names)

Edited ads come first. The sheet shows the first 24 of them, the page the first 50 ads: all are in
edits.json. Pictures are read back from their files, small, so that a thousand ads fit into memory.

A smaller copy of a picture and of all that is known of it, for a search over many edits of it.

    small, its_context = shrunk(picture, context, side=512)

Knobs of edits are shares of the picture, so a plan that was searched on the copy is one of the
picture. What is protected stays protected: a pixel of the copy is where any pixel below it is.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray

from adwright.core.atomic import atomic_write_bytes, atomic_write_text
from adwright.core.config import (
    Count,
    Ge,
    Gt,
    Le,
    Lt,
    Natural,
    from_jsonable,
    require_count,
    settings,
    to_jsonable,
)
from adwright.core.errors import (
    AdwrightError,
    ConfigError,
    DataError,
    ResourceError,
    ResumeError,
    needing,
)
from adwright.core.hashing import content_hash, sha256_file
from adwright.creative.editor.edit_kinds import (
    BackgroundBlur,
    Contrast,
    Crop,
    EditContext,
    Exposure,
    Saturation,
    Temperature,
)
from adwright.creative.editor.edit_plan import (
    AnyEdit,
    EditedPicture,
    EditPlan,
    SkippedEdit,
    TextOverlay,
)
from adwright.creative.editor.fitness import GeneticSettings, Pixels, squeezed
from adwright.creative.editor.provenance import ESTIMATE, FileFormat
from adwright.creative.editor.searches import (
    EditFront,
    FoundEdit,
    JudgedChange,
    write_contact_sheet,
    write_edits_page,
)
from adwright.creative.faces.aligning import FacePlace
from adwright.creative.records.encoders import opened_image

EditKind = Literal[
    "exposure", "contrast", "saturation", "temperature", "background_blur", "crop", "text", "faces"
]
SearchMethod = Literal["genetic", "random", "ascent", "pareto"]

#: The default.
LIGHT: tuple[EditKind, ...] = ("exposure", "contrast", "saturation", "temperature")
#: In the order in which they are done.
EDITS: tuple[EditKind, ...] = ("faces", *LIGHT, "background_blur", "crop", "text")
_FEWEST_CALLS = 12
_PLAIN: dict[str, AnyEdit] = {
    "exposure": Exposure(),
    "contrast": Contrast(),
    "saturation": Saturation(),
    "temperature": Temperature(),
    "background_blur": BackgroundBlur(),
    "crop": Crop(),
}


@settings
class EditJob:
    """edits: that may be made. method: of the search. calls: edited pictures that are judged of an
    ad, at most, no edit among them. line: of the edit `text`. form: of the files.

    least, coverage: see the module; coverage is of the interval. noise, unlike, latent, realness:
    weights of the penalties, as shares of what the judge says of the unedited picture: of fine
    noise, of a picture that is unlike all that the judge knows, of a face's distance in W+, of what
    the discriminator finds less real. side: longer side of the copy that is searched, pixels.
    """

    edits: tuple[EditKind, ...] = LIGHT
    method: SearchMethod = "genetic"
    calls: Annotated[int, Ge(_FEWEST_CALLS)] = 130
    seed: Natural = 0
    line: str = ""
    form: FileFormat = "PNG"
    least: Annotated[float, Ge(0), Le(10)] = 0.01
    coverage: Annotated[float, Gt(0), Lt(1)] = 0.9
    noise: Annotated[float, Ge(0), Le(10)] = 0.1
    unlike: Annotated[float, Ge(0), Le(10)] = 0.5
    latent: Annotated[float, Ge(0), Le(10)] = 0.05
    realness: Annotated[float, Ge(0), Le(10)] = 0.02
    side: Count = 512

    def __post_init__(self) -> None:
        if not self.edits or len(set(self.edits)) != len(self.edits):
            raise ConfigError(
                "no edit is allowed, or one is named twice",
                where="EditJob.edits",
                hint=f"choose among {', '.join(EDITS)}",
            )
        if bool(self.line) != ("text" in self.edits):
            raise ConfigError(
                "a line of text and the edit `text` go together",
                where="EditJob.line",
                hint="name both, or neither",
            )
        if self.line:
            TextOverlay(self.line)  # refuses what is no line

    def plan(self) -> EditPlan:
        """The edits without faces, none of which changes anything yet."""
        made = [_PLAIN[kind] for kind in EDITS if kind in self.edits and kind in _PLAIN]
        return EditPlan((*made, *((TextOverlay(self.line),) if self.line else ())))

    def genetic(self) -> GeneticSettings:
        """Generations that judge at most `calls` pictures: AdSEE's 30 plans and 10 parents where
        there are calls for two generations of them, else smaller ones (our choice)."""
        pareto = self.method == "pareto"
        population = 30 if self.calls >= (60 if pareto else 50) else max(4, self.calls // 3)
        parents = max(2, population // 3)
        each = population if pareto else population - parents
        return GeneticSettings(population, max(1, (self.calls - population) // each), parents)


_ALIKE = 1e-6
LEAVE = "The ad stays as it is: "


def decide(
    found: FoundEdit, job: EditJob, *, checked: bool = False, error: float = 0.0
) -> tuple[bool, str]:
    """Whether the file is written, and the reason in a sentence. checked: whether the design was
    looked at. error: standard error of a single judge, a share of what it says."""
    first = found.first
    if not found.changed:
        return False, LEAVE + "no edit was found that is better than none."
    if (
        first.low is not None
        and first.high is not None
        and first.high - first.low > _ALIKE * abs(first.before)
    ):
        if not first.low > 0:
            return False, f"{LEAVE}the lower bound of the change is {first.low:+.3g}, not above 0."
    elif not first.before or not first.relative >= max(job.least, error):
        share = f"{first.relative:+.1%}" if first.before else f"{first.change:+.3g}"
        limit = f"the {job.least:.1%} that it has to be without an ensemble whose members differ"
        if error > job.least:
            limit = f"its own error of {error:.1%}"
        return False, f"{LEAVE}its judge sees {share}, less than {limit}."
    if found.second is None:
        return True, f"No verdict, since no second judge was asked; {ESTIMATE}."
    if not found.second.change > 0:
        return False, LEAVE + "the second judge sees no gain."
    if not checked:
        return True, f"No verdict, since nobody looked for texts and faces; {ESTIMATE}."
    return True, f"Worth a test against the original; two opinions, design kept; {ESTIMATE}."


#: edited: a file was written. unchanged: no edit was better. refused: the guard forbids it.
#: failed: it could not be read.
AdStatus = Literal["edited", "unchanged", "refused", "failed"]


@dataclass(frozen=True)
class KeptFront:
    """A front of NSGA-II. names: of J judges. values: of each plan that no other beats. unedited:
    of no edit. calls: pictures that were judged."""

    names: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]
    unedited: tuple[float, ...]
    calls: int


@settings
class AdOutcome:
    """ad: its id. source: path of its picture; sha256: of that file. reason: in a sentence.

    output: the edited picture, below the job's folder. seal: of the log's entry. plan: JSON of what
    was found. method, calls, batches, cpu_seconds, score_gain, penalties: of the search. first,
    second: what the judges say; others: further objectives. skipped: edits that could not be done.
    refusals: of the guard, "code: reason". notes: what else there is to know. front: of pareto.
    """

    ad: str
    source: str
    sha256: str
    status: AdStatus
    reason: str
    output: str = ""
    seal: str = ""
    plan: str = ""
    method: str = ""
    calls: int = 0
    batches: int = 0
    cpu_seconds: float = 0.0
    score_gain: float = 0.0
    penalties: dict[str, float] = field(default_factory=dict)
    first: JudgedChange | None = None
    second: JudgedChange | None = None
    others: tuple[JudgedChange, ...] = ()
    skipped: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    front: KeptFront | None = None

    @property
    def undo(self) -> str:
        """How to go back."""
        if self.status != "edited":
            return ""
        return f"the original is untouched: use {self.source} (SHA-256 {self.sha256[:12]}...)"

    def as_row(self) -> dict[str, Any]:
        """Plain values for the summary."""
        row = to_jsonable(self)
        for name in ("first", "second"):
            change: JudgedChange | None = getattr(self, name)
            if change is not None:
                row[name] |= {"change": change.change, "said": change.said()}
        return row | {"undo": self.undo, "note": ESTIMATE}

    def to_json(self) -> str:
        """As `of_json` reads it."""
        return json.dumps(to_jsonable(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def of_json(cls, text: str, *, source: str) -> AdOutcome:
        """Raises DataError where it is no JSON, ConfigError where it is no outcome."""
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"it is no JSON: {error}", file=source) from error
        if not isinstance(values, dict):
            raise DataError("it is no JSON object", file=source)
        return from_jsonable(cls, values, source=source)


#: Fields that an outcome has of what was found, as they are.
_SHARED = ("method", "calls", "batches", "cpu_seconds", "score_gain", "first", "second")


def with_found(outcome: AdOutcome, found: FoundEdit) -> AdOutcome:
    """The outcome with all that a search found."""
    return replace(
        outcome,
        plan=found.plan.to_json(),
        penalties=dict(found.penalties),
        skipped=tuple(f"{one.kind}: {one.why}" for one in found.done.skipped),
        **{name: getattr(found, name) for name in _SHARED},
    )


_JOB, _LOG, _ADS, _PICTURES = "job.json", "edits.jsonl", "ads", "pictures"
_ENDINGS: Mapping[FileFormat, str] = {"PNG": ".png", "JPEG": ".jpg", "WEBP": ".webp"}


@settings
class JobFolder:
    """path: of the folder. form: of its pictures."""

    path: Path
    form: FileFormat = "PNG"

    @classmethod
    def opened(
        cls, path: str | Path, asked: Mapping[str, Any], *, form: FileFormat, write: bool = True
    ) -> JobFolder:
        """The folder of a job that was asked for so, made where it is not there.

        write: False checks alone. Raises ResumeError where it holds a job that was asked otherwise,
        ResourceError where it holds something else.
        """
        place = Path(path)
        record = place / _JOB
        told = json.loads(json.dumps(asked, sort_keys=True))
        if record.is_file():
            before = _read(record)
            if other := sorted(key for key in told if before.get(key) != told[key]):
                raise ResumeError(
                    f"this folder holds a job with another {other[0]}",
                    where=str(place),
                    hint="name another folder with --out, or ask for the same",
                )
        elif place.exists() and (not place.is_dir() or any(place.iterdir())):
            raise ResourceError(
                "this path holds something that is no job of edits",
                where=str(place),
                hint="name another folder with --out",
            )
        elif write:
            (place / _ADS).mkdir(parents=True, exist_ok=True)
            (place / _PICTURES).mkdir(exist_ok=True)
            atomic_write_text(record, json.dumps(told, indent=1, ensure_ascii=False) + "\n")
        return cls(place, form)

    @property
    def log(self) -> Path:
        """The log's file."""
        return self.path / _LOG

    def outcome(self, ad: str, source: Path) -> AdOutcome | None:
        """What became of an ad whose picture is still the one that it was; None where nothing did,
        or it could not be read then: that may have changed."""
        path = self._record(ad)
        try:
            found = AdOutcome.of_json(path.read_text("utf-8"), source=str(path))
            same = found.status != "failed" and found.sha256 == sha256_file(source)
        except (OSError, AdwrightError):
            return None
        if found.output and not (self.path / found.output).is_file():
            return None
        return found if same else None

    def keep(self, outcome: AdOutcome, data: bytes | None) -> AdOutcome:
        """Write the picture, where there is one, and then the outcome; returns it with its file.

        Raises ResourceError where the disk refuses.
        """
        if data is not None:
            output = f"{_PICTURES}/{_slug(outcome.ad)}{_ENDINGS[self.form]}"
            outcome = replace(outcome, output=output)
            atomic_write_bytes(self.path / output, data)
        atomic_write_text(self._record(outcome.ad), outcome.to_json())
        return outcome

    def _record(self, ad: str) -> Path:
        return self.path / _ADS / f"{_slug(ad)}.json"


def require_apart(out: str | Path, ads: str | Path | None, pictures: Iterable[Path]) -> None:
    """Raise ConfigError where a job's folder lies in the folder of the ads, which would be read
    again with it, or where one of the pictures lies in the job's folder."""
    place = Path(out).resolve()
    if ads is not None and Path(ads).is_dir() and place.is_relative_to(Path(ads).resolve()):
        raise ConfigError(
            "the edited pictures would lie among the ads",
            where=str(out),
            hint="name a folder outside that of the ads with --out",
        )
    for path in pictures:
        if path.resolve().is_relative_to(place):
            raise ConfigError(
                "an ad's picture lies in the folder of the edited ones",
                where=str(path),
                hint="name another folder with --out: no input is ever overwritten",
            )


def _slug(ad: str) -> str:
    """A file name of an ad's id, which no other ad has."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", ad).strip("-.")[:48]
    return f"{plain or 'ad'}-{content_hash(ad)[:8]}"


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"what was asked for cannot be read: {error}", where=str(path), hint="name another"
        ) from error
    return found if isinstance(found, dict) else {}


def shrunk(
    picture: NDArray[np.uint8], context: EditContext, *, side: int
) -> tuple[NDArray[np.uint8], EditContext]:
    """The picture uint8 [H0, W0, 3] with `side` pixels on its longer side, and its context; as they
    are where it has no more. Raises DataError where the context belongs to another picture."""
    require_count("side", side)
    context.require_size_of(picture)
    high, wide = picture.shape[:2]
    scale = side / max(high, wide)
    if scale >= 1:
        return picture, context
    shape = (max(1, round(scale * high)), max(1, round(scale * wide)))
    by = (shape[1] / wide, shape[0] / high)
    small: dict[str, Any] = {}
    for name, below in (
        ("protected", _any_below),
        ("whole", _any_below),
        ("subject", _mean_below),
        ("still", _mean_below),
    ):
        mask = getattr(context, name)
        small[name] = None if mask is None else below(mask, shape)
    made = replace(
        context,
        **small,
        places=tuple(_moved(place, by) for place in context.places),
    )
    return squeezed(picture, shape), made


def _any_below(mask: NDArray[np.bool_], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """bool [H, W]: whether any pixel of the larger mask falls into each."""
    made = np.zeros(shape, bool)
    rows, columns = np.nonzero(mask)
    edges: list[list[NDArray[np.int64]]] = []
    for at, size, new in ((rows, mask.shape[0], shape[0]), (columns, mask.shape[1], shape[1])):
        first = at * new // size
        last = np.minimum(new - 1, ((at + 1) * new - 1) // size)
        edges.append([first, last])
    for row in edges[0]:
        for column in edges[1]:
            made[row, column] = True
    return made


def _mean_below(share: NDArray[np.float32], shape: tuple[int, int]) -> NDArray[np.float32]:
    with needing("edits of pictures", "creative"):
        import cv2
    made = cv2.resize(share, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)
    return np.asarray(made, np.float32)


def _moved(place: FacePlace, by: tuple[float, float]) -> FacePlace:
    """The place in the copy: pixels' middles lie at (x + 1/2) s - 1/2."""

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return (point[0] + 0.5) * by[0] - 0.5, (point[1] + 0.5) * by[1] - 0.5

    side = max(1.0, place.side * math.sqrt(by[0] * by[1]))
    return replace(place, middle=at(place.middle), side=side, outline=tuple(map(at, place.outline)))


_SHEET, _PAGE, _FRONTS, _SIDE = 24, 50, 4, 640
_WORDS: Mapping[AdStatus, str] = {
    "edited": "edited",
    "unchanged": "stay as they are: no edit beats none by the lower bound",
    "refused": "refused by the guard",
    "failed": "could not be read",
}


@dataclass(frozen=True)
class JobSummary:
    """table, page: files. sheet: None where no ad was edited."""

    table: Path
    page: Path | None
    sheet: Path | None


def counted(outcomes: Sequence[AdOutcome]) -> list[str]:
    """How many ads came to what, in words."""
    counts = Counter(one.status for one in outcomes)
    return [f"{counts[status]:,} {words}" for status, words in _WORDS.items() if counts[status]]


def write_summary(
    folder: JobFolder, outcomes: Sequence[AdOutcome], notes: Sequence[str] = ()
) -> JobSummary:
    """Write the table, the sheet and the page. notes: said at the top of the page."""
    table = folder.path / "edits.json"
    told = {
        "note": ESTIMATE,
        "counts": dict(Counter(one.status for one in outcomes)),
        "ads": [one.as_row() for one in outcomes],
    }
    atomic_write_text(table, json.dumps(told, ensure_ascii=False, indent=1) + "\n")
    order = sorted(outcomes, key=lambda one: one.status != "edited")
    shown: dict[str, FoundEdit] = {}
    for one in order:
        if len(shown) < _PAGE and one.first is not None:
            found = _found(folder, one)
            if found is not None:
                shown[one.ad] = found
    page = sheet = None
    if shown:
        page = folder.path / "report.html"
        left = len([one for one in outcomes if one.first is not None]) - len(shown)
        sentences = [*counted(outcomes), *notes, "Originals are untouched: to go back, use them."]
        if left > 0:
            sentences.append(f"{left:,} more ads are in edits.json.")
        fronts = [
            EditFront(
                one.ad,
                kept.names,
                np.zeros((len(kept.values), 0)),
                np.array(kept.values, np.float64),
                np.array(kept.unedited),
                kept.calls,
            )
            for one in order
            if (kept := one.front) is not None
        ]
        names = {front.names for front in fronts[:_FRONTS]}
        write_edits_page(
            page,
            shown,
            title="Edited ads",
            sentences=sentences,
            front=fronts[:_FRONTS] if len(names) == 1 else (),
        )
        edited = [one.ad for one in order if one.status == "edited" and one.ad in shown][:_SHEET]
        if edited:
            sheet = folder.path / "sheet.png"
            write_contact_sheet(sheet, {name: shown[name] for name in edited})
    return JobSummary(table, page, sheet)


def _found(folder: JobFolder, outcome: AdOutcome) -> FoundEdit | None:
    """What was found, read back; None where a file of it is gone."""
    if outcome.first is None:
        return None
    try:
        original = _small(Path(outcome.source))
        after = _small(folder.path / outcome.output) if outcome.output else original
    except (OSError, AdwrightError):
        return None
    skipped = tuple(
        SkippedEdit(-1, *(part.strip() for part in one.split(":", 1))) for one in outcome.skipped
    )
    return FoundEdit(
        plan=EditPlan.of_json(outcome.plan, source=outcome.ad),
        original=original,
        done=EditedPicture(after, EditContext(), skipped),
        penalties=outcome.penalties,
        **{name: getattr(outcome, name) for name in _SHARED},
        reason=" ".join((outcome.reason, *(f"{note}." for note in outcome.notes))),
    )


def _small(path: Path) -> Pixels:
    picture = np.asarray(opened_image(path.read_bytes(), str(path)), np.uint8)
    return shrunk(picture, EditContext(), side=_SIDE)[0]
