from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ConfigError
from adwright.creative.faces.directions import sefa
from adwright.creative.faces.generator import Generator
from adwright.creative.faces.named_directions import (
    AllowedDirection,
    DirectionsFile,
    LockedDirection,
    named_directions,
)
from tests.support.models.small_faces import CONFIG, DIRECTIONS, small_faces


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(CONFIG)


def test_numbers_of_sefa_and_vectors_have_names(generator: Generator, tmp_path: Path) -> None:
    _, path = small_faces(tmp_path)
    found = named_directions(path, generator)
    assert found.names == ("smile", "turn")
    assert found.groups == ("expression", "pose")
    assert found.directions.rows == (1, 2)
    assert found.unknown == ("gender", "age", "ethnicity")
    torch.testing.assert_close(found.directions.vectors[1], sefa(generator, 2, (1, 2)).vectors[1])
    np.testing.assert_allclose(np.linalg.norm(found.vector("smile")), 1, atol=1e-6)
    assert found.locked["skin"].shape == (1, 8)
    with pytest.raises(ConfigError, match="no direction"):
        found.vector("age")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("sefa = 1", "sefa = 99", "directions"),
        ("rows = [1, 2]", "rows = [77]", "rows"),
        ('vector = "smile"', 'vector = "grin"', "no vector 'grin'"),
        ('vector = "smile"', 'vector = "smile"\nsefa = 2', "number of SeFa"),
        ('vectors = "vectors.safetensors"', 'vectors = "../v"', "elsewhere|read"),
        ('vectors = "vectors.safetensors"', 'vectors = "none"', "cannot be read"),
        ('name = "turn"', 'name = "smile"', "named twice"),
        ('group = "pose"', 'group = "gender"', "group|gender"),
    ],
)
def test_what_is_no_file_of_directions_is_refused(
    generator: Generator, tmp_path: Path, old: str, new: str, says: str
) -> None:
    _, path = small_faces(tmp_path)
    path.write_text(DIRECTIONS.replace(old, new), "utf-8")
    with pytest.raises(ConfigError, match=says):
        named_directions(path, generator)


def test_vectors_of_another_width_are_refused(generator: Generator, tmp_path: Path) -> None:
    _, path = small_faces(tmp_path)
    for wrong in (torch.ones(4), torch.zeros(8), torch.full((8,), float("nan"))):
        save_file({"smile": wrong, "skin": torch.ones(8)}, tmp_path / "vectors.safetensors")
        with pytest.raises(ConfigError, match="smile"):
            named_directions(path, generator)
    with pytest.raises(ConfigError):
        DirectionsFile(())
    with pytest.raises(ConfigError):
        AllowedDirection("smile", "expression", sefa=-1)
    with pytest.raises(ConfigError):
        LockedDirection("skin")
