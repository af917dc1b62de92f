"""From a next-basket task to a saved retriever: train two towers or HCN, measure, save.

    OUT/
      config.json      what was asked for, and the settings that followed from the data
      run              the training run, resumable
      report.json      the model beside the simple rules, on the test
      model            the artifact, kind "retriever"

Training visits fit the weights, validation stops the training, the test is measured once.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from adwright.core.config import settings, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.next_basket import NextBasket
from adwright.metrics.reports.comparison import RankingComparison, compare_rankings
from adwright.metrics.reports.report import EvaluationProtocol
from adwright.models.retrieval.two_tower import TwoTower, TwoTowerConfig
from adwright.training.loop.callbacks import WritesDown
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.threads import torch_threads
from adwright.training.retrieval.artifact import RetrieverArtifact, RetrieverModel, retriever_for
from adwright.training.retrieval.defaults import (
    RetrieverDefaults,
    hcn_defaults,
    retriever_search,
    two_tower_defaults,
)
from adwright.training.retrieval.fit import RetrievalConfig, fit_retriever
from adwright.training.retrieval.ranks import catalogue_vectors, retrieved_ranks
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.retrieval.second_task import choose_unseen, second_task, with_second_task
from adwright.training.run_settings import TrainedRun, begun_runs, require_open, saved_run, seeded
from adwright.training.search import Defaults, SearchResult

RetrieverKind = Literal["two-tower", "hcn"]
TITLES: Mapping[RetrieverKind, str] = {"two-tower": "Two towers", "hcn": "HCN"}
#: Length of a list that is measured.
DEPTH = 50


@settings
class RetrieverRun:
    """What is asked for. model: of what kind. epochs: at most so many; None for what the data say.
    search: trials of better settings on validation, 0 for none. second_task: weight of two towers'
    second task, 0 for none; None for what validation favours. draws: of the bootstrap. seed: of
    all of it. threads: of torch, 0 for as many as it likes. out: the folder to write. log: how the
    log is called, kept for what trains again."""

    model: RetrieverKind = "two-tower"
    epochs: int | None = None
    search: int = 0
    second_task: float | None = None
    draws: int = 500
    seed: int = 0
    threads: int = 0
    out: Path = Path("runs/two-tower")
    log: str = ""

    def __post_init__(self) -> None:
        low = min(self.search, self.seed, self.threads)
        if low < 0 or self.draws < 1 or (self.epochs is not None and self.epochs < 1):
            raise ConfigError(
                "epochs and draws are at least 1, the other numbers not negative",
                where=f"epochs {self.epochs}, draws {self.draws}, search {self.search}",
            )
        if self.second_task is not None and (self.second_task < 0 or self.model != "two-tower"):
            raise ConfigError(
                "second_task is a weight of two towers, not negative",
                where=f"{self.second_task} of {self.model}",
            )


def run_retriever(
    config: RetrieverRun,
    task: NextBasket,
    *,
    repeats: bool,
    resume: bool = False,
    overwrite: bool = False,
    tell: Callable[[str], None] | None = None,
) -> TrainedRun[RetrieverArtifact]:
    """Train, measure and save the model of `config` in `config.out`/model.

    repeats: whether what a user had stays a candidate (`NextItemChoices.repeats`). resume: continue
    an interrupted run with the same config. overwrite: replace a model and its run that are there.
    tell: takes each sentence about a setting that followed from the data, before the training.
    Raises ResourceError where the model exists (without `overwrite`), ResumeError where a run
    cannot be taken up, and as `fit_retriever`.
    """
    done, out, name = Stages(), config.out, TITLES[config.model]
    require_open(out, "model", overwrite=overwrite)
    begun = begun_runs({name: out / "run"}, resume=resume, stop_now=False)
    if overwrite and not resume and (out / "run").exists():
        shutil.rmtree(out / "run")
    with done.stage("settings"), torch_threads(config.threads):
        model, fit, why, searched = _settings(config, task)
    for sentence in why:
        if tell is not None:
            tell(sentence)
    asked = {
        "run": to_jsonable(config),
        "model": to_jsonable(model.config),
        "fit": to_jsonable(fit),
        "why": list(why),
        "data_hash": task.data_hash,
    }
    text = json.dumps(asked, indent=1) + "\n"
    with done.stage(f"train {name}"), torch_threads(config.threads):
        begins = (WritesDown(out / "config.json", text),)
        fit_retriever(model, task, fit, out / "run", resume=name in begun, callbacks=begins)
        unseen = choose_unseen(model, task) if isinstance(model, TwoTower) else ""
    if unseen:
        why = (*why, unseen)
        if tell is not None:
            tell(unseen)
    with done.stage("measure"), torch_threads(config.threads):
        comparison = _compared(name, model, config, task, repeats=repeats)
    artifact = RetrieverArtifact.of(model, task, seed=config.seed)
    return saved_run(artifact, comparison, out, done, overwrite=overwrite, why=why, search=searched)


def settings_of(config: RetrieverRun, task: NextBasket) -> tuple[str, ...]:
    """The settings that follow from the data, a sentence each; nothing is tried."""
    if config.model == "two-tower":
        if config.second_task is None:
            return (*two_tower_defaults(task).why, *second_task(task)[1])
        return _towers(config, task).why
    return _settings(replace(config, search=0), task)[2]


def _towers(config: RetrieverRun, task: NextBasket) -> Defaults[TwoTowerConfig, RetrievalConfig]:
    """The defaults of two towers, with their second task."""
    return with_second_task(
        task,
        two_tower_defaults(task),
        folder=config.out / "search",
        seed=config.seed,
        weight=config.second_task,
    )


def _settings(
    config: RetrieverRun, task: NextBasket
) -> tuple[RetrieverModel, RetrievalConfig, tuple[str, ...], SearchResult | None]:
    """A model with first weights, how it is trained, and why so."""
    searched, seed = None, config.seed
    found: RetrieverDefaults
    found = _towers(config, task) if config.model == "two-tower" else hcn_defaults(task)
    if config.search:
        folder = config.out / "search"
        found, searched = retriever_search(
            task, found, trials=config.search, folder=folder, seed=seed
        )
    model = seeded(seed, lambda: retriever_for(found.model, task))
    fit, why = found.fit, found.why
    fit = replace(fit, seed=seed, k=min(fit.k, len(task.items) - 1))
    return model, replace(fit, epochs=config.epochs or fit.epochs), why, searched


def _compared(
    name: str, model: RetrieverModel, config: RetrieverRun, task: NextBasket, *, repeats: bool
) -> RankingComparison:
    """The model and the rules on the test."""
    log, visits, depth = log_of_task(task), task.visits("test"), min(DEPTH, len(task.items) - 1)
    model.eval()
    score = catalogue_vectors(model, task)
    ranks = retrieved_ranks(score, task, visits, depth=depth, unseen=not repeats).ranks()
    rules = fit_rules(log, repeats=repeats, seed=config.seed)
    others = rules_ranks(rules, log, log.test, unseen=not repeats, depth=DEPTH)
    return compare_rankings(
        {name: ranks, **others},
        task.visit_user[visits],
        subject=name,
        protocol=EvaluationProtocol(
            split=task.protocol,
            candidates=f"all {len(task.items) - 1:,} items",
            ties="by a hash of visit and item",
            seen_items="not removed" if repeats else "removed",
            k=(10, DEPTH),
        ),
        data_hash=task.data_hash,
        seed=config.seed,
        draws=config.draws,
    )
