"""What is promised of these, and what is refused."""

from __future__ import annotations

import json
import math
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import Path

import numpy as np
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
from adwright.campaigns.simulation.population import (
    Arrivals,
    Population,
    PopulationConfig,
    fit_arrivals,
    pair_features,
    visits_of,
)
from adwright.campaigns.simulation.purchase_model import PersonalFrequency, Visits
from adwright.campaigns.simulation.report import (
    Logged,
    RealAndExpected,
    Realism,
    Setting,
    SimulationReport,
    check_population,
    run_loop,
    write_report,
)
from adwright.campaigns.simulation.run import SimulationConfig, Source, make_plan
from adwright.campaigns.store.store import Store
from adwright.core.config import from_jsonable
from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.sources.complete_journey import STORE_TIME_ZONE, CompleteJourney
from adwright.delivery.policy.rules import SoftmaxConfig
from adwright.delivery.policy.slate_policy import SplitPolicy, build_policy
from adwright.metrics.bootstrap import Interval
from tests.support.store.local_client import LocalClient
from tests.support.store.small_world import ITEMS, SMALL, START, before, events, population


def test_the_same_seed_gives_the_same_people() -> None:
    one, same, other = population(), population(), population(replace(SMALL, seed=1))
    assert np.array_equal(one.purchase_model.weights, same.purchase_model.weights)
    for a, b in zip(one.visits(14), same.visits(14), strict=True):
        assert np.array_equal(a, b)
    assert not np.array_equal(one.purchase_model.weights, other.purchase_model.weights)
    assert len(one.visits(14)[0]) != len(other.visits(14)[0])


def test_what_happened_from_the_start_on_is_not_looked_at() -> None:
    whole = population()
    past = Population.fit(before(), ITEMS, SMALL)
    assert np.array_equal(whole.purchase_model.weights, past.purchase_model.weights)
    assert np.array_equal(whole.arrivals.rate, past.arrivals.rate)
    assert whole.start == START


def test_people_answer_as_likely_as_the_model_says() -> None:
    people = population(replace(SMALL, position_decay=0.0))
    user = np.repeat(people.present, 20)
    item = np.arange(len(user))[:, None] % 40
    time = np.full(len(user), int(START.timestamp()) + 3600)
    answer = people.respond(user, item, time, np.random.default_rng(0))
    expected = people.chance(user, item[:, 0], time)
    assert np.array_equal(answer.chance[:, 0], expected)
    assert answer.taken.mean() == pytest.approx(expected.mean(), rel=0.1)
    assert not (answer.taken & ~answer.clicked).any()
    assert answer.clicked.sum() == pytest.approx(np.minimum(1, 3 * expected).sum(), rel=0.1)


def test_lower_places_are_looked_at_less() -> None:
    people = population(replace(SMALL, position_decay=1.0, clicks_per_purchase=1.0))
    assert people.looked_at(4) == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4])
    user = np.repeat(people.present, 60)
    slate = np.tile((np.arange(len(user)) % 40)[:, None], 2)
    time = np.full(len(user), int(START.timestamp()))
    answer = people.respond(user, slate, time, np.random.default_rng(0))
    first, second = answer.taken.mean(0)
    assert second == pytest.approx(first / 2, rel=0.15)
    assert np.array_equal(answer.clicked, answer.taken)


def test_what_was_taken_is_remembered() -> None:
    people = population()
    user, item = np.zeros(6, np.int64), np.full(6, 7)
    at = int(START.timestamp())
    asked = np.array([0]), np.array([7]), np.array([at + 50 * 86_400])
    unchanged = people.chance(*asked)
    people.remember(user, item, at + np.arange(6) * 86_400 * 7)
    assert people.chance(*asked)[0] > 2 * unchanged[0]


def test_ids_and_money() -> None:
    people = population()
    assert people.codes(["i03", "i00"]).tolist() == [3, 0]
    assert people.value[people.codes(["i30"])] == pytest.approx(4.0)
    with pytest.raises(ValueInvalidError, match="neither the log nor the catalogue") as caught:
        people.codes(["i00", "cake"])
    assert caught.value.value == "cake"


def test_groups_that_the_catalogue_lacks_are_left_out() -> None:
    plain = Population.fit(events(), ITEMS.select("item_id"), SMALL)
    assert not any("affinity" in name for name in plain.history_features.names)
    assert "group (none known)" in " ".join(plain.assumptions())


def test_the_assumptions_name_the_numbers() -> None:
    config = replace(SMALL, position_decay=0.75, clicks_per_purchase=2.5, rate_weeks=9)
    people = population(config)
    text = " ".join(people.assumptions())
    for expected in (
        *("150 simulated people", "2024-05-20 00:00 UTC", "9 weeks", "j^-0.75", "2.5 times"),
        *(f"{people.purchase_model.visits:,} visits", "department, type", "creates no wish"),
    ):
        assert expected in text
    assert all(sentence.endswith(".") for sentence in population().assumptions())


