from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.data.tasks.own.next_item import open_next_item
from adwright.delivery.funnel.build import FunnelConfig, build_funnel
from adwright.delivery.funnel.funnel import Funnel
from adwright.delivery.retraining.retrain import retrain
from adwright.training.retrieval.artifact import RetrieverArtifact
from adwright.training.retrieval.run import RetrieverKind, RetrieverRun, run_retriever
from tests.support.delivery.joined import compared, world


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
