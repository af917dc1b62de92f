import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.discriminator import Discriminator
from adwright.creative.faces.generator import Generator, GeneratorConfig
from adwright.creative.faces.inversion.encoder_losses import pixel_error
from adwright.creative.faces.inversion.refine import refine

SMALL = GeneratorConfig(side=16, wide=8, layers=1, base=64, most=8)


@pytest.fixture(scope="module")
def generator() -> Generator:
    torch.manual_seed(0)
    return Generator(SMALL).requires_grad_(False)


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
    pictures, start = torch.randn(2, 3, 16, 16), torch.randn(2, SMALL.rows, 8)
    judge = Discriminator(SMALL).requires_grad_(False)
    plain = refine(generator, pictures, start, steps=3)
    felt = refine(generator, pictures, start, steps=3, discriminator=judge)
    more = refine(generator, pictures, start, steps=3, discriminator=judge, features=4.0)
    assert not torch.equal(plain.plus, felt.plus)
    assert not torch.equal(more.plus, felt.plus)
    for wrong in ({"steps": -1}, {"rate": 0.0}):
        with pytest.raises(ConfigError, match="steps at rate"):
            refine(generator, pictures, start, **wrong)
