"""The configuration of a generator, from the shapes of its weights.

Our generator has min(base / side, most) channels at a side, as both public ones have; whatever
follows that rule can be read.
"""

from __future__ import annotations

from collections.abc import Mapping

from adwright.core.errors import ConfigError
from adwright.creative.faces.generator import GeneratorConfig, channels_at

__all__ = ["config_of", "require_filter", "require_square"]

_TAPS = (1.0, 3.0, 3.0, 1.0)


def config_of(channels: Mapping[int, int], wide: int, layers: int) -> GeneratorConfig:
    """channels: of each side from 4 on. wide: D, of z and w. layers: of the mapping.

    Raises ConfigError where the channels follow another rule.
    """
    side, most = max(channels), max(channels.values())
    fewer = [at for at, number in channels.items() if number < most]
    base = channels[max(fewer)] * max(fewer) if fewer else most * side
    if any(channels_at(at, base, most) != number for at, number in channels.items()):
        raise ConfigError(
            f"the channels {dict(channels)} are not min(base / side, most)",
            where="channels",
            hint="such a generator cannot be read",
        )
    return GeneratorConfig(side=side, wide=wide, layers=layers, base=max(base, side), most=most)


def require_square(rows: int, columns: int, name: str) -> None:
    """Raise ConfigError for a layer of the mapping that changes the width."""
    if rows != columns:
        raise ConfigError(
            f"a layer of the mapping makes {rows} numbers of {columns}",
            where=name,
            hint="generators with labels, or whose z and w differ in width, cannot be read",
        )


def require_filter(taps: list[list[float]], name: str) -> None:
    """Raise ConfigError for a filter of resolutions that is not [1, 3, 3, 1], up to its sum."""
    total = sum(map(sum, taps))
    literal = [[a * b / 64 for b in _TAPS] for a in _TAPS]
    same = len(taps) == len(_TAPS) and all(
        len(row) == len(_TAPS)
        and all(abs(x / total - y) < 1e-4 for x, y in zip(row, wanted, strict=True))
        for row, wanted in zip(taps, literal, strict=True)
    )
    if not same:
        raise ConfigError(
            "the resolutions are filtered by something else than [1, 3, 3, 1]",
            where=name,
            hint="such a generator cannot be read",
        )
