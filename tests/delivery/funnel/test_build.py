"""A funnel is built from a task, and taken up where it was cut off."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import load_artifact
from adwright.core.clock import FixedClock
from adwright.core.config import to_jsonable
from adwright.core.errors import ArtifactError, ConfigError, ResumeError
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.data.time import MICROSECONDS_PER_DAY
from adwright.delivery.cascade.trial import UserMeans, ranks_in
from adwright.delivery.funnel import build
from adwright.delivery.funnel.build import (
    FunnelConfig,
    Race,
    build_funnel,
    needed_sources,
    plan_funnel,
    select_serving,
    serving_sources,
)
from adwright.delivery.funnel.choice import FoundCandidates, TriedOrder, targets_of
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.funnel.measure import (
    SIZES,
    Asking,
    FunnelReport,
    MeasuredVisits,
    measure_cascade,
    measure_funnel,
)
from adwright.delivery.funnel.networks import (
    MODELS,
    ModelName,
    Networks,
    Trained,
    free_cores,
    next_slice,
    task_sequences,
)
from adwright.delivery.stages.histories import visit_requests
from adwright.metrics.bootstrap import Interval
from adwright.metrics.ranking import ndcg_per_user
from adwright.models.retrieval.multi_interest import HCNConfig
from adwright.models.retrieval.two_tower import TwoTowerConfig
from adwright.models.sequential.hstu import HSTUConfig
from adwright.training.ranking.ranker import Ranker
from adwright.training.retrieval.fit import RetrieverArtifact
from adwright.training.retrieval.rules import fit_rules, rules_ranks
from adwright.training.sequential.artifact import SequenceArtifact
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.cascade_parts import deployment, histories, request, task
from tests.support.delivery.funnel_parts import SERVING, funnel, funnel_parts, log, rules

TASK = small_task(people=20)
CONFIG = FunnelConfig(minutes=5, models=("two-tower",), draws=20, threads=1)


class Ticking(FixedClock):
    """A clock on which a second passes whenever it is asked."""

    def monotonic(self) -> float:
        self.advance(1.0)
        return super().monotonic()


def test_a_run_holds_what_was_decided_and_measured(tmp_path: Path) -> None:
    told: list[str] = []
    built = build_funnel(
        TASK, tmp_path / "run", CONFIG, repeats=True, log="mine.csv", tell=told.append
    )
    run = tmp_path / "run"
    saved = Funnel.load(run / "deployment")
    assert "popularity" in saved.serving.calibration
    assert saved.cascade().recommend(request("u1")).probability
    assert saved.artifact_id == built.funnel.artifact_id
    asked = [request("u1", k=3), request("nobody", k=3)]
    ours, theirs = (one.cascade().recommend_many(asked) for one in (built.funnel, saved))
    assert [one.item_ids for one in ours] == [one.item_ids for one in theirs]
    report = FunnelReport.from_json((run / "report.json").read_text("utf-8"))
    assert report == built.report
    assert report.validation
    (trained,) = built.trained
    assert trained.ended
    assert trained.text() in report.notes
    assert {line for line in told if not line.startswith("plan: ")} <= set(report.notes)
    assert json.loads((run / "config.json").read_text("utf-8"))["log"] == "mine.csv"
    kept = json.loads((run / "plan.json").read_text("utf-8"))
    assert kept["models"][0]["epochs"] == trained.epochs
    assert kept["spent"] > 0
    assert saved.histories is not None
    assert "click" in saved.histories.kinds
    assert {"train two-tower", "choose what serves", "measure"} <= set(built.seconds)


def test_what_serves_knows_events_at_their_own_times(tmp_path: Path) -> None:
    events = pl.DataFrame({"user_id": ["u1"], "item_id": ["i3"], "time": [1_700_000_000_000_007]})
    config = replace(CONFIG, models=())
    build_funnel(TASK, tmp_path / "run", config, repeats=True, events=events)
    known = Funnel.load(tmp_path / "run" / "deployment").histories
    assert known is not None
    _, item, time, lengths = known.arrays()
    assert time.tolist() == [1_700_000_000_000_007]
    assert [TASK.items.ids[code - 1] for code in item] == ["i3"]
    assert len(lengths) == len(TASK.users)
    assert set(known.profiles["town"]) == {"north", "south"}
    assert "click" in known.kinds


@pytest.fixture(scope="module")
def launched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of 60 days, 40 people and 30 items, one of which is sold in the last days alone."""
    rng, rows = np.random.default_rng(0), []
    for person in range(40):
        start = rng.integers(29)
        for day in range(0, 60, 3):
            item = "launched" if day == 54 and person % 2 else f"i{(start + day // 3) % 29}"
            time = datetime(2024, 1, 1, 10, tzinfo=UTC) + timedelta(days=day)
            rows.append((f"u{person}", item, time.isoformat()))
    path = tmp_path_factory.mktemp("log") / "launched.csv"
    header = ["user_id", "item_id", "time"]
    pl.DataFrame(rows, schema=header, orient="row").sort("time").write_csv(path)
    return path


