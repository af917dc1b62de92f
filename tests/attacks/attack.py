"""What an attack is, and how a whole area of them is run so that none can harm the next.

An attack holds where its function returns, and broke where it raises: plain asserts say what was
expected, and `NotKept` that what was measured is not enough. It runs in a process of its own kind,
which is bounded in memory and time and may die; the next attack then begins in a fresh one.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from tests.support.forks import LIBRARIES

GIB = 1 << 30
#: Seconds that opening what an area shares may take.
OPENING = 180.0


class NotKept(AssertionError):
    """What was measured is not what has to be kept. measures: it, by name."""

    def __init__(self, what: str, measures: Mapping[str, float]) -> None:
        super().__init__(what)
        self.measures = dict(measures)


@dataclass(frozen=True)
class Attack:
    """One attack.

    name: unique in its area. run: gets what the area shares; returns None, or measures by name.
    quick: whether it runs at each change. accepted: why it is known not to hold and stays so;
    empty where it must hold. seconds: after which it counts as hung.
    """

    name: str
    run: Callable[[Any], Mapping[str, float] | None]
    quick: bool = False
    accepted: str = ""
    seconds: float = 30.0


@dataclass(frozen=True)
class Outcome:
    """What became of an attack. broke: what did not hold, or empty."""

    attack: Attack
    broke: str = ""
    measures: Mapping[str, float] = field(default_factory=dict)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """What an area shares where it needs no more than a folder of its own."""
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        yield Path(name)


@dataclass(frozen=True)
class Area:
    """Attacks on one part of the house.

    shared: opens what they share, once for each process that runs some of them. memory: the bytes
    of address space that the process may have; 0 for no bound, which servers beneath it need.
    """

    name: str
    attacks: Sequence[Attack]
    shared: Callable[[], AbstractContextManager[Any]] = scratch_folder
    memory: int = 8 * GIB

    def __post_init__(self) -> None:
        names = [attack.name for attack in self.attacks]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise ValueError(f"{self.name} has attacks of the same name: {twice[:5]}")


def run_area(area: Area, *, quick: bool = False) -> Iterator[Outcome]:
    """Run the attacks of `area` in their order, the quick ones alone where asked for."""
    wanted = [attack for attack in area.attacks if attack.quick or not quick]
    at = 0
    while at < len(wanted):
        for outcome in _run_in_process(area, wanted[at:]):
            yield outcome
            at += 1


def _run_in_process(area: Area, attacks: Sequence[Attack]) -> Iterator[Outcome]:
    """The outcomes of one process: of all attacks, or of those up to the one that ended it."""
    # A fork of whoever runs the attacks would carry over the locks of its threads: this is one of a
    # process that has imported the large libraries, and done nothing else.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(LIBRARIES))
    here, there = context.Pipe()
    names = [attack.name for attack in attacks]
    process = context.Process(target=_work, args=(_module_of(area), area.name, names, there))
    process.start()
    there.close()
    try:
        with suppress(EOFError):
            if here.poll(OPENING):
                here.recv()  # what they share is open
        for attack in attacks:
            if not here.poll(attack.seconds):
                yield Outcome(attack, f"it hung: no end within {attack.seconds:g} s")
                _end_group(process)
                return
            try:
                broke, measures = here.recv()
            except EOFError:
                process.join(10)
                yield Outcome(attack, f"the process ended with {process.exitcode}")
                return
            yield Outcome(attack, broke, measures)
    finally:
        here.close()
        # Its own end closes what it shares; of one that hangs or died, nothing may stay behind.
        process.join(30)
        _end_group(process)
        process.join()


def _end_group(process: BaseProcess) -> None:
    """Kill all of its process group; none is left where it and all beneath it have ended."""
    if process.pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def _module_of(area: Area) -> str:
    from tests.attacks.areas import module_of

    return module_of(area.name)


def _work(module: str, area_name: str, names: Sequence[str], results: Connection) -> None:
    """In the process: open what the area shares, run the attacks, tell each outcome."""
    from tests.attacks.areas import areas_of

    os.setpgid(0, 0)
    area = next(each for each in areas_of(module) if each.name == area_name)
    attacks = {attack.name: attack for attack in area.attacks}
    if area.memory:
        resource.setrlimit(resource.RLIMIT_AS, (area.memory, area.memory))
    with area.shared() as shared:
        results.send("opened")
        for name in names:
            broke, measures = "", dict[str, float]()
            try:
                measures = dict(attacks[name].run(shared) or {})
            except Exception as error:
                measures = dict(getattr(error, "measures", {}))
                broke = "".join(traceback.format_exception_only(error)).strip()[:500]
                where = traceback.extract_tb(error.__traceback__)[-1]
                broke += f" ({Path(where.filename).name}:{where.lineno})"
            try:
                results.send((broke, measures))
            except OSError:
                return  # who asked has given up
