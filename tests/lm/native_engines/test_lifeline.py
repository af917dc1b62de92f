from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from adwright.lm.native_engines.lifeline import follow

FOLLOW = (
    "import os, pathlib, sys, time\n"
    "from adwright.lm.native_engines import lifeline as worker\n"
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
    assert callable(follow)


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
    begin = "from adwright.lm.native_engines.lifeline import take_up\nline = take_up()\n"
    printed = "print('what native code prints')\n"
    assert told_by(begin + printed + "line.ready()\nline.watch.join()", tmp_path) == (
        {"ready": True},
        0,
    )
    assert told_by(begin + "line.failed(ValueError('broken'))", tmp_path) == (
        {"error": "broken"},
        1,
    )
