import pytest
import torch

from adwright.core.errors import ConfigError
from adwright.creative.faces.inversion.latent_pool import LatentPool


def test_a_pool_fills_up_before_it_exchanges() -> None:
    torch.manual_seed(0)
    pool = LatentPool(4, 3)
    first = torch.randn(4, 3)
    assert torch.equal(pool.exchanged(first), first)
    assert torch.equal(pool.kept, first)
    later = torch.randn(200, 3)
    shown = pool.exchanged(later)
    known = {tuple(row.tolist()) for row in torch.cat([first, later])}
    assert all(tuple(row.tolist()) in known for row in (*shown, *pool.kept))
    old = (shown != later).any(1).float().mean()
    assert 0.35 < float(old) < 0.65
    assert int(pool.count) == 4


def test_of_rows_one_is_drawn() -> None:
    torch.manual_seed(0)
    pool, plus = LatentPool(64, 2), torch.arange(64.0 * 5 * 2).view(64, 5, 2)
    shown = pool.exchanged(plus.requires_grad_())
    assert not shown.requires_grad
    rows = (shown[:, 0] / 2).long() % 5
    assert set(rows.tolist()) == set(range(5))
    assert torch.equal(shown, plus[torch.arange(64), rows])


def test_its_content_is_saved() -> None:
    torch.manual_seed(0)
    pool, other = LatentPool(4, 3), LatentPool(4, 3)
    pool.exchanged(torch.randn(3, 3))
    other.load_state_dict(pool.state_dict())
    assert int(other.count) == 3
    assert torch.equal(other.kept, pool.kept)
    with pytest.raises(ConfigError, match="size"):
        LatentPool(0, 3)
