from __future__ import annotations

import dataclasses
import json
import math
import time
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import polars as pl
import pytest

from adwright.campaigns.simulation.ab_test import (
    ArmResult,
    Look,
    OffPolicy,
    Verdict,
    VerdictConfig,
    asked_again,
)
from adwright.campaigns.simulation.population import Population, PopulationConfig
from adwright.campaigns.simulation.purchase_model import PersonalFrequency
from adwright.campaigns.simulation.report import (
    Logged,
    RealAndExpected,
    Realism,
    Setting,
    SimulationReport,
    Table,
    check_population,
    run_loop,
    write_report,
)
from adwright.campaigns.simulation.run import SimulationConfig, Source, make_plan
from adwright.campaigns.store.store import Store
from adwright.core.config import from_jsonable
from adwright.core.errors import DataError
from adwright.data.sources.complete_journey import STORE_TIME_ZONE, CompleteJourney
from adwright.delivery.policy.rules import SoftmaxConfig
from adwright.delivery.policy.slate_policy import SplitPolicy, build_policy
from adwright.metrics.bootstrap import Interval
from tests.support.store.local_client import LocalClient
from tests.support.store.small_world import SMALL, START, before, events, population


def arm(name: str, policy: str, taken: int) -> ArmResult:
    rate = Interval(taken / 1000, taken / 1100, taken / 900)
    return ArmResult(
        name, policy, 1000, 600, 900, 4500, 3 * taken, taken, {"fine": 0.98, "coarse": 0.02}, rate,
        rate,
    )  # fmt: skip


VERDICT = Verdict(
    a=arm("A", "A softmax:1", 300),
    b=arm("B", "greedy <b>|x", 450),
    difference=Interval(0.15, 0.05, 0.25),
    adjusted=Interval(0.14, 0.08, 0.2),
    variance_reduction=0.4,
    sample_ratio=0.5,
    looks=(Look(1, Interval(0.2, -0.1, 0.5), 0.4), Look(2, Interval(0.15, 0.02, 0.3), 0.01)),
    stopped=2,
)
REPORT = SimulationReport(
    name="trial",
    model="favourites",
    start=datetime(2024, 5, 20, tzinfo=UTC),
    days=2.0,
    places=5,
    seed=3,
    assumptions=("People are not people & never were.", "A second one."),
    logged=Logged(1800, 12_345, 9000, 2250, 750, 4, 3, 7),
    verdict=VERDICT,
    off_policy=OffPolicy(
        {"IPS": Interval(0.4, 0.3, 0.5)}, Interval(0.45, 0.4, 0.5), 900, 0.99, 512.0, 0.1
    ),
    realism=Realism(
        4.0, RealAndExpected(2944, 2981), RealAndExpected(9.5, 9.4), RealAndExpected(0.1, 0.11)
    ),
    retrained={"recall@50": "0.19"},
    seconds={"drive the service": 12.3},
)


def test_the_report_goes_through_json_unchanged() -> None:
    assert from_jsonable(SimulationReport, json.loads(REPORT.to_json())) == REPORT


def test_the_assumptions_stand_beside_the_numbers_in_every_form(tmp_path: Path) -> None:
    page = write_report(tmp_path / "out", REPORT)
    assert page == tmp_path / "out" / "report.html"
    html = page.read_text()
    assert "People are not people &amp; never were." in html
    assert html.index("never were") < html.index("<table>")
    for text in (REPORT.to_markdown(), (tmp_path / "out" / "report.md").read_text()):
        assert "- People are not people & never were." in text
    assert (
        "A second one." in json.loads((tmp_path / "out" / "report.json").read_text())["assumptions"]
    )


def test_the_page_holds_the_charts_and_escapes_what_others_wrote(tmp_path: Path) -> None:
    html = write_report(tmp_path, REPORT).read_text()
    assert html.count("<svg") == 3
    assert "greedy <b>" not in html
    assert "greedy &lt;b&gt;|x" in html
    ids = [part.split('"')[0] for part in html.split(' id="')[1:]]
    assert len(ids) == len(set(ids))
    assert "http" not in html.replace("http://www.w3.org", "")


def test_what_is_not_known_is_left_out(tmp_path: Path) -> None:
    nothing = replace(VERDICT, looks=(), stopped=None)
    bare = replace(REPORT, off_policy=None, realism=None, retrained={}, verdict=nothing)
    titles = [table.title for table in bare.tables()]
    assert len(titles) == 3
    assert len(REPORT.tables()) == 6
    assert "has not decided" in bare.summary
    assert write_report(tmp_path, bare).read_text().count("<svg") == 1


def test_the_summary_and_the_title() -> None:
    assert REPORT.title == "B greedy <b>|x against A softmax:1, on simulated people"
    assert "+0.1400 [+0.0800, +0.2000]" in REPORT.summary
    assert "(+47%, CUPED)" in REPORT.summary
    assert "decided after day 2" in REPORT.summary


