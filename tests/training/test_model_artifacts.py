from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from torch import nn

from adwright.core.artifacts import Artifact, load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ConfigError
from adwright.training.model_artifacts import (
    load_trained,
    load_weights,
    parquet_bytes,
    read_catalogue,
    saved_report,
    weights_of,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = pl.DataFrame({"item_id": ["a", "b"]})
    save_artifact(
        tmp_path / "one",
        kind="thing",
        config={},
        tensors=weights_of(nn.Linear(2, 3), "model.") | {"count": np.arange(3)},
        files={"items.parquet": parquet_bytes(table)},
    )
    return tmp_path / "one"


def test_weights_come_back_and_others_are_left_alone(folder: Path) -> None:
    artifact = load_artifact(folder)
    model = nn.Linear(2, 3)
    load_weights(model, artifact.tensors, "model.")
    assert set(artifact.tensors) == {"model.weight", "model.bias", "count"}
    assert np.array_equal(model.weight.detach().numpy(), artifact.tensors["model.weight"])
    assert read_catalogue(artifact)["item_id"].to_list() == ["a", "b"]
    assert saved_report(artifact) is None


def test_building_leaves_the_random_numbers_alone(folder: Path) -> None:
    state = torch.get_rng_state()
    assert load_trained(folder, lambda _: torch.rand(3), kind="thing", name="thing").shape == (3,)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("error", [KeyError("x"), ConfigError("no"), RuntimeError("size")])
def test_what_another_version_wrote_is_told(folder: Path, error: Exception) -> None:
    def build(_: Artifact) -> None:
        raise error

    with pytest.raises(ArtifactError, match="the thing does not fit this version") as raised:
        load_trained(folder, build, kind="thing", name="thing")
    assert raised.value.where == str(folder)
    with pytest.raises(ArtifactError):
        load_trained(folder, build, kind="other", name="thing")


def test_an_error_of_the_artifact_keeps_its_kind_and_says_where(folder: Path) -> None:
    def build(_: Artifact) -> None:
        raise ArtifactCorruptError("broken")

    with pytest.raises(ArtifactCorruptError, match="broken") as raised:
        load_trained(folder, build, kind="thing", name="thing")
    assert raised.value.where == str(folder)


def test_bugs_are_no_misfits(folder: Path) -> None:
    def build(_: Artifact) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        load_trained(folder, build, kind="thing", name="thing")
