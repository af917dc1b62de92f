from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from adwright.campaigns.simulation.ab_test import (
    SimulationRunConfig,
    arm_policy,
    open_world,
    policy_config,
    policy_text,
)
from adwright.campaigns.simulation.population import PopulationConfig
from adwright.core.config import from_jsonable, load_toml, to_jsonable
from adwright.core.errors import ConfigError
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, save_log
from adwright.delivery.policy.rules import (
    EpsilonGreedyConfig,
    GreedyConfig,
    PolicyConfig,
    SoftmaxConfig,
    ThompsonConfig,
)
from tests.support.store.small_world import ITEMS, SMALL, START, events

RUN = """log = "world"
retrain = false
[b]
kind = "epsilon_greedy"
epsilon = 0.3
[population]
start = "2024-05-20T00:00:00Z"
[simulation]
days = 3.0
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("log") / "world"
    save_log(folder, Log(events().lazy(), Catalogue.checked(ITEMS)))
    return folder


def test_a_run_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(RUN)
    found = load_toml(tmp_path / "run.toml", SimulationRunConfig)
    assert found.b == EpsilonGreedyConfig(epsilon=0.3)
    assert found.a == SoftmaxConfig(temperature=1.0)
    assert found.population.start == START
    assert (found.simulation.days, found.retrain, found.log) == (3.0, False, "world")
    assert from_jsonable(SimulationRunConfig, to_jsonable(found)) == found


def test_the_people_of_a_saved_log(log: Path) -> None:
    found = open_world(SimulationRunConfig(log=str(log), population=SMALL))
    assert len(found.people.users) == 150
    assert found.people.start == START
    assert found.events.height == events().height
    assert found.log.catalogue.items.height == 40


def test_eight_weeks_are_left_by_default(log: Path) -> None:
    config = replace(SMALL, start=None, season_weeks=6, fit_weeks=6)
    found = open_world(SimulationRunConfig(log=str(log), population=config))
    last = events()["time"].max()
    assert isinstance(last, datetime)
    assert timedelta(0) <= last - timedelta(weeks=8) - found.people.start < timedelta(seconds=1)
    assert found.people.start.tzinfo is UTC


def test_the_zone_of_complete_journey_is_known() -> None:
    assert SimulationRunConfig().log == "complete-journey"
    assert PopulationConfig().zone == "UTC"


@pytest.mark.parametrize(
    ("text", "config"),
    [
        ("greedy", GreedyConfig()),
        ("epsilon_greedy:0.25", EpsilonGreedyConfig(epsilon=0.25)),
        ("softmax:0.5", SoftmaxConfig(temperature=0.5)),
        ("thompson:20", ThompsonConfig(strength=20.0)),
    ],
)
def test_policies_as_text(text: str, config: PolicyConfig) -> None:
    assert policy_config(text) == config
    assert policy_text(config) == text


def test_the_number_of_a_policy_may_be_left_out() -> None:
    assert policy_config("epsilon_greedy") == EpsilonGreedyConfig()
    assert policy_config("softmax") == SoftmaxConfig()
    assert policy_config("thompson") == ThompsonConfig()


@pytest.mark.parametrize("text", ["", "best", "greedy:2", "softmax:warm", "softmax:0"])
def test_texts_that_are_no_policy(text: str) -> None:
    with pytest.raises(ConfigError):
        policy_config(text)


def test_the_policy_of_an_arm_begins_with_the_arm() -> None:
    a, b = (arm_policy(arm, policy_config("softmax:0.5")) for arm in ("A", "B"))
    assert (a.policy_id, b.policy_id) == ("A softmax:0.5", "B softmax:0.5")