@pytest.mark.parametrize(
    "cell",
    [
        *("12,345", "1.01", "0.4000 [0.3000, 0.5000]", "40%", "fine 98%, coarse 2%"),
        *("900 (99.0%)", "10.0%", "after day 2", "0.01"),
    ],
)
def test_numbers_that_a_reader_needs(cell: str) -> None:
    cells = [cell for table in REPORT.tables() for row in table.rows for cell in row]
    assert cell in cells


def test_a_table_in_markdown() -> None:
    table = Table("t", ("a", "b"), (("1|2", "3"),))
    assert table.markdown() == ["| a | b |", "| --- | --- |", "| 1/2 | 3 |"]


def test_every_count_of_the_log_has_a_row_with_its_label() -> None:
    table = next(one for one in REPORT.tables() if "Parquet log" in one.title)
    counts = dataclasses.asdict(REPORT.logged)
    assert [value for _, value in table.rows] == [f"{count:,}" for count in counts.values()]
    assert len({label for label, _ in table.rows}) == len(counts)


def cells(report: SimulationReport, title: str) -> dict[str, tuple[str, ...]]:
    """The rows of the table whose title begins so: their first cell and the others."""
    (table,) = (one for one in report.tables() if one.title.startswith(title))
    assert all(len(row) == len(table.header) for row in table.rows)
    return {row[0]: row[1:] for row in table.rows}


def test_a_policy_is_named_with_its_arm_once() -> None:
    (table,) = (one for one in REPORT.tables() if one.title == "The two arms")
    assert table.header == ("", "A softmax:1", "B greedy <b>|x")
    rows = cells(REPORT, "The two arms")
    assert rows["people"] == ("1,000", "1,000")
    assert rows["clicked"] == ("900", "1,350")
    assert rows["taken"] == ("300", "450")


def test_a_test_that_has_not_decided_says_so_in_the_table() -> None:
    assert cells(REPORT, "How far")["the sequential test decided"] == ("after day 2",)
    open_ = replace(REPORT, verdict=replace(VERDICT, stopped=None))
    assert cells(open_, "How far")["the sequential test decided"] == ("not yet",)
    # Looks were made, so their rows stay.
    assert cells(open_, "How far").keys() == cells(REPORT, "How far").keys()
    without = replace(REPORT, verdict=replace(VERDICT, looks=()))
    assert len(cells(without, "How far")) == len(cells(REPORT, "How far")) - 2


def test_a_base_of_nothing_gives_no_lift() -> None:
    nothing = replace(VERDICT.a, per_person=Interval(0.0, 0.0, 0.0))
    report = replace(REPORT, verdict=replace(VERDICT, a=nothing))
    assert math.isnan(report.verdict.lift.value)
    assert "nan" in cells(report, "How far")["lift, B over A"][0]


def test_the_lift_is_the_difference_over_what_a_took() -> None:
    found, base = VERDICT.lift, VERDICT.a.per_person.value
    for name in ("value", "low", "high"):
        assert getattr(found, name) == pytest.approx(getattr(VERDICT.adjusted, name) / base)


def test_the_confidence_and_the_days_stand_in_the_summary() -> None:
    report = replace(REPORT, confidence=0.8, days=1.5)
    assert "In 1.5 days" in report.summary
    assert report.summary.endswith("80% intervals throughout.")


def test_markdown_has_a_section_per_table_and_the_assumptions_last() -> None:
    lines = REPORT.to_markdown().splitlines()
    assert lines[0] == f"# {REPORT.title}"
    assert lines[2] == REPORT.summary
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert titles[:-1] == [table.title for table in REPORT.tables()]
    assert lines[-2:] == [f"- {sentence}" for sentence in REPORT.assumptions]


def test_what_was_trained_again_is_told_as_it_was_said() -> None:
    report = replace(REPORT, retrained={"recall@50": "0.19", "a|b": "1"})
    assert cells(report, "Trained again") == {"recall@50": ("0.19",), "a|b": ("1",)}
    assert "| a/b | 1 |" in report.to_markdown()


def test_a_table_without_rows_keeps_its_header() -> None:
    assert Table("t", ("a",), ()).markdown() == ["| a |", "| --- |"]


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(REPORT, seconds={"drive": math.inf}).to_json()


def test_a_second_report_takes_the_place_of_the_first(tmp_path: Path) -> None:
    bare = replace(REPORT, off_policy=None, verdict=replace(VERDICT, looks=()))
    for seed in (3, 4):
        write_report(tmp_path, replace(bare, seed=seed))
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("report.html", "report.json", "report.md"),
    ]


#: The first moment of week 45 of Complete Journey, and that of week 49.
WEEK_45 = datetime(2017, 11, 6, 5, tzinfo=UTC)
WEEK_49 = datetime(2017, 12, 4, 5, tzinfo=UTC)


@cache
def journey() -> tuple[pl.LazyFrame, Population, float]:
    """Complete Journey's purchases, the population fitted on weeks 1-44, and CPU seconds."""
    source = CompleteJourney.open()
    log = source.events().filter(pl.col("kind") == "purchase").collect().lazy()
    items = source.catalogue().items
    started = time.process_time()
    config = PopulationConfig(start=WEEK_45, zone=STORE_TIME_ZONE)
    return log, Population.fit(log, items, config), time.process_time() - started


