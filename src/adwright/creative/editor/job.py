r"""A job of edits, from a table or a folder of ads to edited pictures, a log, a sheet and a page.

    run = edit_ads("ads.csv", ["runs/clicks"], "edits", approver="Ada")
    run.outcomes[0].status, run.text()

    with prepared_job("ads.csv", ["runs/clicks"], "edits", approver="Ada") as ready:
        print("\n".join(ready.sentences()))     # a dry run: nothing is written
        run = ready.run()

Each ad is edited by itself, so one that is broken harms no other; what is done is kept at once, and
the same call goes on where it was stopped, see `folder`.

One ad of a job: looked at, searched, judged, and edited where that is better.

    done = edit_ad(ad, tools, job)
    done.outcome.status, done.outcome.reason, done.data

1  The picture is opened, and what is protected is laid over it: what was named, and what is found
   to be design, see `design`; an animation is refused, since an edit would keep its first picture
   alone.
2  The guard is asked about the ad's words, and those that are laid over it. Where faces may be
   moved, it is asked about each, see `faces_of_ad`: one without consent stays, the rest goes on.
3  Plans are searched on a copy of at most `side` pixels, by the judges on the edited copy.
4  What was found is done to the whole picture, and judged again there, by the second judge too.
5  It is kept where it is better by the lower bound, see `settings`, and every text of the original
   is read in it and no face is washed out; else the ad stays as it is.

The search of one ad's plan, by the method that a job names.

    searched = search_plan(small, plan, judges, job)
    searched.found.plan, searched.front

Values are divided by what each judge says of the unedited picture, so a score is a share of it and
the weights of penalties mean the same for every judge. `pareto` searches all objectives at once; of
its front the plan is taken that the first judge likes best among those that no judge likes less
than no edit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.assets import cache_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import to_jsonable
from adwright.core.errors import AdwrightError, ConfigError, DataError, FileUnreadableError
from adwright.core.hashing import sha256_file
from adwright.core.progress import duration, progress
from adwright.creative.editor.design import AUTO, DesignFinder
from adwright.creative.editor.edit_kinds import EditContext, FaceMove
from adwright.creative.editor.edit_plan import EditPlan
from adwright.creative.editor.fitness import (
    FineNoise,
    PictureJudge,
    Pixels,
    PlanFitness,
    SearchOutcome,
    Weighted,
    checked_answers,
    squeezed,
)
from adwright.creative.editor.guard import (
    EditLog,
    EditRequest,
    FileEditor,
    GuardVerdict,
    opened_picture,
)
from adwright.creative.editor.guard_rules import AgeCheck, consent_manifest
from adwright.creative.editor.job_faces import (
    FacesOfAd,
    FaceTools,
    ProtectedRegions,
    faces_of_ad,
    plain_guard,
    read_protected,
)
from adwright.creative.editor.job_files import (
    LEAVE,
    AdOutcome,
    EditJob,
    JobFolder,
    JobSummary,
    KeptFront,
    counted,
    decide,
    require_apart,
    shrunk,
    with_found,
    write_summary,
)
from adwright.creative.editor.job_judges import AskedJudges, JudgesOfAd, Unlikeness, opened_judges
from adwright.creative.editor.provenance import ESTIMATE, SigningKey, labelled, made_test_key
from adwright.creative.editor.searches import (
    EditFront,
    FoundEdit,
    JudgedChange,
    edit_at,
    genetic_search,
    gradient_ascent,
    judged_change,
    pareto_search,
    random_search,
)
from adwright.creative.faces.aligning import SubjectFinder
from adwright.creative.faces.opened import OpenedFaces
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import AdTable, media_kind, read_ads
from adwright.creative.records.describe import Describer, describe_table
from adwright.creative.records.media import SeeingSettings, is_animation, opened_media
from adwright.data.creatives import MODEL, Creative
from adwright.data.sources.tables import write_creatives


def search_plan(
    small: Pixels,
    context: EditContext,
    plan: EditPlan,
    judges: JudgesOfAd,
    job: EditJob,
    further: Sequence[Weighted] = (),
    allowed: Callable[[EditPlan], bool] | None = None,
    *,
    cpu: Callable[[], float] = time.process_time,
) -> tuple[FoundEdit, EditFront | None]:
    """Search a plan's values on a picture: what was found on it, and the front of pareto. further:
    penalties beside those of the job. allowed: as of `PlanFitness`. Raises as the search."""
    penalties = (
        Weighted(FineNoise(), job.noise),
        Weighted(Unlikeness(judges.searched), job.unlike),
        *further,
    )

    def fitness(some: Sequence[PictureJudge]) -> PlanFitness:
        # What each judge says of the unedited picture, without its sign; 1 where that is nothing.
        sizes = [abs(float(checked_answers(judge, small[None])[0])) for judge in some]
        scales = [one if one > 1e-12 else 1.0 for one in sizes]
        return PlanFitness(
            plan, small, context, judges=some, penalties=penalties, scales=scales, allowed=allowed
        )

    start, used = cpu(), fitness(judges.objectives[:1])
    front, searched = None, used
    match job.method:
        case "pareto":
            searched = fitness(judges.objectives)
            front = pareto_search(searched, seed=job.seed, settings=job.genetic())
            outcome = _chosen(front)
        case "random":
            outcome = random_search(used, calls=job.calls, seed=job.seed)
        case "ascent":
            outcome = gradient_ascent(used, calls=job.calls)
        case _:
            outcome = genetic_search(used, seed=job.seed, settings=job.genetic())
    spent = cpu() - start
    return edit_at(used, outcome, batches=searched.batches, cpu_seconds=spent), front


def _chosen(front: EditFront) -> SearchOutcome:
    """Of the front the plan that the job takes; no edit is at least as good as itself, so there is
    one where nothing on the front is better for all."""
    good = (front.values >= front.unedited).all(1)
    first = np.where(good, front.values[:, 0], -np.inf)
    at = int(np.argmax(first))
    return SearchOutcome(
        "pareto", front.vectors[at], float(front.values[at, 0]), float(front.unedited[0]),
        front.calls,
    )  # fmt: skip


@dataclass(frozen=True)
class AdToEdit:
    """id: of the ad. path: of its picture. record: of it."""

    id: str
    path: Path
    record: AdRecord


@dataclass(frozen=True, eq=False)
class JobTools:
    """judges: that are asked. editor: makes the files. regions: that stay. faces: None where no
    face is moved. design: finds what else stays; None where nobody looks."""

    judges: AskedJudges
    editor: FileEditor
    clock: Clock
    regions: ProtectedRegions = field(default_factory=ProtectedRegions)
    faces: FaceTools | None = None
    design: DesignFinder | None = None


def edit_ad(
    ad: AdToEdit, tools: JobTools, job: EditJob, *, cpu: Callable[[], float] = time.process_time
) -> tuple[AdOutcome, bytes | None]:
    """Edit one ad, or say why it stays as it is: its outcome, of which `output` is still to be
    filled in, and the bytes of the file, None where there is none. cpu: tells CPU-seconds.

    What is wrong with the ad itself (a file that cannot be read, a box outside it) becomes an
    outcome that says so; what is wrong with all (a key that cannot sign, a judge that gives no
    number, a broken log, a full disk) is raised.
    """
    blank = AdOutcome(ad.id, str(ad.path), "", "failed", "")
    try:
        blank = replace(blank, sha256=sha256_file(ad.path))
        picture, mask = _opened(ad, tools.regions)
    except (AdwrightError, OSError) as error:
        return replace(blank, reason=f"it cannot be read: {error}"), None
    subject = tools.editor.subject
    design = None if tools.design is None else tools.design.found(picture)
    context = EditContext(mask) if design is None else design.context(mask)
    if "background_blur" in job.edits and subject is not None:
        context = replace(context, subject=subject.share(picture))
    words = tools.editor.guard.verdict(
        EditRequest(picture, job.plan(), context, ad.record.text), tools.clock.now()
    )
    if not words.allowed:
        return _refused(blank, words), None
    faces = _faces(picture, context, ad, tools, job)
    if not faces.plan.edits:
        why = "no edit is allowed of it"
        return replace(blank, status="refused", reason=why, notes=faces.notes), None
    context, judges = faces.context, tools.judges.of(ad.record)
    small, its_context = shrunk(picture, context, side=job.side)
    further, allowed = _limits(picture, small, its_context, faces, ad, tools, job)
    found, front = search_plan(
        small, its_context, faces.plan, judges, job, further, allowed, cpu=cpu
    )
    found, others = _judged(picture, context, found, judges, job)
    outcome = replace(with_found(blank, found), others=others, notes=faces.notes)
    if front is not None:
        values = tuple(tuple(map(float, row)) for row in front.values)
        unedited = tuple(map(float, front.unedited))
        outcome = replace(outcome, front=KeptFront(front.names, values, unedited, front.calls))
    kept, reason = decide(found, job, checked=design is not None, error=_error(judges, picture))
    if kept and tools.design is not None and design is not None:
        lost = tools.design.lost(design, picture, found.done)
        if lost:
            kept, reason = False, f"{LEAVE}the edited picture has lost {lost[0]}."
    if not kept:
        return replace(outcome, status="unchanged", reason=reason), None
    try:
        made = tools.editor.edited(
            ad.path,
            found.plan,
            text=ad.record.text,
            context=context,
            places=context.places or None,
            form=job.form,
            title=ad.id,
        )
    except DataError:
        if why := _unsaid(found):
            return replace(outcome, status="refused", reason=why), None
        raise
    if made.data is None or made.record is None:
        return _refused(outcome, made.verdict), None
    return replace(outcome, status="edited", reason=reason, seal=made.seal), made.data


def checked_ad(ad: AdToEdit, tools: JobTools, job: EditJob) -> str:
    """Why an ad would not be edited, as far as is known before a search; empty where it would."""
    try:
        picture, mask = _opened(ad, tools.regions)
    except (AdwrightError, OSError) as error:
        return str(error)
    request = EditRequest(picture, job.plan(), EditContext(mask), ad.record.text)
    refusals = tools.editor.guard.verdict(request, tools.clock.now()).refusals
    return "; ".join(f"{one.code}: {one.reason}" for one in refusals)


def noted_faces(ad: AdToEdit, tools: JobTools, job: EditJob) -> tuple[str, ...]:
    """Which faces of an ad would stay, and why; empty where none would, or none is to be moved.
    Raises as the file's opening."""
    picture, mask = _opened(ad, tools.regions)
    return _faces(picture, EditContext(mask), ad, tools, job).notes


