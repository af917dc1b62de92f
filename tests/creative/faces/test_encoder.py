from __future__ import annotations

import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.stylegan import Discriminator, FaceEncoder, Generator, GeneratorConfig
from benchmarks.creative.faces_training.encoder_fit import (
    LatentDiscriminator,
    delta_size,
    unlocked_rows,
)
from benchmarks.creative.faces_training.keeping import pixel_error, refine

SMALL = GeneratorConfig(side=32, wide=8, layers=1, base=256, most=8)


@torch.no_grad()
def test_rows_are_a_latent_and_offsets() -> None:
    torch.manual_seed(0)
    encoder = FaceEncoder(SMALL, width=8).eval()
    pictures, mean = torch.randn(3, 3, 32, 32), torch.randn(8)
    plus = encoder(pictures, mean=mean)
    assert plus.shape == (3, SMALL.rows, 8)
    some = encoder(pictures, mean=mean, unlocked=2)
    torch.testing.assert_close(some[:, :3], plus[:, :3])
    assert torch.equal(some[:, 3:], some[:, :1].expand(-1, SMALL.rows - 3, -1))
    none = encoder(pictures, mean=mean, unlocked=0)
    assert float(delta_size(none)) < 1e-4 < float(delta_size(plus))
    torch.testing.assert_close(encoder(pictures, mean=mean + 1), plus + 1)
    torch.testing.assert_close(encoder(pictures[1:2], mean=mean)[0], plus[1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_small_pictures_have_a_smaller_pyramid() -> None:
    small = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)
    encoder = FaceEncoder(small, width=8).eval()
    assert encoder.sides == [4, 4, 4, 8, 8, 8]
    assert encoder(torch.randn(2, 3, 16, 16), mean=torch.zeros(8)).shape == (2, 6, 8)


def test_the_size_of_offsets_is_the_literal_sum() -> None:
    torch.manual_seed(0)
    plus = torch.randn(4, 5, 8)
    literal = sum(
        sum(float((plus[b, row] - plus[b, 0]).norm()) for b in range(4)) / 4 for row in range(1, 5)
    )
    assert float(delta_size(plus)) == pytest.approx(literal, rel=1e-5)


def test_rows_are_let_in_one_by_one() -> None:
    found = [unlocked_rows(step, 20, 5, 4) for step in (0, 19, 20, 24, 25, 30, 1000)]
    assert found == [0, 0, 1, 1, 2, 3, 3]


@torch.no_grad()
def test_the_latent_discriminator_answers_each_row() -> None:
    torch.manual_seed(0)
    network, plus = LatentDiscriminator(8), torch.randn(3, 5, 8)
    said = network(plus)
    assert said.shape == (3, 5)
    torch.testing.assert_close(said[1, 2], network(plus[1, 2]))


def test_pictures_that_are_too_small() -> None:
    with pytest.raises(ConfigError, match="below 16"):
        FaceEncoder(GeneratorConfig(side=8, wide=8, layers=1, base=64, most=8))


SMALL_REFINE = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(SMALL_REFINE).requires_grad_(False)


def test_refinement_comes_nearer(generator: Generator) -> None:
    torch.manual_seed(1)
    true = generator.rows_of(generator.latents(torch.randn(3, 8)))
    pictures = generator.pictures(true)
    start = true + 0.3 * torch.randn_like(true)
    found = refine(generator, pictures, start, steps=30, rate=0.05, stay=0.0)
    torch.testing.assert_close(found.before, pixel_error(generator.pictures(start), pictures))
    torch.testing.assert_close(found.after, pixel_error(generator.pictures(found.plus), pictures))
    assert bool((found.after < 0.6 * found.before).all())
    none = refine(generator, pictures, start, steps=0)
    assert torch.equal(none.plus, start)
    assert torch.equal(none.before, none.after)
    near = refine(generator, pictures, start, steps=30, rate=0.05, stay=10.0)
    assert (near.plus - start).norm() < (found.plus - start).norm()
    # One picture does not change what another becomes.
    alone = refine(generator, pictures[1:2], start[1:2], steps=30, rate=0.05, stay=0.0)
    torch.testing.assert_close(alone.plus[0], found.plus[1], atol=1e-3, rtol=1e-3)


def test_features_of_the_discriminator_take_part(generator: Generator) -> None:
    torch.manual_seed(1)
    pictures, start = torch.randn(2, 3, 16, 16), torch.randn(2, SMALL_REFINE.rows, 8)
    judge = Discriminator(SMALL_REFINE).requires_grad_(False)
    plain = refine(generator, pictures, start, steps=3)
    felt = refine(generator, pictures, start, steps=3, discriminator=judge)
    more = refine(generator, pictures, start, steps=3, discriminator=judge, features=4.0)
    assert not torch.equal(plain.plus, felt.plus)
    assert not torch.equal(more.plus, felt.plus)
    for wrong in ({"steps": -1}, {"rate": 0.0}):
        with pytest.raises(ConfigError, match="steps at rate"):
            refine(generator, pictures, start, **wrong)
