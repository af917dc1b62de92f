"""The tables of programs of calls, from benchmarks/results/programs.json and simulated.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from _results import ABSENT, figures_of, number, result, source

#: By the name of a case in the results, what it is.
CASES = {
    "w1_many": "chains of summaries, many at once",
    "w2": "map and reduce",
    "w3": "16 users behind one long prompt",
    "w4": "four assistants, some asked more often",
    "w5": "a creative team",
    "w6": "chats beside a batch, together",
    "w7": "agents with tools",
}
SYSTEMS = {
    "ours": "adwright",
    "B0": "client, one call after the other",
    "B0 cached": "the same, with a prefix cache",
    "B1": "server with four in flight",
    "B1 cached": "the same, with a prefix cache",
    "B1 two": "two in flight, with a prefix cache",
    "B2": "server with all in flight",
    "B3": "all in flight, with a prefix cache",
    "B3 eight": "eight in flight, with a prefix cache",
    "B4": "two engines behind an affinity router",
}
BARS = {
    "w1_many_jct_ratio_b3": "1.3",
    "w2_ratio_b0": "2",
    "w2_ratio_inflight2": "1.5",
    "w3_ratio_no_sharing": "5",
    "w3_ratio_b3_openvino": "4",
    "w4_ratio_arrival_order": "1.5",
    "w5_ratio_latency_tuned": "5",
    "w5_ratio_throughput_tuned": "2",
    "w6_chat_p99_ratio": "at most 1.3",
    "w6_batch_jct_ratio": "at most 1.3",
    "overhead_single_call_percent": "at most 3",
    "tenant_timing_auc": "at most .55",
    "programs_finished_share": "1",
}


def programs_table() -> Iterator[str]:
    """Each workload under each system."""
    yield "| workload | who runs it | seconds a program | CPU-seconds, engine | ratio to ours |"
    yield "|---|---|---|---|---|"
    rows = [row for row in result("programs").get("rows", []) if _case(row)]
    for row in rows:
        cells = [_case(row), SYSTEMS.get(row["system"], row["system"])]
        cells += [_spread(row, key) for key in ("jct", "cpu", "ratio")]
        yield f"| {' | '.join(cells)} |"
    if not rows:
        yield f"| {ABSENT} | | | | |"


def programs_bars() -> Iterator[str]:
    """The figures that were aimed at, on real engines and simulated."""
    figures, simulated = figures_of("programs"), figures_of("simulated")
    yield "| figure | aimed at | measured | simulated |"
    yield "|---|---|---|---|"
    for key, bar in BARS.items():
        ends = figures.get(f"{key}_ci")
        said = number(figures.get(key), ".2f") + (f" ({number(ends, '.2f')})" if ends else "")
        of_simulated = simulated.get(f"sim_{key}")
        last = "" if of_simulated is None else f"{of_simulated:.2f}"
        yield f"| {key} | {bar} | {said} | {last} |"
    decision = figures_of("scheduler").get("scheduler_us_per_decision_10k")
    yield f"| scheduler_us_per_decision_10k | at most 200 | {number(decision, '.0f')} | |"
    yield ""
    yield result("programs").get("protocol", f"Programs are {ABSENT}.").strip()
    yield from source("programs")


def programs_chaos() -> Iterator[str]:
    """What becomes of programs while servers fail, by fault."""
    found = result("chaos")
    yield "| servers answer | finished | p99, seconds: 1, 2, 3 of 4 servers |"
    yield "|---|---|---|"
    rows = [row for row in found.get("rows", ()) if row["fault"] != "all"]
    for fault in dict.fromkeys(row["fault"] for row in rows):
        own = [row for row in rows if row["fault"] == fault]
        done, asked = (sum(row[key] for row in own) for key in ("finished", "programs"))
        worst = ", ".join(number(row["p99"], ".1f") for row in own)
        yield f"| {fault} | {done} of {asked} | {worst} |"
    yield ""
    yield found.get("protocol", f"Chaos is {ABSENT}.").strip()
    yield from source("chaos")


def _case(row: Mapping[str, Any]) -> str:
    name, _, further = str(row.get("case", "")).partition(" ")
    said = CASES.get(name, "")
    if said and further:
        said += ", two engines" if further == "two" else f", round trip {further}"
    return said


def _spread(row: Mapping[str, Any], key: str) -> str:
    value = row.get(key)
    if value is None:
        return ""
    ends = [row[f"{key}_low"], row[f"{key}_high"]] if f"{key}_low" in row else None
    return f"{value:.2f}" + (f" ({number(ends, '.2f')})" if ends else "")


PROGRAMS: Mapping[str, Callable[[], Iterator[str]]] = {
    "programs-table": programs_table,
    "programs-bars": programs_bars,
    "programs-chaos": programs_chaos,
}