def _opened(ad: AdToEdit, regions: ProtectedRegions) -> tuple[Pixels, NDArray[np.bool_] | None]:
    with opened_media(ad.path) as media:
        if is_animation(media):
            raise FileUnreadableError(
                "it is an animation, of which an edit would keep one picture",
                file=str(ad.path),
                hint="give the picture that is to be edited",
            )
    _, picture = opened_picture(ad.path)
    return picture, regions.mask(ad.id, picture.shape)


def _faces(
    picture: Pixels, context: EditContext, ad: AdToEdit, tools: JobTools, job: EditJob
) -> FacesOfAd:
    """The edits that are searched, of faces too where the job moves them."""
    plain = job.plan()
    if tools.faces is None or "faces" not in job.edits:
        return FacesOfAd(plain, context)
    now, text = tools.clock.now(), ad.record.text
    return faces_of_ad(picture, context, plain, text, tools.faces, tools.editor.guard, now)


def _limits(
    picture: Pixels,
    small: Pixels,
    its_context: EditContext,
    found: FacesOfAd,
    ad: AdToEdit,
    tools: JobTools,
    job: EditJob,
) -> tuple[tuple[Weighted, ...], Callable[[EditPlan], bool] | None]:
    """Penalties of moves of faces, and what the guard says of directions while it is searched."""
    moves = [edit for edit in found.plan.edits if isinstance(edit, FaceMove)]
    if tools.faces is None or not moves:
        return (), None
    many = len(moves[0].amounts)
    request = EditRequest(picture, found.plan, found.context, ad.record.text)
    guard, places = tools.editor.guard, its_context.places[:many]
    drifted = [trace.drift for trace in guard.traces(request)]
    penalties = tools.faces.penalties(small, places, job, drifted=drifted)
    return penalties, guard.directions_allow(request)