def test_what_is_saved_knows_all_events(launched: Path, tmp_path: Path) -> None:
    found = open_next_item(launched)
    task, repeats = found.task, found.choices.repeats
    new = task.items.ids.index("launched") + 1
    assert task.count[new] == 0
    config = replace(CONFIG, models=())
    built = build_funnel(task, tmp_path / "run", config, repeats=repeats)
    saved, parts = Funnel.load(tmp_path / "run" / "deployment"), built.funnel.parts
    every = task.fitted(whole=True)
    assert (every.events, built.measured.fitted) == (800, task.fitted())
    assert saved.fitted == load_artifact(tmp_path / "run" / "deployment").fitted == every
    assert load_artifact(tmp_path / "run" / "deployment" / "item-item").fitted == every
    # What everybody gets is what the found settings give on the whole log, to the last place.
    log = log_of_task(task)
    rules, _ = build.fit_log_rules(log, repeats=repeats)
    whole = fit_rules(log.whole, repeats=repeats, item_item=rules.item_item.config)
    item_item = parts.neighbours("item-item")
    assert item_item is not None
    assert np.array_equal(parts.count, np.bincount(task.item, minlength=len(task.items)))
    assert np.array_equal(item_item.neighbours.score, whole.item_item.neighbours.score)
    shown = saved.cascade().recommend_many([request(user, k=3) for user in task.users])
    assert any("launched" in one.item_ids[:3] for one in shown)
    before = built.measured.parts.neighbours("item-item")
    assert before is not None
    assert new in item_item.neighbours.codes
    assert new not in before.neighbours.codes
    assert f"fitted again to all {every.text()}" in built.report.notes[-1]


def test_without_models_the_rules_serve(tmp_path: Path) -> None:
    config = replace(CONFIG, models=(), linear=False)
    built = build_funnel(TASK, tmp_path / "run", config, repeats=False)
    assert set(built.funnel.parts.models) == {"item-item"}
    assert built.trained == ()
    assert "past" not in built.funnel.serving.sources
    assert not built.funnel.parts.repeats


def test_what_each_visit_got_is_kept(tmp_path: Path) -> None:
    built = build_funnel(TASK, tmp_path / "run", replace(CONFIG, models=()), repeats=True)
    kept = pl.read_parquet(tmp_path / "run" / "visits.parquet")
    assert kept.height == built.report.visits
    assert kept["user"].n_unique() == built.report.users
    for line in built.report.lines:
        if line.ndcg is not None:
            means = [kept[f"{of}/{line.kind}/{line.name}"].mean() for of in ("ndcg", "recall")]
            assert means == pytest.approx([line.ndcg.value, line.recall.value])
    assert built.report.line("linear", "part").ndcg is not None
    assert any(note.startswith("linear: ") for note in built.report.notes)


