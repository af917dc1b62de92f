"""Our scheduler and five baselines on simulated engines (15 CPU-minutes).

    python -m benchmarks.programs.simulated
    python -m benchmarks.programs.simulated --seeds 2 --only w3

Every number here is simulated.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain
from statistics import mean
from typing import Any

from adwright.core.hashing import content_hash
from benchmarks.common.result import Figure, write_result
from benchmarks.programs._cases import LEFT_OUT, Case, paper_cases, today_cases, worth_cases
from benchmarks.programs._sim_baselines import SYSTEMS, ServedBy, compare
from benchmarks.programs._sim_curves import CURVES
from benchmarks.programs._spread import SeedMean
from benchmarks.programs.simulation import ProgramOutcome, SimProgram

PROTOCOL = (
    "Simulated, all of it: engines are rooflines in virtual time, and no model is run. w1 to "
    "w7: engines as OpenVINO with SmolLM2-135M was measured on one thread (prompt tokens a "
    "second, tokens a second by batch), with 100,000 tokens of memory and a prefix cache that"
    " is looked up when a request is added; x: the round trip of a client. paper_: A100 with "
    "13 and A6000 with 7 billion weights, computed from data sheets and not measured; round "
    "trip 0.25 s but for shared and gpts; kernels that read a shared prefix once for ours and"
    " B3, as the paper's own. Systems: ours (the graph in the service); B0 a client, call "
    "after call; B1, B3 a client that sends what is ready to servers of few and of all rows "
    "with a prefix cache; B4 behind a prefix-affinity router; old: without a prefix cache. "
    "worth_: ours with a term left out. jct: mean seconds from a program's arrival until its "
    "client has all of it; ratios are baseline over ours of the same seed. Mean over seeds "
    "with the interval by Student's t. read: prompt tokens computed. peak: tokens of rows and"
    " of the prefixes they read, the most of an engine."
)
Outcomes = dict[str, list[dict[str, float]]]


def main(argv: Sequence[str] | None = None) -> None:
    """Simulate, and write benchmarks/results/simulated.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose names begin so")
    chosen = parser.parse_args(argv)
    rows: list[dict[str, Any]] = []
    figures: dict[str, Figure] = {}
    for case in chain(today_cases(), paper_cases(), worth_cases()):
        if case.name.startswith(chosen.only):
            found = {name: _runs(case, name, chosen.seeds) for name in case.systems}
            rows += _rows(case, found)
            figures |= _figures(case, found)
            print(case.name, case.x, flush=True)
    write_result(
        "simulated",
        protocol=PROTOCOL,
        data=content_hash([PROTOCOL, chosen.seeds]),
        seeds=range(chosen.seeds),
        rows=rows,
        figures=figures,
    )


def _runs(case: Case, name: str, seeds: int) -> list[dict[str, float]]:
    """One system, all seeds."""
    system = LEFT_OUT[name] if name in LEFT_OUT else SYSTEMS[name]
    found = []
    for seed in range(seeds):
        programs = case.programs(seed)
        one = _run(case, system, programs)
        kinds = sorted({each.kind for each in programs})
        for kind in kinds if len(kinds) > 1 else ():
            alone = _run(case, system, [each for each in programs if each.kind == kind])
            p99 = one[f"p99_{kind}"] / alone[f"p99_{kind}"]
            one |= {f"p99_ratio_{kind}": p99, f"ratio_{kind}": one[kind] / alone[kind]}
        found.append(one)
    return found


def _run(case: Case, system: ServedBy, programs: list[SimProgram]) -> dict[str, float]:
    run, engines = compare(
        programs,
        system,
        engines=case.engines,
        capabilities=case.capabilities,
        curve=CURVES[case.curve],
        round_trip=case.round_trip,
    )
    outcomes = run.outcomes
    of_kind: dict[str, list[float]] = defaultdict(list)
    for each in outcomes:
        of_kind[each.program.kind].append(each.seconds)
    seconds = [each.seconds for each in outcomes]
    found = {
        "jct": mean(seconds),
        "p99": _quantile(seconds, 0.99),
        "per_token": mean(map(_per_token, outcomes)),
        "end": run.end,
        "read": float(sum(each.read_tokens for each in engines)),
        "peak": float(max(each.peak_tokens for each in engines)),
    }
    if len(of_kind) > 1 or case.name == "w6":
        for kind, values in of_kind.items():
            found |= {kind: mean(values), f"p99_{kind}": _quantile(values, 0.99)}
    return found


def _per_token(outcome: ProgramOutcome) -> float:
    return outcome.seconds / sum(call.new_tokens for call in outcome.program.calls)


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def _rows(case: Case, found: Outcomes) -> list[dict[str, Any]]:
    rows = []
    for name, runs in found.items():
        row: dict[str, Any] = {"case": case.name, "x": case.x, "system": name}
        jct = SeedMean.of([each["jct"] for each in runs])
        row |= {"jct": jct.value, "jct_low": jct.low, "jct_high": jct.high}
        ratio = _ratio(found, name, "jct")
        row |= {"ratio": ratio.value, "ratio_low": ratio.low, "ratio_high": ratio.high}
        for key in runs[0]:
            if key != "jct":
                row[key] = round(mean(each[key] for each in runs), 4)
        rows.append(row)
    return rows


def _figures(case: Case, found: Outcomes) -> dict[str, Figure]:
    """Ours against each baseline, at a round trip of 0; with 250 ms where the key says so."""
    made: dict[str, Figure] = {}
    end = {"0.0 s": "", "0.25 s": "_250"}.get(case.x)
    if case.name.startswith("w") and not case.name.startswith("worth") and end is not None:
        for name in found.keys() - {"ours"}:
            key = f"sim_{case.name}_jct_ratio_{name.lower()}{end}"
            made |= _with_interval(key, _ratio(found, name, "jct"))
        if case.name == "w5":
            share = [a["peak"] / b["peak"] for a, b in zip(found["ours"], found["B3"], strict=True)]
            made |= _with_interval(f"sim_w5_kv_share{end}", SeedMean.of(share))
        if case.name == "w6":
            for kind, key in (("p99_ratio_chat", "chat_p99"), ("ratio_batch", "batch_jct")):
                values = SeedMean.of([each[kind] for each in found["ours"]])
                made |= _with_interval(f"sim_w6_{key}_ratio{end}", values)
    return made


def _ratio(found: Outcomes, name: str, key: str) -> SeedMean:
    pairs = zip(found[name], found["ours"], strict=True)
    return SeedMean.of([a[key] / b[key] for a, b in pairs])


def _with_interval(key: str, found: SeedMean) -> dict[str, Figure]:
    return {key: found.value, f"{key}_ci": [found.low, found.high]}


if __name__ == "__main__":
    main()
