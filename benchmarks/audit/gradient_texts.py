"""Write the strings on which the guard is measured: what gradient attacks of ours ended in.

    python -m benchmarks.audit.gradient_texts            9 strings, about six CPU-minutes

Each pushes one of the first three products of a released catalogue on SmolLM2-135M, by 25 tokens of
which four change in a step. The guard is fitted on none of them.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from dataclasses import replace
from pathlib import Path

from adwright.audit.attacks.attack import AttackBudget, AttackGoal, SpendingMeter, run_attack
from adwright.audit.attacks.gradient import GradientAttack, GradientConfig
from adwright.core.atomic import atomic_write_text
from benchmarks.audit._unseen_attacks import GRADIENT_TEXTS
from benchmarks.audit.pushed.lab import REQUESTS, VisibilityLab, shop

_CONFIG = GradientConfig(
    tokens=25, steps=12, candidates=16, swaps=4, orders="shuffled", order_count=1
)


def main() -> None:
    """Attack, and write the file."""
    lab, found = VisibilityLab(), []
    for name in REQUESTS:
        some = replace(shop(name), listings=shop(name).listings[:3])
        for row in range(3):
            goal, meter = AttackGoal(some, row), SpendingMeter(AttackBudget(10_000))
            attack = GradientAttack(
                goal,
                lab.reader(fluent=False),
                lab.tokens,
                meter,
                model=lab.loaded[2],
                config=_CONFIG,
                seed=row,
            )
            found.append(" ".join(run_attack(attack, meter, seed=row).text.split()))
    head = "# Ends of gradient attacks, a string a line, by benchmarks.audit.gradient_texts."
    atomic_write_text(Path(GRADIENT_TEXTS), "\n".join([head, *found, ""]))


if __name__ == "__main__":
    main()
