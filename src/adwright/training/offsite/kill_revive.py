"""Choose the modules that are trained: those that change; the others are killed for a while.

Gao & Zhang, "DLoRA: Distributed Parameter-Efficient Fine-Tuning Solution for Large Language
Model", 2024, arXiv 2404.05182 (another work than the serving system dLoRA of the same year). The
cloud holds the frozen base, the device the texts and the modules; each active module costs the
device computation and traffic in every step. Modules whose weights hardly change over recent steps
are killed, and revived later.

Formulas of our own: with theta_m the n_m weights of module m, every w steps

    c_m = ||theta_m(t) - theta_m(t - w)|| / sqrt(n_m)     for active modules
    K   = ceil(alive M)                                   active afterwards, of M
    R   = min(ceil(revived M), K - 1, number killed)      of them revived: those killed longest
    the K - R active modules with the largest c_m stay

In the first w steps all are active. So a module is killed for at most ceil(M / R) windows, and the
device decides by its own weights. A killed module is not removed: its weights go to the cloud once,
which computes it, frozen; the device resumes it with the same weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from adwright.core.errors import ConfigError

__all__ = ["KillRevive", "Lives"]


@dataclass(frozen=True)
class KillRevive:
    """The rule. window: w steps, 0 for modules that are always active. alive, revived: shares of
    all modules."""

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
    """Which of M modules, numbered from 0, are active."""

    def __init__(self, rule: KillRevive, modules: int) -> None:
        self.rule, self.modules = rule, modules
        self.alive = list(range(modules))
        #: The killed ones, and by which decision.
        self.killed: dict[int, int] = {}
        self._decisions = 0

    def is_due(self, step: int) -> bool:
        """Whether to decide after step `step` (from 0)."""
        return self.rule.window > 0 and (step + 1) % self.rule.window == 0

    def decide(self, change: Mapping[int, float]) -> tuple[list[int], list[int]]:
        """Decide by the change c_m of each active module; (killed, revived) now, each ascending."""
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
