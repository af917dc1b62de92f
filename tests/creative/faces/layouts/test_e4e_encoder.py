import pytest
import torch

from adwright.core.errors import DataError
from adwright.creative.faces.layouts.e4e_encoder import E4E_MARKER, E4E_SIDE, e4e_encoder
from adwright.creative.faces.layouts.reading import Named
from benchmarks.creative._face_layouts import e4e_offsets, random_e4e


@torch.no_grad()
def test_rows_are_those_of_the_layout() -> None:
    state = random_e4e(4, 8, (2, 3, 4))
    assert E4E_MARKER in state
    encoder = e4e_encoder(Named(state))
    torch.manual_seed(0)
    pictures = torch.randn(2, 3, 64, 64)
    found, literal = encoder(pictures), e4e_offsets(state, pictures)
    assert found.shape == (2, 8, 32)
    torch.testing.assert_close(found, literal, atol=1e-4, rtol=1e-4)
    assert (literal[:, 1:] - literal[:, :1]).abs().amax((0, 2)).min() > 0.1
    assert E4E_SIDE == 256


def test_an_encoder_of_another_form() -> None:
    state = random_e4e(4, 8, (2, 3, 4))
    for name in ("input_layer.0.weight", "body.23.res_layer.5.fc1.weight"):
        with pytest.raises(DataError, match="lacks a tensor"):
            e4e_encoder(Named({n: v for n, v in state.items() if n != name}))
    with pytest.raises(DataError, match="another than"):
        e4e_encoder(Named({n: v for n, v in state.items() if n != "latlayer2.bias"}))
