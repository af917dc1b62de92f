from __future__ import annotations

import subprocess
import sys
import time

from adwright.authoring.writer.asking import cpu_seconds


def test_children_that_live_and_that_have_ended_count() -> None:
    start = cpu_seconds()
    busy = "import time\nwhile time.process_time() < .3: pass\nprint(flush=True)\ninput()"
    with subprocess.Popen(
        [sys.executable, "-S", "-c", busy], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        alive = cpu_seconds() - start
        child.communicate(b"\n")
    ended = cpu_seconds() - start
    assert 0.25 < alive < 5
    assert ended >= alive - 0.02


def test_own_time_counts() -> None:
    start, until = cpu_seconds(), time.process_time() + 0.05
    while time.process_time() < until:
        pass
    assert cpu_seconds() - start >= 0.04
