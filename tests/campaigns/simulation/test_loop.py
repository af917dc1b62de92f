from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import polars as pl

from adwright.campaigns.simulation.ab_test import VerdictConfig, asked_again
from adwright.campaigns.simulation.purchase_model import PersonalFrequency
from adwright.campaigns.simulation.report import Setting, SimulationReport, run_loop
from adwright.campaigns.simulation.run import SimulationConfig, Source, make_plan
from adwright.campaigns.store.store import Store
from adwright.delivery.policy.rules import SoftmaxConfig
from adwright.delivery.policy.slate_policy import SplitPolicy, build_policy
from tests.support.store.local_client import LocalClient
from tests.support.store.small_world import before, events, population

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