def test_events_of_one_second_are_one_visit() -> None:
    time = datetime(2024, 1, 1, 12, tzinfo=UTC)
    table = pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "a", "b"],
            "item_id": ["x", "y", "x", "x", "y"],
            "time": [time, time + timedelta(milliseconds=5), time, time + timedelta(hours=1), time],
        }
    )
    found = visits_of(table, pl.Series(["a", "b"]), pl.Series(["x", "y"]))
    assert found.user.tolist() == [0, 0, 1]
    assert [part.tolist() for part in np.split(found.item, found.offsets[1:-1])] == [
        [0, 1],
        [0],
        [1],
    ]
    assert found.some(np.array([2, 0])).item.tolist() == [1, 0, 1]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"people": 0.0}, "above 0"),
        ({"people": 1.5}, "at most 1"),
        ({"rate_weeks": 0}, "rate_weeks"),
        ({"other_negatives": 0}, "other_negatives"),
        ({"position_decay": -1.0}, "position_decay"),
        ({"clicks_per_purchase": 0.5}, "clicks_per_purchase"),
        ({"zone": "Mars/Olympus"}, "time zone"),
        ({"start": datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1)))}, "UTC"),
    ],
)
def test_settings_that_are_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        replace(SMALL, **change)


def test_visits_lie_in_the_days_asked_for_and_come_in_order() -> None:
    people = population()
    at = int(START.timestamp())
    for days in (1, 0.5, 10):
        user, time = people.visits(days)
        assert len(user) == len(time)
        assert (np.diff(time) >= 0).all()
        assert ((time >= at) & (time < at + days * 86_400)).all()
        assert ((user >= 0) & (user < len(people.users))).all()


def test_each_chance_is_that_of_the_model_on_the_features() -> None:
    people = population()
    user, item = np.divmod(np.arange(80), 40)
    time = np.full(80, int(START.timestamp()))
    features = people.history_features.features(user, item, time, people.season)
    expected = 1 / (1 + np.exp(-features @ people.purchase_model.weights))
    found = people.chance(user, item, time)
    assert found == pytest.approx(expected)
    assert ((found > 0) & (found < 1)).all()
    assert len(people.chance(user[:0], item[:0], time[:0])) == 0


def test_answers_come_from_the_generator_alone() -> None:
    people = population(replace(SMALL, clicks_per_purchase=10.0))
    user = people.present
    slate = np.tile(np.arange(5), (len(user), 1))
    time = np.full(len(user), int(START.timestamp()))
    first, same, other = (
        people.respond(user, slate, time, np.random.default_rng(seed)) for seed in (0, 0, 1)
    )
    assert np.array_equal(first.clicked, same.clicked)
    assert np.array_equal(first.taken, same.taken)
    assert not np.array_equal(first.clicked, other.clicked)
    # To be asked changes nobody.
    assert np.array_equal(first.chance, other.chance)
    assert people.history_features.added == 0


def test_pairs_come_with_the_features_of_their_visits() -> None:
    people = population()
    at = int(START.timestamp())
    visits = Visits(
        np.array([0, 1]), np.array([at, at + 60]), np.array([3, 4, 3]), np.array([0, 2, 3])
    )
    config = replace(SMALL, past_negatives=2, other_negatives=5)
    history, rng = people.history_features, np.random.default_rng(0)
    pairs, features = pair_features(history, people.season, visits, rng, config)
    assert features.shape == (len(pairs.item), len(history.names))
    user, time = visits.user[pairs.visit], visits.time[pairs.visit]
    assert np.array_equal(features, history.features(user, pairs.item, time, people.season))
    taken = pairs.taken == 1
    of_visits = zip(pairs.visit[taken].tolist(), pairs.item[taken].tolist(), strict=True)
    assert sorted(of_visits) == [(0, 3), (0, 4), (1, 3)]


WEEK = 7 * 86_400
MONDAY = datetime(2024, 5, 6, tzinfo=UTC)
AT = int(MONDAY.timestamp())


def fitted(zone: str = "UTC", people: int = 300) -> tuple[Arrivals, np.ndarray]:
    """Ten weeks; half of the people come on Tuesday mornings, half on Saturday evenings."""
    rng = np.random.default_rng(0)
    rate = rng.gamma(3.0, 0.5, people)
    count = rng.poisson(rate * 10)
    user = np.repeat(np.arange(people), count)
    hour = np.where(user % 2, 24 + 9, 5 * 24 + 20)
    time = AT - WEEK * rng.integers(1, 11, len(user)) + hour * 3600 + rng.integers(0, 3600)
    found = fit_arrivals(user, time, people=people, until=AT, weeks=10, zone=zone)
    return found, count


