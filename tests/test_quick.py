"""What `make quick` leaves out is there, is left out, and is said."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support import halves, quick
from tests.support.quick import is_slow, read_slow, slow_of

ROOT = Path(__file__).resolve().parent.parent


def test_what_is_slow_is_there() -> None:
    absent = []
    for name in read_slow():
        file, _, test = name.partition("::")
        text = (ROOT / file).read_text("utf-8")
        test = test.rpartition("::")[2]  # of a class, its own name
        if test and not re.search(rf"^ *(async )?def {test}\(", text, re.MULTILINE):
            absent.append(name)
    assert absent == []


def test_a_file_and_a_test_of_it_may_be_slow() -> None:
    slow = {"tests/a.py", "tests/b.py::test_one"}
    assert is_slow("tests/a.py::test_any[3]", slow)
    assert is_slow("tests/b.py::test_one[x::y]", slow)
    assert not is_slow("tests/b.py::test_one_more", slow)


def test_few_long_tests_are_named_and_else_their_file() -> None:
    found = slow_of(
        {
            # One long test, beside quick ones.
            **{"a.py::long": 9.0, "a.py::one": 0.2},
            # Many that are long together.
            **{f"b.py::{n}": 0.4 for n in range(12)},
            **{f"c.py::{n}": 2.0 for n in range(9)},
            # A quick file.
            **{f"d.py::{n}": 0.4 for n in range(8)},
        }
    )
    assert found == ["a.py::long", "b.py", "c.py"]


class Said:
    """Notes what the terminal would show."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write_line(self, line: str) -> None:
        self.lines.append(line)


class Config:
    """What the hooks ask of pytest's configuration."""

    def __init__(self, **options: bool) -> None:
        self.options = options
        self.rootpath = ROOT
        self.stash = pytest.Stash()
        self.left: list[Any] = []
        self.hook = SimpleNamespace(pytest_deselected=self._deselected)

    def _deselected(self, items: list[Any]) -> None:
        self.left += items

    def getoption(self, name: str) -> bool:
        return self.options.get(name, False)


@pytest.mark.parametrize("workers", [False, True])
def test_slow_tests_are_left_out_and_told(
    workers: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.txt").write_text("tests/a.py\ntests/b.py::one\n")
    monkeypatch.setattr(quick, "SLOW", tmp_path / "slow.txt")
    names = ["tests/b.py::one[1]", "tests/b.py::one[2]", "tests/b.py::two"]
    items: Any = [SimpleNamespace(nodeid=name) for name in names]
    config: Any = Config(quick=True)
    assert quick.pytest_ignore_collect(ROOT / "tests" / "a.py", config)
    for kept in ("tests/b.py", "tests/data/a.py", "tests"):
        assert quick.pytest_ignore_collect(ROOT / kept, config) is None
    quick.pytest_collection_modifyitems(config, items)
    assert [item.nodeid for item in items] == names[2:]
    assert len(config.left) == 2
    if workers:
        config.workeroutput = {}
        quick.pytest_sessionfinish(SimpleNamespace(config=config))  # type: ignore[arg-type]
        node = SimpleNamespace(workeroutput=config.workeroutput, config=Config(quick=True))
        quick.pytest_testnodedown(node)
        config = node.config
    said = Said()
    durations = quick.Durations(config)
    config.pluginmanager = SimpleNamespace(get_plugin=lambda _: durations)
    quick.pytest_terminal_summary(said, config)
    assert said.lines == [
        "left out as slow, run by make test: 1 files, and 2 tests of 1 others: a.py, b.py 2",
        "0 processor seconds of tests",
    ]


@pytest.mark.parametrize(
    ("name", "taken", "said"),
    [
        ("tests/b.py::two[x]", 7.0, ["slow, and not in tests/slow.txt: tests/b.py::two"]),
        ("tests/b.py::one[x]", 7.0, []),
        ("tests/b.py::two[x]", 2.0, []),
        ("tests/b.py::one", 190.0, ["the quick tests took 190 processor seconds, at most 180"]),
    ],
)
@pytest.mark.parametrize("asked", [False, True])
def test_a_quick_run_that_is_not_quick_fails(
    asked: bool,
    name: str,
    taken: float,
    said: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "slow.txt").write_text("tests/b.py::one\n")
    monkeypatch.setattr(quick, "SLOW", tmp_path / "slow.txt")
    config: Any = Config(quick=asked)
    durations = quick.Durations(config)
    report: Any = SimpleNamespace(nodeid=name, duration=0.1, processor_seconds=taken)
    durations.pytest_runtest_logreport(report)
    assert durations.too_slow() == said
    session: Any = SimpleNamespace(config=config, exitstatus=pytest.ExitCode.OK)
    durations.pytest_sessionfinish(session)
    failed = asked and bool(said)
    assert session.exitstatus == (pytest.ExitCode.TESTS_FAILED if failed else pytest.ExitCode.OK)


def test_what_a_test_takes_of_a_processor_is_measured() -> None:
    durations = quick.Durations(Config())  # type: ignore[arg-type]
    step = durations.pytest_runtest_makereport()
    next(step)
    until = time.process_time() + 0.05
    while time.process_time() < until:
        pass
    report: Any = SimpleNamespace()
    with pytest.raises(StopIteration):
        step.send(report)
    assert report.processor_seconds >= 0.04


def test_processes_collect_from_both_ends_and_agree(
    monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    names = ["tests/a/one.py::one", "tests/a/two.py::two", "tests/a/two.py::one", "tests/b.py::one"]
    folder = request.node.getparent(pytest.Directory)
    for worker, seen in (("gw0", names), ("gw1", names[::-1]), ("", names)):
        monkeypatch.setenv("PYTEST_XDIST_WORKER", worker)
        step = halves.pytest_make_collect_report(folder)
        next(step)
        report = SimpleNamespace(result=[SimpleNamespace(nodeid=name) for name in names])
        with pytest.raises(StopIteration):
            step.send(report)  # type: ignore[arg-type]
        assert [node.nodeid for node in report.result] == seen
        halves.sort(report.result)
        files = [node.nodeid.split("::")[0] for node in report.result]
        assert files == [name.split("::")[0] for name in names]


def test_all_tests_run_without_the_option_and_may_be_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow.txt").write_text("tests/a.py\n")
    monkeypatch.setattr(quick, "SLOW", tmp_path / "slow.txt")
    items: Any = [SimpleNamespace(nodeid="tests/a.py::one")]
    for noted in (False, True):
        config: Any = Config(note_slow=noted)
        assert quick.pytest_ignore_collect(ROOT / "tests" / "a.py", config) is None
        quick.pytest_collection_modifyitems(config, items)
        assert len(items) == 1
        quick.Durations(config).seconds.update(Counter({"tests/b.py::one": 7.0}))  # type: ignore[arg-type]
        quick.pytest_terminal_summary(said := Said(), config)
        told = "from 0.5 s on tests are slow; the others take 0 processor seconds"
        assert said.lines == ([told] if noted else [])
    assert (tmp_path / "slow.txt").read_text() == "tests/b.py::one\n"
