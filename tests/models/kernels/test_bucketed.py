"""Groups of sequences of about equal length, and what torch compiles of them; the rest is in
test_hstu_attention."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor

from adwright.models.kernels.silu import (
    GROUP_PAIRS,
    LEAST_STEP,
    by_group,
    length_groups,
    missing_to_compile,
)
from adwright.models.kernels.silu_attention import AttentionSpec, silu_attention
from tests.models.kernels.test_silu_attention import inputs, with_gradients


def test_groups_hold_every_sequence_once_and_pad_little() -> None:
    lengths = torch.cat([torch.arange(0, 300), torch.tensor([3000, 3001, 8192])])
    groups = length_groups(lengths)
    rows = torch.cat([part for _, part in groups])
    assert rows.sort().values.tolist() == lengths.nonzero()[:, 0].tolist()
    for length, part in groups:
        assert int(lengths[part].max()) <= length
        least = int(lengths[part].min())
        assert length <= least + max(LEAST_STEP - 1, least // 8)
        assert len(part) == 1 or len(part) * length**2 <= GROUP_PAIRS


def test_no_sequence_is_no_group() -> None:
    assert length_groups(torch.zeros(3, dtype=torch.int64)) == []


@pytest.mark.skipif(bool(missing_to_compile()), reason=f"needs {missing_to_compile()}")
# The compiler warns of its own ways.
@pytest.mark.filterwarnings("ignore")
def test_what_torch_compiles_equals_the_reference_with_gradients() -> None:
    """Two groups of different lengths and sizes: one compilation for both."""
    lengths = torch.tensor([5, 7, 12, 6, 9])
    spec = AttentionSpec(torch.tensor([0, 2, 1, 0, 2]), torch.tensor([1, 0, 3, 0, 2]), 6, 3)
    arguments = inputs(lengths, dtype=torch.float32)
    ours = with_gradients(arguments, "compiled", spec)
    theirs = with_gradients(arguments, "reference", spec)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5)


def test_without_a_compiler_it_warns_and_computes_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    arguments = inputs(dtype=torch.float32)
    with pytest.warns(UserWarning, match=r"needs a C\+\+ compiler \(no-such-compiler\)"):
        ours = silu_attention(**arguments, kernel="compiled")
    assert torch.equal(ours, silu_attention(**arguments, kernel="bucketed"))


def test_without_headers_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "true")
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    assert "Python.h" in missing_to_compile()


def test_groups_come_back_in_the_order_of_the_tokens() -> None:
    """Sums before each token, of which the padding must be none."""
    lengths = torch.tensor([3, 0, 40, 9, 1, 17])
    offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
    x = torch.randn(int(offsets[-1]), 2, 4, dtype=torch.float64).requires_grad_()
    rows_seen: list[int] = []

    def attend(operands: list[Tensor], index: Tensor, rows: Tensor) -> Tensor:
        rows_seen.extend(rows.tolist())
        (mine,) = operands
        for g, head, place in product(range(len(index)), range(2), range(index.shape[1])):
            at = int(index[g, place])
            expected = x[at, head] if at < len(x) else torch.zeros(4, dtype=x.dtype)
            assert torch.equal(mine[g, head, place], expected)
        return mine.cumsum(2)

    def summed(operands: list[Tensor], *_: Tensor) -> Tensor:
        return operands[0].cumsum(2)

    found = by_group([x], offsets[:-1], lengths, attend)
    assert sorted(rows_seen) == [0, 2, 3, 4, 5]
    for start, end in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        torch.testing.assert_close(found[start:end], x[start:end].cumsum(0))
    torch.autograd.gradcheck(lambda x: by_group([x], offsets[:-1], lengths, summed), x)
    torch.autograd.gradgradcheck(lambda x: by_group([x**2], offsets[:-1], lengths, summed), x)


def test_no_token_at_all_still_has_a_gradient_for_everything() -> None:
    arguments = inputs(torch.tensor([0, 0]))
    out, *gradients = with_gradients(arguments, "bucketed", AttentionSpec())
    assert out.shape == (0, *arguments["v"].shape[1:])
    assert all(not one.any() for one in gradients)


def test_a_group_of_one_long_sequence_is_allowed() -> None:
    ((length, rows),) = length_groups(torch.tensor([GROUP_PAIRS]))
    assert (length, rows.tolist()) == (GROUP_PAIRS, [0])
