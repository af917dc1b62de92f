import torch

from adwright.creative.faces.discriminator import Discriminator, group_deviation
from adwright.creative.faces.generator import GeneratorConfig


def test_the_deviation_of_a_group() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 3, 4, 4)
    found = group_deviation(x, 4)
    assert found.shape == (6, 4, 4, 4)
    # The nearest divisor is 3: groups are 0, 2, 4 and 1, 3, 5.
    for group in ((0, 2, 4), (1, 3, 5)):
        some = x[list(group)]
        literal = ((some - some.mean(0)) ** 2).mean(0).add(1e-8).sqrt().mean()
        for at in group:
            torch.testing.assert_close(found[at, 3], literal.expand(4, 4))
    assert torch.equal(found[:, :3], x)


@torch.no_grad()
def test_scores() -> None:
    torch.manual_seed(0)
    config = GeneratorConfig(side=16, wide=8, base=64, most=8)
    network = Discriminator(config)
    pictures = torch.randn(4, 3, 16, 16)
    assert network(pictures).shape == (4,)
    assert [tuple(one.shape) for one in network.features(pictures)] == [(4, 8, 8, 8), (4, 8, 4, 4)]
    assert not torch.equal(network(pictures), network(pictures.flip(3)))
    for at, alone in enumerate(network(pictures, group=1)):
        copies = pictures[at : at + 1].expand(4, -1, -1, -1)
        torch.testing.assert_close(network(copies)[0], alone, atol=1e-5, rtol=0)
