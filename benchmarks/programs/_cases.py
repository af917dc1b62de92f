"""What is simulated: today's workloads and engines, and the experiments of Parrot's paper."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from adwright.programs.scheduling.engine import EngineCapabilities
from adwright.programs.scheduling.order import OrderTerms
from adwright.programs.scheduling.scheduler import PlacementTerms
from benchmarks.programs import _sim_workloads as workloads
from benchmarks.programs._sim_baselines import SYSTEMS, ServedBy
from benchmarks.programs.simulation import SimProgram

#: SmolLM2-135M on OpenVINO, one core an engine.
OPENVINO = EngineCapabilities(("model",), kv_tokens=100_000, max_batch=32)
#: Of 80 and 48 GB, what the weights leave; prefixes in flight are found where there is a cache.
A100 = EngineCapabilities(
    ("model",),
    in_flight_prefix=True,
    shared_reads=True,
    max_batch=256,
    kv_tokens=58_000,
    kv_bytes_per_token=819_200,
    context_length=16_384,
    chunk_tokens=2_048,
)
A6000 = replace(A100, kv_tokens=57_000, kv_bytes_per_token=524_288)


@dataclass(frozen=True)
class Case:
    """One workload on some engines. x: what is varied, and how far."""

    name: str
    x: str
    programs: Callable[[int], list[SimProgram]]
    engines: int
    capabilities: EngineCapabilities
    curve: str
    systems: tuple[str, ...]
    round_trip: float = 0.0


_TODAY = ("ours", "B0", "B1", "B3", "B4")


def today_cases() -> Iterator[Case]:
    """W1 to W7 on engines as measured, one and four."""
    made: dict[str, tuple[Callable[[int], list[SimProgram]], int]] = {
        "w1": (lambda seed: workloads.chain_summaries(seed, programs=1), 1),
        "w1_many": (lambda seed: workloads.chain_summaries(seed, programs=15), 1),
        "w2": (lambda seed: workloads.map_reduces(seed, programs=1, new_tokens=100), 1),
        "w3": (lambda seed: workloads.shared_prompts(seed, users=32), 1),
        "w3_four": (lambda seed: workloads.shared_prompts(seed, users=64), 4),
        "w4": (lambda seed: workloads.assistants(seed, requests=200, rate=14.0), 4),
        "w5": (lambda seed: workloads.creative_teams(seed, files=8), 1),
        "w6": (lambda seed: workloads.chats_and_maps(seed, chats=80), 4),
        "w7": (lambda seed: workloads.agents(seed, programs=30, rate=2.0), 4),
    }
    for round_trip in (0.0, 0.05, 0.25):
        for name, (programs, engines) in made.items():
            told = (name, f"{round_trip} s", programs, engines, OPENVINO, "openvino")
            yield Case(*told, _TODAY, round_trip)


def paper_cases() -> Iterator[Case]:
    """The experiments of the paper, with its baselines and with today's."""
    old, new = ("ours", "B1 old", "B2 old", "B3"), ("ours", "B2 old", "B3")
    for tokens in (25, 50, 100):
        yield Case(
            "paper_chain",
            f"{tokens} tokens",
            lambda seed, n=tokens: workloads.chain_summaries(  # type: ignore[misc]
                seed, programs=1, chunks=(15, 25), chunk_tokens=1024, new_tokens=n
            ),
            *(1, A100, "a100-13b", new, 0.25),
        )
        yield Case(
            "paper_map",
            f"{tokens} tokens",
            lambda seed, n=tokens: workloads.map_reduces(  # type: ignore[misc]
                seed, programs=1, parts=(15, 15), part_tokens=1024, new_tokens=n
            ),
            *(1, A100, "a100-13b", old, 0.25),
        )
    for chains in (10, 15, 20, 25):
        yield Case(
            "paper_chains",
            f"{chains} at once",
            lambda seed, n=chains: workloads.chain_summaries(  # type: ignore[misc]
                seed, programs=n, chunks=(15, 25), chunk_tokens=1024
            ),
            *(1, A100, "a100-13b", new, 0.25),
        )
    for users in (8, 16, 32, 64):
        yield Case(
            "paper_shared",
            f"{users} users",
            lambda seed, n=users: workloads.shared_prompts(  # type: ignore[misc]
                seed, users=n, prompt_tokens=6000, new_tokens=300
            ),
            *(1, A6000, "a6000-7b", new, 0.0),
        )
    for rate in (0.5, 1.0, 2.0, 4.0, 8.0, 16.0):
        yield Case(
            "paper_gpts",
            f"{rate} a second",
            lambda seed, n=rate: workloads.assistants(  # type: ignore[misc]
                seed, requests=150, rate=n, prompts=(4000,) * 4, new_tokens=200
            ),
            *(4, A6000, "a6000-7b", ("ours", "B2 old", "B3", "B4"), 0.0),
        )
    for files in (4, 8, 16):
        yield Case(
            "paper_team",
            f"{files} files",
            lambda seed, n=files: workloads.creative_teams(  # type: ignore[misc]
                seed, files=n, brief_tokens=2000, new_tokens=300
            ),
            *(1, A100, "a100-13b", old, 0.25),
        )


_OURS = SYSTEMS["ours"]
#: Ours without one term, or with another order.
LEFT_OUT: dict[str, ServedBy] = {
    "ours": _OURS,
    "without prefill": replace(_OURS, terms=PlacementTerms(prefill=False)),
    "without queue": replace(_OURS, terms=PlacementTerms(queue=False)),
    "without interference": replace(_OURS, terms=PlacementTerms(interference=False)),
    "without filling first": replace(_OURS, terms=PlacementTerms(fill=False)),
    "without waiting at engines": replace(_OURS, terms=PlacementTerms(park=0.0)),
    "programs by arrival": replace(_OURS, order=OrderTerms("arrival")),
    "programs by attained service": replace(_OURS, order=OrderTerms("attained")),
    "without critical path": replace(_OURS, order=OrderTerms(critical=False)),
}


def worth_cases() -> Iterator[Case]:
    """Loaded clusters of four, on which terms are left out."""
    made: dict[str, Callable[[int], list[SimProgram]]] = {
        "w1": lambda seed: workloads.chain_summaries(seed, programs=20, chunks=(5, 20), rate=1.0),
        "w2": lambda seed: workloads.map_reduces(seed, programs=8, rate=0.4),
        "w4": lambda seed: workloads.assistants(
            seed, requests=200, rate=14.0, prompts=(1000,) * 12
        ),
        "w5": lambda seed: workloads.creative_teams(seed, programs=4, files=3, rate=0.2),
        "w7": lambda seed: workloads.agents(seed, programs=40, rate=4.0, tool_seconds=(0.2, 2.0)),
    }
    small = replace(OPENVINO, kv_tokens=16_000)
    for name, programs in made.items():
        can = small if name in ("w4", "w7") else OPENVINO
        yield Case(f"worth_{name}", "", programs, 4, can, "openvino", tuple(LEFT_OUT))