def test_the_real_households_of_four_later_weeks() -> None:
    log, people, seconds = journey()
    found = check_population(people, log.filter(pl.col("time") < WEEK_49))
    assert found.weeks == pytest.approx(4, abs=0.01)
    assert 2_900 < found.visits.real < 3_000
    assert found.visits.ratio == pytest.approx(1, abs=0.05)
    assert found.basket.ratio == pytest.approx(1, abs=0.06)
    assert 0.09 < found.favourites.real < 0.13
    assert found.favourites.ratio == pytest.approx(1, abs=0.15)
    assert seconds < 20


def test_simulated_visits_are_as_many_and_as_late_as_real_ones() -> None:
    log, people, _ = journey()
    _, simulated = people.visits(28)
    later = pl.col("time").is_between(WEEK_45, WEEK_49, closed="left")
    real = log.filter(later).select("user_id", "time").unique().collect()["time"]
    assert len(simulated) == pytest.approx(len(real), rel=0.05)
    shares = []
    for times in (real, pl.from_epoch(pl.Series(simulated), "s").dt.replace_time_zone("UTC")):
        local = times.dt.convert_time_zone(STORE_TIME_ZONE)
        morning = (local.dt.hour() < 12).mean()
        weekend = (local.dt.weekday() >= 6).mean()
        shares.append((morning, weekend))
    assert shares[0] == pytest.approx(shares[1], abs=0.02)


def test_the_village_is_like_itself() -> None:
    found = check_population(population(), events())
    for beside in (found.visits, found.basket, found.favourites):
        assert beside.ratio == pytest.approx(1, abs=0.12)


def test_other_people_are_told_apart() -> None:
    people = population()
    later = events().filter(pl.col("time") >= START)
    # Weeks in which half of the visits and of the items are missing.
    poor = later.filter(pl.col("request_id").hash(0) % 2 == 0, pl.col("event_id").hash(1) % 2 == 0)
    found = check_population(people, poor)
    assert found.visits.ratio > 1.6
    assert found.basket.ratio > 1.3


def test_nothing_later() -> None:
    with pytest.raises(DataError, match="nothing in this log lies after"):
        check_population(population(SMALL), before())
    assert str(RealAndExpected(0.0, 1.0).ratio) == "nan"


A = build_policy(SoftmaxConfig(temperature=1.0), policy_id="A warm")
B = build_policy(SoftmaxConfig(temperature=0.5), policy_id="B cool")


def once_round(folder: Path, *, complete: bool) -> tuple[SimulationReport, list[pl.DataFrame]]:
    people = population()
    config = SimulationConfig(name="once", days=14, places=3)
    recommender = PersonalFrequency(before(), people.items)
    written: list[pl.DataFrame] = []

    def retrain(new: pl.DataFrame) -> dict[str, str]:
        written.append(new)
        again = PersonalFrequency(pl.concat([before(), new]), people.items)
        return {"takings": f"{again.weight.sum():.3f}"}

    with Store.open(f"sqlite:///{folder / 's.db'}") as store:
        split = SplitPolicy(A, B, config.split)
        client = LocalClient(recommender, split, store, "t", observe=recommender.observe)
        setting = Setting(
            "favourites",
            client,
            [Source(store, "t", folder / "log")],
            odds=asked_again(recommender, A, B) if complete else None,
            retries=lambda: 5,
            notes=("It is a world.",),
        )
        report = run_loop(
            people,
            make_plan(people, config),
            setting,
            later=events() if complete else before(),
            retrain=retrain if complete else None,
            config=replace(VerdictConfig(), draws=100),
        )
    return report, written


def test_once_round(tmp_path: Path) -> None:
    report, written = once_round(tmp_path, complete=True)
    (learned_from,) = written
    assert report.logged.acknowledged == learned_from.height
    assert report.logged.purchases == learned_from.filter(pl.col("kind") == "purchase").height
    assert report.logged.purchases == report.verdict.a.responses + report.verdict.b.responses
    assert report.logged.impressions == 3 * report.logged.visits
    assert report.logged.retries == 5
    assert "takings" in report.retrained
    assert report.realism is not None
    assert 0.8 < report.realism.visits.ratio < 1.2
    assert report.off_policy is not None
    assert report.off_policy.own.value == report.verdict.b.per_visit.value
    assert report.verdict.lift.value > 0
    assert report.assumptions == (*population().assumptions(), "It is a world.")
    assert list(report.seconds) == [
        *("check the population", "drive the service", "read the log back", "train again"),
        "compare the policies",
    ]
    assert SimulationReport.to_json(report)


def test_what_was_not_asked_for_is_left_out(tmp_path: Path) -> None:
    report, written = once_round(tmp_path, complete=False)
    assert written == []
    assert report.retrained == {}
    assert report.realism is None
    assert report.off_policy is None
    assert report.verdict.b.responses > 0
