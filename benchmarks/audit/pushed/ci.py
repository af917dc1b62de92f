"""An audit as continuous integration runs it: every tier on a small part of a catalogue.

Four coffee machines compete, two are pushed. Attacks that search have a few steps, as a check that
they work; a gate judges both reports, of the ranker as it is and behind its defences with the
settings of `--defend` but for the guard, for which four products have too few texts.
"""

from __future__ import annotations

import time
from typing import Any

from adwright.audit.attacks.attack import AttackTier
from adwright.audit.defences.stack import DefenceStack, StackConfig
from adwright.audit.found_texts import AttackPlan, ModelWeights, choosing_orders, find_texts
from adwright.audit.report.audit_report import AuditRunConfig, GateBounds, run_audit
from adwright.lm.engine.weights import SMOLLM2
from benchmarks.audit.pushed.defences import HALF
from benchmarks.audit.pushed.lab import VisibilityLab, shop

_COMPETE, _PUSHED = 4, 2
_OPEN: tuple[AttackTier, ...] = ("T0", "T1", "T2", "T3", "control")


def ci_audit(*, calls: int = 24, orders: int = 2) -> dict[str, Any]:
    """Minutes, the tiers that were run, and both verdicts. calls: of each attack that searches.
    orders: that texts are scored in. Loading the model is in the minutes."""
    lab = VisibilityLab()
    wall, cpu = time.monotonic(), time.process_time()
    few = shop("coffee_machines").only(range(_COMPETE))
    network, tokens, _ = lab.loaded
    weights = ModelWeights(network, tokens, SMOLLM2)
    target, behind = (
        lab.searched,
        DefenceStack(StackConfig(guard=False, eps=HALF)).target(lab.searched),
    )
    config, gate = AuditRunConfig(orders=orders), GateBounds(20)
    pushed = few.names[:_PUSHED]
    plan = AttackPlan(_OPEN, pushed, calls=calls, orders=orders)
    adaptive = AttackPlan(("T4",), pushed, calls=calls, orders=1)
    avoid = {*choosing_orders(plan, _COMPETE), *choosing_orders(adaptive, _COMPETE)}
    texts = find_texts(few, target, plan, weights=weights)
    plain = run_audit(few, target, texts, config, bounds=gate, avoid=tuple(avoid))
    texts += find_texts(few, behind, adaptive, weights=weights)
    defended = run_audit(few, behind, texts, config, bounds=gate, avoid=tuple(avoid))
    tiers = {one.tier for one in (*plain.report.tiers, *defended.report.tiers) if not one.control}
    return {
        "minutes_cpu": (time.process_time() - cpu) / 60,
        "minutes_wall": (time.monotonic() - wall) / 60,
        "tiers": sorted(tiers),
        "texts": len(texts),
        "passed": None if plain.verdict is None else plain.verdict.passed,
        "passed_defended": None if defended.verdict is None else defended.verdict.passed,
        "sentences": [*plain.report.sentences(), *defended.report.sentences()],
    }
