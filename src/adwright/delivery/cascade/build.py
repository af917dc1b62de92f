"""Train the three stages of a cascade on one next-basket task, and put them in one folder.

The fine ranker comes before the coarse one, which learns from it too.

    RUN/
      retriever/    run of the two towers (or HSTU): checkpoints, metrics.jsonl
      coarse/       run of HCN
      fine/         run of DIN (or HSTU) on the choice task, and its ranker; or of HSTU on
                    sequences, whose kept histories serve (`falcon_ranker`)
      deployment/   what serves: an artifact of kind "cascade"

Each stage is a resumable run; a build that was cut off goes on where it stood.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import InitVar, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BeforeValidator

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import Clock
from adwright.core.config import check_literals, from_jsonable, settings, to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, ResumeError
from adwright.core.progress import progress
from adwright.data.features import ItemTable
from adwright.data.tasks.choice import ChoiceConfig, build_choice_task
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket import NextBasket
from adwright.delivery.calibrated import Calibration, fit_to_visits
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig
from adwright.delivery.decision import Request
from adwright.delivery.index.index import IndexKind
from adwright.delivery.stages.histories import Histories, RequestBatch, packed, visit_requests
from adwright.delivery.stages.protocols import Scorer, Shortlist
from adwright.delivery.stages.row_ranker import FineRanker
from adwright.delivery.stages.sequence import FalconRanker, SequenceQueries, items_of
from adwright.delivery.stages.sources import (
    Blend,
    BlendedScorer,
    PastSource,
    QueryVectors,
    catalogue_index,
    fit_blend,
)
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.union import RankerConfig, ranker_config
from adwright.models.retrieval.multi_interest import HCN, HCNConfig
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.models.sequential.hstu import HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.training.loop.stage_timer import Stages
from adwright.training.ranking.config import RunConfig
from adwright.training.ranking.fit import FitConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run as run_ranker
from adwright.training.retrieval.fit import (
    DistillationTargets,
    RetrievalConfig,
    RetrieverArtifact,
    RetrieverModel,
    fit_retriever,
)
from adwright.training.sequential.artifact import KIND as SEQUENCE
from adwright.training.sequential.artifact import (
    SequenceArtifact,
    fit_choice_ranker,
    fit_task_retriever,
)
from adwright.training.sequential.fit import SequentialConfig, renamed

# --------------------------------------------------------------------------------------------------
# All the models of a cascade in one folder: an artifact of kind "cascade".
#
#     manifest.json    sizes of the stages, and the hash of every file below
#     retriever/       the two towers, or HSTU         (an artifact of kind "retriever" or
# "sequence")
#     coarse/          HCN                             (the same)
#     fine/            DIN, where there is a fine stage (kind "ranker", or "sequence" for HSTU)
#     histories/       what users did until then      (kind "histories", where asked for)
#
# Loading reads every file once, checks it against the manifest and against that of its part, whose
# kind says what it is, and makes the models of the bytes that were checked.

#: Models that find items by vectors, and models that order the few that are left.
Retrieving = RetrieverArtifact | SequenceArtifact
Ranking = Ranker | SequenceArtifact

Part = TypeVar("Part", RetrieverArtifact, Ranker)

KIND = "cascade"
_PARTS = ("retriever", "coarse", "fine", "histories")


@settings
class _Config:
    """The part of the manifest that is not about files."""

    cascade: CascadeConfig
    draws: Draws | None
    index: IndexKind
    blend: Blend | None = None
    calibration: Calibration = field(default_factory=dict)


@settings(eq=False)
class Deployment:
    """The trained parts of a cascade.

    retriever, coarse: may be one and the same model; a sequential one is an HSTU or SASRec.
    fine: a ranker of rows, or an HSTU ranker of sequences (`FalconRanker`); None serves the
    coarse order. draws: of the choices that the fine ranker was trained on. index: how the
    retriever is searched. blend: of the coarse order with counts of the user's past, see
    `blended`. calibration: what the scores of each stage are worth.
    histories: saved with it; None for no user known. artifact_id: of what was loaded.
    """

    retriever: Retrieving
    coarse: Retrieving
    fine: Ranking | None
    draws: Draws | None = None
    config: CascadeConfig = field(default_factory=CascadeConfig)
    index: IndexKind = "exact"
    histories: Histories | None = None
    blend: Blend | None = None
    calibration: Calibration = field(default_factory=dict)
    artifact_id: str = ""

    def cascade(
        self,
        histories: Histories | None = None,
        *,
        clock: Clock | None = None,
        kept: int = 1024,
    ) -> Cascade:
        """The recommender.

        histories: instead of those saved. kept: histories that an HSTU ranker keeps as it read
        them, see `FalconRanker`. Raises ConfigError where a part is of another catalogue,
        MissingExtraError where the index needs a package that is not installed.
        """
        known = self.histories if histories is None else histories
        known = Histories(_items_of(self.retriever)) if known is None else known
        queries = queries_of(self.retriever, known)
        same = self.coarse is self.retriever
        coarse = (queries if same else queries_of(self.coarse, known)).scorer()
        return Cascade(
            known,
            vectors=queries.source(catalogue_index(self.retriever, self.index)),
            coarse=coarse if self.blend is None else BlendedScorer(coarse, self.blend),
            fine=fine_scorer(self.fine, known, self.draws, kept),
            count=self.retriever.count,
            past=PastSource(),
            config=self.config,
            calibration=self.calibration,
            clock=clock,
        )

    def save(
        self,
        folder: str | Path,
        *,
        histories: bool = True,
        overwrite: bool = False,
        clock: Clock | None = None,
    ) -> str:
        """Write the folder, whole or not at all; returns its id.

        histories: write them too; what they hold is personal. Raises as `save_artifact`.
        """
        known = self.histories if histories else None
        parts = self.retriever, self.coarse, self.fine, known
        ids, files = packed(dict(zip(_PARTS, parts, strict=True)), clock)
        return save_artifact(
            folder,
            kind=KIND,
            config=to_jsonable(
                _Config(self.config, self.draws, self.index, self.blend, self.calibration)
            ),
            files=files,
            data_hash=self.retriever.data_hash,
            seed=self.retriever.seed,
            parents=ids,
            overwrite=overwrite,
            clock=clock,
        )

    @classmethod
    def load(cls, source: str | Path | Artifact) -> Deployment:
        """The parts of a deployment, after every byte was checked.

        source: its folder, or the artifact where it was read already.
        Raises ArtifactError where it is none or a part is missing, ArtifactCorruptError where a
        file was changed, ArtifactUnsafeError for a pickle.
        """
        artifact = load_artifact(source, kind=KIND)
        parts = {name.partition("/")[0] for name in artifact.files}
        for part in _PARTS[:2]:
            if part not in parts:
                raise ArtifactError(f"the deployment lacks its {part}", where=str(artifact.folder))
        config = from_jsonable(_Config, artifact.config)
        retriever = _model(artifact, "retriever", RetrieverArtifact)
        return cls(
            retriever=retriever,
            coarse=_model(artifact, "coarse", RetrieverArtifact),
            fine=_model(artifact, "fine", Ranker) if "fine" in parts else None,
            draws=config.draws,
            config=config.cascade,
            index=config.index,
            blend=config.blend,
            calibration=config.calibration,
            histories=Histories.load(artifact.part("histories"), _items_of(retriever))
            if "histories" in parts
            else None,
            artifact_id=artifact.id,
        )

    def blended(self, requests: Sequence[Request]) -> Deployment:
        """The same models, the coarse order blended with counts so that it comes nearest to the
        fine one for these requests: some hundred from before the validation baskets will do.

        Raises ConfigError without a fine stage or histories, and as `fit_blend`.
        """
        if self.fine is None or self.histories is None:
            raise ConfigError(
                "a blend needs a fine stage to come near to, and users' histories",
                where="fine" if self.fine is None else "histories",
            )
        plain = replace(self, blend=None).cascade()
        if plain.fine is None:
            return self
        batch = self.histories.batch(requests)
        return replace(
            self, blend=fit_blend(plain.coarse, plain.fine, batch, plain.retrieve(batch))
        )


def _items_of(artifact: Retrieving) -> ItemTable:
    return items_of(artifact) if isinstance(artifact, SequenceArtifact) else artifact.items


def queries_of(artifact: Retrieving, known: Histories) -> QueryVectors | SequenceQueries:
    """What asks a model that finds items by vectors."""
    if isinstance(artifact, SequenceArtifact):
        return SequenceQueries(artifact, known)
    return QueryVectors(artifact, known)


def fine_scorer(
    ranker: Ranking | None, known: Histories, draws: Draws | None, kept: int
) -> Scorer | None:
    """The fine stage of a ranker, where there is one."""
    if isinstance(ranker, SequenceArtifact):
        return FalconRanker(ranker, known, draws, capacity=kept)
    return None if ranker is None else FineRanker(ranker, known, draws)


def _model(artifact: Artifact, name: str, other: type[Part]) -> Part | SequenceArtifact:
    """The model of a part: by its own manifest a sequential one, or one of the class `other`."""
    part = artifact.part(name)
    cls = SequenceArtifact if part.kind == SEQUENCE else other
    return cls.load(part)


# --------------------------------------------------------------------------------------------------
# Distillation targets for the coarse ranker: the fine one's scores of what the sources find.
#
# Only some of the visits are scored, and of each only some candidates: the fine ranker's time is
# the cost.

_TOGETHER = 16
#: Probabilities nearer to 0 or 1 than this count as this near.
_LEAST = 1e-9


def distil(
    cascade: Cascade, task: NextBasket, *, visits: int, items: int, seed: int = 0
) -> DistillationTargets:
    """The fine stage's logits of up to `items` candidates, of `visits` training visits of `task`.

    cascade: its sources find the candidates; its coarse stage is not asked. Visits of people
    without a past are left out.
    Raises ConfigError where there is no fine stage, or it gives no probabilities.
    """
    if cascade.fine is None or not cascade.fine.probability:
        raise ConfigError(
            "distillation takes a fine stage's probabilities",
            where="no fine stage" if cascade.fine is None else type(cascade.fine).__name__,
        )
    rng = np.random.default_rng(seed)
    known = task.visits("train")
    known = known[task.visit_end[known] > task.user_offsets[task.visit_user[known]]]
    chosen = np.sort(rng.permutation(known)[:visits])
    lists: list[NDArray[np.int64]] = []
    scores: list[NDArray[np.float64]] = []
    with progress(len(chosen), "distil", "visits") as bar:
        for start in range(0, len(chosen), _TOGETHER):
            some = chosen[start : start + _TOGETHER]
            batch = cascade.histories.batch(visit_requests(task, some))
            short = _some_of(cascade, batch, items, rng)
            lists += short.lists()
            scores.append(cascade.fine.score(batch, short))
            bar.advance(len(some))
    p = np.clip(np.concatenate([np.zeros(0), *scores]), _LEAST, 1 - _LEAST)
    short = Shortlist.of(lists)
    return DistillationTargets(
        chosen, short.offsets, short.codes, np.log(p / (1 - p)).astype(np.float32)
    )


def _some_of(
    cascade: Cascade, batch: RequestBatch, items: int, rng: np.random.Generator
) -> Shortlist:
    """At most `items` a person: half of them what the person had most often, which the fine
    ranker tends to put first, the others at random from all that the sources find."""
    found = cascade.retrieve(batch).lists()
    own = [found[n][:0] for n in range(len(batch))]
    if cascade.past is not None and items > 1:
        own = cascade.past.find(batch, items // 2).lists()
    lists = []
    for mine, codes in zip(own, found, strict=True):
        others = rng.permutation(np.setdiff1d(codes, mine))
        lists.append(np.concatenate([mine, others[: items - len(mine)]]))
    return Shortlist.of(lists)


Model = TypeVar("Model", bound=RetrieverModel)

#: Fields of `BuildConfig` that had other names, by these.
OLD_NAMES = {"lessons": "distillation_visits", "lesson_items": "distillation_items"}


def _read_fine(values: object) -> object:
    """A table as the config that it is of: only a ranker of sequences counts actions."""
    if not isinstance(values, Mapping):
        return values
    if "actions" in values or values.get("kind") == "hstu_ranker":
        return from_jsonable(HSTURankerConfig, {k: v for k, v in values.items() if k != "kind"})
    return ranker_config(values)


FineConfig = Annotated[RankerConfig | HSTURankerConfig, BeforeValidator(_read_fine)]


@dataclass(frozen=True)
class BuildConfig:
    """Models and training of the stages.

    retriever, retriever_fit: the two towers, or HSTU with a `SequentialConfig`. coarse,
    coarse_fit: HCN. choice, fine, fine_fit: the fine ranker's rows, DIN or HSTU, and its
    training; with an `HSTURankerConfig` and a `SequentialConfig` it is an HSTU on sequences, and
    of `choice` only the draws are read. distillation_visits, distillation_items: training baskets
    on which HCN learns from the fine ranker, and items of each, see `distil`; by default none, as
    the blend brings the coarse order nearer to the fine one and costs the vectors nothing.
    blend: training baskets on which the coarse order is brought near to the fine one, see
    `Blend`; 0 leaves it as HCN has it. cascade, index: sizes of the stages, and how the
    retriever is searched. seed: of all of it.
    Raises ConfigError where a model and its training do not belong together.
    """

    retriever: TwoTowerConfig | HSTUConfig = field(default_factory=TwoTowerConfig)
    retriever_fit: RetrievalConfig | SequentialConfig = field(
        default_factory=lambda: RetrievalConfig(epochs=2, batch=256, validation_visits=0)
    )
    coarse: HCNConfig = field(default_factory=HCNConfig)
    coarse_fit: RetrievalConfig = field(
        default_factory=lambda: RetrievalConfig(epochs=2, validation_visits=0)
    )
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)
    fine: FineConfig = field(default_factory=DINConfig)
    fine_fit: FitConfig | SequentialConfig = field(
        default_factory=lambda: FitConfig(epochs=1, learning_rate=2e-3)
    )
    distillation_visits: int = 0
    distillation_items: int = 100
    blend: int = 200
    cascade: CascadeConfig = field(default_factory=CascadeConfig)
    index: IndexKind = "exact"
    seed: int = 0
    lessons: InitVar[int | None] = None
    lesson_items: InitVar[int | None] = None

    def __post_init__(self, lessons: int | None, lesson_items: int | None) -> None:
        for old, value in (("lessons", lessons), ("lesson_items", lesson_items)):
            if value is not None:
                warnings.warn(f"{old} is now called {OLD_NAMES[old]}", stacklevel=3)
                object.__setattr__(self, OLD_NAMES[old], value)
        check_literals(self)
        if isinstance(self.retriever, HSTURankerConfig):
            raise ConfigError(
                "a ranker cannot search the catalogue", where="retriever", hint="use HSTUConfig"
            )
        for name, model, fit in (
            ("retriever", self.retriever, self.retriever_fit),
            ("fine", self.fine, self.fine_fit),
        ):
            if isinstance(model, HSTUConfig) != isinstance(fit, SequentialConfig):
                raise _mismatch(name, model, fit)


def build_deployment(
    task: NextBasket,
    run: str | Path,
    config: BuildConfig | None = None,
    *,
    cache: Path | None = None,
    resume: bool = False,
    clock: Clock | None = None,
    stages: Stages | None = None,
) -> Deployment:
    """Train retriever, coarse and fine stage on `task`, and save RUN/deployment.

    cache: for the fine ranker's rows, by default in the asset cache. resume: take up a build of
    the same config on the same task. stages: takes the times.
    Raises ConfigError where the folder holds a build (without resume), ResumeError where it
    holds none or another one (with resume), and as the trainings do.
    """
    config, folder = config or BuildConfig(), Path(run)
    done = Stages(clock) if stages is None else stages
    _begin(folder, config, task, resume=resume)
    with done.stage("train the retriever"):
        found = _retriever(task, config, folder / "retriever")
    with done.stage("train the fine ranker"):
        fine = _ranker(task, config, folder / "fine", cache, clock)
    deployment = Deployment(
        retriever=found,
        coarse=found,
        fine=fine,
        draws=config.choice.draws,
        config=config.cascade,
        index=config.index,
        histories=Histories.of_task(task),
    )
    targets = None
    if config.distillation_visits:
        with done.stage("ask the fine ranker for distillation targets"):
            targets = distil(
                deployment.cascade(),
                task,
                visits=config.distillation_visits,
                items=config.distillation_items,
                seed=config.seed,
            )
    with done.stage("train the coarse ranker"):
        coarse = _fitted(
            lambda: HCN(config.coarse, task.spec, task.items, task.count),
            task,
            replace(config.coarse_fit, seed=config.seed),
            folder / "coarse",
            targets,
        )
    deployment = replace(deployment, coarse=RetrieverArtifact.of(coarse, task, seed=config.seed))
    if config.blend:
        with done.stage("blend the coarse order"):
            deployment = deployment.blended(_requests(task, config))
    with done.stage("calibrate what serves"):
        calibration = fit_to_visits(deployment.cascade(), task, seed=config.seed)
        deployment = replace(deployment, calibration=calibration)
    with done.stage("save the deployment"):
        identity = deployment.save(folder / "deployment", overwrite=True, clock=clock)
    return replace(deployment, artifact_id=identity)


def _requests(task: NextBasket, config: BuildConfig) -> list[Request]:
    """The latest training baskets of some users, as requests."""
    visits = task.visits("train")
    last = np.flatnonzero(np.diff(task.visit_user[visits], append=-1))
    rng = np.random.default_rng(config.seed)
    chosen = visits[np.sort(rng.permutation(last)[: config.blend])]
    return visit_requests(task, chosen)


def _mismatch(name: str, model: object, fit: object) -> ConfigError:
    right = "FitConfig" if name == "fine" else "RetrievalConfig"
    if isinstance(model, HSTUConfig):
        right = "SequentialConfig"
    return ConfigError(
        f"{type(model).__name__} is not trained by {type(fit).__name__}",
        where=f"{name}_fit",
        hint=f"pass a {right}",
    )


def begun_before(path: Path, asked: object, *, resume: bool) -> Any:
    """What a build that goes on was asked for; None for a new one, whose file is written.

    Raises ConfigError where a new one finds another, ResumeError where there is none to go on.
    """
    if not resume:
        if path.exists():
            raise ConfigError(
                "this folder already holds a build",
                where=str(path.parent),
                hint="resume it, or name another folder",
            )
        atomic_write_text(path, json.dumps(asked, indent=1) + "\n")
        return None
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ResumeError(
            "this folder holds no build", where=str(path.parent), hint="check the path"
        ) from error


def _begin(folder: Path, config: BuildConfig, task: NextBasket, *, resume: bool) -> None:
    path = folder / "build.json"
    asked = json.loads(json.dumps({"config": to_jsonable(config), "data_hash": task.data_hash}))
    try:
        said = begun_before(path, asked, resume=resume)
        if said is None:
            return
        before = renamed(said)
        before["config"] = {OLD_NAMES.get(k, k): v for k, v in before.get("config", {}).items()}
        # Its names are no old names of trainings; builds of before know nothing of the last one.
        before["config"]["cascade"] = {"unseen": False, **said["config"]["cascade"]}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResumeError(
            "this folder holds no build", where=str(folder), hint="check the path"
        ) from error
    if before != asked:
        raise ResumeError(
            "the build was started with another config or on another task",
            where=str(path),
            hint="resume with what it was started with, or begin in another folder",
        )


def _retriever(task: NextBasket, config: BuildConfig, run: Path) -> Retrieving:
    asked, fit = config.retriever, replace(config.retriever_fit, seed=config.seed)
    match asked, fit:
        case HSTUConfig(), SequentialConfig():
            return fit_task_retriever(task, asked, fit, run)
        case TwoTowerConfig(), RetrievalConfig():
            model = _fitted(
                lambda: TwoTower(asked, task.spec, task.items, task.count), task, fit, run
            )
            return RetrieverArtifact.of(model, task, seed=config.seed)
        case _:
            raise _mismatch("retriever", asked, fit)


def _fitted(
    build: Callable[[], Model],
    task: NextBasket,
    fit: RetrievalConfig,
    run: Path,
    targets: DistillationTargets | None = None,
) -> Model:
    """A model trained in `run`, taken up where there is a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.seed)
        model = build()
    resume = (run / "config.json").exists()
    fit_retriever(model, task, fit, run, distillation=targets, resume=resume)
    return model


