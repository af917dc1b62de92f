"""The quick form of the tests: `pytest --quick` leaves out what tests/slow.txt names, and says so.

`pytest --note-slow`, with all tests, writes that file anew. A test is left out, all its parameters
taken together, that takes the first of SHARES, in seconds, with which the others fit. A file whose
other tests take LONG seconds, or of which MANY tests would be named, is left out as a whole, and
then not even imported.

A quick run fails by itself where a test that is not named takes FAR_TOO_LONG, or all of it more
than MOST: in processor seconds, its children's included, so that a busy machine fails nothing.
"""

from __future__ import annotations

import resource
from collections import Counter, defaultdict
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.halves import sort

#: The rules of the house are part of any check.
ALWAYS = ("tests/test_layout.py",)
SLOW = Path(__file__).resolve().parents[1] / "slow.txt"
LONG, MANY = 4.0, 8
SHARES = (0.5, 0.4, 0.3, 0.2, 0.15, 0.1, 0.07, 0.05)
#: What the quick tests may take when they are named, of what they may take at most.
ROOM = 0.85
#: Processor seconds of a test or file that make the quick form slow, and of all of it.
FAR_TOO_LONG, MOST = 6.0, 180.0
#: So many times its processor seconds by the clock, and a test is slow by that alone.
ASLEEP = 4.0
DURATIONS = "adwright-durations"
_LEFT_OUT = pytest.StashKey[Counter[str]]()
_MEASURED = pytest.StashKey["Durations"]()


def read_slow() -> list[str]:
    """Files, and tests of files, as pytest names them."""
    return SLOW.read_text("utf-8").split()


def is_slow(test: str, slow: Iterable[str]) -> bool:
    """Whether one of the names is that of a test, without its parameters, or of its file."""
    name = test.split("[", 1)[0]
    return not {name, name.split("::", 1)[0]}.isdisjoint(slow)


def slow_of(
    seconds: Mapping[str, float], long: float = LONG, share: float = SHARES[0]
) -> list[str]:
    """What is to be left out. seconds: test, without its parameters -> how long all of it took.
    long: what the rest of a file may take; share: what a test may.

    >>> slow_of({"a.py::one": 3.0, "a.py::two": 0.4, "b.py::one": 9.0, "c.py::one": 0.2})
    ['a.py::one', 'b.py::one']
    """
    files: dict[str, dict[str, float]] = defaultdict(dict)
    for test, taken in seconds.items():
        files[test.split("::", 1)[0]][test] = taken
    found: list[str] = []
    for file, tests in sorted(files.items()):
        if file in ALWAYS:
            continue
        named = sorted(test for test, taken in tests.items() if taken >= share)
        rest = sum(taken for test, taken in tests.items() if test not in named)
        found += named if len(named) <= MANY and rest < long else [file]
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("adwright")
    group.addoption("--quick", action="store_true", help="leave out what tests/slow.txt names")
    group.addoption("--note-slow", action="store_true", help="write tests/slow.txt anew")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Whether it is a file that is left out; None leaves that to others."""
    if not config.getoption("quick") or collection_path.suffix != ".py":
        return None
    file = collection_path.relative_to(config.rootpath).as_posix()
    if file not in read_slow():
        return None
    # Nobody knows of how many tests.
    config.stash.setdefault(_LEFT_OUT, Counter())[file] = 0
    return True


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    sort(items)
    if not config.getoption("quick"):
        return
    slow = set(read_slow())
    left = [item for item in items if is_slow(item.nodeid, slow)]
    items[:] = [item for item in items if not is_slow(item.nodeid, slow)]
    config.hook.pytest_deselected(items=left)
    config.stash.setdefault(_LEFT_OUT, Counter()).update(
        item.nodeid.split("::", 1)[0] for item in left
    )


def pytest_sessionfinish(session: pytest.Session) -> None:
    """In a worker of xdist: what the process that began it says at the end."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash.get(_LEFT_OUT, {}))


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    found = getattr(node, "workeroutput", {}).get("left_out")
    if found:
        node.config.stash[_LEFT_OUT] = Counter(found)


class Durations:
    """Adds up how long each test took, in whichever process: by the clock, and of a processor."""

    def __init__(self, config: pytest.Config) -> None:
        config.stash[_MEASURED] = self
        self.seconds: Counter[str] = Counter()
        self.processor: Counter[str] = Counter()
        self._before = _processor_seconds()

    def pytest_runtest_logstart(self) -> None:
        self._before = _processor_seconds()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """After each of set-up, test and tear-down; its note travels to the first process."""
        report = yield
        before, self._before = self._before, _processor_seconds()
        report.processor_seconds = self._before - before
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        name = report.nodeid.split("[", 1)[0]
        self.seconds[name] += report.duration
        self.processor[name] += getattr(report, "processor_seconds", 0.0)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Fail a quick run that is not quick, in the process that began it."""
        quick = session.config.getoption("quick") and not hasattr(session.config, "workeroutput")
        if quick and session.exitstatus == pytest.ExitCode.OK and self.too_slow():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def too_slow(self) -> list[str]:
        """What makes the run slow, a sentence each."""
        slow, total = set(read_slow()), self.processor.total()
        found = slow_of(self.processor, FAR_TOO_LONG, FAR_TOO_LONG)
        new = [name for name in found if not is_slow(name, slow)]
        said = [f"slow, and not in tests/slow.txt: {', '.join(new)}"] if new else []
        if total > MOST:
            said.append(f"the quick tests took {total:.0f} processor seconds, at most {MOST:.0f}")
        return said


def _processor_seconds() -> float:
    """Of this process, and of its children that have ended."""
    found = (resource.getrusage(one) for one in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(one.ru_utime + one.ru_stime for one in found)


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Durations(config), DURATIONS)


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out, and what should be next time; or write it down."""
    left, durations = config.stash.get(_LEFT_OUT, Counter()), config.stash[_MEASURED]
    if left:
        files = [f"{file.removeprefix('tests/')} {n or ''}" for file, n in sorted(left.items())]
        whole = sum(n == 0 for n in left.values())
        said = f"{whole} files, and {left.total():,} tests of {len(left) - whole} others"
        told = ", ".join(map(str.strip, files))
        terminalreporter.write_line(f"left out as slow, run by make test: {said}: {told}")
    if config.getoption("note_slow"):
        # Beside other work a clock calls everything slow; what sleeps long is slow all the same.
        sleeps = {name: taken / ASLEEP for name, taken in durations.seconds.items()}
        both = {name: max(taken, durations.processor[name]) for name, taken in sleeps.items()}
        for share in SHARES:
            slow = slow_of(both, share=share)
            rest = sum(taken for name, taken in both.items() if not is_slow(name, slow))
            if rest <= ROOM * MOST:
                break
        SLOW.write_text("\n".join(slow) + "\n", encoding="utf-8")
        said = f"from {share:g} s on tests are slow; the others take {rest:.0f} processor seconds"
        terminalreporter.write_line(said)
        return
    if config.getoption("quick"):
        terminalreporter.write_line(f"{durations.processor.total():.0f} processor seconds of tests")
        for said in durations.too_slow():
            terminalreporter.write_line(f"FAILED: {said}")
