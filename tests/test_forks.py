"""A program that is a fork of the server is a process as any other."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.forks import python


def run(*arguments: str, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python(), *arguments],
        cwd=cwd,
        env=os.environ | env,
        input="print('typed')",
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_gets_what_a_process_gets(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("import sys\nprint(__name__, sys.argv[1:])\n")
    assert run("mine.py", "a", "b c", cwd=tmp_path).stdout == "__main__ ['a', 'b c']\n"
    assert run("-m", "mine", "a", PYTHONPATH=str(tmp_path)).stdout == "__main__ ['a']\n"
    assert run("-").stdout == "typed\n"
    code = "import os, sys; print(os.getcwd(), os.environ['MINE'], sys.argv, input())"
    found = run("-c", code, "x", cwd=tmp_path, MINE="1")
    assert found.stdout == f"{tmp_path} 1 ['-c', 'x'] print('typed')\n"
    assert run("-c", "import threading; print(threading.active_count())").stdout == "1\n"


def test_each_has_modules_of_its_own_and_none_of_ours() -> None:
    code = "import sys; print('adwright' in sys.modules, hasattr(sys, 'mine')); sys.mine = 1"
    for _ in range(2):
        assert run("-c", f"{code}; import adwright").stdout == "False False\n"
    # What is imported already costs nothing once more.
    assert run("-c", "import sys; print('torch' in sys.modules)").stdout == "True\n"


def test_it_ends_as_it_would_alone() -> None:
    assert run("-c", "raise SystemExit(3)").returncode == 3
    failed = run("-c", "1 / 0")
    assert failed.returncode == 1
    assert failed.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert run("-c", "import os; os.abort()").returncode == -signal.SIGABRT
    warned = "import warnings; warnings.warn('beware')"
    assert run("-W", "error", "-c", warned).returncode == 1
    assert "UserWarning: beware" in run("-c", warned).stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_it(number: signal.Signals) -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with subprocess.Popen([python(), "-c", code], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        pid = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(20) == -number
    until = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
