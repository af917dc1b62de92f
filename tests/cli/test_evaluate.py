"""adwright evaluate policy."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.campaigns.store.store import Store
from adwright.data.schema import Catalogue
from adwright.data.sources.log import Log, save_log
from adwright.delivery.policy.rules import EpsilonGreedyConfig
from adwright.delivery.popularity import save_popularity
from tests.delivery.policy.test_value import LOGGED, RATE, events_of
from tests.support.commands import call

SETTINGS = '[policy]\nkind = "softmax"\nscale = "score"\ntemperature = 1.0\n'


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log of slates, two of single places, a model, and settings beside and without it."""
    folder = tmp_path_factory.mktemp("evaluate")
    items = Catalogue.checked(pl.DataFrame({"item_id": list(RATE)}))
    uniform = EpsilonGreedyConfig(epsilon=1.0)
    for name, events in (
        ("log", events_of(LOGGED, 500)),
        ("single", events_of(LOGGED, 300, places=1)),
        ("other", events_of(uniform, 300, places=1, seed=1)),
    ):
        save_log(folder / name, Log(events.lazy(), items))
    weight = np.array([4.0, 3.0, 2.0, 1.0])
    save_popularity(folder / "models" / "acme" / "v1", list(RATE), weight)
    (folder / "models" / "acme" / "current").write_text("v1\n")
    for path in (folder / "new.toml", folder / "models" / "acme" / "serving.toml"):
        path.write_text(SETTINGS)
    return folder


@pytest.fixture(autouse=True)
def _inside(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)


def test_a_policy_is_named_in_four_ways_and_valued_alike() -> None:
    asked = ("--log", "log", "--also-seen", "--json")
    values = []
    for new in (
        ("new.toml", "--model", "models/acme/v1"),
        ("models/acme/serving.toml",),
        ("models/acme/v1",),
    ):
        text = call("--quiet", "evaluate", "policy", *new, *asked)
        found = json.loads(text[text.index("{") :])
        assert found["tells"]
        assert found["notes"][0].startswith("softmax-1.0 on models/acme/v1 (popularity)")
        values.append(found["value"])
    assert values[0] == values[1] == values[2]
    text = call("evaluate", "policy", "other", "--log", "single", "--out", "found.json")
    assert "The policy of other: the chances that it says, by position" in text
    assert "clicks a request in place of" in text
    assert "DR, weights cut at" in text
    assert json.loads(Path("found.json").read_text())["requests"] == 300


def test_of_a_store(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'store.db'}"
    with Store.open(url) as store:
        store.create_key("acme")
        store.record_events("acme", events_of(LOGGED, 300))
    text = call(
        *("evaluate", "policy", "models/acme/v1", "--log", url, "--tenant", "acme"),
        *("--also-seen", "--fewest", 10, "--confidence", 0.9),
    )
    assert "90% intervals" in text
    assert "300 of 600 places" in text


def test_what_cannot_be_told_is_said() -> None:
    text = call("evaluate", "policy", "other", "--log", "single", "--fewest", 1000)
    assert "this log cannot tell: only" in text
    assert "requests such as these would tell" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("new.toml", "--log", "log"), "a policy chooses among what a model offers"),
        (("models/acme/v1", "--log", "log", "--model", "other"), "two models are named"),
        (("models/acme/v1", "--log", "log"), "no impression that says with which chance"),
        (("other", "--log", "log"), "several places a request"),
        (("other", "--log", "single", "--response", "cart"), "nobody did this in the log: cart"),
        (("other", "--log", "sqlite:///none.db"), "a store holds the events of several tenants"),
        (("nothing", "--log", "log"), "nothing"),
    ],
)
def test_mistakes(words: tuple[str, ...], told: str) -> None:
    assert told in " ".join(call("evaluate", "policy", *words, code=2).split())
