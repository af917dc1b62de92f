"""How sequences are put into groups of about equal length; the rest is in test_hstu_attention."""

from __future__ import annotations

import torch

from adwright.models.hstu_bucketed import GROUP_PAIRS, LEAST_STEP, length_groups


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
