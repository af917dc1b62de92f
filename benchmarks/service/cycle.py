"""What the loop reaches as one system, in one table of others' results (1 s).

python -m benchmarks.service.cycle
"""

from __future__ import annotations

import json

from benchmarks.common.result import RESULTS, Figure, write_result

PROTOCOL = (
    "Gathered from life_of_ads (what the loop gains over the ads of the first day, simulated "
    "people, over seeds and people; false alarms of two arms that are alike; processor seconds "
    "of a demonstration), cycle_kills and loop_kills (kill -9 in the steps of a cycle, and of a "
    "service while ads change; what did not hold of the store afterwards) and decision_cost "
    "(processor time of a decision with creatives, campaigns and two arms over one without)."
)


#: What did not hold after a kill.
_BROKEN = ("lost", "wrong", "over_cap")


def main() -> None:
    """Write benchmarks/results/cycle.json."""
    names = ("life_of_ads", "cycle_kills", "loop_kills", "decision_cost")
    found = {name: json.loads((RESULTS / f"{name}.json").read_text("utf-8")) for name in names}
    loop, *kills, cost = (found[name]["figures"] for name in names)
    figures: dict[str, Figure] = {
        "loop_minus_static_ci": loop["lift_ci"],
        "aa_false_alarms": loop["same_false_alarms"],
        "kills": sum(one["kills"] for one in kills),
        "invariants_broken": sum(one.get(name, 0) for one in kills for name in _BROKEN),
        "demo_cpu_seconds": loop["cpu_seconds"],
        "decide_cpu_ratio": 1 + max(v for k, v in cost.items() if k.endswith("more_cpu")),
    }
    write_result(
        "cycle",
        protocol=PROTOCOL,
        data=found["life_of_ads"]["data"],
        seeds=found["life_of_ads"]["seeds"],
        rows=[{"from": name, **_plain(one["figures"])} for name, one in found.items()],
        figures=figures,
    )


def _plain(figures: dict[str, Figure]) -> dict[str, Figure]:
    return {key: value for key, value in figures.items() if isinstance(value, int | float)}


if __name__ == "__main__":
    main()
