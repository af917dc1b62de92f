"""From the runs that are kept to the table and the figures of programs.json."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Any

from adwright.core.hashing import content_hash
from benchmarks.common.result import Figure, write_result
from benchmarks.programs._cells import SCRATCH, THREADS
from benchmarks.programs._spread import SeedMean

PROTOCOL = (
    f"SmolLM2-135M-Instruct on OpenVINO in a child process, {THREADS} thread(s), prefix cache of 2 "
    "GB; the same process under all systems of a case, and texts from the products of Complete "
    "Journey. Each run begins all prompts with a mark of its own, so that the cache is cold; "
    "answers have a fixed length. w1_many: 10 chains of 2 to 6 chunks of 400 tokens at once, 16 "
    "tokens an answer. w2: 8 parts of 250 tokens, 24 an answer, then 32. w3: 16 users behind 1,500 "
    "tokens, 32 an answer. w4: 4 assistants of 600 tokens, 32 requests at once, the k-th asked 1/k "
    "as often, 24 an answer. w5: 4 files of a copywriter, 2 variants, 3 reviewers of each and an "
    "editor behind a brief of 300 tokens, 8 to 24 an answer. w6: 8 chats, one in 0.75 s, beside a "
    "w2 that is wanted cheaply. w7: 5 agents of 2 to 4 turns behind 500 tokens, tools of 0.3 to "
    "1.5 s. Systems: ours (the dispatcher, in another process than the engine); a client with one "
    "call of a program at a time (B0), a server with four (B1) or two in flight, or as many as the "
    "engine takes (B2), without a prefix cache as when Parrot was measured, or 'cached'; B3: B2 "
    "with the prefix cache, 'eight': eight at a time in the order of arrival; B4: two engines "
    "behind a prefix-affinity router. 'B1 two' has the cache, too. cpu: CPU-seconds of the "
    "engines, the mean over seeds with the interval by Student's t. jct, p99: seconds from a "
    "program's arrival until its client has all of it, on the engine's own clock: its CPU-seconds "
    "while it has something to do, wall time while it has not, since the machine was shared with "
    "much other work (load: of the operating system). ratio: baseline over ours of the same seed, "
    "of cpu for w3 and w4 and of jct for the others. Systems take turns within a seed in an order "
    "of its own; engines are warmed up before. Ours goes by a curve measured of the engine "
    "beside the other work, the quietest of three. Round trip 0, or as the case says. "
)
#: By case and system, the key and what is compared.
_RATIOS: Mapping[tuple[str, str], str] = {
    ("w1_many", "B3"): "w1_many_jct_ratio_b3",
    ("w2", "B0"): "w2_ratio_b0",
    ("w2", "B1 two"): "w2_ratio_inflight2",
    ("w2", "B3"): "w2_ratio_b3",
    ("w2 250 ms", "B0"): "w2_ratio_b0_250",
    ("w2 250 ms", "B1 two"): "w2_ratio_inflight2_250",
    ("w3", "B2"): "w3_ratio_no_sharing",
    ("w3", "B3"): "w3_ratio_b3_openvino",
    ("w3 two", "B4"): "w3_ratio_b4_two_engines",
    ("w4", "B3 eight"): "w4_ratio_arrival_order",
    ("w4", "B3"): "w4_ratio_b3",
    ("w4", "B2"): "w4_ratio_no_sharing",
    ("w4 two", "B4"): "w4_ratio_b4_two_engines",
    ("w5", "B1"): "w5_ratio_latency_tuned",
    ("w5", "B2"): "w5_ratio_throughput_tuned",
    ("w5", "B1 cached"): "w5_ratio_latency_tuned_cached",
    ("w5", "B3"): "w5_ratio_b3",
    ("w6", "B3"): "w6_jct_ratio_b3",
    ("w7", "B0 cached"): "w7_ratio_b0_cached",
    ("w7", "B3"): "w7_ratio_b3",
    ("w7 250 ms", "B3"): "w7_ratio_b3_250",
}
#: Cases that go by CPU-seconds.
_BY_CPU = ("w3", "w4", "w3 two", "w4 two")
#: What other scripts of this folder find.
_PARTS = ("w5_memory", "overhead", "timing", "kills")
_Systems = Mapping[str, Mapping[int, Mapping[str, Any]]]
_Runs = dict[str, dict[str, dict[int, dict[str, Any]]]]


def summarise() -> None:
    """Write benchmarks/results/programs.json from what is kept."""
    runs = _runs()
    rows = [row for case, systems in runs.items() for row in _rows(case, systems)]
    figures: dict[str, Figure] = {}
    for (case, system), key in _RATIOS.items():
        found = _ratio(runs.get(case, {}), case, system)
        if found:
            figures |= _figure(key, found)
    figures |= _mixed(runs)
    for name in _PARTS:
        further = _further(name)
        rows += further.get("rows", [])
        figures |= further.get("figures", {})
    seeds = {seed for systems in runs.values() for each in systems.values() for seed in each}
    write_result(
        "programs",
        protocol=PROTOCOL + "".join(_further(name).get("protocol", "") for name in _PARTS),
        data=content_hash([PROTOCOL]),
        seeds=sorted(seeds),
        rows=rows,
        figures=figures,
    )


def _further(name: str) -> dict[str, Any]:
    """What another script of this folder has kept: rows, figures and a sentence on how."""
    file = SCRATCH / f"part_{name}.json"
    return json.loads(file.read_text("utf-8")) if file.is_file() else {}


def _runs() -> _Runs:
    """By case, system and seed."""
    runs: _Runs = defaultdict(lambda: defaultdict(dict))
    for file in sorted(SCRATCH.glob("w*.json")):
        found = json.loads(file.read_text("utf-8"))
        afar = f" {1000 * found['round_trip']:g} ms" if found["round_trip"] else ""
        case = f"{found['workload']}{afar}{' two' if found['engines'] > 1 else ''}"
        runs[case][found["system"]][found["seed"]] = found
    return runs


def _rows(
    case: str, systems: Mapping[str, Mapping[int, dict[str, Any]]]
) -> Iterator[dict[str, Any]]:
    for system in sorted(systems, key=lambda each: (each != "ours", each)):
        seeds = systems[system]
        row: dict[str, Any] = {"case": case, "system": system, "seeds": len(seeds)}
        for key in ("jct", "cpu"):
            row |= _spread(key, [each[key] for each in seeds.values()])
        ratio = _ratio(systems, case, system)
        row |= _spread("ratio", ratio) if ratio else {"ratio": None}
        p99 = {key for each in seeds.values() for key in each if key.startswith("p99")}
        for key in (*sorted(p99), "wall", "load"):
            row[key] = round(mean(each[key] for each in seeds.values()), 3)
        yield row


def _spread(key: str, values: list[float]) -> dict[str, float]:
    """A mean and the ends of its interval, where there are seeds enough for one."""
    if len(values) < 2:
        return {key: round(values[0], 4)}
    found = SeedMean.of(values)
    return {key: found.value, f"{key}_low": found.low, f"{key}_high": found.high}


def _ratio(systems: _Systems, case: str, system: str) -> list[float]:
    key = "cpu" if case in _BY_CPU else "jct"
    ours, theirs = systems.get("ours", {}), systems.get(system, {})
    return [theirs[seed][key] / ours[seed][key] for seed in sorted(ours.keys() & theirs.keys())]


def _figure(key: str, values: list[float]) -> dict[str, Figure]:
    found = _spread(key, values)
    figures: dict[str, Figure] = {key: found[key]}
    if f"{key}_low" in found:
        figures[f"{key}_ci"] = [found[f"{key}_low"], found[f"{key}_high"]]
    return figures


def _mixed(runs: _Runs) -> dict[str, Figure]:
    """W6: each kind beside the other, over itself alone; the mean of the programs of a seed."""
    figures: dict[str, Figure] = {}
    together = runs.get("w6", {}).get("ours", {})
    for kind, of, key in (
        ("chat", "p99", "w6_chat_p99_ratio"),
        ("chat", "jct", "w6_chat_jct_ratio"),
        ("batch", "jct", "w6_batch_jct_ratio"),
    ):
        alone = runs.get(f"w6_{kind}", {}).get("ours", {})
        name = f"{of}_{kind}"
        seeds = sorted(together.keys() & alone.keys())
        if seeds:
            figures |= _figure(key, [together[s][name] / alone[s][name] for s in seeds])
    return figures
