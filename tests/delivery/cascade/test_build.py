"""A cascade is built, saved and taken up where it was cut off."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from adwright.core.artifacts import MANIFEST, load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError, ResumeError
from adwright.data.batches.stream import StreamConfig
from adwright.data.sources.complete_journey import CompleteJourney
from adwright.data.tasks.choice import ChoiceConfig
from adwright.data.tasks.negatives import Draws
from adwright.data.tasks.next_basket_sources import build_next_basket
from adwright.delivery.cascade import build
from adwright.delivery.cascade.build import KIND, BuildConfig, Deployment, build_deployment, distil
from adwright.delivery.cascade.cascade import Cascade, CascadeConfig, Meter
from adwright.delivery.cascade.trial import (
    Served,
    exhaustive_best,
    judge_orders,
    judge_stages,
    serve_visits,
    stage_lists,
)
from adwright.delivery.decision import Candidates, Decision, Request
from adwright.delivery.policy.rules import GreedyConfig, SoftmaxConfig
from adwright.delivery.policy.slate_policy import build_policy
from adwright.delivery.stages.histories import visit_requests
from adwright.delivery.stages.protocols import Shortlist
from adwright.delivery.stages.sequence import FalconRanker
from adwright.metrics.bootstrap import bootstrap_difference, bootstrap_ratio
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
from tests.support.delivery.cascade_parts import EMBEDDING, LATER, deployment, request, task
from tests.support.delivery.sequence_parts import hstu as sequence_parts_hstu
from tests.support.delivery.sequence_parts import hstu_ranker, sasrec

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


ASKED = [request("u1"), request("nobody"), request("u8", k=2)]


def same_answers(one: Deployment, other: Deployment) -> None:
    answers = (d.cascade().recommend_many(ASKED) for d in (one, other))
    for a, b in zip(*answers, strict=True):
        assert a.item_ids == b.item_ids
        assert np.array_equal(a.score, b.score)
        assert a.stage == b.stage


def test_a_saved_deployment_answers_alike(tmp_path: Path) -> None:
    whole = replace(deployment(), config=CascadeConfig(retrieve=7, coarse=5))
    name = whole.save(tmp_path / "one")
    again = Deployment.load(tmp_path / "one")
    same_answers(whole, again)
    assert again.artifact_id == name
    assert again.config == whole.config
    assert again.draws == whole.draws
    manifest = json.loads((tmp_path / "one" / MANIFEST).read_text("utf-8"))
    parts = [
        load_artifact(tmp_path / "one" / part).id
        for part in ("retriever", "coarse", "fine", "histories")
    ]
    assert manifest["kind"] == KIND
    assert manifest["parents"] == parts


def test_a_deployment_without_a_fine_stage_and_without_histories(tmp_path: Path) -> None:
    whole = replace(deployment(), fine=None, draws=None)
    whole.save(tmp_path / "one", histories=False)
    again = Deployment.load(tmp_path / "one")
    assert again.fine is None
    assert again.histories is None
    same_answers(replace(whole, histories=None), again)
    # Histories can come from elsewhere, too.
    (answer,) = again.cascade(deployment().histories).recommend_many(ASKED[:1])
    assert answer.item_ids == whole.cascade().recommend(ASKED[0]).item_ids
    assert answer.stage == "coarse"


@pytest.mark.parametrize("make", [sequence_parts_hstu, sasrec])
def test_a_sequential_model_finds_and_orders(
    tmp_path: Path, make: Callable[..., SequenceArtifact]
) -> None:
    retriever = make(popularity=True, repeats=True)
    mixed = replace(deployment(), retriever=retriever, fine=hstu_ranker())
    alone = replace(mixed, coarse=retriever, config=CascadeConfig(retrieve=6, coarse=4))
    for name, whole in {"mixed": mixed, "alone": alone}.items():
        identity = whole.save(tmp_path / name)
        again = Deployment.load(tmp_path / name)
        assert again.artifact_id == identity
        assert isinstance(again.retriever, SequenceArtifact)
        assert isinstance(again.coarse, SequenceArtifact) == (name == "alone")
        assert isinstance(again.fine, SequenceArtifact)
        same_answers(whole, again)
        same_answers(replace(whole, histories=None), replace(again, histories=None))
        assert whole.cascade().similar("i2") == again.cascade().similar("i2")
    kept = alone.blended([request(f"u{n}") for n in range(8)])
    assert kept.blend is not None
    same_answers(kept, replace(alone, blend=kept.blend))


def test_so_many_histories_are_kept() -> None:
    for kept in (0, 2, 9):
        cascade = replace(deployment(), fine=hstu_ranker()).cascade(kept=kept)
        cascade.recommend_many([request(f"u{n}") for n in range(5)])
        assert isinstance(cascade.fine, FalconRanker)
        assert len(cascade.fine.falcon) == min(kept, 5)


def test_a_model_that_does_not_fit_its_place_is_refused(tmp_path: Path) -> None:
    for wrong in ({"retriever": hstu_ranker()}, {"fine": sequence_parts_hstu()}):
        replace(deployment(), **wrong).save(tmp_path / "odd", overwrite=True)
        with pytest.raises(ConfigError):
            Deployment.load(tmp_path / "odd").cascade()


def test_a_blend_is_fitted_saved_and_used(tmp_path: Path) -> None:
    plain = replace(deployment(), config=CascadeConfig(retrieve=12, coarse=2))
    blended = plain.blended([request(f"u{n}") for n in range(8)])
    assert blended.blend is not None
    assert blended.blend.had != 0
    # It is fitted to the plain order, whatever was there before.
    assert blended.blended([request(f"u{n}") for n in range(8)]).blend == blended.blend
    blended.save(tmp_path / "one")
    again = Deployment.load(tmp_path / "one")
    assert again.blend == blended.blend
    same_answers(blended, again)
    orders = [
        [a.item_ids for a in replace(d, fine=None).cascade().recommend_many(ASKED)]
        for d in (plain, blended)
    ]
    assert orders[0] != orders[1]
    for lacking in (replace(plain, fine=None), replace(plain, histories=None)):
        with pytest.raises(ConfigError):
            lacking.blended(ASKED)


def test_a_changed_or_missing_part_is_refused(tmp_path: Path) -> None:
    deployment().save(tmp_path / "one")
    tensors = tmp_path / "one" / "coarse" / "tensors.safetensors"
    data = bytearray(tensors.read_bytes())
    data[-1] ^= 1
    tensors.write_bytes(data)
    with pytest.raises(ArtifactCorruptError, match="coarse"):
        Deployment.load(tmp_path / "one")
    tensors.unlink()
    with pytest.raises(ArtifactCorruptError, match="missing"):
        Deployment.load(tmp_path / "one")
    config = {"cascade": {}, "draws": None, "index": "exact"}
    save_artifact(tmp_path / "bare", kind=KIND, config=config)
    with pytest.raises(ArtifactError, match="lacks its retriever"):
        Deployment.load(tmp_path / "bare")


def test_scores_are_the_logits_of_the_fine_stage() -> None:
    cascade, source = deployment().cascade(), task()
    found = distil(cascade, source, visits=20, items=6)
    assert cascade.fine is not None
    for n, visit in enumerate(found.visit):
        mine = slice(found.offsets[n], found.offsets[n + 1])
        codes = found.item[mine]
        batch = cascade.histories.batch(visit_requests(source, found.visit[n : n + 1]))
        p = cascade.fine.score(batch, Shortlist.of([codes]))
        np.testing.assert_allclose(found.score[mine], np.log(p / (1 - p)), rtol=1e-4, atol=1e-4)
        assert set(codes.tolist()) <= set(cascade.retrieve(batch).codes.tolist())
        assert len(set(codes.tolist())) == len(codes) == 6
        assert source.visit_end[visit] > source.user_offsets[source.visit_user[visit]]


def test_only_training_visits_teach() -> None:
    source = task()
    found = distil(deployment().cascade(), source, visits=1_000, items=3)
    assert set(found.visit.tolist()) <= set(source.visits("train").tolist())
    assert 0 < len(found.visit) < len(source.visits("train"))  # those without a past are left out


def test_half_is_what_the_person_had_most_often() -> None:
    cascade, source = deployment().cascade(), task()
    found = distil(cascade, source, visits=1_000, items=4)
    assert cascade.past is not None
    for n in range(len(found.visit)):
        batch = cascade.histories.batch(visit_requests(source, found.visit[n : n + 1]))
        own = set(cascade.past.find(batch, 2).codes.tolist())
        assert own <= set(found.item[found.offsets[n] : found.offsets[n + 1]].tolist())


def test_without_a_fine_stage_nobody_teaches() -> None:
    cascade = replace(deployment(), fine=None).cascade()
    with pytest.raises(ConfigError, match="fine stage"):
        distil(cascade, task(), visits=1, items=1)


TRIAL_TASK = task()
VISITS = TRIAL_TASK.visits("test")
TRIAL_SIZES = CascadeConfig(retrieve=4, past=3, coarse=5)


def cascade() -> Cascade:
    return replace(deployment(), config=TRIAL_SIZES).cascade()


def served(*, temperature: float = 1.0, k: int = 3, seed: int = 0) -> Served:
    policy = build_policy(SoftmaxConfig(temperature=temperature))
    return serve_visits(cascade(), policy, TRIAL_TASK, VISITS, k=k, seed=seed)


def test_each_visit_is_answered_and_decided() -> None:
    found = served()
    requests = visit_requests(TRIAL_TASK, VISITS, k=3)
    assert [decision.request for decision in found.decisions] == requests
    alone = cascade()
    rng = np.random.default_rng(0)
    policy = build_policy(SoftmaxConfig(temperature=1.0))
    for wanted, candidates, decision in zip(
        requests, found.candidates, found.decisions, strict=True
    ):
        assert alone.recommend(wanted).item_ids == candidates.item_ids
        again = policy.decide(wanted, candidates, rng)
        assert again.item_ids == decision.item_ids
        assert (again.propensity == decision.propensity).all()
    assert [cost.stage for cost in found.costs] == ["retrieve", "coarse", "fine", "policy"]
    assert all(cost.requests == len(VISITS) for cost in found.costs)
    assert (found.milliseconds > 0).all()


def test_the_clock_measures_a_decision() -> None:
    clock = FixedClock()

    class Slow:
        policy_id = "slow"

        def decide(
            self, request: Request, candidates: Candidates, rng: np.random.Generator
        ) -> Decision:
            clock.advance(0.25)
            return build_policy(GreedyConfig()).decide(request, candidates, rng)

    found = serve_visits(cascade(), Slow(), TRIAL_TASK, VISITS[:2], clock=clock)
    assert found.milliseconds.tolist() == [250.0, 250.0]


def test_lists_of_the_stages() -> None:
    found = served()
    lists = stage_lists(cascade(), TRIAL_TASK, found, k=2)
    assert list(lists) == ["retrieve", "coarse", "fine", "policy"]
    for n, visit in enumerate(VISITS.tolist()):
        batch = cascade().histories.batch(visit_requests(TRIAL_TASK, np.array([visit])))
        assert lists["retrieve"][n].tolist() == cascade().retrieve(batch).codes.tolist()
        ids = [TRIAL_TASK.items.ids[code - 1] for code in lists["coarse"][n].tolist()]
        assert ids == list(found.candidates[n].item_ids)
        assert lists["fine"][n].tolist() == lists["coarse"][n][:2].tolist()
        shown = [TRIAL_TASK.items.ids[code - 1] for code in lists["policy"][n].tolist()]
        assert shown == list(found.decisions[n].item_ids)
        assert set(lists["coarse"][n].tolist()) <= set(lists["retrieve"][n].tolist())


def test_the_whole_catalogue_is_ranked() -> None:
    everything = replace(deployment(), config=CascadeConfig(retrieve=12, coarse=12)).cascade()
    meter = Meter()
    best = exhaustive_best(cascade(), TRIAL_TASK, VISITS, k=4, block=5, meter=meter)
    for wanted, codes in zip(visit_requests(TRIAL_TASK, VISITS), best, strict=True):
        ids = [TRIAL_TASK.items.ids[code - 1] for code in codes.tolist()]
        assert ids == list(everything.recommend(wanted).item_ids[:4])
    (line,) = meter.report()
    assert (line.stage, line.requests, line.items) == ("exhaustive", len(VISITS), 12)
    same = exhaustive_best(cascade(), TRIAL_TASK, VISITS, k=4)
    assert [codes.tolist() for codes in same] == [codes.tolist() for codes in best]
    with pytest.raises(ConfigError, match="only a fine stage"):
        exhaustive_best(replace(deployment(), fine=None).cascade(), TRIAL_TASK, VISITS)


def codes(*numbers: int) -> np.ndarray:
    return np.array(numbers, np.int64)


BOUGHT = [codes(1, 2), codes(3), codes(4, 5, 6), codes(7)]
PERSON = codes(0, 0, 1, 4)
WIDE = [codes(2, 1, 9), codes(8, 9), codes(6, 5), codes(7)]
NARROW = [codes(9, 1), codes(3), codes(8), codes(9)]
OWN = [codes(9, 2), codes(6, 3)]
SAMPLE = codes(0, 2)


def test_a_stage_keeps_shares() -> None:
    wide, narrow = judge_stages(
        {"wide": WIDE, "narrow": NARROW}, BOUGHT, PERSON, own=OWN, sample=SAMPLE, draws=50
    )
    assert (wide.stage, wide.items) == ("wide", 2.0)
    assert (narrow.stage, narrow.items) == ("narrow", 1.25)
    assert wide.bought.value == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)
    assert narrow.bought.value == pytest.approx((1 / 2 + 1 + 0 + 0) / 4)
    assert wide.own.value == pytest.approx((1 + 1 / 2) / 2)
    assert narrow.own.value == pytest.approx((1 / 2 + 0) / 2)


def test_intervals_are_over_people() -> None:
    (found,) = judge_stages(
        {"wide": WIDE}, BOUGHT, PERSON, own=OWN, sample=SAMPLE, draws=50, seed=3
    )
    by_person = [1 + 0, 2 / 3, 1]
    expected = bootstrap_ratio(by_person, [2, 1, 1], np.random.default_rng(3), 50)
    assert found.bought == expected
    sampled = bootstrap_ratio([1, 1 / 2], [1, 1], np.random.default_rng(3), 50)
    assert found.own == sampled


def gain(*places: int) -> float:
    return sum(1 / math.log2(place + 1) for place in places)


def test_orders_are_compared_with_the_first() -> None:
    wide, narrow = judge_orders(
        {"wide": WIDE, "narrow": NARROW}, BOUGHT, PERSON, k=2, draws=50, seed=1
    )
    mine = [1.0, 0.0, gain(1, 2) / gain(1, 2), 1.0]
    theirs = [gain(2) / gain(1, 2), 1.0, 0.0, 0.0]
    assert wide.ahead is None
    assert wide.ndcg.value == pytest.approx(np.mean(mine))
    assert narrow.ndcg.value == pytest.approx(np.mean(theirs))
    assert wide.recall.value == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)
    expected = bootstrap_difference(
        [mine[0] + mine[1], mine[2], mine[3]],
        [theirs[0] + theirs[1], theirs[2], theirs[3]],
        [2, 1, 1],
        np.random.default_rng(1),
        50,
    )
    assert narrow.ahead is not None
    assert narrow.ahead.value == pytest.approx(expected.value)
    assert narrow.ahead.low == pytest.approx(expected.low)
    (short,) = judge_orders({"wide": WIDE}, BOUGHT, PERSON, k=1, draws=5)
    assert short.recall.value == pytest.approx((1 / 2 + 0 + 1 / 3 + 1) / 4)


def test_nothing_cannot_be_judged() -> None:
    with pytest.raises(ConfigError, match="no order"):
        judge_orders({}, BOUGHT, PERSON)
