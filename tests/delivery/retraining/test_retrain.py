"""What is promised of these, and what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ConfigError, ResourceError
from adwright.data.schema import Catalogue, validate_events
from adwright.data.sources.log import Log, open_log, save_log
from adwright.data.tasks.from_log import LogTaskConfig, build_log_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.counted import ItemItemRecommender, load_item_item, train_item_item
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.joined_log import join_logs
from adwright.delivery.popularity import Popularity, load_popularity, save_popularity
from adwright.delivery.recommend.models import PopularityTop
from adwright.delivery.recommend.run import newest_visits, ranks_of
from adwright.delivery.retraining import retrain as again
from adwright.delivery.retraining.newer import evaluate_newer
from adwright.delivery.retraining.retrain import (
    RETRAINABLE,
    OldModel,
    RetrainedModel,
    fitted_until,
    item_item_until,
    judged,
    popularity_until,
    retrain,
    taken_of,
)
from adwright.delivery.served import ServedModel
from adwright.metrics.ranking import Ranks, ndcg
from adwright.metrics.reports.report import (
    Comparison,
    EvaluationProtocol,
    RankingComparison,
    compare_rankings,
)
from adwright.models.sequential.hstu import SASRecConfig
from adwright.training.ranking.config import RunConfig, TaskConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.ranking.run import run
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.run import RetrieverKind, RetrieverRun, run_retriever
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, SequenceRun, open_sequences
from tests.support.data.ranking_task import FIT, MODEL, START
from tests.support.data.ranking_task import ITEMS as SHOP
from tests.support.delivery.cascade_parts import deployment
from tests.support.delivery.joined import compared, world
from tests.support.store.small_world import ITEMS


def test_what_the_run_asked_for_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    joined = world(tmp_path)
    ids = ITEMS["item_id"].to_list()
    save_popularity(tmp_path / "a" / "model", ids, ITEMS["item_id"].rank().to_numpy())
    retrain(tmp_path / "a", joined, tmp_path / "b")
    assert "the defaults are taken" in caplog.text
    caplog.clear()
    (tmp_path / "a" / "config.json").write_text(json.dumps({"half_life": 2}))
    found = retrain(tmp_path / "a" / "model", joined, tmp_path / "c")
    assert not caplog.records
    assert load_artifact(found.model).id != load_artifact(tmp_path / "b" / "model").id
    with pytest.raises(ResourceError, match="already holds"):
        retrain(tmp_path / "a", joined, tmp_path / "c")


def test_other_kinds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    joined = world(tmp_path)
    save_artifact(tmp_path / "x" / "model", kind="survival", config={})
    with pytest.raises(ConfigError, match="'survival' cannot be trained again") as error:
        retrain(tmp_path / "x", joined, tmp_path / "b")
    assert all(kind in error.value.hint for kind in RETRAINABLE)
    deployment().save(tmp_path / "a" / "deployment")
    with pytest.raises(ConfigError, match="three fixed stages cannot") as fixed:
        retrain(tmp_path / "a", joined, tmp_path / "b")
    assert "adwright train cascade" in fixed.value.hint
    assert not (tmp_path / "b").exists()


def shown_log() -> Log:
    """Requests of ten people over twenty days: three things shown, each may be clicked."""
    rng = np.random.default_rng(0)
    rows = []
    for n in range(600):
        time = START + timedelta(hours=int(rng.integers(480)), seconds=n)
        for place, item in enumerate(rng.choice(20, 3, replace=False)):
            shown = (f"v{n}", f"u{n % 10}", f"i{item}")
            rows.append((f"e{n}-{place}", time, "impression", *shown))
            if rng.random() < (0.7 if item % 5 == n % 5 else 0.2):
                rows.append((f"c{n}-{place}", time + timedelta(seconds=9), "click", *shown))
    columns = ["event_id", "time", "kind", "request_id", "user_id", "item_id"]
    events = validate_events(pl.DataFrame(rows, schema=columns, orient="row").sort("time"))
    return Log(events.lazy(), Catalogue.checked(SHOP))


def test_a_ranker_is_asked_for_the_newest_impressions(tmp_path: Path) -> None:
    log = shown_log()
    every = log.events.collect()
    cut = START + timedelta(days=15)
    save_log(tmp_path / "log", Log(every.filter(pl.col("time") < cut).lazy(), log.catalogue))
    task = TaskConfig(kind="log", folder=tmp_path / "log", cache=tmp_path / "cache")
    run(RunConfig(task=task, model=MODEL, fit=FIT, draws=20, base=False, out=tmp_path / "a"))
    joined = join_logs(open_log(tmp_path / "log"), [every.filter(pl.col("time") >= cut)])
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (found.kind, found.model) == ("ranker", tmp_path / "b" / "ranker")
    new, old = Ranker.load(found.model), Ranker.load(tmp_path / "a" / "ranker")
    assert new.model.config == old.model.config
    assert [f.name for f in new.spec.features] == [f.name for f in old.spec.features]
    assert {"new", "old"} < set(compared(found).reports)
    assert "180 impressions after 2024-01-" in found.measured


def test_a_task_is_told_by_the_features_of_its_ranker(tmp_path: Path) -> None:
    """A ranker whose run names the folder of a task, which says nothing of how it was made."""
    log = shown_log()
    about = {"campaign_id": pl.lit("spring"), "context": pl.lit('{"depth": 2}')}
    log = replace(log, events=log.events.with_columns(**about))
    save_log(tmp_path / "log", log)
    made = LogTaskConfig(item_features=("type",), context=("campaign_id",), numbers=("depth",))
    task = build_log_task(log.events, log.catalogue, tmp_path, made)
    folder = TaskConfig(kind="folder", folder=task.folder)
    config = RunConfig(task=folder, model=MODEL, fit=FIT, draws=20, base=False, out=tmp_path / "a")
    before = run(config, task=task).ranker
    late = log.events.collect().with_columns(
        pl.col("time") + timedelta(days=30),
        *(pl.format("late-{}", name).alias(name) for name in ("event_id", "request_id")),
    )
    found = retrain(tmp_path / "a", join_logs(log, [late]), tmp_path / "b")
    after = Ranker.load(found.model)
    assert [f.name for f in after.spec.features] == [f.name for f in before.spec.features]


def test_where_the_log_did_not_say_what_was_shown_negatives_are_drawn_again(tmp_path: Path) -> None:
    log = shown_log()
    every = log.events.collect()
    cut = START + timedelta(days=15)
    taken = every.filter(pl.col("time") < cut, kind="click")
    save_log(tmp_path / "log", Log(taken.lazy(), log.catalogue))
    task = TaskConfig(kind="log", folder=tmp_path / "log", cache=tmp_path / "cache")
    run(RunConfig(task=task, model=MODEL, fit=FIT, draws=20, base=False, out=tmp_path / "a"))
    joined = join_logs(open_log(tmp_path / "log"), [every.filter(pl.col("time") >= cut)])
    assert not joined.shown
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    new, old = Ranker.load(found.model), Ranker.load(tmp_path / "a" / "ranker")
    assert [f.name for f in new.spec.features] == [f.name for f in old.spec.features]
    assert {"new", "old"} < set(compared(found).reports)
    assert "rows after" in found.measured


IDS = ITEMS["item_id"].to_list()


def test_popularity_is_counted_anew_and_compared_without_what_is_asked(tmp_path: Path) -> None:
    joined = world(tmp_path)
    save_popularity(tmp_path / "a" / "model", IDS, np.arange(len(IDS), dtype=float))
    (tmp_path / "a" / "config.json").write_text('{"log": "log"}')
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    popular, _, _ = load_popularity(found.model)
    counts = joined.log.events.collect()["item_id"].value_counts(sort=True)
    assert popular.item_ids[0] == counts["item_id"][0]
    assert popular.weight.sum() == joined.old + joined.served
    assert compared(found).differences["old"]["ndcg@10"].value > 0


def test_a_half_life_is_kept(tmp_path: Path) -> None:
    joined = world(tmp_path)
    save_popularity(tmp_path / "a" / "model", IDS, np.arange(len(IDS), dtype=float))
    (tmp_path / "a" / "config.json").write_text('{"half_life": 7}')
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    popular, _, _ = load_popularity(found.model)
    events = joined.log.events.collect().filter(item_id="i03")
    latest = joined.log.events.collect()["time"].max()
    age = (latest - events["time"]).dt.total_seconds().to_numpy() / 86_400
    weight = popular.weight[list(popular.item_ids).index("i03")]
    assert weight == pytest.approx((0.5 ** (age / 7)).sum())


def test_item_item_is_counted_anew_with_what_the_service_wrote(tmp_path: Path) -> None:
    joined = world(tmp_path)
    data = open_sequences(SequenceDataConfig(kind="events", path=tmp_path / "log"))
    train_item_item(data, tmp_path / "a", log=str(tmp_path / "log"), seed=4, draws=20)
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (found.kind, found.model) == ("item-item", tmp_path / "b" / "model")
    assert list(compared(found).reports) == ["new", "old"]
    new = load_item_item_of(found.model)
    assert new.model.count.sum() == joined.old + joined.served
    assert new.histories.events == joined.old + joined.served
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert (config["log"], config["seed"]) == (str(tmp_path / "b" / "log"), 4)
    # Every event of the service is known to its histories at its own time.
    served = joined.log.events.filter(time=joined.since).collect()
    assert not new.histories.unknown(served).height
    assert open_log(tmp_path / "b" / "log").events.collect().height == joined.old + joined.served


def test_what_is_asked_is_not_counted(tmp_path: Path) -> None:
    joined = world(tmp_path)
    time = joined.log.events.collect()["time"].dt.epoch("us").sort()
    cut = int(time[1500])
    popular = popularity_until(joined.log, cut)
    assert popular.weight.sum() == (time <= cut).sum()
    rule, search = item_item_until(joined.log, cut, repeats=True, seed=0)
    assert rule.model.count.sum() == (time <= cut).sum()
    assert rule.model.config == search.config


def load_item_item_of(folder: Path) -> ItemItemRecommender:

    return load_item_item(load_artifact(folder))


@pytest.mark.parametrize("kind", ["two-tower", "hcn"])
def test_a_retriever_is_trained_as_before_and_both_are_asked(
    tmp_path: Path, kind: RetrieverKind
) -> None:
    joined = world(tmp_path)
    found = open_next_item(tmp_path / "log")
    asked = RetrieverRun(
        model=kind, epochs=1, draws=20, seed=5, threads=1, out=tmp_path / "a", log="log"
    )
    before = run_retriever(asked, found.task, repeats=found.choices.repeats)
    told = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (told.kind, told.model) == ("retriever", tmp_path / "b" / "model")
    new = RetrieverArtifact.load(told.model)
    assert type(new.model) is type(before.artifact.model)
    assert new.count.sum() > before.artifact.count.sum()
    config = json.loads((tmp_path / "b" / "config.json").read_text())["run"]
    assert (config["epochs"], config["seed"], config["model"]) == (1, 5, kind)
    assert config["log"] == str(tmp_path / "b" / "log")
    assert list(compared(told).reports) == ["new", "old"]
    assert "after" in told.measured


def test_a_cascade_is_built_as_before(tmp_path: Path) -> None:
    joined = world(tmp_path)
    found = open_next_item(tmp_path / "log")
    config = FunnelConfig(minutes=3, models=("two-tower",), draws=20, seed=2, threads=1)
    build_funnel(found.task, tmp_path / "a", config, repeats=found.choices.repeats, log="log")
    told = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (told.kind, told.model) == ("cascade", tmp_path / "b" / "deployment")
    again = json.loads((tmp_path / "b" / "config.json").read_text())
    before = json.loads((tmp_path / "a" / "config.json").read_text())
    assert again["config"] == before["config"]
    assert again["log"] == str(tmp_path / "b" / "log")
    new = Funnel.load(told.model)
    assert new.histories is not None
    assert new.histories.events == joined.old + joined.served
    served = joined.log.events.filter(time=joined.since).collect()
    assert not new.histories.unknown(served).height
    assert list(compared(told).reports) == ["new", "old"]


SIZES = SASRecConfig(width=8, max_length=16, blocks=1, heads=1, repeats=True)
FIT_SEQUENCES = SequentialConfig(epochs=1, batch=16, all_windows=True)


def test_a_sequence_model_is_trained_as_before_and_both_are_asked(tmp_path: Path) -> None:
    joined = world(tmp_path)
    data = SequenceDataConfig(kind="events", path=tmp_path / "log")
    asked = SequenceRun(
        data=data, fit=FIT_SEQUENCES, draws=20, seed=5, threads=1, out=tmp_path / "a", model=SIZES
    )
    before = run_sequence(asked)
    found = retrain(tmp_path / "a", joined, tmp_path / "b")
    assert (found.kind, found.model) == ("sequence", tmp_path / "b" / "model")
    new = SequenceArtifact.load(found.model)
    assert new.model.config == before.artifact.model.config
    assert (new.seed, new.report is not None) == (5, True)
    assert new.count.sum() > before.artifact.count.sum()
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert config["fit"]["epochs"] == 1
    assert config["data"]["path"] == str(tmp_path / "b" / "log")
    assert open_log(tmp_path / "b" / "log").events.collect().height == joined.old + joined.served
    assert list(compared(found).reports) == ["new", "old"]
    saved = (tmp_path / "b" / "retrained.json").read_text()
    assert saved == compared(found).to_json()
    assert "after" in found.measured
    assert "ndcg@10" in found.verdict()
    with pytest.raises(ResourceError, match="already holds"):
        retrain(tmp_path / "a", joined, tmp_path / "b")


def test_a_published_model_without_its_run_keeps_its_sizes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    joined = world(tmp_path)
    data = SequenceDataConfig(kind="events", path=tmp_path / "log")
    asked = SequenceRun(data=data, fit=FIT_SEQUENCES, draws=20, out=tmp_path / "a", model=SIZES)
    artifact = run_sequence(asked).artifact
    past = joined.log.events.collect()
    ServedModel.of_log(artifact, past).save(tmp_path / "shop" / "v1")
    quick = replace(asked, out=tmp_path / "quick")
    monkeypatch.setattr(again, "default_run", lambda kind, own: quick if own else None)
    found = retrain(tmp_path / "shop" / "v1", joined, tmp_path / "b")
    assert SequenceArtifact.load(found.model).model.config.width == SIZES.width
    assert "the defaults are taken" in caplog.text


def old_model(folder: Path, weight: np.ndarray, after: int) -> OldModel:
    ids = ITEMS["item_id"].to_list()
    save_popularity(folder / "old", ids, weight)
    return OldModel(folder / "old", load_artifact(folder / "old"), after)


def test_both_models_are_asked_the_same(tmp_path: Path) -> None:
    joined = world(tmp_path)
    taken, ids = taken_of(joined.log)
    assert taken.events.height == joined.old + joined.served
    visits = newest_visits(taken, ids, joined.until, unseen=False)
    models = {
        name: PopularityTop(Popularity(ids, weight), unseen=False)
        for name, weight in {"new": np.arange(40.0), "old": np.arange(40.0)[::-1].copy()}.items()
    }
    old = old_model(tmp_path, np.arange(40.0)[::-1].copy(), joined.until)
    found = judged("popularity", tmp_path / "model", [(models["new"], visits)], old, tmp_path, 3)
    text = (tmp_path / "retrained.json").read_text()
    assert RankingComparison.from_json(text) == found.comparison
    for name, top in models.items():
        report = compared(found).reports[name]
        assert report.metrics["ndcg@10"].value == pytest.approx(ndcg(ranks_of(top, visits), 10))
        assert (report.seed, report.users) == (3, visits.users)
    assert found.measured == visits.about == compared(found).reports["new"].protocol.split


def test_half_of_what_is_new_is_learned_from_and_half_is_asked(tmp_path: Path) -> None:
    joined = world(tmp_path)
    old = old_model(tmp_path, np.arange(40.0), joined.until)
    time = joined.log.events.collect()["time"].dt.epoch("us")
    cut = old.halfway(joined.log)
    assert cut is not None
    late = (time > cut).sum()
    assert 0.45 * joined.served <= late <= 0.55 * joined.served
    end = old_model(tmp_path / "later", np.arange(40.0), int(time.max()))  # type: ignore[arg-type]
    assert end.halfway(joined.log) is None
    assert end.cuts(joined.log) == ()
    cuts = old.cuts(joined.log)
    many = [((time > a) & (time <= b)).sum() for a, b in pairwise((joined.until, *cuts))]
    assert max(many) < 1.2 * min(many)
    assert sum(many) == joined.served
    told = end.nothing_new("popularity", tmp_path)
    assert told.verdict().startswith("no verdict: nobody did anything after 20")
    assert not told.publishable
    save_log(tmp_path / "joined", joined.log)
    found = old.task(tmp_path / "joined", joined.log).task
    assert found.visit_time[found.visits("test")].min() > joined.until


def test_impressions_are_not_taken(tmp_path: Path) -> None:
    log = world(tmp_path).log
    kind = log.events.collect_schema()["kind"]
    every = log.events.with_columns(kind=pl.lit("impression").cast(kind))
    shown = replace(log, events=pl.concat([log.events, every]))
    assert taken_of(shown)[0].events.height == log.events.collect().height


def told(leads: list[float], *, old: float = 0.6, margin: float = 0.02) -> RetrainedModel:
    """A model that is ahead by so much, user by user."""

    def ranks(gains: np.ndarray) -> Ranks:
        rank = np.where(gains > 0, 2 ** (1 / np.maximum(gains, 1e-9)) - 1, np.inf)
        return Ranks(rank, np.arange(len(rank) + 1), np.zeros(len(rank), bool))

    base = np.full(len(leads), old)  # of NDCG@10, for which no rank beyond 10 counts
    comparison: Comparison = compare_rankings(
        {"new": ranks(base + leads), "old": ranks(base)},
        np.arange(len(leads)),
        subject="new",
        protocol=EvaluationProtocol(split="made up"),
        data_hash="",
        seed=0,
        draws=200,
    )
    return RetrainedModel("sequence", Path("model"), comparison, "made up", margin)


@pytest.mark.parametrize(
    ("leads", "margin", "says", "publishable"),
    [
        ([0.3] * 60, 0.02, "the new model is better: ndcg@10 +", True),
        ([0.0] * 60, 0.02, "the new model is no worse: ndcg@10 +0.0000", True),
        ([-0.005] * 60, 0.02, "above -2.0% of the old one's value (-0.0120)", True),
        ([-0.005] * 60, 0.0, "the new model is worse", False),
        ([-0.02] * 60, 0.02, "the new model is worse", False),
        ([0.25, -0.25] * 30, 0.02, "the new model is not shown to be no worse", False),
        ([0.3] * 29, 0.02, "no verdict: 29 users", False),
    ],
)
def test_what_is_not_shown_to_be_no_worse_is_not_published(
    leads: list[float], margin: float, says: str, publishable: bool
) -> None:
    found = told(leads, margin=margin)
    assert says in found.verdict()
    assert found.publishable is publishable


def test_how_many_more_people_would_tell_is_said() -> None:
    rng = np.random.default_rng(0)
    few = told(rng.uniform(-0.2, 0.22, 50).tolist())
    assert few.decision == "not known"
    found = re.search(r"some ([\d,]+) more users than the 50", few.verdict())
    assert found is not None
    more = int(found[1].replace(",", ""))
    assert told(rng.uniform(-0.2, 0.22, 50 + 3 * more).tolist()).publishable


def trained(folder: Path) -> Log:
    """Item-item of the log in FOLDER/log; the log with what came after, and two new items in it."""
    joined = world(folder)
    data = open_sequences(SequenceDataConfig(kind="events", path=folder / "log"))
    train_item_item(data, folder / "a", log=str(folder / "log"), draws=20)
    events = joined.log.events.collect()
    late = events["time"] > events["time"].sort()[int(0.97 * events.height)]
    strange = pl.when(late & (pl.int_range(pl.len()) % 2 == 0)).then(pl.lit("brandnew"))
    events = events.with_columns(strange.otherwise("item_id").alias("item_id"))
    return Log(events.lazy(), Catalogue.checked(pl.concat([ITEMS, brandnew()], how="diagonal")))


def brandnew() -> pl.DataFrame:
    return pl.DataFrame({"item_id": ["brandnew"]})


def test_what_came_after_is_asked_and_unknown_items_are_misses(tmp_path: Path) -> None:
    newer = trained(tmp_path)
    save_log(tmp_path / "newer", newer)
    found = evaluate_newer(tmp_path / "a", tmp_path / "newer", draws=20)
    assert list(found.comparison.reports) == ["this model", "Popularity", "Item-item"]
    until = fitted_until(load_artifact(tmp_path / "a" / "model"))
    assert (
        until == pl.read_parquet(tmp_path / "log" / "events.parquet")["time"].dt.epoch("us").max()
    )
    (_, unknown) = found.notes
    assert "of 1 items that the model does not know, and count as misses" in unknown
    # The rule as it was trained then is the model itself.
    model, rule = (
        found.comparison.reports[name].metrics["ndcg@10"].value
        for name in ("this model", "Item-item")
    )
    assert model == pytest.approx(rule, abs=0.02)
    # A stop after all that is asked hides nothing from one side alone.
    every = newer.events.collect()
    hit = every["item_id"].mode()[0]
    stop = (
        every.sort("time")
        .tail(1)
        .with_columns(
            event_id=pl.lit("stop"), kind=pl.lit("stop", every["kind"].dtype), item_id=pl.lit(hit)
        )
    )
    save_log(tmp_path / "stopped", replace(newer, events=pl.concat([every, stop]).lazy()))
    beside = evaluate_newer(tmp_path / "a", tmp_path / "stopped", draws=20).comparison.reports
    assert beside["this model"].metrics["ndcg@10"].value == pytest.approx(model)
    known = newer.events.filter(pl.col("item_id") != "brandnew")
    save_log(tmp_path / "known", replace(newer, events=known))
    assert len(evaluate_newer(tmp_path / "a", tmp_path / "known", draws=20).notes) == 1


def test_what_a_model_has_seen_is_refused(tmp_path: Path) -> None:
    newer = trained(tmp_path)
    for log in ("log", "newer"):
        if log == "newer":
            # An earlier version did not say on what a model was fitted: nothing later than now.
            save_log(tmp_path / "newer", newer)
            save_popularity(tmp_path / "a" / "model", *weights(), overwrite=True)
        with pytest.raises(ConfigError, match="the model may have seen it") as error:
            evaluate_newer(tmp_path / "a", tmp_path / log)
        assert "without --log" in error.value.hint


def weights() -> tuple[list[str], np.ndarray]:
    return ITEMS["item_id"].to_list(), np.arange(1.0, len(ITEMS) + 1)
