from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch

from adwright.audit.attacks.gradient_reading import faster_dtype


def clock(*seconds: float) -> Callable[[], float]:
    """Tells these seconds of product after product."""

    def ticks() -> Iterator[float]:
        now = 0.0
        for one in seconds:
            yield now
            now += one
            yield now

    told = ticks()
    return lambda: next(told)


@pytest.mark.parametrize(
    ("single", "half", "expected"),
    [(1.0, 0.3, torch.bfloat16), (1.0, 0.9, torch.float32), (1.0, 3.0, torch.float32)],
)
def test_the_faster_type_is_taken(single: float, half: float, expected: torch.dtype) -> None:
    assert faster_dtype(clock(*[single] * 3, *[half] * 3)) == expected


def test_one_slow_product_does_not_decide() -> None:
    assert faster_dtype(clock(9.0, 1.0, 9.0, 0.4, 9.0, 9.0)) == torch.bfloat16


def test_this_processor_has_an_answer() -> None:
    assert faster_dtype() in (torch.float32, torch.bfloat16)
