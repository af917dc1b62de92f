from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.errors import ResourceError
from adwright.data.sources.log import open_log
from adwright.delivery.retraining import retrain as again
from adwright.delivery.retraining.retrain import retrain
from adwright.delivery.served import ServedModel
from adwright.models.sequential.sasrec import SASRecConfig
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.fit import SequentialConfig
from adwright.training.sequential.run import run_sequence
from adwright.training.sequential.runfile import SequenceDataConfig, SequenceRun
from tests.support.delivery.joined import compared, world

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
