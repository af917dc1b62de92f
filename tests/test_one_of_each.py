"""The script that finds a second log, process or lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.common.one_of_each import MECHANISMS, report


def test_the_house_has_one_of_each() -> None:
    told, wrong = report()
    assert wrong == []
    assert [line for line in told if line[0] != " "] == [
        f"{one.name}: 1, {one.file}" for one in MECHANISMS
    ]


SECONDS = (
    ("append-only logs", 'open("x", "ab")'),
    ("append-only logs", 'Path("x").open(mode="a")'),
    ("append-only logs", "os.open(path, os.O_WRONLY | os.O_APPEND)"),
    ("writers of whole files", "os.fsync(3)"),
    ("locks of files", "fcntl.flock(3, 2)"),
    ("child processes", "subprocess.Popen(['true'])"),
    ("child processes", "from multiprocessing import Process"),
    ("supervisors", "class OtherSupervisor: pass"),
    ("clients of the OpenAI protocol", "from openai import OpenAI"),
    ("clients of the OpenAI protocol", "httpx.AsyncClient()"),
    ("openers of a language model", "TorchModel.open(config)"),
    ("queues of tenants", "class FairQueue: pass"),
)


@pytest.mark.parametrize(("name", "code"), SECONDS)
def test_a_second_one_is_named(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "room").mkdir()
    (tmp_path / "room" / "second.py").write_text(f"\n{code}\n")
    _, wrong = report(tmp_path)
    (said,) = [line for line in wrong if "room/second.py:2 makes a second one" in line]
    assert said.startswith(name)


def test_what_only_reads_is_none(tmp_path: Path) -> None:
    (tmp_path / "reader.py").write_text('open("a")\nPath("x").open("rb")\nopen("b", mode="w")\n')
    assert [line for line in report(tmp_path)[1] if "reader.py" in line] == []
