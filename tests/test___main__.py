"""python -m adwright."""

from __future__ import annotations

import subprocess
import sys

from adwright.core.version import __version__


def test_the_module_is_the_command() -> None:
    command = [sys.executable, "-m", "adwright"]
    found = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert found.stdout == f"adwright {__version__}\n"
    wrong = subprocess.run([*command, "train", "hsut"], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "did you mean hstu?" in wrong.stderr
