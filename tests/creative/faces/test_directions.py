from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ConfigError
from adwright.creative.faces.opened import (
    AllowedDirection,
    Directions,
    DirectionsFile,
    LockedDirection,
    named_directions,
    sefa,
)
from adwright.creative.faces.stylegan import Generator, GeneratorConfig
from benchmarks.creative.faces_training.measures import fitted_direction, random_directions
from tests.support.models.small_faces import CONFIG, DIRECTIONS, small_faces

SMALL = GeneratorConfig(side=16, wide=8, layers=2, base=64, most=8)


def planted() -> tuple[Generator, torch.Tensor]:
    """A generator whose styles at rows 1 and 2 read one direction more than any other."""
    torch.manual_seed(0)
    generator = Generator(SMALL)
    direction = torch.tensor([3.0, -4.0, 0, 0, 0, 0, 0, 0]) / 5
    with torch.no_grad():
        for row in (1, 2):
            weight = generator.convs[row].conv.affine.weight
            weight.mul_(0.1).add_(2 * torch.randn(len(weight), 1) * direction)
    return generator, direction


def test_the_planted_direction_is_found_first() -> None:
    generator, direction = planted()
    found = sefa(generator, 3, (1, 2))
    assert float((found.vectors[0] @ direction).abs()) > 0.99
    assert float(found.vectors[0].abs().max()) == float(found.vectors[0].max())
    torch.testing.assert_close(found.vectors @ found.vectors.T, torch.eye(3), atol=1e-5, rtol=0)


def test_directions_maximise_the_change_of_styles() -> None:
    generator, _ = planted()
    found = sefa(generator, 8)
    weights = [conv.conv.affine.weight.detach() for conv in generator.convs]
    literal = []
    for n in found.vectors:
        change = 0.0
        for weight in weights:
            for line in weight:
                change += float(line @ n / line.norm()) ** 2
        literal.append(change**0.5)
    assert literal == sorted(literal, reverse=True)
    random = torch.randn(200, 8)
    for n in random / random.norm(dim=1, keepdim=True):
        change = sum(float(((w @ n) / w.norm(dim=1)).square().sum()) for w in weights)
        assert change**0.5 <= literal[0] + 1e-4


@torch.no_grad()
def test_an_edit_of_a_row_changes_no_feature_below_its_resolution() -> None:
    generator, _ = planted()
    seen: dict[int, torch.Tensor] = {}
    for at, conv in enumerate(generator.convs):
        conv.register_forward_hook(lambda _m, _i, o, at=at: seen.__setitem__(at, o))
    plus = generator.rows_of(torch.randn(1, 8))
    generator.pictures(plus)
    before = dict(seen)
    found = sefa(generator, 1, (3, 4))
    generator.pictures(found.edited(plus, torch.ones(1, 1)))
    assert [torch.equal(seen[at], before[at]) for at in range(5)] == [True] * 3 + [False] * 2


def test_edits() -> None:
    plus = torch.zeros(2, 6, 8)
    found = Directions(torch.eye(8)[:2], (1, 3))
    moved = found.edited(plus, torch.tensor([[1.0, 0.0], [0.0, -2.0]]))
    assert moved[0, 1].tolist() == moved[0, 3].tolist() == [1.0, *[0.0] * 7]
    assert moved[1, 1].tolist() == [0.0, -2.0, *[0.0] * 6]
    assert not moved[:, [0, 2, 4, 5]].any()
    assert not plus.any()
    with pytest.raises(ConfigError, match="amounts"):
        found.edited(plus, torch.ones(2, 3))


def test_a_direction_that_is_fitted() -> None:
    torch.manual_seed(0)
    true = torch.randn(8)
    latents = torch.randn(2000, 8)
    found = fitted_direction(latents, latents @ true + 3, ridge=1e-6)
    torch.testing.assert_close(found, true / true.norm(), atol=1e-3, rtol=0)
    shrunk = fitted_direction(latents * torch.arange(1, 9), latents @ true, ridge=10.0)
    assert not torch.allclose(shrunk, found, atol=1e-2)
    with pytest.raises(ConfigError, match="same everywhere"):
        fitted_direction(latents, torch.ones(2000))


def test_random_directions() -> None:
    found = random_directions(8, 3, (2,), seed=1)
    torch.testing.assert_close(found.vectors.norm(dim=1), torch.ones(3))
    assert torch.equal(found.vectors, random_directions(8, 3, (2,), seed=1).vectors)
    assert not torch.equal(found.vectors, random_directions(8, 3, (2,), seed=2).vectors)


@pytest.mark.parametrize(("count", "rows"), [(0, None), (9, None), (1, (5,)), (1, ()), (1, (-1,))])
def test_what_is_no_choice(count: int, rows: tuple[int, ...] | None) -> None:
    with pytest.raises(ConfigError):
        sefa(planted()[0], count, rows)


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
