"""A cascade is built, saved and taken up where it was cut off."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.choice_task import ChoiceConfig
from adwright.data.draws import Draws
from adwright.data.stream import StreamConfig
from adwright.delivery import build
from adwright.delivery.build import BuildConfig, build_deployment
from adwright.delivery.cascade import CascadeConfig
from adwright.delivery.deployment import Deployment
from adwright.models.din import DINConfig
from adwright.models.hcn import HCNConfig
from adwright.models.hstu_target import HSTUTargetConfig
from adwright.models.two_tower import TwoTowerConfig
from adwright.training.fit import FitConfig
from adwright.training.retrieval import RetrievalConfig
from adwright.training.stages import Stages
from tests.data.visits import small_task
from tests.delivery.funnel import EMBEDDING, LATER, request

FIT = RetrievalConfig(epochs=1, batch=16, validation_visits=0)
CONFIG = BuildConfig(
    retriever=TwoTowerConfig(width=8, hidden=8, views="none", embedding=EMBEDDING),
    retriever_fit=FIT,
    coarse=HCNConfig(width=8, hidden=8, interests=2, events=20, embedding=EMBEDDING),
    coarse_fit=FIT,
    choice=ChoiceConfig(train=0, valid=0, test=0, min_count=1, draws=Draws(number=6)),
    fine=DINConfig(attention_hidden=6, mlp_hidden=(8,), embedding=EMBEDDING),
    fine_fit=FitConfig(epochs=1, stream=StreamConfig(groups_per_batch=4)),
    cascade=CascadeConfig(retrieve=8, past=4, coarse=5),
)
TASK = small_task(people=20)


def test_the_stages_are_trained_and_saved(tmp_path: Path) -> None:
    stages = Stages()
    built = build_deployment(TASK, tmp_path / "run", CONFIG, cache=tmp_path, stages=stages)
    assert list(stages.seconds)[-1] == "save the deployment"
    saved = Deployment.load(tmp_path / "run" / "deployment")
    assert saved.artifact_id == built.artifact_id
    asked = [request("u1", k=3), request("nobody", k=3)]
    for ours, theirs in zip(
        built.cascade().recommend_many(asked), saved.cascade().recommend_many(asked), strict=True
    ):
        assert ours.item_ids == theirs.item_ids
        assert ours.stage == "fine"
        assert len(ours.item_ids) == 5
    assert asked[0].time == LATER


def test_hstu_may_be_the_fine_ranker(tmp_path: Path) -> None:
    fine = HSTUTargetConfig(
        width=8,
        max_length=50,
        blocks=2,
        heads=1,
        qk_width=8,
        v_width=8,
        mlp_hidden=(8,),
        embedding=EMBEDDING,
        kernel="bucketed",
    )
    config = replace(CONFIG, fine=fine)
    assert from_jsonable(BuildConfig, to_jsonable(config)) == config
    built = build_deployment(TASK, tmp_path / "run", config, cache=tmp_path)
    saved = Deployment.load(tmp_path / "run" / "deployment")
    assert saved.fine is not None
    assert saved.fine.model.config == fine
    asked = [request("u1", k=3), request("nobody", k=3)]
    for ours, theirs in zip(
        built.cascade().recommend_many(asked), saved.cascade().recommend_many(asked), strict=True
    ):
        assert ours.item_ids == theirs.item_ids
        assert ours.stage == "fine"


def test_a_build_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(build, "_ranker", _killed)
        with pytest.raises(KeyboardInterrupt):
            build_deployment(TASK, run, CONFIG, cache=tmp_path)
    with pytest.raises(ConfigError, match="already holds a build"):
        build_deployment(TASK, run, CONFIG, cache=tmp_path)
    with pytest.raises(ResumeError, match="another config"):
        build_deployment(TASK, run, replace(CONFIG, seed=1), cache=tmp_path, resume=True)
    with pytest.raises(ResumeError, match="holds no build"):
        build_deployment(TASK, tmp_path / "other", CONFIG, cache=tmp_path, resume=True)
    resumed = build_deployment(TASK, run, CONFIG, cache=tmp_path, resume=True)
    whole = build_deployment(TASK, tmp_path / "whole", CONFIG, cache=tmp_path)
    assert (resumed.retriever.vectors == whole.retriever.vectors).all()
    assert (resumed.coarse.vectors == whole.coarse.vectors).all()


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_lessons_change_the_coarse_ranker_alone(tmp_path: Path) -> None:
    taught = replace(CONFIG, lessons=50)
    with_ = build_deployment(TASK, tmp_path / "with", taught, cache=tmp_path)
    for name, change in {"without": {"lessons": 0}, "short": {"lesson_items": 2}}.items():
        config = replace(taught, **change)
        other = build_deployment(TASK, tmp_path / name, config, cache=tmp_path)
        assert (other.retriever.vectors == with_.retriever.vectors).all()
        assert (other.coarse.vectors != with_.coarse.vectors).any()


def test_the_seed_reaches_every_stage(tmp_path: Path) -> None:
    one, other = (
        build_deployment(TASK, tmp_path / str(seed), replace(CONFIG, seed=seed), cache=tmp_path)
        for seed in (1, 2)
    )
    assert (one.retriever.vectors != other.retriever.vectors).any()
    assert (one.coarse.vectors != other.coarse.vectors).any()
    assert one.fine is not None
    assert other.fine is not None
    asked = [request("u1", k=3)]
    scores = [built.cascade().recommend_many(asked)[0].score for built in (one, other)]
    assert (scores[0] != scores[1]).any()