def test_a_build_that_was_cut_off_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(build, "select_serving", _killed)
        with pytest.raises(KeyboardInterrupt):
            build_funnel(TASK, run, CONFIG, repeats=True)
    with pytest.raises(ConfigError, match="already holds a build"):
        build_funnel(TASK, run, CONFIG, repeats=True)
    with pytest.raises(ResumeError, match="seed was 0 and is now 1"):
        build_funnel(TASK, run, replace(CONFIG, seed=1), repeats=True, resume=True)
    with pytest.raises(ResumeError, match="repeats was True and is now False"):
        build_funnel(TASK, run, CONFIG, repeats=False, resume=True)
    with pytest.raises(ResumeError, match="holds no build"):
        build_funnel(TASK, tmp_path / "other", CONFIG, repeats=True, resume=True)
    before = json.loads((run / "plan.json").read_text("utf-8"))
    resumed = build_funnel(TASK, run, CONFIG, repeats=True, resume=True)
    (trained,) = resumed.trained
    assert to_jsonable(trained) == before["models"][0]
    assert resumed.report.line("two-tower", "source").items > 0


def test_a_build_that_is_given_more_minutes_trains_on(tmp_path: Path) -> None:
    few = replace(CONFIG, models=("two-tower", "hcn"), minutes=0.6)

    def built(minutes: float, *, resume: bool) -> dict[str, Trained]:
        asked, clock = replace(few, minutes=minutes), Ticking()
        made = build_funnel(TASK, tmp_path, asked, repeats=True, resume=resume, clock=clock)
        return {one.model: one for one in made.trained}

    before = built(0.6, resume=False)
    assert not before["hcn"].ended
    assert "cut off, it goes on with more --minutes" in before["hcn"].text()
    assert "validation 1.0000 after" in before["hcn"].text()
    after = built(2.0, resume=True)
    assert after["hcn"].epochs > before["hcn"].epochs
    assert after["hcn"].curve[: len(before["hcn"].curve)] == before["hcn"].curve
    kept = json.loads((tmp_path / "config.json").read_text("utf-8"))
    assert kept["config"]["minutes"] == 2.0


def test_a_build_is_replaced_where_that_is_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = build_funnel(TASK, run, CONFIG, repeats=True)
    other = replace(CONFIG, models=(), seed=2)
    second = build_funnel(TASK, run, other, repeats=True, overwrite=True)
    assert second.funnel.artifact_id != first.funnel.artifact_id
    assert not (run / "two-tower").exists()
    assert Funnel.load(run / "deployment").seed == 2


def test_a_plan_says_how_the_minutes_are_spent() -> None:
    found = plan_funnel(FunnelConfig(minutes=10))
    assert "600 s of the processor, of which 72 are kept" in found[0]
    assert "sequence, sasrec, two-tower, hcn are tried for some 15 s each" in found[1]
    assert plan_funnel(FunnelConfig(models=())) == ("no model is trained",)


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


TARGETS = [np.array([1, 2]), np.array([3]), np.array([4])]


def found(**lists: list[list[int]]) -> FoundCandidates:
    named = {
        name.replace("_", "-"): [np.array(one, int) for one in given]
        for name, given in lists.items()
    }
    return FoundCandidates(np.arange(3), np.arange(3), TARGETS, named)  # type: ignore[arg-type]


def test_a_source_that_brings_nothing_is_left_out() -> None:
    kept, notes = needed_sources(
        found(
            item_item=[[1], [3], [9]],
            two_tower=[[1], [3], []],
            past=[[2], [], []],
            popularity=[[8], [8], [4]],
        )
    )
    assert kept in (("item-item", "past", "popularity"), ("two-tower", "past", "popularity"))
    assert len(notes) == 1
    assert "is left out" in notes[0]


def test_a_source_of_popular_items_stays() -> None:
    kept, _ = needed_sources(
        found(item_item=[[1, 2], [3], [4]], popularity=[[8], [8], [8]], lately=[[8], [8], [8]])
    )
    assert "item-item" in kept
    assert len({"popularity", "lately"} & set(kept)) == 1