def _judged(
    picture: Pixels, context: EditContext, found: FoundEdit, judges: JudgesOfAd, job: EditJob
) -> tuple[FoundEdit, tuple[JudgedChange, ...]]:
    """What the search found, done to the whole picture and judged there; and what the further
    objectives say of it."""
    done = found.plan.apply(picture, context)
    pair = np.stack([picture, squeezed(done.picture, (picture.shape[0], picture.shape[1]))])
    changes = [judged_change(judge, pair, coverage=job.coverage) for judge in judges.objectives]
    second = judges.second
    whole = replace(
        found,
        original=picture,
        done=done,
        first=changes[0],
        second=None if second is None else judged_change(second, pair, coverage=job.coverage),
    )
    return whole, tuple(changes[1:])


def _error(judges: JudgesOfAd, picture: Pixels) -> float:
    """Standard error of a single judge on the unedited picture, as a share of what it says."""
    return judges.searched[0].error(picture) if len(judges.searched) == 1 else 0.0


def _unsaid(found: FoundEdit) -> str:
    """Why an edit that moves a face cannot say so; empty where it can, or moves none."""
    if not found.plan.face_moves():
        return ""
    try:
        labelled(found.done.picture, found.done.context)
    except DataError as error:
        return f"A moved face has to be said in the picture: {error.what}"
    return ""


