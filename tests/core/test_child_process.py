"""A child process from both sides."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.errors import AdwrightError, ConfigError, ResourceError

WORKER = "adwright.lm.compiling.rehearsal"
SETTINGS = {"seconds": 1, "memory_bytes": 1 << 30}


def refusal(told: str, log: Path) -> AdwrightError:
    return ConfigError(told + log.read_text("utf-8"), where="x", hint="y")


def test_a_life_from_its_start_to_its_end() -> None:
    life = WorkerProcess(WORKER, SETTINGS)
    life.ready(60, refusal)
    assert life.alive
    assert life.ending == ""
    assert not life.gone_within(0.05)
    assert life.folder.stat().st_mode & 0o77 == 0
    with closing(JsonLines(life.connect())) as lines:
        lines.say({"kind": "template", "text": "tea"}, {"kind": "no", "text": ""})
        assert lines.waits(20)
        assert [lines.next(), lines.next()] == [{"form": ""}, {"error": "there is no kind no"}]
        assert not lines.waits(0.05)
        os.kill(life.pid, signal.SIGKILL)
        assert list(lines) == []
    assert life.gone_within(20)
    assert (life.alive, life.ending, life.code) == (False, "was killed by SIGKILL", -9)
    with pytest.raises(OSError, match="refused"):
        life.connect()
    life.end()
    life.end()
    assert not life.folder.exists()


def test_why_it_is_not_ready() -> None:
    for module, told in ((WORKER, "KeyError"), ("adwright.nowhere", "ended with code 1")):
        life = WorkerProcess(module, {})
        with pytest.raises(ConfigError, match=told):
            life.ready(60, refusal)
        life.end()
    # It reads its input to the end, and says nothing before.
    life = WorkerProcess("json.tool", SETTINGS)
    began = time.monotonic()
    with pytest.raises(ResourceError, match="has not opened"):
        life.ready(0.5, refusal)
    assert time.monotonic() - began < 20
    life.kill()
    assert life.gone_within(20)
    life.end()


FOLLOW = (
    "import os, pathlib, sys, time\n"
    "from adwright.core import child_process as worker\n"
    "worker._LOOK_SECONDS = 0.05\n"
    "worker.follow(int(sys.argv[1]), 0, pathlib.Path(sys.argv[2]))\n"
)


def following(parent: int, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(parent), str(folder)], stdin=subprocess.PIPE
    )


def test_it_ends_with_its_lifeline(tmp_path: Path) -> None:
    process = following(os.getpid(), tmp_path / "a")
    time.sleep(0.2)
    assert process.poll() is None
    process.communicate()
    assert process.returncode == 0
    assert not (tmp_path / "a").exists()


def test_it_ends_where_its_parent_is_another_one(tmp_path: Path) -> None:
    process = following(os.getpid() + 1, tmp_path / "a")
    assert process.wait(20) == 0
    assert not (tmp_path / "a").exists()
    process.communicate()


def told_by(code: str, tmp_path: Path) -> tuple[dict[str, object], int]:
    """The line that a worker writes, and its exit code once its lifeline ends."""
    settings = {"socket": str(tmp_path / "inner" / "s"), "parent": os.getpid()}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        line = json.loads(process.stdout.readline())
        if "ready" in line:  # one that failed ends by itself
            process.stdin.close()
        return line, process.wait(20)


def test_a_worker_tells_how_it_is_in_one_line(tmp_path: Path) -> None:
    begin = "from adwright.core.child_process import take_up\nline = take_up()\n"
    printed = "print('what native code prints')\n"
    assert told_by(begin + printed + "line.ready()\nline.watch.join()", tmp_path) == (
        {"ready": True},
        0,
    )
    assert told_by(begin + "line.failed(ValueError('broken'))", tmp_path) == (
        {"error": "broken"},
        1,
    )


def test_lines_end_where_the_connection_does_and_may_be_bounded() -> None:
    one, other = socket.socketpair()
    with closing(JsonLines(one)) as ours, closing(JsonLines(other)) as theirs:
        threading.Thread(target=lambda: [theirs.say({"n": n}) for n in range(1000)]).start()
        assert [ours.next()["n"] for _ in range(1000)] == list(range(1000))
        theirs.say({"long": "x" * 100})
        with pytest.raises(EOFError):
            ours.next(50)
        theirs.shut()
        theirs.shut()
        with pytest.raises(ValueError, match="Expecting"):
            ours.next()
        assert list(ours) == []