def order(*names: str, fine: bool = False) -> TriedOrder:
    mixture = ScoreMixture(names, (1.0,) * len(names))  # type: ignore[arg-type]
    models = len({"sequence", "two-tower", "hcn"} & set(names)) + fine
    none = np.zeros(1)
    return TriedOrder("x", mixture, ScoreMixture.of("fine") if fine else None, models, none, none)


def test_no_model_is_asked_for_candidates_alone() -> None:
    kept = ("sequence", "two-tower", "item-item", "past", "popularity")
    pairs = [
        (order("item-item"), {"item-item", "popularity"}),
        (order("again"), {"past", "popularity"}),
        (order("popularity"), {"popularity"}),
        (order("category"), {"item-item", "past", "popularity"}),
        (order("item-item", "again"), {"item-item", "past", "popularity"}),
        (order("two-tower"), {"two-tower", "item-item", "past", "popularity"}),
        (order("sequence", "two-tower", "again"), set(kept)),
    ]
    for one, names in pairs:
        assert serving_sources(one, kept) == {n: SIZES[n] for n in kept if n in names}  # type: ignore[index]


def test_what_serves_is_chosen_on_validation() -> None:
    parts = funnel_parts().opened(histories())
    selected = select_serving(parts, task(), FunnelConfig(draws=20))
    names = [one.name for one in selected.orders]
    assert "Item-item" in names
    # Each network is tried beside the rules, and from there on those that are left.
    assert {"rules + sequence", "rules + two-tower", "rules + hcn"} <= set(names)
    assert names[-1].endswith("+ fine")
    kinds = {(one.name, one.kind) for one in selected.lines}
    assert {("Item-item", "rule"), ("sequence", "part"), ("past", "source")} <= kinds
    assert any("serves" in note for note in selected.notes)
    again = select_serving(funnel_parts().opened(histories()), task(), FunnelConfig(draws=20))
    assert again.serving == selected.serving
    assert set(selected.serving.sources) <= set(SIZES)


def test_each_model_is_trained_with_the_defaults_of_its_room(tmp_path: Path) -> None:
    networks = Networks(TASK, True, tmp_path, seed=3)
    runs = {name: networks.slice(Trained(name), 0.0) for name in MODELS}
    for one in runs.values():
        # No second was left: one step, and its validation.
        assert (len(one.curve), one.ended) == (1, False)
        assert 0 < one.epochs <= 1
    sequence = networks.trained("sequence")
    assert isinstance(sequence, SequenceArtifact)
    assert isinstance(sequence.model.config, HSTUConfig)
    assert sequence.model.config.repeats
    assert (sequence.ids, sequence.seed) == (tuple(TASK.items.ids), 3)
    towers, hcn = networks.trained("two-tower"), networks.trained("hcn")
    assert isinstance(towers, RetrieverArtifact)
    assert isinstance(hcn, RetrieverArtifact)
    assert isinstance(towers.model.config, TwoTowerConfig)
    assert isinstance(hcn.model.config, HCNConfig)
    fine = networks.trained("fine")
    assert networks.draws.own > 0
    assert isinstance(fine, Ranker)
    assert tuple(fine.items.ids) == tuple(TASK.items.ids)
    # What was trained stands, and goes on where it stood.
    again = Networks(TASK, True, tmp_path, seed=3)
    new, how = again.fine_of_all(replace(runs["fine"], seconds=100.0), 99.0)
    assert new is None
    assert how == "fine stays as measured, as it takes 100 s and 99 s are left"
    new, how = again.fine_of_all(runs["fine"], 1e9)
    assert isinstance(new, Ranker)
    assert new.data_hash == fine.data_hash
    kept = again.trained("two-tower")
    assert isinstance(kept, RetrieverArtifact)
    assert (kept.vectors == towers.vectors).all()
    on = again.slice(runs["two-tower"], 1000.0)
    assert on.epochs > runs["two-tower"].epochs
    assert on.ended
    assert on.curve[0] == runs["two-tower"].curve[0]
    assert on.best_epochs <= on.epochs


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (1e9, "trained anew for the 2 epochs found"),
        (150.0, "trained on for 1 of its epochs"),
        (1.0, "stays as measured, as an epoch takes"),
        (-1000.0, "stays as measured, as an epoch takes"),
    ],
)
def test_what_serves_is_fitted_to_all_events_as_far_as_time_goes(
    tmp_path: Path, left: float, said: str
) -> None:
    networks = Networks(TASK, True, tmp_path)
    for name in ("sequence", "two-tower"):
        if name == "two-tower" and left == 150.0:
            said = "trained on with what is new and as much that is not, 2 times"
        run = networks.slice(Trained(name), 0.0)
        run = replace(run, stepping=100.0, epochs=1.0, best_epochs=2.0)
        measured = networks.trained(name)
        assert isinstance(measured, SequenceArtifact | RetrieverArtifact)
        found, how = networks.of_all(measured, run, left)
        assert said in how
        kept = left <= 1.0
        assert (found.fitted == TASK.fitted(whole=True)) == (not kept)
        assert (found.count.sum() == len(TASK.item)) == (not kept)
        same = np.array_equal(found.vectors, measured.vectors)
        assert same == kept