def _refused(blank: AdOutcome, verdict: GuardVerdict) -> AdOutcome:
    told = tuple(f"{one.code}: {one.reason}" for one in verdict.refusals)
    return replace(
        blank, status="refused", reason="The guard refuses it: " + "; ".join(told), refusals=told
    )


#: CPU-seconds of one look at a picture, for the estimate: a vector, and colours.
_VECTOR_SECONDS, _COLOUR_SECONDS, _EDIT_SECONDS = 0.09, 0.015, 0.01
_TEST_KEY = "signed by a key made for this run, which nobody trusts: name your own to publish"


@dataclass(frozen=True)
class FaceFiles:
    """folder: with the artifacts faces and encoder, or a file of e4e. directions: a file of
    `named_directions`. consent: a manifest of `consent_manifest`. accept_noncommercial: the terms
    of e4e's weights are met."""

    folder: Path
    directions: Path
    consent: Path
    accept_noncommercial: bool = False


@dataclass(frozen=True, eq=False)
class EditRun:
    """outcomes: of each ad with a picture, in the order of the table. folder: of the job. summary:
    its files. before: how many were done by an earlier call. creatives: those with an edited
    picture, each a child of the ad that it was made from."""

    outcomes: tuple[AdOutcome, ...]
    folder: Path
    summary: JobSummary
    before: int = 0
    creatives: tuple[Creative, ...] = ()

    def text(self) -> str:
        """What became of the ads, in a few lines."""
        lines = [f"{len(self.outcomes):,} ads: {'; '.join(counted(self.outcomes))}"]
        if self.before:
            lines.append(f"{self.before:,} of them were done before")
        files = [self.summary.table, self.summary.page, self.summary.sheet]
        lines.append(f"See {', '.join(str(path) for path in files if path is not None)}")
        return "\n".join(lines)


