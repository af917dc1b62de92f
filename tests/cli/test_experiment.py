"""adwright experiment, and the gate of adwright publish."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.clock import FixedClock
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, save_log
from adwright.delivery.experiments import ExperimentPlan
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.experiments import running_experiment, start_experiment
from adwright.service.registry.publishing import load_settings
from adwright.service.registry.registry import publish
from tests.delivery.policy.test_value import LOGGED, RATE, events_of
from tests.delivery.test_experiments import START, log, running
from tests.support.commands import call

EXPERIMENT = """
[experiment]
name = "trial"
salt = "s"
[[experiment.arms]]
name = "old"
share = 0.5
[[experiment.arms]]
name = "new"
share = 0.5
model = "v2"
[experiment.canary]
arm = "new"
users = 100
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two versions of a tenant, an experiment that was not started, and a log of four weeks."""
    monkeypatch.chdir(tmp_path)
    for name, sign in (("v1", 1.0), ("v2", -1.0)):
        weight = sign * np.array([4.0, 3.0, 2.0, 1.0])
        save_popularity(tmp_path / "models" / "acme" / name, list(RATE), weight)
    publish("models", "acme", "v1")
    (tmp_path / "models" / "acme" / "serving.toml").write_text(EXPERIMENT)
    return tmp_path


def save(folder: Path, events: pl.DataFrame) -> None:
    items = Catalogue.checked(events.select(pl.col("item_id").unique().sort()))
    save_log(folder, Log(events.lazy(), items))


def words(text: str) -> str:
    return " ".join(text.split())


ASKED = ("--tenant", "acme", "--log", "log")


def test_from_the_start_to_the_end(here: Path) -> None:
    save(here / "log", log(running(), users=200).filter(pl.col("time") < START))
    text = call("experiment", "start", *ASKED, "--effect", 0.5, "--dry-run")
    assert "+50.0% shows after" in text
    assert "Would start trial for acme" in text
    assert running_experiment(here / "models" / "acme") is None
    assert "trial runs for acme: old, new" in call("experiment", "start", *ASKED, "--effect", 0.5)
    found = running_experiment(here / "models" / "acme")
    assert found is not None
    assert found.plan.clock > 0
    assert "runs since" in call("experiment", "start", *ASKED, code=2)
    assert "too few users" in words(call("experiment", "read", *ASKED, code=2))
    assert "taken back" in call("experiment", "back", "new", "--tenant", "acme")
    assert "trial has ended" in call("experiment", "stop", "--tenant", "acme")
    assert "no experiment runs" in call("experiment", "stop", "--tenant", "acme", code=2)
    (here / "models" / "acme" / "serving.toml").write_text("")
    assert "no experiment to start" in call("experiment", "start", *ASKED, code=2)


def started(here: Path) -> None:
    settings = load_settings(here / "models" / "acme" / "v1").experiment
    assert settings is not None
    start_experiment(
        here / "models" / "acme", settings, ExperimentPlan(clock=300.0), clock=FixedClock(START)
    )


def test_a_reading_in_text_and_json(here: Path) -> None:
    started(here)
    save(here / "log", log(running(), users=400, lift=0.8))
    text = call("experiment", "read", *ASKED, "--segment", "page", "--out", "found.json")
    for said in ("trial, ", "new: +", "sample ratio", "guardrails of new", "new by segment"):
        assert said in text
    found = json.loads(Path("found.json").read_text())
    assert found["arms"][0]["lift"]["low"] > 0
    text = call("--quiet", "experiment", "read", *ASKED, "--json")
    assert json.loads(text)["arms"][0]["users"] == found["arms"][0]["users"]


def test_a_canary_is_taken_back(here: Path) -> None:
    started(here)
    save(here / "log", log(running(), users=400, lift=-0.8))
    assert "The canary fails: new: -" in call("experiment", "read", *ASKED)
    found = running_experiment(here / "models" / "acme")
    assert found is not None
    assert not found.back
    assert "new was taken back" in call("experiment", "read", *ASKED, "--enforce")
    found = running_experiment(here / "models" / "acme")
    assert found is not None
    assert found.back == {"new"}


class TestGate:
    """publish --no-worse-on."""

    ASKED = ("--tenant", "acme", "--no-worse-on", "log")

    @pytest.fixture(autouse=True)
    def _log(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """A log of what was shown later than the models were made, at random."""
        late = datetime.now(UTC) + timedelta(days=1) - datetime(2024, 3, 1, tzinfo=UTC)
        save(here / "log", events_of(LOGGED, 500).with_columns(pl.col("time") + late))
        (here / "models" / "acme" / "serving.toml").write_text(
            '[policy]\nkind = "softmax"\nscale = "score"\n'
        )

    def test_what_earns_less_does_not_decide(self, here: Path) -> None:
        save_popularity(here / "worse", list(RATE), np.array([0.0, 1.0, 0.0, 2.0]))
        text = call("publish", "worse", *self.ASKED, code=1)
        assert "the new model earns less than what the log did" in text
        assert "Not published" in text
        assert (here / "models" / "acme" / "current").read_text() == "v1\n"
        assert not (here / "models" / "acme" / "v3").exists()
        text = call("publish", "worse", *self.ASKED, "--anyway", "a trial")
        assert "v3 decides for acme" in text
        assert "anyway, as a trial" in (here / "models" / "acme" / "published.jsonl").read_text()

    def test_what_earns_more_does(self, here: Path) -> None:
        save_popularity(here / "better", list(RATE), np.array([3.0, 0.0, 2.0, 0.0]))
        assert "v3 decides for acme" in call("publish", "better", *self.ASKED)
        told = (here / "models" / "acme" / "published.jsonl").read_text()
        assert "the new model is better than" in told

    def test_what_cannot_be_told_does_not(self, here: Path) -> None:
        (here / "models" / "acme" / "serving.toml").write_text(
            '[policy]\nkind = "softmax"\nscale = "score"\ntemperature = 0.05\n'
        )
        assert "cannot tell" in call("publish", "models/acme/v2", "--no-worse-on", "log", code=1)
        assert (here / "models" / "acme" / "current").read_text() == "v1\n"
        assert "nothing is asked" in call("publish", "models/acme/v2", "--anyway", "x", code=2)
