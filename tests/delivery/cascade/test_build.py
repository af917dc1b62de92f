"""A cascade is built, saved and taken up where it was cut off."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.batches.stream import StreamConfig
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.choice import ChoiceConfig
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.delivery.cascade import build
from adwright.delivery.cascade.build import BuildConfig, Deployment, build_deployment
from adwright.delivery.cascade.cascade import CascadeConfig
from adwright.delivery.stages.histories import visit_requests
from adwright.models.ranking.din import DINConfig
from adwright.models.ranking.hstu_target import HSTUTargetConfig
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.models.sequential.hstu import HSTUConfig
from adwright.models.sequential.hstu_ranker import HSTURankerConfig
from adwright.training.loop.stage_timer import Stages
from adwright.training.loop.trainee import Trainee
from adwright.training.ranking.fit import FitConfig
from adwright.training.retrieval.fit import RetrievalConfig
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.fit import SequentialConfig
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.cascade_parts import EMBEDDING, LATER, request

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


@dataclass(frozen=True)
class Whole:
    """What a build that nothing disturbed has left. Read only."""

    built: Deployment
    folder: Path
    stages: Stages


def undisturbed(folder: Path, config: BuildConfig) -> Whole:
    stages = Stages()
    built = build_deployment(
        TASK, folder / "run", config, cache=folder, stages=stages, clock=FixedClock()
    )
    return Whole(built, folder / "run", stages)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """By CONFIG."""
    return undisturbed(tmp_path_factory.mktemp("plain"), CONFIG)


@pytest.fixture(scope="module")
def hstu(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    """By HSTU."""
    return undisturbed(tmp_path_factory.mktemp("hstu"), HSTU)


def test_the_stages_are_trained_and_saved(plain: Whole) -> None:
    built = plain.built
    assert list(plain.stages.seconds)[-1] == "save the deployment"
    saved = Deployment.load(plain.folder / "deployment")
    assert set(saved.calibration) == {"fine", "coarse", "popularity"}
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


SEQUENTIAL = SequentialConfig(epochs=2, batch=8, learning_rate=0.01)
SIZES: dict[str, Any] = {
    "width": 8,
    "max_length": 40,
    "qk_width": 4,
    "v_width": 4,
    "kernel": "bucketed",
}
HSTU = replace(
    CONFIG,
    retriever=HSTUConfig(**SIZES, popularity=True, repeats=True),
    retriever_fit=SEQUENTIAL,
    fine=HSTURankerConfig(**SIZES, hidden=6),
    fine_fit=SEQUENTIAL,
    distillation_visits=20,
    blend=10,
)


def test_hstu_may_retrieve_and_rank(hstu: Whole) -> None:
    assert from_jsonable(BuildConfig, to_jsonable(HSTU)) == HSTU
    built = hstu.built
    saved = Deployment.load(hstu.folder / "deployment")
    assert saved.artifact_id == built.artifact_id
    for part, name in ((saved.retriever, "hstu"), (saved.fine, "hstu_ranker")):
        assert isinstance(part, SequenceArtifact)
        kind = load_artifact(hstu.folder / "deployment" / part_of(saved, part))
        assert (kind.kind, kind.config["model"]) == ("sequence", name)
    assert saved.draws == HSTU.choice.draws
    asked = [request("u1", k=3), request("nobody", k=3)]
    ours, theirs = (made.cascade().recommend_many(asked) for made in (built, saved))
    for one, other in zip(ours, theirs, strict=True):
        assert one.item_ids == other.item_ids
        assert (one.score == other.score).all()
        assert (one.stage, one.probability, len(one)) == ("fine", True, 5)
    # A new event is seen with the next request.
    whole = saved.cascade()
    before = whole.recommend(asked[0])
    whole.histories.append("u1", ["i7"], [LATER - timedelta(hours=1)])
    after = whole.recommend(asked[0])
    assert before.item_ids != after.item_ids or (before.score != after.score).any()
    whole.histories.append("nobody", ["i7"], [LATER - timedelta(hours=1)])
    assert whole.recommend(asked[1]).stage == "fine"
    assert whole.similar("i3", 2) == built.cascade().similar("i3", 2)


def part_of(deployment: Deployment, part: object) -> str:
    return "retriever" if part is deployment.retriever else "fine"


@pytest.mark.parametrize("stage", ["retriever", "fine"])
def test_a_build_of_hstu_that_was_cut_off_goes_on(
    hstu: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """In the middle of a training, which ends with the same bits."""
    calls = {"left": 2 if stage == "retriever" else 4}

    def killed(trainee: Trainee[Any]) -> None:
        calls["left"] -= trainee.kind == "sequential-checkpoint"
        if not calls["left"]:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainee, "validated", killed)
        with pytest.raises(KeyboardInterrupt):
            build_deployment(TASK, tmp_path / "run", HSTU, cache=tmp_path)
    assert (tmp_path / "run" / stage / "config.json").exists()
    resumed = build_deployment(
        TASK, tmp_path / "run", HSTU, cache=tmp_path, resume=True, clock=FixedClock()
    )
    assert resumed.artifact_id == hstu.built.artifact_id


def test_the_draws_and_the_seed_reach_hstu(tmp_path: Path) -> None:
    plain = replace(HSTU, distillation_visits=0, blend=0)
    other = replace(plain, choice=replace(plain.choice, draws=Draws(number=20, own=0.1)))
    one, two, three = (
        build_deployment(TASK, tmp_path / name, config, cache=tmp_path)
        for name, config in (("a", plain), ("b", other), ("c", replace(plain, seed=1)))
    )
    assert (one.retriever.vectors == two.retriever.vectors).all()
    assert (one.retriever.vectors != three.retriever.vectors).any()
    assert two.draws == other.choice.draws
    asked = [request("u1", k=3, candidates=("i1", "i2", "i3", "i4"))]
    scores = [built.cascade().recommend_many(asked)[0].score for built in (one, two, three)]
    assert (scores[0] != scores[1]).any()
    assert (scores[0] != scores[2]).any()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"retriever": HSTU.retriever}, "HSTUConfig is not trained by RetrievalConfig"),
        ({"retriever_fit": SEQUENTIAL}, "TwoTowerConfig is not trained by SequentialConfig"),
        ({"fine": HSTU.fine}, "HSTURankerConfig is not trained by FitConfig"),
        ({"fine_fit": SEQUENTIAL}, "DINConfig is not trained by SequentialConfig"),
        ({"retriever": HSTU.fine, "retriever_fit": SEQUENTIAL}, "cannot search"),
    ],
)
def test_a_training_of_another_model_is_refused(change: dict[str, Any], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        replace(CONFIG, **change)


def test_a_ranker_of_sequences_is_named_in_a_table() -> None:
    values = to_jsonable(HSTU)
    values["fine"] = {"kind": "hstu_ranker", "width": 8}
    assert from_jsonable(BuildConfig, values).fine == HSTURankerConfig(width=8)


def test_a_build_that_was_cut_off_goes_on(
    plain: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(build, "run_ranker", _killed)
        with pytest.raises(KeyboardInterrupt):
            build_deployment(TASK, run, CONFIG, cache=tmp_path)
    with pytest.raises(ConfigError, match="already holds a build"):
        build_deployment(TASK, run, CONFIG, cache=tmp_path)
    with pytest.raises(ResumeError, match="another config"):
        build_deployment(TASK, run, replace(CONFIG, seed=1), cache=tmp_path, resume=True)
    with pytest.raises(ResumeError, match="holds no build"):
        build_deployment(TASK, tmp_path / "other", CONFIG, cache=tmp_path, resume=True)
    resumed = build_deployment(TASK, run, CONFIG, cache=tmp_path, resume=True)
    assert (resumed.retriever.vectors == plain.built.retriever.vectors).all()
    assert (resumed.coarse.vectors == plain.built.coarse.vectors).all()


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_old_names_of_distillation_are_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.warns(UserWarning, match="lessons is now called distillation_visits"):
        asked = replace(CONFIG, lessons=7)
    with pytest.warns(UserWarning, match="lesson_items is now called distillation_items"):
        asked = replace(asked, lesson_items=3)
    assert (asked.distillation_visits, asked.distillation_items) == (7, 3)
    values = to_jsonable(asked)
    assert not {"lessons", "lesson_items"} & set(values)
    assert from_jsonable(BuildConfig, values) == asked
    old = {name: values[name] for name in values if not name.startswith("distillation")}
    old |= {"lessons": 7, "lesson_items": 3}
    with pytest.warns(UserWarning, match="is now called"):
        assert from_jsonable(BuildConfig, old) == asked
    # A build that an earlier release began is taken up.
    monkeypatch.setattr(build, "run_ranker", _killed)
    run = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        build_deployment(TASK, run, asked, cache=tmp_path)
    saved = json.loads((run / "build.json").read_text("utf-8"))
    assert saved["config"] == json.loads(json.dumps(values))
    (run / "build.json").write_text(json.dumps(saved | {"config": old}), "utf-8")
    with pytest.raises(KeyboardInterrupt):
        build_deployment(TASK, run, asked, cache=tmp_path, resume=True)
    with pytest.raises(ResumeError, match="another config"):
        build_deployment(TASK, run, CONFIG, cache=tmp_path, resume=True)


def test_distillation_changes_the_coarse_ranker_alone(tmp_path: Path) -> None:
    taught = replace(CONFIG, distillation_visits=50)
    with_ = build_deployment(TASK, tmp_path / "with", taught, cache=tmp_path)
    for name, change in {
        "without": {"distillation_visits": 0},
        "short": {"distillation_items": 2},
    }.items():
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


def test_hstu_on_a_share_of_complete_journey(tmp_path: Path) -> None:
    task = build_next_basket(CompleteJourney.open(), households=0.004)
    sizes: dict[str, Any] = {"width": 16, "blocks": 1, "qk_width": 16, "v_width": 16}
    quick = SequentialConfig(epochs=1, batch=8, train_on_validation=True)
    config = BuildConfig(
        retriever=HSTUConfig(max_length=100, popularity=True, repeats=True, **sizes),
        retriever_fit=quick,
        coarse_fit=RetrievalConfig(epochs=1, visits_per_epoch=200, validation_visits=0),
        fine=HSTURankerConfig(max_length=300, **sizes),
        fine_fit=quick,
        blend=10,
    )
    built = build_deployment(task, tmp_path / "run", config)
    saved = Deployment.load(tmp_path / "run" / "deployment")
    again = build_deployment(task, tmp_path / "run", config, resume=True)
    asked = visit_requests(task, task.visits("test")[:20])
    answers = [made.cascade().recommend_many(asked) for made in (built, saved, again)]
    for one, other, third in zip(*answers, strict=True):
        assert one.item_ids == other.item_ids == third.item_ids
        assert len(one.item_ids) == config.cascade.coarse
        assert (one.score == other.score).all()
