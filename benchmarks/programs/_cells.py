"""One run of a workload under a system: on which engine, and how it is kept."""

from __future__ import annotations

import gc
import json
import os
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from statistics import mean, median
from typing import Any

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.lm.native_engines.openvino_model import OpenVinoConfig
from adwright.programs.engines.measured_curve import MeasuredCurve, load_curve, measure_curve
from adwright.programs.engines.model_engine import openvino_engine
from adwright.programs.scheduling.engine import ExecutionEngine, LatencyCurve
from benchmarks.common.result import Figure
from benchmarks.lm._kill import descendants
from benchmarks.programs._engine_clock import ClockedEngine, EngineClock
from benchmarks.programs._systems import ProgramTime, run_programs
from benchmarks.programs._texts import CatalogueTexts
from benchmarks.programs._workloads import WORKLOADS

SCRATCH = cache_folder() / "bench" / "programs"
#: Two where the processor multiplies tiles of bfloat16: with one, OpenVINO computes in float32.
_TILES = "amx_bf16" in Path("/proc/cpuinfo").read_text("utf-8")
THREADS = 2 if _TILES else 1
#: By workload, the systems that are compared; in the order in which they are run.
COMPARED: Mapping[str, tuple[str, ...]] = {
    "w3": ("ours", "B3", "B2"),
    "w4": ("ours", "B3 eight", "B3"),
    "w2": ("ours", "B0", "B1 two", "B3"),
    "w1_many": ("ours", "B3"),
    "w5": ("ours", "B1", "B2", "B1 cached", "B3"),
    "w6": ("ours", "B3"),
    "w6_chat": ("ours",),
    "w6_batch": ("ours",),
    "w7": ("ours", "B0 cached", "B3"),
}
#: With a round trip of 250 ms.
AFAR: Mapping[str, tuple[str, ...]] = {"w2": ("ours", "B0", "B1 two"), "w7": ("ours", "B3")}
#: On two engines.
TWO: Mapping[str, tuple[str, ...]] = {"w3": ("ours", "B4"), "w4": ("ours", "B4")}


@dataclass(frozen=True)
class Cell:
    """round_trip: seconds. engines: how many there are."""

    workload: str
    system: str
    seed: int
    round_trip: float = 0.0
    engines: int = 1

    @property
    def case(self) -> str:
        """What it is compared within."""
        afar = f" {1000 * self.round_trip:g} ms" if self.round_trip else ""
        return f"{self.workload}{afar}{' two' if self.engines > 1 else ''}"

    @property
    def name(self) -> str:
        """Its case and its system."""
        return f"{self.case} {self.system}"

    @property
    def file(self) -> Path:
        """Where its result is kept."""
        return SCRATCH / f"{self.name} {self.seed}.json".replace(" ", "_")


def cells(only: Sequence[str], seeds: int) -> Iterator[Cell]:
    """All of them: a seed of a workload after the other, its systems in turns in an order of its
    own. only: cases that are to be run, none: all."""
    plans = [(COMPARED, 0.0, 1), (AFAR, 0.25, 1), (TWO, 0.0, 2)]
    for compared, round_trip, engines in plans:
        for group in (("w3", "w4", "w2"), ("w1_many", "w5"), ("w6", "w6_chat", "w6_batch", "w7")):
            for seed in range(seeds):
                for workload in group:
                    systems = list(compared.get(workload, ()))
                    Random(f"{workload} {seed}").shuffle(systems)
                    for system in systems:
                        cell = Cell(workload, system, seed, round_trip, engines)
                        if not only or cell.case in only:
                            yield cell


def kept(cell: Cell) -> dict[str, Any] | None:
    """What a run of the cell found; None where there was none."""
    if not cell.file.is_file():
        return None
    found: dict[str, Any] = json.loads(cell.file.read_text("utf-8"))
    return found


@dataclass
class Bench:
    """Engines that are open. curve: as measured on the clock of the engines."""

    engines: Mapping[str, ExecutionEngine]
    clock: EngineClock
    texts: CatalogueTexts
    tokens: Any
    curve: LatencyCurve

    async def run(self, cell: Cell) -> dict[str, Any]:
        """Run a cell."""
        mark = f"{Random(time.time_ns()).getrandbits(40):010x}"
        programs = WORKLOADS[cell.workload](self.texts, cell.seed, mark)
        gc.collect()
        engines = dict(list(self.engines.items())[: cell.engines])
        cpu, wall = self.clock.cpu(), time.perf_counter()
        times = await run_programs(
            programs,
            cell.system,
            engines,
            self.clock,
            tokens=self.tokens,
            curve=self.curve,
            round_trip=cell.round_trip,
        )
        found = {"cpu": self.clock.cpu() - cpu, "wall": time.perf_counter() - wall}
        return {**asdict(cell), **found, **_summary(times), "load": os.getloadavg()[0]}


def _summary(times: Sequence[ProgramTime]) -> dict[str, float]:
    found = {"jct": mean(each.seconds for each in times), "programs": len(times)}
    for kind in {each.kind for each in times}:
        seconds = sorted(each.seconds for each in times if each.kind == kind)
        name = f"_{kind}" if kind else ""
        found |= {f"p99{name}": seconds[int(0.99 * len(seconds))], f"jct{name}": mean(seconds)}
    return found


def keep(cell: Cell, found: Mapping[str, Any]) -> None:
    """Keep what was found."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    atomic_write_text(cell.file, json.dumps(found) + "\n")


def keep_part(
    name: str,
    figures: Mapping[str, Figure],
    protocol: str,
    rows: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Keep what another script of this folder has found, for `summarise`."""
    SCRATCH.mkdir(parents=True, exist_ok=True)
    told = {"figures": figures, "protocol": protocol, "rows": rows}
    atomic_write_text(SCRATCH / f"part_{name}.json", json.dumps(told) + "\n")


@asynccontextmanager
async def open_bench(engines: int) -> AsyncGenerator[Bench, None]:
    """Open so many engines, warm them up, and measure the first."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(engines):
            made = openvino_engine(OpenVinoConfig(threads=THREADS, cache_gb=2))
            opened.append(await stack.enter_async_context(made))
        tokens = opened[0].model.tokens.count
        pids = [one for one in descendants(os.getpid()) if _is_engine(one)]
        clock = EngineClock(pids)
        clocked = {f"e{at}": ClockedEngine(one, clock) for at, one in enumerate(opened)}
        for each in clocked.values():
            await each.fill("warm", "What does the shop sell? " * 40)
        file = SCRATCH / "curve.json"
        found = load_curve(file)
        if found is None:
            told = [await measure_curve(clocked["e0"], tokens, clock=clock.now) for _ in range(3)]
            found = _quietest(told)
            file.parent.mkdir(parents=True, exist_ok=True)
            found.save(file)
        yield Bench(clocked, clock, CatalogueTexts(tokens), tokens, found.curve)


def _quietest(measured: Sequence[MeasuredCurve]) -> MeasuredCurve:
    """The best of several: other work on the machine only ever makes an engine slower."""
    return replace(
        measured[0],
        rates=tuple(max(each) for each in zip(*(one.rates for one in measured), strict=True)),
        prefill=max(one.prefill for one in measured),
        kv_seconds=median(one.kv_seconds for one in measured),
    )


def _is_engine(pid: int) -> bool:
    return b"openvino_worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