def _ranker(
    task: NextBasket, config: BuildConfig, run: Path, cache: Path | None, clock: Clock | None
) -> Ranking:
    """The fine ranker. Its probabilities come from the draws: nothing is calibrated."""
    model, fit = config.fine, config.fine_fit
    if isinstance(model, HSTURankerConfig):
        if isinstance(fit, SequentialConfig):
            fit = replace(fit, seed=config.seed)
            return fit_choice_ranker(task, model, fit, run, draws=config.choice.draws)
    elif isinstance(fit, FitConfig):
        return _row_ranker(task, config, model, fit, run, cache, clock)
    raise _mismatch("fine", model, fit)


def _row_ranker(
    task: NextBasket,
    config: BuildConfig,
    model: RankerConfig,
    fit: FitConfig,
    run: Path,
    cache: Path | None,
    clock: Clock | None,
) -> Ranker:
    """DIN or HSTU on the choice task."""
    if (run / "ranker").exists():
        return Ranker.load(run / "ranker")
    tasks = cache_folder() / "tasks" if cache is None else cache
    rows = build_choice_task(task, tasks, config.choice)
    asked = RunConfig(
        model=model,
        fit=replace(fit, seed=0),
        calibration="none",
        base=False,
        draws=200,
        seed=config.seed,
        out=run,
    )
    resume = (run / "runs" / model.title.lower() / "config.json").exists()
    return run_ranker(asked, task=rows, resume=resume, clock=clock).ranker