def test_where_an_epoch_takes_too_long_what_is_new_is_learned(tmp_path: Path) -> None:
    networks = Networks(TASK, True, tmp_path)
    for name in ("sequence", "two-tower"):
        run = replace(networks.slice(Trained(name), 0.0), stepping=100.0, epochs=1.0)
        measured = networks.trained(name)
        assert isinstance(measured, SequenceArtifact | RetrieverArtifact)
        an_epoch = 100.0 * len(TASK.item) / TASK.count.sum()
        found, how = networks.of_all(measured, run, 0.95 * an_epoch)
        learned = name == "two-tower"
        assert ("what is new and as much that is not" in how) == learned
        assert (found.fitted == TASK.fitted(whole=True)) == learned
        assert np.array_equal(found.vectors, measured.vectors) != learned


def test_what_is_kept_to_fit_again_is_what_the_leader_takes(tmp_path: Path) -> None:
    networks, race = Networks(TASK, True, tmp_path), Race(tmp_path / "plan.json", MODELS)
    assert race.again(networks, 1000.0) == 200.0
    race.runs["hcn"] = run("hcn", 0.2, each=1e-3)
    assert race.again(networks, 1000.0) == 50.0
    race.runs["sasrec"] = run("sasrec", 0.3, each=100.0)
    assert race.again(networks, 1000.0) == networks.needs(race.runs["sasrec"])
    race.runs["sasrec"] = run("sasrec", 0.3, each=500.0)
    assert race.again(networks, 1000.0) == 200.0


def test_positions_are_no_times() -> None:
    assert task_sequences(TASK).time is not None
    moved = replace(TASK, time=TASK.time - TASK.time.min() + MICROSECONDS_PER_DAY)
    assert task_sequences(moved).time is None
    assert np.array_equal(task_sequences(moved).item, TASK.item)


def run(
    model: ModelName, *curve: float, each: float = 10.0, around: float = 0.0, ended: bool = False
) -> Trained:
    """A training with these validations, a slice of `each` seconds and an epoch before each."""
    seconds, epochs = each * len(curve), float(len(curve))
    points = tuple((each * (n + 1), value) for n, value in enumerate(curve))
    return Trained(model, seconds, seconds, around, epochs, epochs, points, ended)