@dataclass(frozen=True, eq=False)
class PreparedJob:
    """A job that was checked. ads: with a picture. without: how many have none. asked: what tells
    this job from others. signed: whether a key was named."""

    ads: tuple[AdToEdit, ...]
    without: int
    job: EditJob
    out: Path
    asked: dict[str, Any] = field(repr=False)
    tools: JobTools = field(repr=False)
    signed: bool = False

    def sentences(self) -> list[str]:
        """What would be done and what it would cost. Every file is opened, and the guard asked
        about its words; nothing is written. Raises ResumeError and ResourceError as a run."""
        folder = JobFolder.opened(self.out, self.asked, form=self.job.form, write=False)
        tools, judges = self.tools, self.tools.judges
        done, wrong, notes = 0, [], []
        for ad in self.ads:
            if folder.outcome(ad.id, ad.path) is not None:
                done += 1
            elif why := checked_ad(ad, tools, self.job):
                wrong.append(f"{ad.id}: {why}")
            else:
                notes += [f"{ad.id}: {note}" for note in noted_faces(ad, tools, self.job)]
        left = len(self.ads) - done - len(wrong)
        looks = left * (self.job.calls + 1)
        eyes = _VECTOR_SECONDS * (judges.encoder is not None)
        cost = looks * (_EDIT_SECONDS + eyes + _COLOUR_SECONDS * judges.colours)
        groups = [
            f"{name} x {len(some)}" if len(some) > 1 else name for name, some in judges.groups
        ]
        second = "asked at the end"
        if judges.second is None:
            second = "none: no edit is then said to be worth a test"
        said = [
            f"{left:,} ads would be searched for edits: {', '.join(self.job.edits)}",
            f"by {self.job.method}, at most {self.job.calls:,} edited pictures each, "
            f"{looks:,} in all: about {duration(cost)} of one processor",
            f"judges: {', '.join(groups)}; second opinion: {second}",
            self.rule(),
        ]
        said += [f"{done:,} are done already"] if done else []
        said += [f"{self.without:,} have no picture"] if self.without else []
        said += [f"would not be edited: {one}" for one in wrong]
        said += [*notes, *([tools.faces.sentence()] if tools.faces is not None else [])]
        said += [] if self.signed else [_TEST_KEY]
        return [*said, f"Would write {self.out}; originals stay as they are"]

    def rule(self) -> str:
        """When an edit is kept."""
        judges = self.tools.judges
        limit = (
            "the lower bound of the ensemble's change is above 0"
            if judges.several
            else f"the judge sees {self.job.least:.1%} or more, and more than its own error"
        )
        second = ", and the second judge sees a gain" if judges.second is not None else ""
        read = ", and no text or face is lost" if self.tools.design is not None else ""
        return f"an edit is kept where {limit}{second}{read}; else the ad stays as it is"

    def run(self, *, cpu: Callable[[], float] = time.process_time) -> EditRun:
        """Edit what is left, and write the summary. Raises as `edit_ad`; what was done is kept."""
        folder = JobFolder.opened(self.out, self.asked, form=self.job.form)
        tools = self.tools
        outcomes: list[AdOutcome] = []
        before = 0
        last = ""
        with progress(len(self.ads), "edit ads", "ads", note=lambda: last) as bar:
            for ad in self.ads:
                found = folder.outcome(ad.id, ad.path)
                if found is not None:
                    before += 1
                else:
                    found = folder.keep(*edit_ad(ad, tools, self.job, cpu=cpu))
                outcomes.append(found)
                last = f"{ad.id} {found.status}"
                bar.advance()
        notes = [self.rule(), f"Every change of a number is a {ESTIMATE}."]
        notes += [] if self.signed else [f"The pictures are {_TEST_KEY}."]
        notes += [] if tools.faces is None else [f"Of faces, {tools.faces.sentence()}."]
        by = MODEL if tools.faces is not None else ""  # a trained model makes a part of the picture
        children = [
            ad.record.creative(ad.id, one.sha256).edited(
                one.reason or "picture edited",
                {"image_hash": sha256_file(folder.path / one.output)},
                maker=f"{by}adwright creative edit: {one.method}",
            )
            for ad, one in zip(self.ads, outcomes, strict=True)
            if one.status == "edited"
        ]
        if children:
            write_creatives(folder.path / "creatives.parquet", children)
        summary = write_summary(folder, outcomes, notes)
        return EditRun(tuple(outcomes), folder.path, summary, before, tuple(children))


def edit_ads(
    ads: str | Path | AdTable,
    judges: Sequence[str | Path],
    out: str | Path,
    *,
    approver: str,
    second: str | Path | None = None,
    job: EditJob | None = None,
    protected: str | Path | None = AUTO,
    faces: FaceFiles | None = None,
    ages: AgeCheck | None = None,
    key: SigningKey | None = None,
    offline: bool = False,
    clock: Clock | None = None,
) -> EditRun:
    """Edit ads towards what their judges like better; see `prepared_job`."""
    told: dict[str, Any] = {"approver": approver, "second": second, "job": job, "faces": faces}
    told |= {"protected": protected, "ages": ages, "key": key, "offline": offline, "clock": clock}
    with prepared_job(ads, judges, out, **told) as ready:
        return ready.run()