def test_rates_keep_the_sum_and_are_drawn_together() -> None:
    found, count = fitted()
    assert found.rate.sum() == pytest.approx(count.sum() / 10)
    assert (found.rate > 0).all()
    plain = count / 10
    assert np.std(found.rate) < np.std(plain)
    order = np.argsort(plain, kind="stable")
    assert (np.diff(found.rate[order]) >= -1e-12).all()


@pytest.mark.parametrize("days", [7, 10, 21])
def test_visits_come_at_the_rate_and_in_time(days: int) -> None:
    found, _ = fitted()
    rng = np.random.default_rng(1)
    everybody = np.arange(300)
    user, time = found.draw(everybody, MONDAY, days, rng)
    assert (np.diff(time) >= 0).all()
    assert time.min() >= AT
    assert time.max() < AT + days * 86_400
    if days % 7 == 0:
        expected = found.rate.sum() * days / 7
        assert len(user) == pytest.approx(expected, abs=4 * np.sqrt(expected))


def test_days_and_hours_are_those_of_the_person() -> None:
    found, _ = fitted()
    user, time = found.draw(np.arange(300), MONDAY, 28, np.random.default_rng(2))
    hour = time // 3600 % 24
    own = np.where(user % 2, hour == 9, hour == 20)
    assert set(hour.tolist()) == {9, 20}
    # 15 visits a person, five of which count for everyone's hours: a quarter, half of them alike.
    assert 0.8 < own.mean() < 0.95
    weekday = (time - AT) // 86_400 % 7
    assert set(weekday[hour == 9].tolist()) == {1}
    assert set(weekday[hour == 20].tolist()) == {5}


def test_hours_are_local() -> None:
    zone = "America/New_York"
    rng = np.random.default_rng(0)
    winter = datetime(2024, 2, 5, 5, tzinfo=UTC)  # midnight in New York
    at = int(winter.timestamp())
    user = np.repeat(np.arange(20), 10)
    time = at - WEEK * rng.integers(1, 5, 200) + 18 * 3600
    found = fit_arrivals(user, time, people=20, until=at, weeks=4, zone=zone)
    summer = datetime(2024, 7, 1, 4, tzinfo=UTC)
    _, drawn = found.draw(np.arange(20), summer, 14, rng)
    local = pl.from_epoch(pl.Series(drawn), "s").dt.replace_time_zone("UTC")
    assert set(local.dt.convert_time_zone(zone).dt.hour().to_list()) == {18}


def test_only_the_people_asked_for_come() -> None:
    found, _ = fitted()
    user, _ = found.draw(np.array([3, 8]), MONDAY, 70, np.random.default_rng(0))
    assert set(user.tolist()) == {3, 8}


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


def cells(report: SimulationReport, title: str) -> dict[str, tuple[str, ...]]:
    """The rows of the table whose title begins so: their first cell and the others."""
    (table,) = (one for one in report.tables() if one.title.startswith(title))
    assert all(len(row) == len(table.header) for row in table.rows)
    return {row[0]: row[1:] for row in table.rows}


def test_a_test_that_has_not_decided_says_so_in_the_table() -> None:
    assert cells(REPORT, "How far")["the sequential test decided"] == ("after day 2",)
    open_ = replace(REPORT, verdict=replace(VERDICT, stopped=None))
    assert cells(open_, "How far")["the sequential test decided"] == ("not yet",)
    # Looks were made, so their rows stay.
    assert cells(open_, "How far").keys() == cells(REPORT, "How far").keys()
    without = replace(REPORT, verdict=replace(VERDICT, looks=()))
    assert len(cells(without, "How far")) == len(cells(REPORT, "How far")) - 2


def test_markdown_has_a_section_per_table_and_the_assumptions_last() -> None:
    lines = REPORT.to_markdown().splitlines()
    assert lines[0] == f"# {REPORT.title}"
    assert lines[2] == REPORT.summary
    titles = [line.removeprefix("## ") for line in lines if line.startswith("## ")]
    assert titles[:-1] == [table.title for table in REPORT.tables()]
    assert lines[-2:] == [f"- {sentence}" for sentence in REPORT.assumptions]


def test_numbers_that_json_does_not_know_are_refused() -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        replace(REPORT, seconds={"drive": math.inf}).to_json()


def test_a_second_report_takes_the_place_of_the_first(tmp_path: Path) -> None:
    bare = replace(REPORT, off_policy=None, verdict=replace(VERDICT, looks=()))
    for seed in (3, 4):
        write_report(tmp_path, replace(bare, seed=seed))
    assert json.loads((tmp_path / "report.json").read_text())["seed"] == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("report.html", "report.json", "report.md")
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


def test_other_people_are_told_apart() -> None:
    people = population()
    later = events().filter(pl.col("time") >= START)
    # Weeks in which half of the visits and of the items are missing.
    poor = later.filter(pl.col("request_id").hash(0) % 2 == 0, pl.col("event_id").hash(1) % 2 == 0)
    found = check_population(people, poor)
    assert found.visits.ratio > 1.6
    assert found.basket.ratio > 1.3


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