@pytest.mark.parametrize(
    ("runs", "left", "expected"),
    [
        # Everybody gets half a slice first, in their order.
        ([run("sequence"), run("two-tower", 0.9)], 100.0, ("sequence", 5.0)),
        # HSTU is not begun before SASRec's turn, and after it.
        ([run("sequence"), run("sasrec")], 100.0, ("sasrec", 5.0)),
        ([run("sequence"), run("sasrec", 0.1), run("hcn", 0.2)], 100.0, ("hcn", 10.0)),
        ([run("sequence"), run("sasrec", 0.3), run("hcn", 0.2)], 100.0, ("sasrec", 10.0)),
        ([run("sequence"), run("sasrec", 0.3, ended=True)], 100.0, ("sequence", 5.0)),
        # Then who would be ahead at the end, if doublings gained what the last one did.
        ([run("sequence", 0.1, 0.3), run("two-tower", 0.5, 0.51)], 100.0, ("sequence", 10.0)),
        ([run("sequence", 0.1, 0.2), run("two-tower", 0.5, 0.51)], 100.0, ("two-tower", 10.0)),
        ([run("sequence", 0.1, 0.3), run("two-tower", 0.5, 0.51)], 10.0, ("two-tower", 10.0)),
        ([run("sequence", 0.1), run("hcn", 0.2)], 100.0, ("hcn", 10.0)),
        # One validation that is worse does not end the race for anybody.
        ([run("sequence", 0.1, 0.3, 0.29), run("hcn", 0.3, 0.35, 0.36)], 100.0, ("sequence", 10.0)),
        ([run("sequence", 0.1, 0.3, ended=True), run("hcn", 0.2, 0.2)], 100.0, ("hcn", 10.0)),
        # What it takes to begin and to validate is no training, and is part of the time.
        ([run("sequence", 0.1, around=20.0)], 100.0, ("sequence", 60.0)),
        ([run("sequence", 0.1, around=20.0)], 50.0, ("sequence", 30.0)),
        ([run("sequence", 0.1, around=20.0)], 22.0, None),
        ([run("sequence", 0.1)], 2.0, None),
        ([run("sequence", 0.1, ended=True)], 100.0, None),
        ([run("sequence")], 0.0, None),
        ([], 100.0, None),
    ],
)
def test_the_next_slice_goes_to_whom_promises_most(
    runs: list[Trained], left: float, expected: tuple[ModelName, float] | None
) -> None:
    assert next_slice(runs, left, 10.0) == expected


def test_busy_cores_get_no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for load, free in ((0.2, 8), (2.0, 6), (30.0, 1)):
        monkeypatch.setattr(os, "getloadavg", lambda load=load: (load, 0.0, 0.0), raising=False)
        assert free_cores() == free


VISITS = task().visits("test")


def measured(**changes: object) -> FunnelReport:
    made = replace(funnel(), **changes)  # type: ignore[arg-type]
    return measure_funnel(made, rules(), log(), task(), Asking(draws=20))


def test_the_served_line_is_what_the_cascade_answers() -> None:
    report = measured()
    cascade = funnel().cascade(histories())
    ids = {item: n for n, item in enumerate(cascade.histories.items.ids, start=1)}
    answers = cascade.recommend_many(visit_requests(task(), VISITS))
    lists = [np.array([ids[i] for i in answer.item_ids]) for answer in answers]
    gain = ndcg_per_user(ranks_in(lists, targets_of(task(), VISITS, unseen=False)), 10)
    assert report.served.ndcg is not None
    assert report.served.ndcg.value == pytest.approx(gain.mean())
    assert report.served.ms is not None
    assert report.visits == len(VISITS)


def test_a_part_that_is_above_what_serves_is_named_in_the_first_line() -> None:
    worst = measured(serving=replace(SERVING, coarse=ScoreMixture(("item-item",), (-1.0,))))
    parts = [line for line in worst.lines if line.kind == "part"]
    best = max(parts, key=lambda line: line.ndcg.value if line.ndcg else 0.0)
    assert best.ndcg is not None
    assert f"Its part {best.name} alone has {best.ndcg.value:.4f} on these visits" in worst.first
    for report in (measured(), worst):
        assert report.served.ndcg is not None
        above = any(one.ndcg and one.ndcg.value > report.served.ndcg.value for one in parts)
        assert ("Its part" in report.first) == above


