"""Which tuned modules live: those that move are trained, the others are killed for a while.

Gao & Zhang, "DLoRA: Distributed Parameter-Efficient Fine-Tuning Solution for Large Language
Model", 2024, arXiv 2404.05182 (another work than the serving system dLoRA of the same year). The
cloud holds the frozen base, the device the texts and the modules; each living module costs the
device computation and traffic in every step. Modules whose numbers hardly change over recent steps
are killed, and revived later.

Ours, where we state formulas of our own: with theta_m the n_m numbers of module m, every w steps

    c_m = ||theta_m(t) - theta_m(t - w)|| / sqrt(n_m)     for those that live
    K   = ceil(alive M)                                   live afterwards, of M
    R   = min(ceil(revived M), K - 1, number killed)      of them revived: those killed longest
    the K - R with the largest c_m of those that live stay alive

In the first w steps all live. So a module is dead for at most ceil(M / R) windows, and a decision
needs nothing but numbers that the device has. A killed module is not taken out: its numbers go to
the cloud once, which computes it, frozen; the device takes it up with the same numbers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from adwright.core.errors import ConfigError

__all__ = ["KillRevive", "Lives"]


@dataclass(frozen=True)
class KillRevive:
    """window: w, 0 for modules that all live all the time. alive, revived: shares of all."""

    window: int = 8
    alive: float = 0.25
    revived: float = 0.05

    def __post_init__(self) -> None:
        if self.window < 0 or not 0 < self.alive <= 1 or not 0 <= self.revived <= 1:
            raise ConfigError(
                "window is not negative, alive a share above 0, revived a share",
                where=f"window {self.window}, alive {self.alive}, revived {self.revived}",
            )


class Lives:
    """Who lives. modules: M, numbered from 0."""

    def __init__(self, rule: KillRevive, modules: int) -> None:
        self.rule, self.modules = rule, modules
        self.alive = list(range(modules))
        #: When each was killed, in decisions, for those that are dead.
        self.killed: dict[int, int] = {}
        self._decisions = 0

    def is_due(self, step: int) -> bool:
        """Whether to decide after step `step`, counted from 0."""
        return self.rule.window > 0 and (step + 1) % self.rule.window == 0

    def decide(self, change: Mapping[int, float]) -> tuple[list[int], list[int]]:
        """Numbers of those that are killed and that are revived now, each in rising order.

        change: c_m of all that live.
        """
        self._decisions += 1
        room = max(1, math.ceil(self.rule.alive * self.modules))
        turns = min(math.ceil(self.rule.revived * self.modules), room - 1, len(self.killed))
        longest = sorted(self.killed, key=lambda number: (self.killed[number], number))
        revived = sorted(longest[:turns])
        by_change = sorted(self.alive, key=lambda number: (-change[number], number))
        stay, go = by_change[: room - turns], sorted(by_change[room - turns :])
        for number in revived:
            del self.killed[number]
        self.killed |= dict.fromkeys(go, self._decisions)
        self.alive = sorted([*stay, *revived])
        return go, revived