@contextmanager
def prepared_job(
    ads: str | Path | AdTable,
    judges: Sequence[str | Path],
    out: str | Path,
    *,
    approver: str,
    second: str | Path | None = None,
    job: EditJob | None = None,
    protected: str | Path | None = AUTO,
    faces: FaceFiles | None = None,
    ages: AgeCheck | None = None,
    key: SigningKey | None = None,
    offline: bool = False,
    clock: Clock | None = None,
) -> Iterator[PreparedJob]:
    """A job with all that it needs opened and checked.

    ads: a table or folder, which is looked at as `describe_table` does, or one that was. judges:
    runs of `train_clicks`, several for an ensemble. out: folder of the job. approver: who lets the
    edits pass, by name, for the log. second: a judge that the search never asks. protected: "auto"
    finds texts, plates and faces; boxes or masks of `read_protected` are kept beside these; None
    protects nothing. faces: needed where faces are moved. ages: with an estimate of your
    own, for none ships. key: signs; by default one that nobody trusts. Raises ConfigError,
    DataError, ArtifactError and the like for what is wrong with what is named; what is wrong with
    an ad is told of that ad.
    """
    job, timer = job or EditJob(), clock or SystemClock()
    if not approver.strip():
        raise ConfigError("nobody approves", where="approver", hint="name who lets edits pass")
    if (faces is not None) != ("faces" in job.edits):
        raise ConfigError(
            "faces are moved with a model, its directions and a consent manifest alone",
            where="faces",
            hint="name all three and the edit `faces`, or none of them",
        )
    if isinstance(ads, AdTable):
        table = ads
    else:
        seeing = SeeingSettings(offline=offline)
        describer = Describer(cache=cache_folder() / "seen", settings=seeing)
        table = describe_table(read_ads(ads), describer).table
    chosen = [
        AdToEdit(name, path, record)
        for name, path, record in zip(table.ids, table.media, table.records, strict=True)
        if path is not None and media_kind(path) == "image"
    ]
    if not chosen:
        raise DataError(
            "no ad has a picture", file=table.name, hint="name the column of pictures: --image"
        )
    require_apart(out, ads if isinstance(ads, str | Path) else None, (ad.path for ad in chosen))
    regions = ProtectedRegions()
    if protected is not None and protected != AUTO:
        regions = read_protected(protected, table.ids)
    design = None if protected is None else DesignFinder(offline)
    several = job.method == "pareto"
    with opened_judges(judges, second, several_objectives=several, offline=offline) as asked:
        log, signer = EditLog(JobFolder(Path(out)).log, SystemClock()), key or made_test_key(timer)
        editor = FileEditor(plain_guard(log), signer, timer, approver)
        if "background_blur" in job.edits:
            editor = replace(editor, subject=SubjectFinder(offline=offline))
        moving = None
        if faces is not None:
            terms = faces.accept_noncommercial
            opened = OpenedFaces.load(faces.folder, faces.directions, accept_noncommercial=terms)
            consent = consent_manifest(faces.consent)
            moving = FaceTools.of(opened, consent, ages=ages, offline=offline)
            editor = replace(
                editor,
                guard=moving.guard(log),  # refuses a locked group that is not told
                model=opened.id,
                aligner=moving.aligner,
                mover=opened.mover,
            )
        yield PreparedJob(
            tuple(chosen),
            len(table) - len(chosen),
            job,
            Path(out),
            _asked(job, asked, regions, faces) | {"design": design is not None},
            JobTools(asked, editor, timer, regions, moving, design),
            key is not None,
        )


def _asked(
    job: EditJob, judges: AskedJudges, regions: ProtectedRegions, faces: FaceFiles | None
) -> dict[str, Any]:
    """What two calls must have in common to be one job."""
    files = []
    if faces is not None:
        one_file = faces.folder.is_file()
        weights = faces.folder if one_file else faces.folder / "faces" / "manifest.json"
        files = [sha256_file(one) for one in (weights, faces.directions, faces.consent)]
    return {
        "settings": to_jsonable(job),
        "judges": list(judges.digest),
        "protected regions": regions.digest,
        "model of faces": files,
    }
