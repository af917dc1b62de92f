"""SiLU and its slope over tiles equal torch's, over the whole range of scores."""

from __future__ import annotations

import numba
import numpy as np
import torch

from adwright.models.kernels.silu import slope, weigh


@numba.njit
def _weigh(s, bias, mask, alpha):  # type: ignore[no-untyped-def]
    weigh(s.ctypes.data, bias.ctypes.data, 1, mask.ctypes.data, 1, alpha, 0, len(s))
    return s, bias, mask


@numba.njit
def _slope(s, dp, d_bias, bias, mask, alpha):  # type: ignore[no-untyped-def]
    slope(
        s.ctypes.data, dp.ctypes.data, d_bias.ctypes.data, bias.ctypes.data, 1,
        mask.ctypes.data, 1, alpha, len(s),
    )  # fmt: skip
    return s, dp, d_bias, bias, mask


def test_weights_and_slopes_equal_those_of_torch() -> None:
    torch.manual_seed(0)
    s = torch.cat([torch.linspace(-30, 30, 4000), torch.tensor([-1e4, -200, -88, 0, 88, 200, 1e4])])
    s = torch.cat([s, torch.zeros(-len(s) % 16)])
    bias, dp = torch.randn(2, len(s))
    mask, alpha = (torch.rand(len(s)) > 0.2).float(), 0.5
    x = (alpha * s + bias).double().requires_grad_()
    weights = torch.nn.functional.silu(x) * mask
    (wanted,) = torch.autograd.grad((weights * dp).sum(), x)
    given = [one.numpy().copy() for one in (s, bias, mask)]
    ours = torch.from_numpy(_weigh(*given, np.float32(alpha))[0])
    torch.testing.assert_close(ours.double(), weights.detach(), rtol=1e-5, atol=1e-6)
    ones = np.ones(len(s), np.float32)
    given = [one.numpy().copy() for one in (s, dp)]
    ours, slopes, total, *_ = _slope(*given, ones, bias.numpy(), mask.numpy(), np.float32(alpha))
    torch.testing.assert_close(
        torch.from_numpy(ours).double(), weights.detach(), rtol=1e-5, atol=1e-6
    )
    torch.testing.assert_close(torch.from_numpy(slopes).double(), wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(total, slopes + 1, rtol=1e-6)
