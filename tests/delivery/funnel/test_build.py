"""A funnel is built from a task, and taken up where it was cut off."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.artifacts import read_fitted
from adwright.core.clock import FixedClock
from adwright.core.config import to_jsonable
from adwright.core.errors import ConfigError, ResumeError
from adwright.data.sequences.datasets import log_of_task
from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.funnel import build
from adwright.delivery.funnel.build import (
    FunnelConfig,
    build_funnel,
    needed_sources,
    plan_funnel,
    select_serving,
    serving_sources,
    visits_within,
)
from adwright.delivery.funnel.choice import FoundCandidates, TriedOrder
from adwright.delivery.funnel.columns import ScoreMixture
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.funnel.measure import SIZES, FunnelReport
from adwright.delivery.funnel.networks import Networks, Trained
from adwright.training.retrieval.rules import fit_rules
from tests.support.data.small_next_basket import small_task
from tests.support.delivery.cascade_parts import histories, request, task
from tests.support.delivery.funnel_parts import funnel_parts

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
    assert saved.fitted == read_fitted(tmp_path / "run" / "deployment") == every
    assert read_fitted(tmp_path / "run" / "deployment" / "item-item") == every
    # What everybody gets is what the found settings give on the whole log, to the last place.
    log = log_of_task(task)
    rules, _ = build.fit_log_rules(log, repeats=repeats)
    whole = fit_rules(log.whole, repeats=repeats, item_item=rules.item_item.config)
    assert parts.item_item is not None
    assert np.array_equal(parts.count, np.bincount(task.item, minlength=len(task.items)))
    assert np.array_equal(parts.item_item.model.neighbours.score, whole.item_item.neighbours.score)
    shown = saved.cascade().recommend_many([request(user, k=3) for user in task.users])
    assert any("launched" in one.item_ids[:3] for one in shown)
    before = built.measured.parts.item_item
    assert before is not None
    assert new in parts.item_item.model.neighbours.codes
    assert new not in before.model.neighbours.codes
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
    few = replace(CONFIG, models=("two-tower", "hcn"), minutes=0.5)

    def built(minutes: float, *, resume: bool) -> dict[str, Trained]:
        asked, clock = replace(few, minutes=minutes), Ticking()
        made = build_funnel(TASK, tmp_path, asked, repeats=True, resume=resume, clock=clock)
        return {one.model: one for one in made.trained}

    before = built(0.5, resume=False)
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
    assert "600 s of the processor, of which 120 are kept" in found[0]
    assert "sequence, two-tower, hcn get 30 s each" in found[1]
    assert plan_funnel(FunnelConfig(models=())) == ("no model is trained",)


@pytest.mark.parametrize("wrong", [{"minutes": -1}, {"draws": 0}, {"valid": -1}, {"seed": -1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=r"must (not be negative|be at least 1)"):
        FunnelConfig(**wrong)  # type: ignore[arg-type]


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_large_catalogue_is_asked_fewer_visits() -> None:
    assert visits_within(TASK, 1_500) == 1_500
    items = replace(TASK.items, ids=tuple(f"i{n}" for n in range(39_999)))
    assert visits_within(replace(TASK, items=items), 1_500) == 750
    items = replace(TASK.items, ids=tuple(f"i{n}" for n in range(399_999)))
    assert visits_within(replace(TASK, items=items), 1_500) == 500


def test_the_networks_get_the_cache(tmp_path: Path) -> None:
    assert Networks(TASK, True, tmp_path).folder == tmp_path


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
    selected = select_serving(parts, task(), draws=20)
    names = [one.name for one in selected.orders]
    assert "Item-item" in names
    assert "rules + sequence + two-tower + hcn" in names
    assert names[-1].endswith("+ fine")
    kinds = {(one.name, one.kind) for one in selected.lines}
    assert {("Item-item", "rule"), ("sequence", "part"), ("past", "source")} <= kinds
    assert any("serves" in note for note in selected.notes)
    again = select_serving(funnel_parts().opened(histories()), task(), draws=20)
    assert again.serving == selected.serving
    assert set(selected.serving.sources) <= set(SIZES)
