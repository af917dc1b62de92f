"""The quick form of the tests: `pytest --quick` leaves out what tests/slow.txt names, and says so.

`pytest --note-slow`, with all tests, writes that file anew: a file of tests that takes LONG seconds
or more is left out, by its tests of SHARE seconds where the rest of it is quick without them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

#: The rules of the house are part of any check.
ALWAYS = ("tests/test_layout.py",)
SLOW = Path(__file__).resolve().parents[1] / "slow.txt"
LONG, SHARE, MANY = 4.0, 1.5, 3
#: Seconds of a file that make the quick form slow, also where the machine is busy.
FAR_TOO_LONG = 15.0
_LEFT_OUT = pytest.StashKey[Counter[str]]()
_SECONDS = pytest.StashKey[Counter[str]]()


def read_slow() -> list[str]:
    """Files, and tests of files, as pytest names them."""
    return SLOW.read_text("utf-8").split()


def is_slow(test: str, slow: Iterable[str]) -> bool:
    """Whether one of the names is that of a test, without its parameters, or of its file."""
    name = test.split("[", 1)[0]
    return not {name, name.split("::", 1)[0]}.isdisjoint(slow)


def slow_of(seconds: Mapping[str, float], long: float = LONG) -> list[str]:
    """What is to be left out. seconds: test, without its parameters -> how long all of it took.
    long: what a file may take.

    >>> slow_of({"a.py::one": 3.0, "a.py::two": 1.2, "b.py::one": 9.0, "c.py::one": 2.0})
    ['a.py::one', 'b.py::one']
    """
    files: dict[str, dict[str, float]] = defaultdict(dict)
    for test, taken in seconds.items():
        files[test.split("::", 1)[0]][test] = taken
    found: list[str] = []
    for file, tests in sorted(files.items()):
        if file in ALWAYS or sum(tests.values()) < long:
            continue
        named = sorted(test for test, taken in tests.items() if taken >= SHARE)
        rest = sum(taken for test, taken in tests.items() if test not in named)
        found += named if 0 < len(named) <= MANY and rest < long else [file]
    return found


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("adwright")
    group.addoption("--quick", action="store_true", help="leave out what tests/slow.txt names")
    group.addoption("--note-slow", action="store_true", help="write tests/slow.txt anew")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("quick"):
        return
    slow = set(read_slow())
    left = [item for item in items if is_slow(item.nodeid, slow)]
    items[:] = [item for item in items if not is_slow(item.nodeid, slow)]
    config.hook.pytest_deselected(items=left)
    config.stash[_LEFT_OUT] = Counter(item.nodeid.split("::", 1)[0] for item in left)


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
    """Adds up how long each test took, in whichever process."""

    def __init__(self, config: pytest.Config) -> None:
        config.stash[_SECONDS] = self.seconds = Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid.split("[", 1)[0]] += report.duration


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Durations(config), "adwright-durations")


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Say what was left out, and what should be next time; or write it down."""
    left, seconds = config.stash.get(_LEFT_OUT, Counter()), config.stash[_SECONDS]
    if left:
        files = ", ".join(f"{file.removeprefix('tests/')} {n}" for file, n in sorted(left.items()))
        said = f"{left.total():,} tests of {len(left)} files"
        terminalreporter.write_line(f"left out as slow, run by make test: {said}: {files}")
    if config.getoption("note_slow"):
        SLOW.write_text("\n".join(slow_of(seconds)) + "\n", encoding="utf-8")
        return
    slow = set(read_slow())
    new = [name for name in slow_of(seconds, FAR_TOO_LONG) if not is_slow(name, slow)]
    if new and config.getoption("quick"):
        terminalreporter.write_line(f"slow, and not in tests/slow.txt: {', '.join(new)}")
