"""Add a made-up attack of the audit, which only says the name again, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

ATTACK = '''"""An attack that says the name of its product again and again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from adwright.audit.attacks.attack import AttackGoal, AttackStep, RankFeedback


@dataclass
class ShoutingAttack:
    """Says it three times, once more a step."""

    goal: AttackGoal
    feedback: RankFeedback
    model: str
    tier: str = "T5"

    def steps(self, state: Mapping[str, Any] | None = None) -> Iterator[AttackStep]:
        """Begin, or go on."""
        for times in range((state or {"times": 0})["times"] + 1, 4):
            text = f" {self.goal.name.upper()}!" * times
            yield AttackStep(text, float(self.feedback.mean_ranks([text])[0]), {"times": times})


def by_shouting(job: Any) -> ShoutingAttack:
    """The attack of a job."""
    orders = [tuple(range(len(job.goal.catalogue)))]
    feedback = RankFeedback(job.target, job.goal, orders, job.meter)
    return ShoutingAttack(job.goal, feedback, job.target.name)
'''


def put_attack(copy: Copied) -> None:
    """Make the addition in `copy`."""
    copy.add("adwright/audit/attacks/shouting.py", ATTACK)
    copy.change(
        "adwright/audit/found_texts.py",
        (
            "from adwright.audit.attacks.search import ",
            "from adwright.audit.attacks.shouting import by_shouting\n"
            "from adwright.audit.attacks.search import ",
        ),
        (
            '    "T1": AttackKind({',
            '    "T5": AttackKind({"": by_shouting}, searches=True),\n    "T1": AttackKind({',
        ),
    )
