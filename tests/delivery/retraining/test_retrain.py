from __future__ import annotations

import json
from pathlib import Path

import pytest

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ConfigError, ResourceError
from adwright.delivery.popularity import save_popularity
from adwright.delivery.retraining.retrain import RETRAINABLE, retrain
from tests.support.delivery.cascade_parts import deployment
from tests.support.delivery.joined import world
from tests.support.store.small_world import ITEMS


def test_what_the_run_asked_for_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    joined = world(tmp_path)
    ids = ITEMS["item_id"].to_list()
    save_popularity(tmp_path / "a" / "model", ids, ITEMS["item_id"].rank().to_numpy())
    retrain(tmp_path / "a", joined, tmp_path / "b")
    assert "the defaults are taken" in caplog.text
    caplog.clear()
    (tmp_path / "a" / "config.json").write_text(json.dumps({"half_life": 2}))
    found = retrain(tmp_path / "a" / "model", joined, tmp_path / "c")
    assert not caplog.records
    assert load_artifact(found.model).id != load_artifact(tmp_path / "b" / "model").id
    with pytest.raises(ResourceError, match="already holds"):
        retrain(tmp_path / "a", joined, tmp_path / "c")


def test_other_kinds_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    joined = world(tmp_path)
    save_artifact(tmp_path / "x" / "model", kind="survival", config={})
    with pytest.raises(ConfigError, match="'survival' cannot be trained again") as error:
        retrain(tmp_path / "x", joined, tmp_path / "b")
    assert all(kind in error.value.hint for kind in RETRAINABLE)
    deployment().save(tmp_path / "a" / "deployment")
    with pytest.raises(ConfigError, match="three fixed stages cannot") as fixed:
        retrain(tmp_path / "a", joined, tmp_path / "b")
    assert "adwright train cascade" in fixed.value.hint
    assert not (tmp_path / "b").exists()