def test_rules_sources_and_parts_have_their_lines() -> None:
    report = measured()
    kinds: dict[str, set[str]] = {}
    for line in report.lines:
        kinds.setdefault(line.kind, set()).add(line.name)
    assert {"Item-item", "Popularity", "Personal frequency", "Last items again"} <= kinds["rule"]
    assert {"item-item", "past", "linear", "two-tower", "sequence"} <= kinds["source"]
    assert {"linear", "alike", "sequence", "sasrec", "two-tower", "hcn"} == kinds["part"]
    whole = rules_ranks(rules(), log(), log().test, unseen=False)
    for name, ranks in whole.items():
        line = report.line(name)
        assert line.ndcg is not None
        assert line.ndcg.value == pytest.approx(ndcg_per_user(ranks, 10).mean())
    best = max(whole, key=lambda name: ndcg_per_user(whole[name], 10).mean())
    assert report.best_rule == best
    shortlist = report.line("all sources that serve")
    assert shortlist.recall.value >= report.line("past", "source").recall.value


def test_the_first_line_says_what_serves() -> None:
    assert measured().first.startswith("A mixture of item-item, frequency, two-tower serves.")
    alone = replace(SERVING, coarse=ScoreMixture.of("item-item"))
    assert measured(serving=alone).first.startswith("Item-item alone serves: on validation")
    model = replace(SERVING, coarse=ScoreMixture.of("two-tower"))
    assert measured(serving=model).first.startswith("The model two-tower alone serves.")
    fine = replace(SERVING, fine=ScoreMixture.of("fine"))
    report = measured(serving=fine)
    assert "then the fine stage" in report.first
    assert report.line("before the fine stage").kind == "order"


def test_a_cascade_of_fixed_stages_is_measured_too() -> None:
    cascade = deployment().cascade(histories())
    report = measure_cascade(cascade, rules(), log(), task(), Asking(draws=20))
    kinds = [line.kind for line in report.lines if line.kind != "rule"]
    assert kinds == ["shortlist", "order", "served"]
    assert report.line("all sources").recall.value == 1.0  # five hundred of twelve items


USER = np.array([0, 0, 1, 2, 2, 2])
GAIN = np.array([0.5, 0.1, 0.0, 1.0, 0.2, 0.4])
RULE = np.array([0.4, 0.1, 0.1, 0.7, 0.2, 0.1])


def report() -> FunnelReport:
    measured = MeasuredVisits(UserMeans(USER), RULE)
    rule = measured.line("Item-item", "rule", 50, RULE, RULE)
    found = measured.line("past", "source", 7.5, RULE)
    served = measured.line("served", "served", 50, GAIN, GAIN, 3.25)
    return FunnelReport(
        "It serves.", "test", "Item-item", (rule, found, served), 6, 3, "p", "h", 0, 500, ("a",)
    )


def test_values_are_means_over_visits_and_differences_are_paired() -> None:
    served = report().served
    assert served.ndcg is not None
    assert served.ahead is not None
    assert served.ndcg.value == pytest.approx(GAIN.mean())
    assert served.recall.value == pytest.approx(GAIN.mean())
    assert served.ahead.value == pytest.approx((GAIN - RULE).mean())
    assert served.ahead.low <= served.ahead.value <= served.ahead.high
    same = report().line("Item-item")
    assert same.ahead == Interval(0.0, 0.0, 0.0)
    assert report().line("past", "source").ndcg is None
    with pytest.raises(KeyError):
        report().line("past", "rule")


def test_a_report_is_read_again() -> None:
    found = report()
    assert FunnelReport.from_json(found.to_json()) == found
    for wrong in ("{", json.dumps({"format": 99}), json.dumps({"format": 1, "lines": 3})):
        with pytest.raises(ArtifactError, match="not a report"):
            FunnelReport.from_json(wrong)


def test_the_table_names_the_best_rule() -> None:
    found = report()
    assert found.header()[-2] == "ahead of Item-item"
    rows = found.rows()
    assert [row[:3] for row in rows] == [
        ("Item-item", "rule", "50"),
        ("past", "source", "8"),
        ("served", "served", "50"),
    ]
    assert rows[1][4:] == ("", "", "")
    assert rows[2][-1] == "3.2"
    assert len(found.rows(found.lines[:1])) == 1
