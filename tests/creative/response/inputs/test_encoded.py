"""Arrays of ads, and what a linear rule reads of them."""

from __future__ import annotations

import torch

from adwright.creative.response.inputs.encoded import AdInputs

NAN = torch.nan
INPUTS = AdInputs(
    (torch.tensor([[1.0, 2.0], [NAN, NAN]]),),
    torch.tensor([[NAN], [3.0]]),
    torch.tensor([[2, 0], [1, 1]]),
    (torch.tensor([[0.5, 0.5], [0.0, 0.0]]),),
)


def test_what_is_missing_has_a_column_of_its_own() -> None:
    flat = INPUTS.flat((3, 2))
    assert flat.tolist() == [
        [1, 2, 0, 0, 1, 0, 0, 1, 1, 0, 0.5, 0.5],
        [0, 0, 1, 3, 0, 0, 1, 0, 0, 1, 0, 0],
    ]


def test_rows_are_taken_in_their_order() -> None:
    assert len(INPUTS) == 2
    turned = INPUTS.take(torch.tensor([1, 0]))
    torch.testing.assert_close(turned.flat((3, 2)), INPUTS.flat((3, 2))[[1, 0]])
    assert len(INPUTS.take(slice(0, 1))) == 1
