"""A job of edits, from a table or a folder of ads to edited pictures, a log, a sheet and a page.

    run = edit_ads("ads.csv", ["runs/clicks"], "edits", approver="Ada")
    run.outcomes[0].status, run.text()

    with prepared_job("ads.csv", ["runs/clicks"], "edits", approver="Ada") as ready:
        print("\\n".join(ready.sentences()))     # a dry run: nothing is written
        run = ready.run()

Each ad is edited by itself, so one that is broken harms no other; what is done is kept at once, and
the same call goes on where it was stopped, see `folder`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adwright.core.assets import cache_folder
from adwright.core.clock import Clock, SystemClock
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, DataError
from adwright.core.hashing import sha256_file
from adwright.core.progress import duration, progress
from adwright.creative.editor.edited_file import FileEditor
from adwright.creative.editor.guards.ages import AgeCheck
from adwright.creative.editor.guards.consent import consent_manifest
from adwright.creative.editor.job.asked_judges import AskedJudges, opened_judges
from adwright.creative.editor.job.face_model import FaceTools, plain_guard
from adwright.creative.editor.job.folder import JobFolder, require_apart
from adwright.creative.editor.job.one_ad import (
    AdToEdit,
    JobTools,
    checked_ad,
    edit_ad,
    noted_faces,
)
from adwright.creative.editor.job.outcome import AdOutcome
from adwright.creative.editor.job.protected import ProtectedRegions, read_protected
from adwright.creative.editor.job.settings import EditJob
from adwright.creative.editor.job.summary import JobSummary, counted, write_summary
from adwright.creative.editor.provenance.edit_log import EditLog
from adwright.creative.editor.provenance.label import ESTIMATE
from adwright.creative.editor.provenance.signing_keys import SigningKey, made_test_key
from adwright.creative.faces.aligning import SubjectFinder
from adwright.creative.faces.opened import OpenedFaces
from adwright.creative.records.seeing.describe import Describer
from adwright.creative.records.seeing.described_table import describe_table
from adwright.creative.records.seeing.settings import SeeingSettings
from adwright.creative.records.verbal.ad_media import media_kind
from adwright.creative.records.verbal.ads_table import AdTable, read_ads

__all__ = ["EditRun", "FaceFiles", "PreparedJob", "edit_ads", "prepared_job"]

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
    its files. before: how many were done by an earlier call."""

    outcomes: tuple[AdOutcome, ...]
    folder: Path
    summary: JobSummary
    before: int = 0

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
    tools: Callable[[EditLog], JobTools] = field(repr=False)
    judges: AskedJudges = field(repr=False)
    signed: bool = False

    def sentences(self) -> list[str]:
        """What would be done and what it would cost. Every file is opened, and the guard asked
        about its words; nothing is written. Raises ResumeError and ResourceError as a run."""
        folder = JobFolder.opened(self.out, self.asked, form=self.job.form, write=False)
        tools = self.tools(EditLog(folder.log, SystemClock()))
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
        eyes = _VECTOR_SECONDS * (self.judges.encoder is not None)
        cost = looks * (_EDIT_SECONDS + eyes + _COLOUR_SECONDS * self.judges.colours)
        said = [
            f"{left:,} ads would be searched for edits: {', '.join(self.job.edits)}",
            f"by {self.job.method}, at most {self.job.calls:,} edited pictures each, "
            f"{looks:,} in all: about {duration(cost)} of one processor",
            f"judges: {_told(self.judges)}",
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
        limit = (
            "the lower bound of the ensemble's change is above 0"
            if self.judges.several
            else f"the judge sees {self.job.least:.1%} or more, having no interval of its own"
        )
        second = ", and the second judge sees a gain" if self.judges.second is not None else ""
        return f"an edit is kept where {limit}{second}; else the ad stays as it is"

    def run(self, *, cpu: Callable[[], float] = time.process_time) -> EditRun:
        """Edit what is left, and write the summary. Raises as `edit_ad`; what was done is kept."""
        folder = JobFolder.opened(self.out, self.asked, form=self.job.form)
        tools = self.tools(EditLog(folder.log, SystemClock()))
        outcomes: list[AdOutcome] = []
        before = 0
        last = ""
        with progress(len(self.ads), "edit ads", "ads", note=lambda: last) as bar:
            for ad in self.ads:
                found = folder.outcome(ad.id, ad.path)
                if found is not None:
                    before += 1
                else:
                    made = edit_ad(ad, tools, self.job, cpu=cpu)
                    found = folder.keep(made.outcome, made.data)
                outcomes.append(found)
                last = f"{ad.id} {found.status}"
                bar.advance()
        notes = [self.rule(), f"Every change of a number is a {ESTIMATE}."]
        notes += [] if self.signed else [f"The pictures are {_TEST_KEY}."]
        notes += [] if tools.faces is None else [f"Of faces, {tools.faces.sentence()}."]
        return EditRun(tuple(outcomes), folder.path, write_summary(folder, outcomes, notes), before)


def edit_ads(
    ads: str | Path | AdTable,
    judges: Sequence[str | Path],
    out: str | Path,
    *,
    approver: str,
    second: str | Path | None = None,
    job: EditJob | None = None,
    protected: str | Path | None = None,
    faces: FaceFiles | None = None,
    ages: AgeCheck | None = None,
    key: SigningKey | None = None,
    offline: bool = False,
    clock: Clock | None = None,
) -> EditRun:
    """Edit ads towards what their judges like better; see `prepared_job`."""
    with prepared_job(
        ads,
        judges,
        out,
        approver=approver,
        second=second,
        job=job,
        protected=protected,
        faces=faces,
        ages=ages,
        key=key,
        offline=offline,
        clock=clock,
    ) as ready:
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
    protected: str | Path | None = None,
    faces: FaceFiles | None = None,
    ages: AgeCheck | None = None,
    key: SigningKey | None = None,
    offline: bool = False,
    clock: Clock | None = None,
) -> Iterator[PreparedJob]:
    """A job with all that it needs opened and checked.

    ads: a table or folder, which is looked at as `describe_table` does, or one that was. judges:
    runs of `train_clicks`, several for an ensemble. out: folder of the job. approver: who lets the
    edits pass, by name, for the log. second: a judge that the search never asks. protected: boxes
    or masks, see `protected`. faces: needed where faces are moved. ages: with an estimate of your
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
    table = _looked_at(ads, offline=offline)
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
    regions = _regions(protected, table)
    several = job.method == "pareto"
    with opened_judges(judges, second, several_objectives=several, offline=offline) as asked:
        moving = None if faces is None else _moving(faces, ages, offline=offline)
        tools = _tools(asked, job, regions, moving, key, approver, timer, offline=offline)
        yield PreparedJob(
            tuple(chosen),
            len(table) - len(chosen),
            job,
            Path(out),
            _asked(job, asked, regions, faces),
            tools,
            asked,
            key is not None,
        )


def _looked_at(ads: str | Path | AdTable, *, offline: bool) -> AdTable:
    if isinstance(ads, AdTable):
        return ads
    describer = Describer(cache=cache_folder() / "seen", settings=SeeingSettings(offline=offline))
    return describe_table(read_ads(ads), describer).table


def _regions(protected: str | Path | None, table: AdTable) -> ProtectedRegions:
    return ProtectedRegions() if protected is None else read_protected(protected, table.ids)


def _tools(
    judges: AskedJudges,
    job: EditJob,
    regions: ProtectedRegions,
    moving: FaceTools | None,
    key: SigningKey | None,
    approver: str,
    clock: Clock,
    *,
    offline: bool,
) -> Callable[[EditLog], JobTools]:
    """Makes the tools of a job whose log is given."""
    signer = key or made_test_key(clock)
    subject = SubjectFinder(offline=offline) if "background_blur" in job.edits else None

    def tools(log: EditLog) -> JobTools:
        if moving is None:
            editor = FileEditor(plain_guard(log), signer, clock, approver, subject=subject)
        else:
            editor = FileEditor(
                moving.guard(log),
                signer,
                clock,
                approver,
                moving.opened.id,
                moving.aligner,
                subject,
                moving.opened.mover,
            )
        return JobTools(judges, editor, clock, regions, moving)

    return tools


def _moving(faces: FaceFiles, ages: AgeCheck | None, *, offline: bool) -> FaceTools:
    opened = OpenedFaces.load(
        faces.folder, faces.directions, accept_noncommercial=faces.accept_noncommercial
    )
    made = FaceTools.of(opened, consent_manifest(faces.consent), ages=ages, offline=offline)
    made.rules()  # refuses a locked group that is not told
    return made


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


def _told(judges: AskedJudges) -> str:
    parts = [f"{name} x {len(some)}" if len(some) > 1 else name for name, some in judges.groups]
    second = (
        "none: a gain is then one model's word" if judges.second is None else "asked at the end"
    )
    return f"{', '.join(parts)}; second opinion: {second}"
