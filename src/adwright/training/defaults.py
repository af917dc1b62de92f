"""What a model and its training are by default: settings that follow from the data, with reasons.

Each room of training has a `defaults.py` with a function per model that counts what the data hold
and returns `Defaults`; the same function serves the command, the run file and Python.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Defaults", "near_power_of_two", "within"]

M = TypeVar("M")
F = TypeVar("F")


@dataclass(frozen=True)
class Defaults(Generic[M, F]):
    """model, fit: the configs. why: one sentence a decision, for a reader."""

    model: M
    fit: F
    why: tuple[str, ...]


def within(value: float, low: int, high: int) -> int:
    """`value` rounded up, and kept from `low` to `high`.

    >>> within(3.2, 1, 20), within(0, 1, 20), within(99, 1, 20)
    (4, 1, 20)
    """
    return int(min(max(-(-value // 1), low), high))


def near_power_of_two(value: float, low: int, high: int) -> int:
    """The least power of two that is not below `value`, kept from `low` to `high`.

    >>> near_power_of_two(130, 16, 512)
    256
    """
    power = 1
    while power < value:
        power *= 2
    return min(max(power, low), high)
